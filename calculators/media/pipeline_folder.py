"""The folder of an image pipeline, as diffusers lays it out and optimum-intel exports it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from calculators.media.model_folder import read_object
from server.errors import ModelLoadError
from server.host.model_files import MODEL_FILE, TOKENIZER_FILE

__all__ = [
    "SCHEDULER_FILE",
    "VAE_DECODER",
    "VAE_ENCODER",
    "check_pipeline_folder",
    "pipeline_class",
    "pipeline_parts",
]

INDEX_FILE = "model_index.json"
MODEL_PARTS = ("text_encoder", "text_encoder_2", "text_encoder_3", "transformer", "unet")
TOKENIZER_PARTS = ("tokenizer", "tokenizer_2", "tokenizer_3")
VAE_DECODER = "vae_decoder"
VAE_ENCODER = "vae_encoder"
SCHEDULER_FILE = "scheduler_config.json"


def pipeline_parts(folder: Path) -> Mapping[str, str]:
    """The file that each part's folder must hold. Raises ModelLoadError for a broken index."""
    return dict(_parts(_read_index(folder)))


def pipeline_class(folder: Path) -> str:
    """The name of diffusers' class. Raises ModelLoadError for a broken index."""
    return str(_read_index(folder)["_class_name"])


def check_pipeline_folder(folder: Path) -> None:
    """Raise ModelLoadError if a file of a part is missing."""
    for part, name in pipeline_parts(folder).items():
        path = folder / part / name
        for file in (path, path.with_suffix(".bin")) if path.suffix == ".xml" else (path,):
            if not file.is_file():
                raise ModelLoadError(
                    f"{file}: no such file; export the pipeline again: "
                    "export_model image_generation --source_model <id or folder>"
                )


def _read_index(folder: Path) -> Mapping[str, Any]:
    path = folder / INDEX_FILE
    index = read_object(path)
    if not isinstance(index.get("_class_name"), str):
        raise ModelLoadError(f"{path}: it names no _class_name of a pipeline")
    return index


def _parts(index: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for part, kind in index.items():
        # A part that a pipeline lacks is [null, null].
        if not (isinstance(kind, list) and any(kind)):
            continue
        if part in MODEL_PARTS:
            yield part, MODEL_FILE
        elif part in TOKENIZER_PARTS:
            yield part, TOKENIZER_FILE
        elif part == "scheduler":
            yield part, SCHEDULER_FILE
        elif part == "vae":
            yield VAE_DECODER, MODEL_FILE
