"""The bodies of the endpoints that tokenise: Model Server's form, and vLLM's."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from server.errors import InvalidRequestError
from server.payloads import ChatOptions, TextTokenizer
from server.protocol.field_rules import FieldRules
from server.protocol.field_table import TOKENIZE
from server.protocol.openai.field_schemas import ChatMessages, Tools
from server.protocol.openai.messages import adds_generation_prompt, parse_messages, parse_tools
from server.protocol.refusal import expect, refuse_value
from server.protocol.token_rows import cut_tokens, pad_tokens

__all__ = [
    "NO_RULES",
    "SENTENCES",
    "DetokenizeFields",
    "Detokenized",
    "TokenizeFields",
    "Tokenized",
    "TokenizerDescription",
    "TokenizerFields",
    "TokenizerInfoFields",
    "check_size",
]

# Limits of one request, which keeps a worker thread busy.
MAX_TEXTS = 1024
MAX_CHARACTERS = 4_000_000
MAX_TOKENS = 1_000_000

# The fields that may accompany each field with the input.
FORMS: Mapping[str, frozenset[str]] = {
    "text": frozenset({"max_length", "pad_to_max_length", "padding_side"}),
    "prompt": frozenset({"return_token_strs"}),
    "messages": frozenset(
        {
            "return_token_strs",
            "tools",
            "chat_template_kwargs",
            "add_generation_prompt",
            "continue_final_message",
        }
    ),
}
COMMON_FIELDS = frozenset({"model", "add_special_tokens"})

NO_RULES = FieldRules({})

# Model Server's words, for validate_fields; its clients may look for them.
SENTENCES: Mapping[str, str] = {
    "max_length": "max_length should be unsigned integer",
    "max_length greater_than_equal": "max_length should be greater than 0",
    "max_length less_than_equal": f"max_length exceeds the allowed limit of {MAX_TOKENS}",
    "pad_to_max_length": "pad_to_max_length should be boolean",
    "add_special_tokens": "add_special_tokens should be boolean",
    "padding_side": "padding_side should be either left or right",
}

Length = Annotated[int, Field(ge=1, le=MAX_TOKENS)]
TokenId = Annotated[int, Field(ge=0, le=2**31 - 1)]
Texts = Annotated[
    Any,
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]


class Tokenized(BaseModel):
    """For `text` only `tokens`, a list of ids or one for each text; else all members.

    `max_model_len` is null if the graph does not say it.
    """

    tokens: list[int] | list[list[int]]
    count: int | None = None
    max_model_len: int | None = None
    token_strs: list[str] | None = None


class Detokenized(BaseModel):
    """The text of token ids, special tokens included."""

    prompt: str


class TokenizerDescription(BaseModel):
    """The description of a tokenizer; special tokens are further members."""

    model_config = ConfigDict(extra="allow")

    model: str
    tokenizer_class: str | None
    vocab_size: int
    max_model_len: int | None
    chat_template: str | None


class TokenizerFields(BaseModel, ABC):
    """The fields that all tokenizer endpoints share; without `model`, the only model is used."""

    model_config = ConfigDict(
        strict=True, extra="allow", frozen=True, json_schema_extra=NO_RULES.describe
    )

    model: str | None = None

    @abstractmethod
    def answer(
        self, model: str, tokenizer: TextTokenizer, max_model_len: int | None
    ) -> Mapping[str, Any]:
        """The members of the answer; called in a worker thread. Raises InvalidRequestError."""


class TokenizeFields(TokenizerFields):
    """Exactly one of `text` (OVMS), `prompt` and `messages` (vLLM), and its options.

    The default of `add_special_tokens` is true, but false for messages, where the chat template
    writes the special tokens.
    """

    model_config = ConfigDict(json_schema_extra=TOKENIZE.describe)

    text: Texts = None
    prompt: str | None = None
    messages: ChatMessages | None = None
    add_special_tokens: bool | None = None
    max_length: Length | None = None
    pad_to_max_length: bool = False
    padding_side: Literal["left", "right"] = "right"
    return_token_strs: bool = False
    add_generation_prompt: bool | None = None
    continue_final_message: bool = False
    tools: Tools = Field(default_factory=list)
    chat_template_kwargs: dict[str, Any] = Field(default_factory=dict)

    def answer(
        self, model: str, tokenizer: TextTokenizer, max_model_len: int | None
    ) -> Mapping[str, Any]:
        form = self._form()
        if form == "text":
            return {"tokens": self._tokenize_texts(tokenizer)}
        text = self.prompt if self.prompt is not None else self._render(tokenizer)
        add_special_tokens = self.add_special_tokens
        if add_special_tokens is None:
            add_special_tokens = form == "prompt"
        tokens = tokenizer.encode(check_size([text], form)[0], add_special_tokens)
        return {
            "count": len(tokens),
            "max_model_len": max_model_len,
            "tokens": tokens,
            "token_strs": tokenizer.spell(tokens) if self.return_token_strs else None,
        }

    def _form(self) -> str:
        """The field with the input; refuses fields that do not go with it."""
        forms = [form for form in FORMS if form in self.model_fields_set]
        if not forms:
            problem = f"text field is required, or one of {', '.join(list(FORMS)[1:])}"
            raise InvalidRequestError(problem, "text")
        if len(forms) > 1:
            problem = f"exactly one of {', '.join(FORMS)} is needed, found {' and '.join(forms)}"
            raise InvalidRequestError(problem, forms[-1])
        (form,) = forms
        known_set = self.model_fields_set & type(self).model_fields.keys()
        for name in sorted(known_set - FORMS[form] - COMMON_FIELDS - {form}):
            raise InvalidRequestError(f"{name} does not go together with {form}", name)
        return form

    def _render(self, tokenizer: TextTokenizer) -> str:
        options = ChatOptions(
            add_generation_prompt=adds_generation_prompt(
                self.add_generation_prompt, self.continue_final_message
            ),
            continue_final_message=self.continue_final_message,
        )
        messages = parse_messages(self.messages or [])
        tools = parse_tools(self.tools)
        return tokenizer.render_chat(messages, tools, self.chat_template_kwargs, options)

    def _tokenize_texts(self, tokenizer: TextTokenizer) -> Sequence[Any]:
        texts = _parse_texts(self.text)
        pad_id = self._pad_id(tokenizer, len(texts))
        rows = []
        num_tokens = 0
        for text in texts:
            rows.append(self._tokenize_text(tokenizer, text))
            num_tokens += len(rows[-1])
            if num_tokens > MAX_TOKENS:
                problem = f"text has more than {MAX_TOKENS} tokens, which are possible at once"
                raise InvalidRequestError(problem, "text")
        if pad_id is not None:
            assert self.max_length is not None
            rows = [pad_tokens(row, self.max_length, pad_id, self.padding_side) for row in rows]
        return rows[0] if isinstance(self.text, str) else rows

    def _tokenize_text(self, tokenizer: TextTokenizer, text: str) -> Sequence[int]:
        has_special = self.add_special_tokens is not False
        tokens = tokenizer.encode(text, add_special_tokens=has_special)
        if self.max_length is None:
            return tokens
        if not has_special:
            return tokens[: self.max_length]
        return cut_tokens(tokens, tokenizer.encode(text, False), self.max_length)

    def _pad_id(self, tokenizer: TextTokenizer, num_texts: int) -> int | None:
        """The token to pad with; None for no padding."""
        if not self.pad_to_max_length:
            return None
        where = "pad_to_max_length"
        if self.max_length is None:
            raise InvalidRequestError(f"{where} needs max_length", where)
        if num_texts * self.max_length > MAX_TOKENS:
            problem = f"{num_texts} texts of {self.max_length} tokens are too much to pad to"
            raise InvalidRequestError(f"{problem}; at most {MAX_TOKENS} are possible", "max_length")
        pad_id = tokenizer.info().pad_token_id
        if pad_id is None:
            raise InvalidRequestError(f"{where}: this model has no token for padding", where)
        return pad_id


class DetokenizeFields(TokenizerFields):
    """Token ids to turn into text."""

    tokens: Annotated[list[TokenId], Field(max_length=MAX_TOKENS)]

    def answer(
        self, model: str, tokenizer: TextTokenizer, max_model_len: int | None
    ) -> Mapping[str, Any]:
        vocab_size = tokenizer.info().vocab_size
        largest = max(self.tokens, default=0)
        if largest >= vocab_size:
            problem = f"tokens has the id {largest}; this model's go from 0 to {vocab_size - 1}"
            raise InvalidRequestError(problem, "tokens")
        return {"prompt": tokenizer.decode(self.tokens, skip_special_tokens=False)}


class TokenizerInfoFields(TokenizerFields):
    """The model whose tokenizer is described."""

    def answer(
        self, model: str, tokenizer: TextTokenizer, max_model_len: int | None
    ) -> Mapping[str, Any]:
        info = tokenizer.info()
        return {
            "model": model,
            "tokenizer_class": info.tokenizer_class,
            "vocab_size": info.vocab_size,
            "max_model_len": max_model_len,
            **info.special_tokens,
            "chat_template": info.chat_template,
        }


def _parse_texts(text: object) -> list[str]:
    if isinstance(text, str):
        return check_size([text], "text")
    if not isinstance(text, list):
        refuse_value("text", "should be string or array of strings", text)
    if not text:
        raise InvalidRequestError("text array should not be empty", "text")
    if len(text) > MAX_TEXTS:
        problem = f"text has {len(text)} texts; at most {MAX_TEXTS} are possible"
        raise InvalidRequestError(problem, "text")
    for i, item in enumerate(text):
        expect(str, item, f"text must be homogeneous: text[{i}]" if i else "text[0]", "text")
    return check_size(text, "text")


def check_size(texts: list[str], param: str) -> list[str]:
    """The texts. Raises InvalidRequestError if they are too long to be tokenised at once."""
    num_characters = sum(map(len, texts))
    if num_characters > MAX_CHARACTERS:
        problem = f"{param} has {num_characters} characters; at most {MAX_CHARACTERS} are possible"
        raise InvalidRequestError(problem, param)
    return texts
