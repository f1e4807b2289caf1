"""What a model's folder and the options of its node say about how texts become vectors."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calculators.embeddings.prompts import Prompts
from calculators.embeddings.sentence_modules import SentenceModules
from calculators.encoders.encoder_config import EncoderConfig
from calculators.encoders.encoder_model import Head
from calculators.encoders.heads import DenseLayer, Pooling, pooled_head, tail_head
from server.errors import InvalidRequestError, ModelLoadError
from server.payloads import EmbeddingRequest

__all__ = ["EmbeddingSetup"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EmbeddingSetup:
    """The pooling, what follows it, the limits of the model and its prompts."""

    config: EncoderConfig
    pooling: Pooling
    layers: Sequence[DenseLayer]
    normalize: bool
    prompts: Prompts
    excludes_prompts: bool

    @classmethod
    def read(
        cls, folder: Path, pooling: Pooling | None, *, normalize: bool, template: str = ""
    ) -> "EmbeddingSetup":
        """Read the files; `pooling` comes before what they say. Raises ModelLoadError."""
        config = EncoderConfig.read(folder)
        modules = SentenceModules.read(folder)
        return cls(
            config=config,
            pooling=_find_pooling(folder, pooling, modules, config),
            layers=modules.layers,
            normalize=normalize,
            prompts=Prompts.read(folder, template),
            excludes_prompts=modules.excludes_prompts,
        )

    def head(self, *, has_tail: bool) -> Head:
        """What is added to the model; without the tail it ends with the pooling."""

        def add(model: Any) -> Any:
            layers = self.layers if has_tail else ()
            return pooled_head(model, self.pooling, layers, normalize=self.normalize and has_tail)

        return add

    def tail(self, model: Any) -> Any:
        """A head for vectors that are pooled already, such as a decoder's last state."""
        return tail_head(model, self.layers, normalize=self.normalize)

    def prompt_of(self, request: EmbeddingRequest) -> str:
        """What goes before the request's texts. Raises InvalidRequestError."""
        prompt = self.prompts.find(request)
        if prompt and self.excludes_prompts:
            raise InvalidRequestError(
                "prompts are not supported for this model: it leaves them out of its pooling "
                "(include_prompt in 1_Pooling/config.json); send texts alone"
            )
        return prompt


def _find_pooling(
    folder: Path, option: Pooling | None, modules: SentenceModules, config: EncoderConfig
) -> Pooling:
    """As in Model Server: the option, else sentence-transformers' file, else CLS."""
    if option is not None:
        return option
    if modules.pooling is not None:
        return modules.pooling
    if modules.pooling_modes:
        raise ModelLoadError(
            f"{folder}: sentence-transformers' files ask for the pooling "
            f"{' and '.join(modules.pooling_modes)}; possible: cls, lasttoken, mean. Set `pooling` "
            "in the graph to choose one of them"
        )
    if config.is_causal:
        logger.warning(
            "%s: no 1_Pooling/config.json says how to pool; LAST is taken, as in this model only "
            "the last token has seen the whole text",
            folder,
        )
        return Pooling.LAST
    return Pooling.CLS
