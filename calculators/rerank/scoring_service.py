"""Chooses what runs a reranker or classifier: the LLM engine for a decoder, else batches."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from calculators.encoders.causal_encoder import CausalEncoder, QueueLimits, check_causal_encoder
from calculators.encoders.encoder_batcher import EncoderBatcher
from calculators.encoders.encoder_model import EncoderModel, check_encoder, generates_text
from calculators.encoders.encoder_service import EncoderService
from calculators.encoders.heads import log_odds_head, logits_head
from calculators.inference.inference_model import ModelSettings
from calculators.rerank.answer_tokens import read_answer_tokens
from calculators.rerank.model_config import ModelConfig
from server.engine import NotCausalError

__all__ = ["ScoringSetup"]

TOKEN_BUDGET = 4096
STEP_TOKEN_BUDGET = 512
"""Of a step of the LLM engine, in which nothing is padded."""

MAX_QUEUED_TOKENS = 16_000_000


@dataclass(frozen=True)
class ScoringSetup:
    """A model folder, and what is known of it. `encode` gives the tokens of a text.

    The results of a row are the logits of its labels. A model that generates text has one: how much
    likelier it answers yes than no.
    """

    folder: Path
    config: ModelConfig
    settings: ModelSettings
    encode: Callable[[str], Sequence[int]]

    def check(self) -> None:
        """Do all of `open` that needs no compilation. Raises ModelLoadError."""
        is_generator = generates_text(self.folder)
        if is_generator:
            read_answer_tokens(self.folder, self.config, self.encode)
        try:
            check_causal_encoder(self.folder, self.settings, has_head=True)
        except NotCausalError:
            check_encoder(self.folder, self.settings.device, logits_head)

    def open(
        self, name: str, max_length: int, on_progress: Callable[[str, float], None]
    ) -> EncoderService:
        """Compile the model. Raises ModelLoadError."""
        answers = None
        if generates_text(self.folder):
            answers = read_answer_tokens(self.folder, self.config, self.encode)
        try:
            return CausalEncoder(
                self.folder,
                self.settings,
                QueueLimits(STEP_TOKEN_BUDGET, MAX_QUEUED_TOKENS),
                max_length=max_length,
                head=None if answers is None else log_odds_head,
                token_ids=None if answers is None else answers.token_ids,
                has_logits=True,
                on_progress=on_progress,
            )
        except NotCausalError:
            model = EncoderModel(
                self.folder,
                self.settings,
                logits_head,
                max_length=max_length,
                pad_token_id=self.config.pad_token_id,
            )
            return EncoderBatcher(model, name, TOKEN_BUDGET, MAX_QUEUED_TOKENS)
