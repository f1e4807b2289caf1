"""A model's tokenizer as the nodes of a graph share it."""

from collections.abc import Iterable
from pathlib import Path

from calculators.byte_table import ByteTable, load_byte_table
from calculators.text_encoder import TextEncoder

__all__ = ["Tokenizer"]


class Tokenizer:
    """The openvino_tokenizer.xml and openvino_detokenizer.xml of a model folder, loaded.

    Threads may share it. Raises ModelLoadError for files that are missing or cannot be used.
    """

    def __init__(self, models_path: Path) -> None:
        self.models_path = models_path
        self._encoder = TextEncoder(models_path)
        self.byte_table: ByteTable = load_byte_table(models_path)

    def encode(self, text: str, add_special_tokens: bool) -> tuple[int, ...]:
        """Return the token ids of a text, never cut.

        `add_special_tokens` adds what the model's tokenizer puts around a text, such as a BOS
        token. Names of special tokens in the text become these tokens in either case.
        """
        return self._encoder.encode(text, add_special_tokens)

    def decode(self, token_ids: Iterable[int]) -> str:
        """Return the text of token ids, without special tokens."""
        return self.byte_table.decode(token_ids)
