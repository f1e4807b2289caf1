"""Chooses what runs a reranker or classifier: the LLM engine for a decoder, else batches."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from calculators.encoders.causal_encoder import CausalEncoder, check_causal_encoder
from calculators.encoders.encoder_batcher import EncoderBatcher
from calculators.encoders.encoder_model import EncoderModel, check_encoder, generates_text
from calculators.encoders.encoder_service import EncoderService
from calculators.encoders.heads import log_odds_head, logits_head
from calculators.inference.inference_model import ModelSettings
from calculators.rerank.answer_tokens import read_answer_tokens
from calculators.rerank.model_config import ModelConfig
from calculators.text.encoding_tokenizer import EncodingTokenizer
from server.engine import NotCausalError

__all__ = ["ScorerLoader"]


@dataclass(frozen=True)
class ScorerLoader:
    """A model folder, and what is known of it. A row has at most `max_length` tokens.

    The result of a row is f32[labels], the logits of its labels. A model that generates text has
    one: the logit of its answer yes, less that of no.
    """

    folder: Path
    config: ModelConfig
    settings: ModelSettings
    tokenizer: EncodingTokenizer
    max_length: int

    def encode(self, text: str) -> Sequence[int]:
        """The tokens of a text, without special tokens around it."""
        return self.tokenizer.encode(text, add_special_tokens=False)

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
        self,
        name: str,
        max_num_batched_tokens: int,
        on_progress: Callable[[str, float], None],
        served_name: str = "",
    ) -> EncoderService:
        """Compile the model, which metrics call `served_name`. Raises ModelLoadError."""
        answers = None
        if generates_text(self.folder):
            answers = read_answer_tokens(self.folder, self.config, self.encode)
        try:
            return CausalEncoder(
                self.folder,
                self.settings,
                max_num_batched_tokens,
                max_length=self.max_length,
                head=None if answers is None else log_odds_head,
                token_ids=None if answers is None else answers.token_ids,
                has_logits=True,
                served_name=served_name,
                on_progress=on_progress,
            )
        except NotCausalError:
            model = EncoderModel(
                self.folder,
                self.settings,
                logits_head,
                max_length=self.max_length,
                pad_token_id=self.tokenizer.info().pad_token_id or 0,
            )
            return EncoderBatcher(model, name, max_num_batched_tokens, served_name)
