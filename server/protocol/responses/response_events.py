"""The server-sent events of a response's output items while they are generated."""

import uuid
from abc import ABC, abstractmethod
from typing import Any

from server.payloads import TextChunk, ToolCallDelta
from server.protocol.json_text import JsonItems, json_string, json_text
from server.protocol.openai.logprobs import describe_logprobs
from server.protocol.responses.response_object import (
    FunctionCall,
    OutputItem,
    OutputMessage,
    OutputText,
    ReasoningItem,
    ReasoningText,
    Status,
)

__all__ = [
    "Events",
    "FunctionCallWriter",
    "ItemWriter",
    "MessageWriter",
    "ReasoningWriter",
    "new_id",
]


def new_id(prefix: str) -> str:
    """An id in OpenAI's form."""
    return f"{prefix}_{uuid.uuid4().hex}"


class Events:
    """Numbers the events of one stream."""

    def __init__(self) -> None:
        self._num_made = 0

    def make(self, kind: str, **members: Any) -> bytes:
        """An event."""
        return self.splice(kind, _inner_json(members))

    def splice(self, kind: str, members: str) -> bytes:
        """An event whose members are JSON already."""
        number = self._num_made
        self._num_made += 1
        head = f'event: {kind}\ndata: {{"type":"{kind}","sequence_number":{number}'
        return f"{head},{members}}}\n\n".encode()


class ItemWriter(ABC):
    """The events of one output item, from `open` to `close`."""

    def __init__(self, events: Events, output_index: int, id_prefix: str) -> None:
        self._events = events
        self._id = new_id(id_prefix)
        self._place = {"output_index": output_index}
        self._texts: list[str] = []

    @abstractmethod
    def open(self) -> bytes:
        """The events before the first piece."""

    @abstractmethod
    def close(self, status: Status) -> tuple[OutputItem, bytes]:
        """The finished item, and the events after the last piece."""

    def _added(self, item: OutputItem) -> bytes:
        return self._events.make(
            "response.output_item.added", **self._place, item=item.model_dump()
        )

    def _done(self, item: OutputItem) -> bytes:
        return self._events.make("response.output_item.done", **self._place, item=item.model_dump())


class MessageWriter(ItemWriter):
    """A message with one part, its text."""

    def __init__(self, events: Events, output_index: int) -> None:
        super().__init__(events, output_index, "msg")
        self._part_place = {"item_id": self._id, **self._place, "content_index": 0}
        self._members = _inner_json(self._part_place)
        self._logprobs = JsonItems()

    def open(self) -> bytes:
        part = OutputText(text="").model_dump()
        return self._added(
            OutputMessage(id=self._id, status="in_progress", content=[])
        ) + self._events.make("response.content_part.added", **self._part_place, part=part)

    def add(self, chunk: TextChunk) -> bytes:
        """The event of new text."""
        self._texts.append(chunk.text)
        logprobs = self._logprobs.add(describe_logprobs(chunk.logprobs or ()))
        delta = f'"delta":{json_string(chunk.text)},"logprobs":[{logprobs}]'
        return self._events.splice("response.output_text.delta", f"{self._members},{delta}")

    def close(self, status: Status) -> tuple[OutputItem, bytes]:
        part = OutputText(text="".join(self._texts), logprobs=self._logprobs)
        message = OutputMessage(id=self._id, status=status, content=[part])
        place = self._part_place
        events = (
            self._events.make(
                "response.output_text.done", **place, text=part.text, logprobs=part.logprobs
            ),
            self._events.make("response.content_part.done", **place, part=part.model_dump()),
            self._done(message),
        )
        return message, b"".join(events)


class ReasoningWriter(ItemWriter):
    """A reasoning item with one part, its text as the model wrote it, so without a summary."""

    def __init__(self, events: Events, output_index: int) -> None:
        super().__init__(events, output_index, "rs")
        self._part_place = {"item_id": self._id, **self._place, "content_index": 0}
        self._members = _inner_json(self._part_place)

    def open(self) -> bytes:
        part = ReasoningText(text="").model_dump()
        return self._added(
            ReasoningItem(id=self._id, status="in_progress", content=[])
        ) + self._events.make("response.content_part.added", **self._part_place, part=part)

    def add(self, text: str) -> bytes:
        """The event of new text."""
        self._texts.append(text)
        delta = f'"delta":{json_string(text)}'
        return self._events.splice("response.reasoning_text.delta", f"{self._members},{delta}")

    def close(self, status: Status) -> tuple[OutputItem, bytes]:
        part = ReasoningText(text="".join(self._texts))
        item = ReasoningItem(id=self._id, status=status, content=[part])
        place = self._part_place
        events = (
            self._events.make("response.reasoning_text.done", **place, text=part.text),
            self._events.make("response.content_part.done", **place, part=part.model_dump()),
            self._done(item),
        )
        return item, b"".join(events)


class FunctionCallWriter(ItemWriter):
    """A call of a function; `first` is its piece with the name."""

    def __init__(self, events: Events, output_index: int, first: ToolCallDelta) -> None:
        super().__init__(events, output_index, "fc")
        self.index = first.index
        self._call_id = first.id or new_id("call")
        self._name = first.name or ""
        self._members = _inner_json({"item_id": self._id, **self._place})

    def open(self) -> bytes:
        return self._added(self._item("in_progress"))

    def add(self, arguments: str) -> bytes:
        """The event of a piece of the arguments."""
        self._texts.append(arguments)
        delta = f'"delta":{json_string(arguments)}'
        kind = "response.function_call_arguments.delta"
        return self._events.splice(kind, f"{self._members},{delta}")

    def close(self, status: Status) -> tuple[OutputItem, bytes]:
        item = self._item(status)
        arguments = f'"name":{json_string(item.name)},"arguments":{json_string(item.arguments)}'
        kind = "response.function_call_arguments.done"
        events = self._events.splice(kind, f"{self._members},{arguments}")
        return item, events + self._done(item)

    def _item(self, status: Status) -> FunctionCall:
        arguments = "".join(self._texts)
        return FunctionCall(
            id=self._id,
            status=status,
            call_id=self._call_id,
            name=self._name,
            arguments=arguments,
        )


def _inner_json(members: dict[str, Any]) -> str:
    """JSON of an object without its braces."""
    return json_text(members)[1:-1]
