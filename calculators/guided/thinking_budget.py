"""Ends the thinking of a model after a number of tokens, by forcing the text that closes it."""

from typing import Self

import numpy as np
import numpy.typing as npt

from calculators.guided.constraint import GrammarConstraint
from calculators.output_parsers import OutputFormat, ReasoningParser, ThinkingForm
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
        if self._tokenizer is None or not parser.thinking_forms():
            if prompt.request.chat_options.thinking_token_budget is None:
                return constraint
            raise InvalidRequestError(
                f"{FIELD}: the server does not know how this model ends its thinking; its "
                f"reasoning parser is {self._format.reasoning_parser_name}",
                FIELD,
            )
        if self._thinking is None:
            self._thinking = _Thinking(self._tokenizer, parser, self._vocab_size)
        is_begun = parser.is_begun(prompt.text or "")
        return ThinkingBudget(self._thinking, budget, constraint, is_begun=is_begun)


class _Form:
    """A ThinkingForm in bytes and tokens."""

    def __init__(self, form: ThinkingForm, tokenizer: Tokenizer) -> None:
        self.begin = form.begin.encode()
        self.ends = tuple(text.encode() for text in (form.end, *form.other_ends))
        self.closing_ids = tokenizer.encode(form.closing, add_special_tokens=False)
        self.is_repeated = form.is_repeated
        self.barred_ids = _find_beginnings(form.never_next.encode(), tokenizer)


class _Thinking:
    """How a model writes its thinking."""

    def __init__(
        self, tokenizer: Tokenizer, parser: type[ReasoningParser], vocab_size: int
    ) -> None:
        self.vocab_size = vocab_size
        self.table = tokenizer.byte_table.showing(parser.markers)
        self.forms = tuple(_Form(form, tokenizer) for form in parser.thinking_forms())
        texts = (text for form in self.forms for text in (form.begin, *form.ends))
        self.num_kept = max(map(len, texts))


class ThinkingBudget:
    """The thinking of one choice, counted token by token; a TokenConstraint for the engine.

    After `budget` tokens of thinking only the text that closes it is allowed. `inner` constrains
    the whole answer, thinking included, or is None. With `is_begun` the prompt begins the thinking.
    """

    __slots__ = (
        "_closing",
        "_form",
        "_inner",
        "_is_barred",
        "_is_over",
        "_left",
        "_text",
        "_thinking",
    )

    def __init__(
        self,
        thinking: _Thinking,
        budget: int,
        inner: GrammarConstraint | None,
        *,
        is_begun: bool,
    ) -> None:
        self._thinking = thinking
        self._inner = inner
        self._left = budget
        self._text = b""
        self._form: _Form | None = None
        self._closing: tuple[int, ...] = ()
        self._is_barred = False
        self._is_over = False
        if is_begun:
            self._begin(thinking.forms[0])

    @property
    def can_complete(self) -> bool:
        """Whether the rest of the answer has a form of its own."""
        return self._inner is not None

    def forbidden_tokens(self) -> npt.NDArray[np.bool_] | None:
        """All but the next token of the closing text, when it is due; else what `inner` forbids."""
        if self._closing:
            forbidden = np.ones(self._thinking.vocab_size, np.bool_)
            forbidden[self._closing[0]] = False
            return forbidden
        inner = None if self._inner is None else self._inner.forbidden_tokens()
        if not self._is_barred:
            return inner
        assert self._form is not None, "it was closed"
        barred = np.zeros(self._thinking.vocab_size, np.bool_) if inner is None else inner
        barred[self._form.barred_ids] = True
        return barred

    def accept(self, token_id: int) -> None:
        """Move on by a token."""
        if self._inner is not None:
            self._inner.accept(token_id)
        if self._is_over:
            return
        if self._closing:
            self._close()
            return
        if self._is_barred:
            self._is_barred = False
            self._end()
        self._text += self._thinking.table.lookup(token_id)
        if self._form is None:
            self._look_for_begin()
        else:
            self._left -= 1
            self._look_for_end(self._form)
        self._text = self._text[-self._thinking.num_kept :]

    def fork(self) -> Self:
        """A copy that goes on independently."""
        copy = object.__new__(type(self))
        for name in ThinkingBudget.__slots__:
            setattr(copy, name, getattr(self, name))
        copy._inner = None if self._inner is None else self._inner.fork()
        return copy

    def _look_for_begin(self) -> None:
        text = self._text.lstrip()
        for form in self._thinking.forms:
            place = text.find(form.begin)
            if place == 0 or (place > 0 and form.is_repeated):
                self._text = text[place + len(form.begin) :]
                self._begin(form)
                return
        self._is_over = not any(
            form.is_repeated or form.begin.startswith(text) for form in self._thinking.forms
        )

    def _begin(self, form: _Form) -> None:
        self._form = form
        self._look_for_end(form)

    def _look_for_end(self, form: _Form) -> None:
        if any(end in self._text for end in form.ends):
            self._end()
        elif self._left <= 0:
            self._closing = form.closing_ids

    def _close(self) -> None:
        """Move on by a token of the closing text."""
        assert self._form is not None, "it has begun"
        self._closing = self._closing[1:]
        if not self._closing:
            self._is_barred = bool(self._form.barred_ids)
            if not self._is_barred:
                self._end()

    def _end(self) -> None:
        assert self._form is not None, "it has begun"
        self._is_over = not self._form.is_repeated
        self._form = None
        self._text = b""


def _find_beginnings(text: bytes, tokenizer: Tokenizer) -> list[int]:
    """The tokens that an answer which goes on with this text can begin with."""
    if not text:
        return []
    tokens = enumerate(tokenizer.byte_table.token_bytes)
    return [i for i, raw in tokens if raw and (text.startswith(raw) or raw.startswith(text))]
