"""What config.json says of a model that scores or classifies."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from calculators.encoders.encoder_config import read_json

__all__ = ["Activation", "ModelConfig", "read_model_config"]

Activation = Literal["none", "sigmoid", "softmax"]

IDENTITY = "torch.nn.modules.linear.Identity"


@dataclass(frozen=True)
class ModelConfig:
    """The members of config.json, {} where there is no such file."""

    members: Mapping[str, Any]

    @property
    def num_labels(self) -> int | None:
        """How many labels it names; None where it names none."""
        labels = self.members.get("id2label")
        if isinstance(labels, dict) and labels:
            return len(labels)
        number = self.members.get("num_labels")
        return number if isinstance(number, int) else None

    def labels(self, number: int) -> tuple[str, ...]:
        """The names of the first `number` labels."""
        names = self.members.get("id2label")
        known = names if isinstance(names, dict) else {}
        return tuple(str(known.get(str(i), f"LABEL_{i}")) for i in range(number))

    @property
    def score_activation(self) -> Activation:
        """What sentence-transformers' CrossEncoder applies to the number of a single label."""
        own = self.members.get("sentence_transformers")
        name = own.get("activation_fn") if isinstance(own, dict) else None
        name = name or self.members.get("sbert_ce_default_activation_function")
        return "none" if name == IDENTITY else "sigmoid"

    def class_activation(self, num_labels: int) -> Activation:
        """What transformers' text-classification pipeline applies."""
        problem = self.members.get("problem_type")
        if problem == "regression":
            return "none"
        if problem == "multi_label_classification" or num_labels == 1:
            return "sigmoid"
        return "softmax"


def read_model_config(models_path: Path) -> ModelConfig:
    """Read config.json of a model folder. Raises ModelLoadError."""
    return ModelConfig(read_json(models_path / "config.json"))
