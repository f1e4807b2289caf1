"""Ends the thinking of a model after a number of tokens, by forcing the tag that closes it."""

from typing import Self

import numpy as np
import numpy.typing as npt

from calculators.guided.constraint import GrammarConstraint
from calculators.output_parsers import OutputFormat, TaggedReasoningParser
from calculators.text.tokenizer import Tokenizer
from server.errors import InvalidRequestError
from server.payloads import TokenizedPrompt

__all__ = ["ThinkingBudget", "ThinkingLimiter"]

FIELD = "thinking_token_budget"


class ThinkingLimiter:
    """Makes the limits of thinking for requests to one model.

    `tokenizer` is None for a graph whose LLM node has none; `vocab_size` is that of the model.
    """

    def __init__(
        self, tokenizer: Tokenizer | None, output_format: OutputFormat, vocab_size: int
    ) -> None:
        self._tokenizer = tokenizer
        self._format = output_format
        self._vocab_size = vocab_size
        self._thinking: _Thinking | None = None

    def limit(
        self, prompt: TokenizedPrompt, constraint: GrammarConstraint | None
    ) -> "GrammarConstraint | ThinkingBudget | None":
        """Add the budget of a request to the constraint of its answer.

        Raises InvalidRequestError where the client asks for a budget that cannot be kept.
        """
        budget, parser = prompt.thinking_token_budget, self._format.reasoning_parser
        if budget is None or parser is None:
            # A model that is not known to think needs no limit.
            return constraint
        if self._tokenizer is None or not issubclass(parser, TaggedReasoningParser):
            if prompt.request.chat_options.thinking_token_budget is None:
                return constraint
            raise InvalidRequestError(
                f"{FIELD}: no tag ends the thinking of this model, whose reasoning parser is "
                f"{self._format.reasoning_parser_name}",
                FIELD,
            )
        if self._thinking is None:
            self._thinking = _Thinking(self._tokenizer, parser, self._vocab_size)
        is_begun = parser.is_begun(prompt.text or "")
        return ThinkingBudget(self._thinking, budget, constraint, is_begun=is_begun)


class _Thinking:
    """How a model writes its thinking: tags as bytes, and the tokens that close it.

    `pairs` are the tags that begin and end it, the usual pair first. `ends` by the first tag are
    all texts that end the thinking.
    """

    def __init__(
        self, tokenizer: Tokenizer, parser: type[TaggedReasoningParser], vocab_size: int
    ) -> None:
        self.vocab_size = vocab_size
        self.table = tokenizer.byte_table.showing(parser.markers)
        pairs = ((parser.begin, parser.end), *parser.other_tags)
        self.pairs = tuple((begin.encode(), end.encode()) for begin, end in pairs)
        self.other_ends = tuple(marker.encode() for marker in parser.ends_before)
        self.closing_ids = {
            end.encode(): tokenizer.encode(end, add_special_tokens=False) for _, end in pairs
        }
        self.num_kept = max(map(len, (*self.closing_ids, *self.other_ends)))


class ThinkingBudget:
    """The thinking of one choice, counted token by token; a TokenConstraint for the engine.

    After `budget` tokens between the tags only the closing tag is allowed. `inner` constrains the
    whole answer, thinking included, or is None. With `is_begun` the prompt has the first tag.
    """

    __slots__ = ("_budget", "_closing", "_end", "_inner", "_is_over", "_left", "_text", "_thinking")

    def __init__(
        self,
        thinking: _Thinking,
        budget: int,
        inner: GrammarConstraint | None,
        *,
        is_begun: bool,
    ) -> None:
        self._thinking = thinking
        self._budget = budget
        self._inner = inner
        self._text = b""
        self._end: bytes | None = None
        self._left = budget
        self._closing: tuple[int, ...] = ()
        self._is_over = False
        if is_begun:
            self._begin(thinking.pairs[0][1])

    @property
    def can_complete(self) -> bool:
        """Whether the rest of the answer has a form of its own."""
        return self._inner is not None

    def forbidden_tokens(self) -> npt.NDArray[np.bool_] | None:
        """All tokens but the next of the closing tag, when it is due; else what `inner` forbids."""
        if self._closing:
            forbidden = np.ones(self._thinking.vocab_size, np.bool_)
            forbidden[self._closing[0]] = False
            return forbidden
        return None if self._inner is None else self._inner.forbidden_tokens()

    def accept(self, token_id: int) -> None:
        """Move on by a token."""
        if self._inner is not None:
            self._inner.accept(token_id)
        if self._closing:
            self._closing = self._closing[1:]
            self._is_over = not self._closing
        elif not self._is_over:
            self._text += self._thinking.table.lookup(token_id)
            if self._end is None:
                self._look_for_begin()
            else:
                self._left -= 1
                self._look_for_end()

    def fork(self) -> Self:
        """A copy that goes on independently."""
        copy = object.__new__(type(self))
        for name in ThinkingBudget.__slots__:
            setattr(copy, name, getattr(self, name))
        copy._inner = None if self._inner is None else self._inner.fork()
        return copy

    def _look_for_begin(self) -> None:
        """Thinking stands at the beginning of an answer or not at all."""
        text = self._text.lstrip()
        for begin, end in self._thinking.pairs:
            if text.startswith(begin):
                self._text = text.removeprefix(begin)
                self._begin(end)
                return
        self._is_over = not any(begin.startswith(text) for begin, _ in self._thinking.pairs)

    def _begin(self, end: bytes) -> None:
        self._end = end
        self._look_for_end()

    def _look_for_end(self) -> None:
        assert self._end is not None, "the thinking has begun"
        if any(end in self._text for end in (self._end, *self._thinking.other_ends)):
            self._is_over = True
        elif self._left <= 0:
            self._closing = self._thinking.closing_ids[self._end]
        self._text = self._text[-self._thinking.num_kept :]
