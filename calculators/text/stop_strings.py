"""Stop strings in a text that comes in pieces."""

from collections.abc import Sequence
from functools import lru_cache

__all__ = ["StopStringMatcher", "StopStringScanner", "make_matcher"]


class StopStringMatcher:
    """An automaton that looks for all stop strings in one pass (Aho and Corasick, 1975).

    State 0 is "nothing begun"; the depth of a state is how many of the last characters are the
    start of a stop string. It is immutable after construction and shared by choices.
    """

    def __init__(self, stop_strings: Sequence[str]) -> None:
        self.next_states: list[dict[str, int]] = [{}]
        self.depths = [0]
        self.found: list[str | None] = [None]
        for stop_string in stop_strings:
            self._add(stop_string)
        self.fallbacks = [0] * len(self.depths)
        self._link()
        self.first_characters = frozenset(self.next_states[0])

    def _add(self, stop_string: str) -> None:
        state = 0
        for character in stop_string:
            if character not in self.next_states[state]:
                self.next_states[state][character] = len(self.depths)
                self.depths.append(self.depths[state] + 1)
                self.next_states.append({})
                self.found.append(None)
            state = self.next_states[state][character]
        if stop_string:
            self.found[state] = stop_string

    def _link(self) -> None:
        """Point each state to the longest shorter suffix of it that is a state, breadth first."""
        queue = list(self.next_states[0].values())
        for state in queue:
            for character, child in self.next_states[state].items():
                self.fallbacks[child] = self.step(self.fallbacks[state], character)
                queue.append(child)
            # Of two stop strings that end here, the one that began first is kept.
            self.found[state] = self.found[state] or self.found[self.fallbacks[state]]

    def step(self, state: int, character: str) -> int:
        """Return the state after one more character; constant time on average."""
        while character not in self.next_states[state]:
            if state == 0:
                return 0
            state = self.fallbacks[state]
        return self.next_states[state][character]


@lru_cache(maxsize=32)
def make_matcher(stop_strings: tuple[str, ...]) -> StopStringMatcher:
    """Return the matcher of these stop strings; requests of one client tend to repeat them."""
    return StopStringMatcher(stop_strings)


class StopStringScanner:
    """Releases the text of one choice up to its first stop string.

    Text that may be the start of a stop string is held back. The stop string that is complete
    first wins, however the text is cut; `found` is then its text. The text ends before it, or,
    with `is_included`, behind it; nothing is held back then.
    """

    __slots__ = ("_held", "_is_included", "_matcher", "_state", "found")

    def __init__(self, matcher: StopStringMatcher, is_included: bool = False) -> None:
        self._matcher = matcher
        self._is_included = is_included
        self._state = 0
        self._held = ""
        self.found: str | None = None

    def feed(self, piece: str, may_stop: bool = True) -> str:
        """Take more text and return what can be shown now.

        Unless it `may_stop`, a complete stop string is ordinary text.
        """
        matcher, state = self._matcher, self._state
        if state == 0 and matcher.first_characters.isdisjoint(piece):
            return piece
        for position, character in enumerate(piece):
            state = matcher.step(state, character)
            if may_stop and matcher.found[state] is not None:
                self.found = matcher.found[state]
                return self._cut(piece[: position + 1])
        if self._is_included:
            self._state = state
            return piece
        text = self._held + piece
        num_released = len(text) - matcher.depths[state]
        self._state, self._held = state, text[num_released:]
        return text[:num_released]

    def _cut(self, piece: str) -> str:
        """Return the last text; the piece ends with the stop string."""
        if self._is_included:
            return piece
        text, self._held = self._held + piece, ""
        return text.removesuffix(self.found or "")

    def flush(self) -> str:
        """Return what is held back; nothing follows that could complete a stop string."""
        held, self._held, self._state = self._held, "", 0
        return held
