"""The clients that wait: one line of sequences for each, and whose line goes first."""

from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter

from server.engine.scheduling.waiter import Turn, Waiter
from server.engine.sequence import Sequence

__all__ = ["ClientLines"]

MAX_CREDIT = 2048
"""So many tokens a client may be behind the others when it comes back, and has ahead of them.

A prompt of that size goes first. More would let a client that was away hold up the others.
"""

MAX_REMEMBERED = 4096
"""Clients whose tokens are remembered; addresses may be many."""

_by_turn = attrgetter("turn")
_by_place = attrgetter("place")


@dataclass(eq=False, slots=True)
class _Share:
    """A client, and how many tokens the model has computed for it.

    `num_started` are those of sequences that start in this step. `place` is where its line stands
    among the others: (priority, tokens, number), or without the priority where an overdue sequence
    is first; () while nobody waits.
    """

    number: int
    num_tokens: int = 0
    num_started: int = 0
    line: list[Waiter] = field(default_factory=list)
    place: Turn = ()


class ClientLines:
    """Of the lines with the best priority, the one whose client has had the fewest tokens goes
    first: the Virtual Token Counter of "Fairness in Serving Large Language Models"
    (arXiv 2401.00588), with tokens counted as they are computed.

    A client that comes back counts as if it had at most MAX_CREDIT tokens fewer than the others.
    An overdue sequence has the best priority there is, so that no client's sequences starve, but
    its client has no larger share because of it.
    """

    def __init__(self) -> None:
        self._shares: OrderedDict[str, _Share] = OrderedDict()
        self._num_made = 0
        # Sorted by place: lines that begin with an overdue sequence, and all others.
        self._overdue: list[_Share] = []
        self._ranked: list[_Share] = []
        self._returning: list[_Share] = []
        self._started: list[_Share] = []
        # The tokens of the client that started last, when it did.
        self._floor = 0

    @property
    def has_new_client(self) -> bool:
        """Whether one of several clients has begun to wait since `settle`."""
        return bool(self._returning) and len(self._shares) > 1

    def put(self, waiter: Waiter) -> None:
        """Let a sequence wait in the line of its client."""
        share = self._share(waiter.sequence)
        if not share.line:
            self._returning.append(share)
        insort(share.line, waiter, key=_by_turn)
        self._place(share)

    def take(self, waiter: Waiter) -> None:
        """Take a sequence out of its line."""
        share = self._share(waiter.sequence)
        index = bisect_left(share.line, waiter.turn, key=_by_turn)
        assert share.line[index] is waiter, "no two sequences have the same turn"
        del share.line[index]
        self._place(share)

    def first(self) -> Waiter | None:
        """The sequence that goes first; None if none waits."""
        ranked = self._ranked[0] if self._ranked else None
        if self._overdue and (ranked is None or self._overdue[0].place <= ranked.place[1:]):
            return self._overdue[0].line[0]
        return None if ranked is None else ranked.line[0]

    def note_start(self, sequence: Sequence, num_tokens: int) -> None:
        """Count the first tokens of a sequence, so that the next one to start is another's."""
        share = self._share(sequence)
        self._floor = max(self._floor, share.num_tokens)
        if not share.num_started:
            self._started.append(share)
        share.num_started += num_tokens
        self._place(share)

    def charge(self, sequence: Sequence) -> _Share:
        """Count the tokens that were computed for a sequence; those of a recomputation are free."""
        share = self._share(sequence)
        num_new = sequence.num_computed_tokens - sequence.num_charged_tokens
        if num_new > 0:
            share.num_tokens += num_new
            sequence.num_charged_tokens += num_new
        return share

    def settle(self, running: Iterable[Sequence]) -> None:
        """Count what was computed until now. The tokens of each client are fixed until the next."""
        for share in self._started:
            share.num_started = 0
        changed, self._started = self._started, []
        if len(self._shares) > 1:
            shares = {share.number: share for share in map(self.charge, running)}
            self._bound_credit(shares)
            changed += shares.values()
        self._returning.clear()
        for share in changed:
            self._place(share)

    def rank(self, sequence: Sequence, turn: Turn, best_priority: int) -> Turn:
        """The turn of a sequence among those of all clients.

        `turn` is the one among those of its client. `best_priority` is the lowest among all that
        are compared; an overdue sequence has it.
        """
        is_overdue = turn[0] == 0
        priority = best_priority if is_overdue else sequence.request.priority
        return priority, self._share(sequence).num_tokens, *turn

    def best_priority(self, readers: Iterable[Sequence]) -> int:
        """The lowest priority of what waits and of running prompts."""
        found = [reader.request.priority for reader in readers]
        found += [share.place[0] for share in self._ranked[:1]]
        return min(found, default=0)

    def _bound_credit(self, running: Mapping[int, _Share]) -> None:
        """Let clients that had nothing here forget how far they are behind the others."""
        absent = {s.number: s for s in self._returning if s.number not in running}
        if not absent:
            return
        counts = [share.num_tokens for share in running.values()]
        for lines in (self._overdue, self._ranked):
            first = next((share for share in lines if share.number not in absent), None)
            counts += [] if first is None else [first.num_tokens]
        floor = min(counts, default=self._floor) - MAX_CREDIT
        for share in absent.values():
            share.num_tokens = max(share.num_tokens, floor)
            self._place(share)

    def _share(self, sequence: Sequence) -> _Share:
        client = sequence.request.client
        share = self._shares.get(client)
        if share is None:
            self._forget_oldest()
            num_tokens = max(0, self._floor - MAX_CREDIT)
            share = self._shares[client] = _Share(self._num_made, num_tokens)
            self._num_made += 1
        return share

    def _forget_oldest(self) -> None:
        while len(self._shares) >= MAX_REMEMBERED:
            client, share = next(iter(self._shares.items()))
            if share.line:
                self._shares.move_to_end(client)
                return
            del self._shares[client]

    def _place(self, share: _Share) -> None:
        """Move a line to where it belongs among the others."""
        place: Turn = ()
        if share.line:
            first = share.line[0]
            place = share.num_tokens + share.num_started, share.number
            if first.turn[0]:
                place = first.sequence.request.priority, *place
        if place == share.place:
            return
        if share.place:
            lines = self._lines(share)
            del lines[bisect_left(lines, share.place, key=_by_place)]
        share.place = place
        if place:
            insort(self._lines(share), share, key=_by_place)

    def _lines(self, share: _Share) -> list[_Share]:
        return self._overdue if len(share.place) == 2 else self._ranked
