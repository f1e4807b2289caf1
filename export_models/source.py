"""What --source_model names: a folder on this machine or a model on the Hugging Face Hub."""

import enum
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from server.errors import ExportError
from server.host.model_files import MODEL_FILE, has_encoder
from server.models.model_signs import ModelSigns

__all__ = ["Source", "SourceKind", "find_source", "read_config"]

HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)
READY_ORGANISATION = "OpenVINO/"
VISION_MODEL_FILE = "openvino_language_model.xml"
WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.pth")
TOKENIZERS = ("token*", "vocab*", "*.model", "*.tiktoken")


class SourceKind(enum.Enum):
    OPENVINO_FOLDER = enum.auto()
    CHECKPOINT_FOLDER = enum.auto()
    OPENVINO_HUB = enum.auto()
    CHECKPOINT_HUB = enum.auto()


@dataclass(frozen=True)
class Source:
    """`text` is what the user wrote; `folder` is set for the two kinds that are folders."""

    text: str
    kind: SourceKind
    folder: Path | None = None

    @property
    def model_name(self) -> str:
        """The default name: that of the folder, or the id on the Hub."""
        return self.folder.name if self.folder else self.text

    @property
    def is_openvino(self) -> bool:
        """Whether there is nothing to convert."""
        return self.kind in {SourceKind.OPENVINO_FOLDER, SourceKind.OPENVINO_HUB}

    @property
    def quantization(self) -> str | None:
        """How the weights of a checkpoint folder are quantized, as its config.json says."""
        if self.kind is not SourceKind.CHECKPOINT_FOLDER or self.folder is None:
            return None
        config = read_config(self.folder).get("quantization_config")
        return str(config.get("quant_method", "unnamed")) if isinstance(config, dict) else None

    @property
    def location(self) -> str:
        """The source as an argument for a tool: an absolute path, or the id."""
        return str(self.folder or self.text)


def find_source(text: str, flag: str = "--source_model") -> Source:
    """Look at the source without heavy libraries. Raises ExportError if it is no model."""
    path = Path(text).expanduser()
    try:
        is_folder, exists = path.is_dir(), path.exists()
    except (OSError, ValueError) as error:  # a NUL byte, a name that is too long, no access
        raise ExportError(f"{flag} {text!r}: {error}") from error
    if is_folder:
        return _folder_source(text, path.resolve())
    if exists:
        raise ExportError(f"{flag} {text}: is a file; a model's folder is needed")
    if not HUB_ID.fullmatch(text):
        raise ExportError(f"{flag} {text!r}: no such folder")
    is_ready = text.startswith(READY_ORGANISATION)
    return Source(text, SourceKind.OPENVINO_HUB if is_ready else SourceKind.CHECKPOINT_HUB)


def _folder_source(text: str, folder: Path) -> Source:
    signs = ModelSigns(folder)
    is_pipeline = signs.is_diffusion_pipeline()
    if (
        (folder / MODEL_FILE).exists()
        or has_encoder(folder)
        or (is_pipeline and signs.has_ir_parts())
    ):
        return Source(text, SourceKind.OPENVINO_FOLDER, folder)
    if (folder / VISION_MODEL_FILE).exists():
        raise ExportError(f"{folder}: vision models are not supported yet")
    if is_pipeline:
        _check_weights(folder, [f"*/{pattern}" for pattern in WEIGHTS])
    else:
        _check_checkpoint(folder, is_speaker=signs.speaks())
    return Source(text, SourceKind.CHECKPOINT_FOLDER, folder)


def _check_weights(folder: Path, patterns: Sequence[str]) -> None:
    if not _has_any(folder, patterns):
        raise ExportError(f"{folder}: no weights; found none of {', '.join(patterns)}")


def _check_checkpoint(folder: Path, *, is_speaker: bool) -> None:
    config = read_config(folder)
    if "model_type" not in config and not is_speaker:
        raise ExportError(f"{folder}/config.json: no model_type; it does not describe a model")
    _check_weights(folder, WEIGHTS)
    _check_shards(folder)
    if not is_speaker and not _has_any(folder, TOKENIZERS):
        # transformers would invent an empty tokenizer, and the model would answer nonsense.
        raise ExportError(f"{folder}: no tokenizer; found none of {', '.join(TOKENIZERS)}")


def _check_shards(folder: Path) -> None:
    """Raise ExportError if a part of the weights is missing that transformers would read."""
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (folder / name).exists():
            return
        index = folder / f"{name}.index.json"
        if index.exists():
            _check_index(index)
            return


def _check_index(index: Path) -> None:
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ExportError(f"{index}: does not say where the weights are: {error!r}") from error
    missing = sorted(name for name in map(str, names) if not (index.parent / name).is_file())
    if missing:
        raise ExportError(
            f"{index.parent}: {len(missing)} of {len(names)} files of weights are missing: "
            f"{', '.join(missing[:5])}"
        )


def read_config(folder: Path) -> dict[str, object]:
    """The config.json of a Hugging Face model. Raises ExportError where there is none."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ExportError(
            f"{folder}: holds neither {MODEL_FILE} (an OpenVINO model) "
            "nor config.json (a Hugging Face model)"
        ) from error
    except OSError as error:
        raise ExportError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ExportError(f"{path}: not JSON: {error}") from error
    if not isinstance(config, dict):
        raise ExportError(f"{path}: not a JSON object; it does not describe a model")
    return config


def _has_any(folder: Path, patterns: Sequence[str]) -> bool:
    return any(item.is_file() for pattern in patterns for item in folder.glob(pattern))
