"""The names of the files that models are made of."""

__all__ = ["DETOKENIZER_FILE", "MODEL_FILE", "MODEL_SUFFIXES", "RECORD_FILE", "TOKENIZER_FILE"]

MODEL_FILE = "openvino_model.xml"
TOKENIZER_FILE = "openvino_tokenizer.xml"
DETOKENIZER_FILE = "openvino_detokenizer.xml"

RECORD_FILE = ".verified.json"
"""The outcome of a model's verification; the dot keeps watchers from taking it for a change."""

MODEL_SUFFIXES = (".xml", ".onnx", ".tflite", ".pb", ".pdmodel")
"""Of all kinds of models that OpenVINO reads."""
