"""The text of one choice as its tokens come: whole characters, stop strings, log probabilities."""

import codecs
from collections import deque
from collections.abc import Collection

from calculators.text.byte_table import ByteTable
from calculators.text.stop_strings import StopStringMatcher, StopStringScanner
from calculators.text.token_logprobs import describe_token
from server.payloads import (
    FinishReason,
    TextChunk,
    TokenChunk,
    TokenIdLogprobs,
    TokenLogprobs,
)

__all__ = ["ChoiceDecoder"]

_Utf8Decoder = codecs.getincrementaldecoder("utf-8")


class ChoiceDecoder:
    """Turns the token chunks of one choice into text chunks.

    Text appears as soon as its characters are whole and cannot be the start of a stop string.
    Bytes that can never become a character give U+FFFD. A token's log probability appears with
    the end of the token's text; tokens that lie wholly in or behind a stop string have none.
    `echo` is the text to start with, or None. With `includes_stop` the stop string stays in the
    text. Stop strings that are complete within the first `min_tokens` tokens do not count.
    `prompt_logprobs`, once set, go out with the next chunk.
    """

    __slots__ = (
        "_at_start",
        "_includes_stop",
        "_logprobs",
        "_min_tokens",
        "_num_decoded",
        "_num_echoed",
        "_num_released",
        "_num_tokens",
        "_scanner",
        "_table",
        "_token_ids",
        "_unsent",
        "_utf8",
        "is_finished",
        "prompt_logprobs",
    )

    def __init__(
        self,
        table: ByteTable,
        matcher: StopStringMatcher | None = None,
        echo: str | None = None,
        includes_stop: bool = False,
        min_tokens: int = 0,
    ) -> None:
        self._table = table
        self._utf8 = _Utf8Decoder("replace")
        self._scanner = None if matcher is None else StopStringScanner(matcher, includes_stop)
        self._includes_stop = includes_stop
        self._min_tokens = min_tokens
        self._num_echoed = len(echo or "")
        # After an echoed prompt no token is the first of the text.
        self._at_start = echo is None
        self._unsent = echo or ""
        self._num_tokens = 0
        self._token_ids: list[int] = []
        self._num_decoded = 0
        self._num_released = 0
        self._logprobs: deque[tuple[int, int, TokenLogprobs]] = deque()
        self.prompt_logprobs: Collection[TokenLogprobs] | None = None
        self.is_finished = False

    def feed(self, chunk: TokenChunk) -> TextChunk | None:
        """Take the next tokens; returns None while there is nothing to show."""
        finish_reason = chunk.finish_reason
        hides_end = finish_reason == "stop" and not self._includes_stop
        shown = self._feed_tokens(chunk, hides_end)
        stop_string = self._found()
        if finish_reason is not None and stop_string is None:
            shown += self._scan(self._utf8.decode(b"", True))
            stop_string = self._found()
            if stop_string is None and self._scanner is not None:
                shown += self._scanner.flush()
        if stop_string is not None:
            finish_reason = "stop"
        self._num_released += len(shown)
        self._unsent += shown
        if not self._unsent and finish_reason is None:
            return None
        return self._make_chunk(chunk, finish_reason, stop_string)

    def _make_chunk(
        self, chunk: TokenChunk, finish_reason: FinishReason | None, stop_string: str | None
    ) -> TextChunk:
        text, self._unsent = self._unsent, ""
        token_ids, self._token_ids = self._token_ids, []
        self.is_finished = finish_reason is not None
        logprobs = None
        if chunk.logprobs is not None or self._logprobs:
            logprobs = self._release_logprobs(stop_string is not None)
        prompt_logprobs, self.prompt_logprobs = self.prompt_logprobs, None
        return TextChunk(
            chunk.index,
            text,
            len(chunk.prompt.token_ids),
            self._num_tokens,
            chunk.num_cached_tokens,
            logprobs,
            finish_reason,
            stop_string,
            tuple(token_ids),
            prompt_logprobs=prompt_logprobs,
        )

    def _feed_tokens(self, chunk: TokenChunk, hides_end: bool) -> str:
        """Return the text that these tokens complete; ends after the token that ends a stop string.

        With `hides_end` the end token is counted, but its text is left out.
        """
        shown = ""
        last = len(chunk.token_ids) - 1
        for position, token_id in enumerate(chunk.token_ids):
            self._num_tokens += 1
            self._token_ids.append(token_id)
            table = self._table
            raw = table.lookup_first(token_id) if self._at_start else table.lookup(token_id)
            piece = "" if hides_end and position == last else self._utf8.decode(raw)
            if chunk.logprobs is not None:
                self._hold_logprobs(chunk.logprobs[position], len(piece))
            if self._at_start and table.lookup(token_id):
                self._at_start = False
            if piece:
                shown += self._scan(piece)
                if self._found() is not None:
                    break
        return shown

    def _scan(self, piece: str) -> str:
        self._num_decoded += len(piece)
        if self._scanner is None:
            return piece
        return self._scanner.feed(piece, may_stop=self._num_tokens > self._min_tokens)

    def _found(self) -> str | None:
        return None if self._scanner is None else self._scanner.found

    def _hold_logprobs(self, entry: TokenIdLogprobs, num_characters: int) -> None:
        """Keep an entry with the place of its token in the text, counting an unfinished character.

        Called before `_num_decoded` moves past the token.
        """
        is_unfinished = bool(self._utf8.getstate()[0])
        start = self._num_decoded
        end = start + num_characters + is_unfinished
        offset = self._num_echoed + start
        described = describe_token(self._table, entry, offset, is_first=self._at_start)
        self._logprobs.append((start, end, described))

    def _release_logprobs(self, is_cut: bool) -> tuple[TokenLogprobs, ...]:
        released = []
        while self._logprobs:
            start, end, entry = self._logprobs[0]
            if is_cut and start >= self._num_released:
                self._logprobs.clear()
                break
            if end > self._num_released and not self.is_finished:
                break
            self._logprobs.popleft()
            released.append(entry)
        return tuple(released)
