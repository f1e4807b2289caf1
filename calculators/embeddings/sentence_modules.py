"""The files that sentence-transformers writes beside a model: pooling, layers after it, prompts.

https://sbert.net/docs/sentence_transformer/usage/custom_models.html
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calculators.encoders.encoder_config import read_json, read_json_list
from calculators.encoders.heads import ACTIVATIONS, DenseLayer, Pooling
from server.errors import ModelLoadError
from server.host.safetensors import read_safetensors

__all__ = ["SentenceModules"]

MODES = {"cls": Pooling.CLS, "lasttoken": Pooling.LAST, "mean": Pooling.MEAN}
# How the files of earlier versions spell the modes.
OLDER_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
WITHOUT_EFFECT = ("Dropout", "Normalize", "Transformer")


@dataclass(frozen=True, slots=True)
class SentenceModules:
    """What the files say; `pooling` is None where they do not say it.

    `pooling_modes` are the names of other poolings, which cannot be computed here. `layers` come
    after the pooling. With `excludes_prompts` the tokens of a prompt are not pooled.
    """

    pooling: Pooling | None
    pooling_modes: Sequence[str]
    excludes_prompts: bool
    layers: Sequence[DenseLayer]

    @classmethod
    def read(cls, folder: Path) -> "SentenceModules":
        """Read them; a folder may have none. Raises ModelLoadError for what cannot be computed."""
        pooling_path = folder / "1_Pooling"
        layers: list[DenseLayer] = []
        for path, kind in _modules(folder):
            if kind == "Pooling":
                if layers:
                    raise ModelLoadError(f"{folder / 'modules.json'}: pools after a dense layer")
                pooling_path = path
            elif kind == "Dense":
                layers.append(_read_dense(path))
            elif kind not in WITHOUT_EFFECT:
                possible = ", ".join(sorted((*WITHOUT_EFFECT, "Dense", "Pooling")))
                raise ModelLoadError(
                    f"{folder / 'modules.json'}: the module {kind} is not supported; "
                    f"possible: {possible}"
                )
        config = read_json(pooling_path / "config.json")
        modes = _pooling_modes(config)
        return cls(
            pooling=MODES.get(modes[0]) if len(modes) == 1 else None,
            pooling_modes=modes,
            excludes_prompts=config.get("include_prompt") is False,
            layers=tuple(layers),
        )


def _modules(folder: Path) -> list[tuple[Path, str]]:
    """Folder and kind of each module, in order."""
    found = []
    path = folder / "modules.json"
    for module in read_json_list(path):
        if not isinstance(module, Mapping) or not isinstance(module.get("type"), str):
            raise ModelLoadError(f"{path}: is no list of modules as sentence-transformers has it")
        found.append((folder / str(module.get("path", "")), module["type"].rpartition(".")[2]))
    return found


def _pooling_modes(config: Mapping[str, Any]) -> Sequence[str]:
    mode = config.get("pooling_mode")
    if mode is None:
        return [name for key, name in OLDER_MODES.items() if config.get(key)]
    return [mode] if isinstance(mode, str) else [str(one) for one in mode]


def _read_dense(path: Path) -> DenseLayer:
    config = read_json(path / "config.json")
    name = str(config.get("activation_function", "torch.nn.modules.activation.Tanh"))
    activation = name.rpartition(".")[2]
    is_torch = name.startswith("torch.nn.")
    if not is_torch or activation not in ACTIVATIONS:
        raise ModelLoadError(
            f"{path / 'config.json'}: activation_function is {name!r}; possible: torch.nn's "
            f"{', '.join(ACTIVATIONS)}"
        )
    if config.get("module_input_name", "sentence_embedding") != "sentence_embedding":
        raise ModelLoadError(f"{path / 'config.json'}: only layers after the pooling are supported")
    file = path / "model.safetensors"
    if not file.is_file():
        raise ModelLoadError(
            f"{file}: no such file; the model has a dense layer after its pooling, so its weights "
            "are needed: copy the folder from the Hugging Face model"
        )
    try:
        tensors = read_safetensors(file)
    except (OSError, ValueError) as error:
        raise ModelLoadError(f"{file}: {error}") from error
    if "linear.weight" not in tensors:
        raise ModelLoadError(f"{file}: has no linear.weight, but {', '.join(tensors)}")
    return DenseLayer(tensors["linear.weight"], tensors.get("linear.bias"), activation)
