"""A node for the end of the chat pipeline: it masks listed words in the answer."""

import re
from dataclasses import dataclass, replace

from calculators.tags import TEXT
from server.graph import Calculator, Contract, OpenContext, ProcessContext
from server.payloads import TextChunk

__all__ = ["WordMaskCalculator", "WordMaskOptions"]

_LAST_WORD = re.compile(r"\w*\Z")


@dataclass(frozen=True)
class WordMaskOptions:
    """`words` are masked whole and in any case; `replacement` takes their place."""

    words: tuple[str, ...]
    replacement: str = "***"

    def __post_init__(self) -> None:
        for word in self.words:
            if not re.fullmatch(r"\w+", word):
                raise ValueError(f"words has {word!r}; a word is letters, digits and underscores")


class WordMaskCalculator(Calculator[WordMaskOptions]):
    """Masks listed words in the text of an answer, also where chunks split them.

    The last word of a chunk may go on in the next one, so it is held back until it is complete.
    Log probabilities are left out: they would show the masked words.
    """

    contract = Contract(inputs=(TEXT,), outputs=(TEXT,))

    def open(self, cc: OpenContext) -> None:
        """Compile the list of words."""
        self._pattern = re.compile(rf"\b(?:{'|'.join(self.options.words)})\b", re.IGNORECASE)

    async def process(self, cc: ProcessContext) -> None:
        """Mask one answer. Chunks of several choices alternate, so each has a held word."""
        output = cc.output(TEXT)
        held: dict[int, str] = {}
        last: dict[int, TextChunk] = {}
        async for chunk in cc.input(TEXT):
            text = held.pop(chunk.index, "") + chunk.text
            last[chunk.index] = chunk
            if chunk.finish_reason is None:
                start = _LAST_WORD.search(text).start()  # type: ignore[union-attr]  # matches ""
                text, held[chunk.index] = text[:start], text[start:]
            if text or chunk.finish_reason is not None:
                await output.send(self._masked(chunk, text))
        # An answer that broke off without a finish_reason.
        for index, text in held.items():
            if text:
                await output.send(self._masked(last[index], text))

    def _masked(self, chunk: TextChunk, text: str) -> TextChunk:
        # A function, because re.sub gives backslashes in a replacement text a meaning.
        masked = self._pattern.sub(lambda _: self.options.replacement, text)
        return replace(chunk, text=masked, logprobs=None)
