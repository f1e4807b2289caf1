"""Chooses what runs an embedder: the LLM engine for a decoder, else batches."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from calculators.embeddings.embedding_setup import EmbeddingSetup
from calculators.encoders.causal_encoder import CausalEncoder, check_causal_encoder
from calculators.encoders.encoder_batcher import EncoderBatcher
from calculators.encoders.encoder_model import EncoderModel, check_encoder, generates_text
from calculators.encoders.encoder_service import EncoderService
from calculators.encoders.heads import Pooling
from calculators.inference.inference_model import ModelSettings
from server.engine import NotCausalError
from server.errors import ModelLoadError

__all__ = ["EmbedderLoader"]


@dataclass(frozen=True)
class EmbedderLoader:
    """A model folder, and how its vectors are made.

    The engine reads a decoder with LAST pooling in parts, and keeps beginnings of texts in its
    prefix cache. With `has_tail` False the vectors end with the pooling.
    """

    folder: Path
    setup: EmbeddingSetup
    settings: ModelSettings
    has_tail: bool = True

    def check(self) -> None:
        """Do all of `open` that needs no compilation. Raises ModelLoadError."""
        if self._may_be_causal():
            try:
                check_causal_encoder(self.folder, self.settings, has_head=False)
            except NotCausalError:
                pass
            else:
                return
        check_encoder(self.folder, self.settings.device, self.setup.head(has_tail=self.has_tail))

    def open(
        self,
        name: str,
        max_num_batched_tokens: int,
        on_progress: Callable[[str, float], None],
        served_name: str = "",
    ) -> EncoderService:
        """Compile the model, which metrics call `served_name`. Raises ModelLoadError."""
        config = self.setup.config
        if self._may_be_causal():
            try:
                return CausalEncoder(
                    self.folder,
                    self.settings,
                    max_num_batched_tokens,
                    max_length=config.max_length,
                    head=self.setup.tail,
                    served_name=served_name,
                    on_progress=on_progress,
                )
            except NotCausalError:
                pass
        model = EncoderModel(
            self.folder,
            self.settings,
            self.setup.head(has_tail=self.has_tail),
            max_length=config.max_length,
            pad_token_id=config.pad_token_id,
            vocab_size=config.vocab_size,
        )
        return EncoderBatcher(model, name, max_num_batched_tokens, served_name)

    def _may_be_causal(self) -> bool:
        """Whether to try the engine. Raises ModelLoadError where nothing else could run it."""
        if self.setup.pooling is Pooling.LAST:
            return True
        if generates_text(self.folder):
            raise ModelLoadError(
                f"{self.folder}: the pooling is {self.setup.pooling.name}, but the model was "
                "exported to generate text, with a KV cache; possible: the pooling LAST, or an "
                "export for the task feature-extraction"
            )
        return False
