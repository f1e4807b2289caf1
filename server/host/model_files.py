"""The names of the files that models are made of."""

from pathlib import Path

__all__ = [
    "DECODER_FILE",
    "DETOKENIZER_FILE",
    "ENCODER_FILE",
    "MODEL_FILE",
    "MODEL_SUFFIXES",
    "RECORD_FILE",
    "TOKENIZER_FILE",
    "has_encoder",
    "model_files",
    "text_model_file",
]

MODEL_FILE = "openvino_model.xml"
ENCODER_FILE = "openvino_encoder_model.xml"
DECODER_FILE = "openvino_decoder_model.xml"
TOKENIZER_FILE = "openvino_tokenizer.xml"
DETOKENIZER_FILE = "openvino_detokenizer.xml"

RECORD_FILE = ".verified.json"
"""The outcome of a model's verification; the dot keeps watchers from taking it for a change."""

MODEL_SUFFIXES = (".xml", ".onnx", ".tflite", ".pb", ".pdmodel")
"""Of all kinds of models that OpenVINO reads."""


def has_encoder(folder: Path) -> bool:
    """Whether a folder holds an encoder-decoder model, of which a part may be missing."""
    is_there = [(folder / name).is_file() for name in (MODEL_FILE, ENCODER_FILE, DECODER_FILE)]
    return not is_there[0] and any(is_there)


def model_files(folder: Path) -> tuple[str, ...]:
    """The files of the model in a folder: one, or encoder and decoder."""
    return (ENCODER_FILE, DECODER_FILE) if has_encoder(folder) else (MODEL_FILE,)


def text_model_file(folder: Path) -> Path:
    """The file of the model that generates tokens."""
    return folder / model_files(folder)[-1]
