"""A model's tokenizer as the nodes of a graph share it."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from calculators.chat_template.chat_template import (
    ChatTemplate,
    TextTooLongError,
    load_chat_template,
)
from calculators.chat_template.plain_names import MARK, PlainNames, restore_marks
from calculators.chat_template.render_process import DEFAULT_TIME_LIMIT_S
from calculators.chat_template.sandbox import MAX_RENDERED_CHARACTERS
from calculators.chat_template.template_files import (
    find_templates,
    read_special_tokens,
    read_tokenizer_class,
)
from calculators.chat_template.thinking import thinking_budget
from calculators.text.byte_table import ByteTable, load_byte_table
from calculators.text.marks import encoder_that_drops_marks
from calculators.text.prompt_limit import PromptLimit
from calculators.text.text_encoder import TextEncoder
from server.errors import InvalidRequestError, ModelLoadError
from server.graph import Tag
from server.payloads import ChatOptions, TokenizerInfo

__all__ = ["TOKENIZER", "Tokenizer"]

logger = logging.getLogger(__name__)


class Tokenizer:
    """The tokenizer, detokenizer and chat template of a model folder; a TextTokenizer.

    Threads may share it. Raises ModelLoadError for files that are missing or cannot be used.
    Without a chat template only chats are refused. `template_file` has one that is taken instead of
    the model's own, and must be usable. With `split_special_tokens`, names of special tokens in the
    texts of a conversation are plain text; only those that the template writes are special.
    """

    def __init__(
        self,
        models_path: Path,
        template_file: Path | None = None,
        template_time_limit_s: float = DEFAULT_TIME_LIMIT_S,
        *,
        split_special_tokens: bool = False,
    ) -> None:
        self.models_path = models_path
        self._template_file = template_file
        # First, so that a folder without either file is told of the tokenizer.
        encoder = TextEncoder(models_path) if not split_special_tokens else None
        self.byte_table: ByteTable = load_byte_table(models_path)
        self._encoder = encoder or self._load_encoder_without_names()
        self._prompt_limit: PromptLimit | None = None
        self._longest_token = _longest_token(self.byte_table)
        self._full_table = self.byte_table.showing(self._special_names())
        self._plain_names = PlainNames(self._special_names()) if split_special_tokens else None
        self._template: ChatTemplate | None = None
        self._template_problem = ""
        try:
            self._template = load_chat_template(models_path, template_file, template_time_limit_s)
        except ModelLoadError as error:
            if template_file is not None:
                raise
            self._template_problem = str(error)
            logger.warning("Chat requests will be refused: %s", error)
        self._info = self._read_info()

    def info(self) -> TokenizerInfo:
        """Describe it."""
        return self._info

    def encode(self, text: str, add_special_tokens: bool) -> tuple[int, ...]:
        """Return the token ids of a text, never cut.

        `add_special_tokens` adds what the model's tokenizer puts around a text, such as a BOS
        token. Names of special tokens in the text become these tokens in either case.
        """
        return self._encoder.encode(text, add_special_tokens)

    def encode_prompt(
        self, text: str, add_special_tokens: bool, truncates_to: int | None = None
    ) -> tuple[int, ...]:
        """Return the token ids of a prompt, but refuse a long one before it is all read.

        `truncates_to` is how many of its last tokens are wanted; with -1, as many as the model can
        read. Only they, and a few before them, are returned. Raises ContextLengthError.
        """
        limit = self._prompt_limit
        if limit is None:
            return self.encode(text, add_special_tokens)
        if truncates_to is not None and truncates_to <= limit.max_tokens:
            wanted = limit.max_tokens if truncates_to == -1 else truncates_to
            return self._encoder.encode_end(text, wanted, add_special_tokens)
        self._check_length(len(text))
        limit.check(self._encoder.count_at_least(text, limit.max_tokens), is_exact=False)
        return self.encode(text, add_special_tokens)

    def check_length(self, token_ids: Sequence[int]) -> None:
        """Raise ContextLengthError for more tokens than any prompt can have."""
        if self._prompt_limit is not None:
            self._prompt_limit.check(len(token_ids), is_exact=True)

    def limit_prompts(self, limit: PromptLimit) -> None:
        """Called by the node that runs the model, when it is loaded."""
        self._prompt_limit = limit

    def decode(self, token_ids: Iterable[int], skip_special_tokens: bool = True) -> str:
        """Return the text of token ids."""
        table = self.byte_table if skip_special_tokens else self._full_table
        return table.decode(token_ids)

    def spell(self, token_ids: Iterable[int]) -> list[str]:
        """Return the text of each token; a part of a character is U+FFFD."""
        return [self._full_table.lookup(i).decode("utf-8", "replace") for i in token_ids]

    @property
    def template_texts(self) -> Sequence[str]:
        """The chat templates as they are written; none where they cannot be read."""
        try:
            return list(find_templates(self.models_path, self._template_file)[0].values())
        except ModelLoadError:
            return []

    def describe_template(self) -> Mapping[str, object]:
        """What the probe of the chat templates found, by their names."""
        traits = {} if self._template is None else self._template.traits
        return {name: found.describe() for name, found in traits.items()}

    def thinking_budget(self, tools: Sequence[object], options: ChatOptions) -> int | None:
        """How many tokens an answer may think; None is no limit."""
        if self._template is None:
            return None
        effort, budget = options.reasoning_effort, options.thinking_token_budget
        return thinking_budget(self._template.traits_for(tools), effort, budget)

    def render_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]],
        template_kwargs: Mapping[str, Any],
        options: ChatOptions,
    ) -> str:
        """Return the prompt of a conversation, by the model's chat template.

        With `split_special_tokens` it has marks for `encode`; `shown` is without them.
        """
        if self._template is None:
            raise InvalidRequestError(
                f"this model cannot chat: {self._template_problem}; completions work", "messages"
            )
        names = self._plain_names
        try:
            if names is None:
                return self._template.render(messages, tools, template_kwargs, options)
            options = replace(options, documents=names.mark(options.documents))
            marked = names.mark(messages), names.mark(tools), names.mark(template_kwargs)
            return restore_marks(self._template.render(*marked, options))
        except TextTooLongError:
            self._check_length(MAX_RENDERED_CHARACTERS)
            raise

    def _check_length(self, num_characters: int) -> None:
        """Raise ContextLengthError for more characters than a prompt can have tokens for."""
        if self._prompt_limit is not None and self._longest_token is not None:
            num_tokens = -(-num_characters // self._longest_token)
            self._prompt_limit.check(num_tokens, is_exact=False)

    def _load_encoder_without_names(self) -> TextEncoder:
        special = self.byte_table.special_bytes.keys()
        return encoder_that_drops_marks(self.models_path, special, self._special_names())

    def shown(self, prompt: str) -> str:
        """The text of a prompt that `render_chat` made."""
        return prompt if self._plain_names is None else prompt.replace(MARK, "")

    def _special_names(self) -> list[str]:
        names = self.byte_table.special_bytes.values()
        return [raw.decode("utf-8", "replace") for raw in names]

    def _read_info(self) -> TokenizerInfo:
        vocab_size = len(self.byte_table.token_bytes)
        try:
            special_tokens = read_special_tokens(self.models_path)
            return TokenizerInfo(
                vocab_size,
                special_tokens,
                read_tokenizer_class(self.models_path),
                self._single_id(special_tokens.get("pad_token")),
                next(iter(self.template_texts), None),
            )
        except ModelLoadError as error:
            logger.warning("The tokenizer's description has only its size: %s", error)
            return TokenizerInfo(vocab_size, {})

    def _single_id(self, name: str | None) -> int | None:
        """Return the id of a special token by its name."""
        token_ids = self.encode(name, add_special_tokens=False) if name else ()
        return token_ids[0] if len(token_ids) == 1 else None


def _longest_token(table: ByteTable) -> int | None:
    """The most bytes that a token stands for; None where unknown ones stand for any text."""
    single = {raw for raw in table.token_bytes if len(raw) == 1}
    tokens = (*table.token_bytes, *table.special_bytes.values())
    return max(map(len, tokens)) if len(single) == 256 else None


TOKENIZER = Tag("TOKENIZER", Tokenizer)
