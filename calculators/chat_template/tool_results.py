"""Puts the results of tool calls where chat templates expect them: behind their calls."""

from collections import deque
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from calculators.chat_template.message_forms import Message, Messages

__all__ = ["pair_results"]


def pair_results(messages: Sequence[Message]) -> Messages:
    """The messages with each result behind the message of its call, in the order of the calls.

    Many templates show no ids, so only the order says which result belongs to which call. Calls
    without an id get one; a result without one belongs to the first call that has no result yet.
    A result of no call stays where it is.
    """
    groups: list[Messages] = []
    pairs = _Pairs()
    for number, message in enumerate(messages):
        if message.get("tool_calls"):
            calls = [_with_id(c, f"call_{number}_{i}") for i, c in enumerate(message["tool_calls"])]
            groups += [[{**message, "tool_calls": calls}], *pairs.open(calls)]
        elif not (message.get("role") == "tool" and pairs.add(message)):
            groups.append([message])
    return list(chain.from_iterable(groups))


def _with_id(call: Any, call_id: str) -> Any:
    if isinstance(call, Mapping) and call.get("id") is None:
        return {**call, "id": call_id}
    return call


class _Pairs:
    """The results of the calls so far, by the id of the call."""

    def __init__(self) -> None:
        self._results: dict[object, Messages] = {}
        self._waiting: deque[object] = deque()

    def open(self, calls: Sequence[Any]) -> list[Messages]:
        """Lists for the results of these calls. An id may come again; then it is the newer call."""
        ids = [call["id"] for call in calls if isinstance(call, Mapping)]
        self._results |= {call_id: [] for call_id in ids}
        self._waiting += ids
        return [self._results[call_id] for call_id in dict.fromkeys(ids)]

    def add(self, result: Message) -> bool:
        """Put a result into the list of its call; false if there is none."""
        call_id = result.get("tool_call_id")
        if call_id is None:
            while self._waiting and self._results[self._waiting[0]]:
                self._waiting.popleft()
            call_id = self._waiting[0] if self._waiting else None
            result = {**result, "tool_call_id": call_id}
        if call_id not in self._results:
            return False
        self._results[call_id].append(result)
        return True
