"""The tokenizer of a model that reads texts and writes none."""

import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from calculators.chat_template.template_files import read_special_tokens, read_tokenizer_class
from calculators.text.byte_table import ByteTable, load_byte_table
from calculators.text.text_encoder import SLICE_CHARACTERS, TextEncoder
from server.errors import InvalidRequestError, ModelLoadError
from server.host.model_files import DETOKENIZER_FILE
from server.payloads import ChatOptions, TokenizerInfo

__all__ = ["EncodingTokenizer"]


class EncodingTokenizer:
    """A TextTokenizer that needs no detokenizer; with one, it decodes as well.

    The detokenizer is loaded when something is decoded for the first time, as few ever do. Threads
    may share it. Raises ModelLoadError for files that are missing or cannot be used.
    """

    def __init__(self, models_path: Path, vocab_size: int | None, pad_token_id: int | None) -> None:
        self._models_path = models_path
        self._encoder = TextEncoder(models_path)
        self._lock = threading.Lock()
        self._tables: tuple[ByteTable, ByteTable] | None = None
        self._info = TokenizerInfo(
            vocab_size or 0,
            read_special_tokens(models_path),
            read_tokenizer_class(models_path),
            pad_token_id,
        )
        self.prefix, self.suffix = self._encoder.special_tokens()

    def info(self) -> TokenizerInfo:
        """Describe it."""
        return self._info

    def encode(self, text: str, add_special_tokens: bool) -> tuple[int, ...]:
        """Return the token ids of a text, never cut."""
        return self._encoder.encode(text, add_special_tokens)

    def encode_many(
        self, texts: Sequence[str], add_special_tokens: bool, first: int | None = None
    ) -> list[tuple[int, ...]]:
        """Return the token ids of each text, much faster than one by one.

        `first` is how many tokens of each text are needed; the rest of a long one is not read.
        """
        if first is None or max(map(len, texts), default=0) <= SLICE_CHARACTERS:
            return self._encoder.encode_many(texts, add_special_tokens)
        return [self._encoder.encode_start(text, first) for text in texts]

    def encode_start(self, text: str, num_tokens: int) -> tuple[int, ...]:
        """Return the first tokens of a text, so many or a few more; the others are not read."""
        return self._encoder.encode_start(text, num_tokens)

    def encode_end(self, text: str, num_tokens: int) -> tuple[int, ...]:
        """Return the last tokens of a text, so many or a few more; the others are not read."""
        return self._encoder.encode_end(text, num_tokens)

    def count_at_least(self, text: str, enough: int) -> int:
        """How many tokens a text has at least, read until there are `enough`; 0 if it is short."""
        return self._encoder.count_at_least(text, enough)

    def decode(self, token_ids: Iterable[int], skip_special_tokens: bool = True) -> str:
        """Return the text of token ids. Raises InvalidRequestError if there is no detokenizer."""
        table, full_table = self._load_tables()
        return (table if skip_special_tokens else full_table).decode(token_ids)

    def spell(self, token_ids: Iterable[int]) -> list[str]:
        """Return the text of each token. Raises InvalidRequestError if there is no detokenizer."""
        _, full_table = self._load_tables()
        return [full_table.lookup(i).decode("utf-8", "replace") for i in token_ids]

    def render_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]],
        template_kwargs: Mapping[str, Any],
        options: ChatOptions,
    ) -> str:
        """Raise InvalidRequestError: such a model cannot chat."""
        raise InvalidRequestError("this model cannot chat: it writes no text", "messages")

    def _load_tables(self) -> tuple[ByteTable, ByteTable]:
        """What each token adds to a text: without and with the names of special tokens."""
        with self._lock:
            if self._tables is None:
                try:
                    table = load_byte_table(self._models_path)
                except ModelLoadError as error:
                    raise InvalidRequestError(
                        "tokens of this model cannot be turned into text: its folder has no usable "
                        f"{DETOKENIZER_FILE}"
                    ) from error
                names = [raw.decode("utf-8", "replace") for raw in table.special_bytes.values()]
                self._tables = table, table.showing(names)
            return self._tables
