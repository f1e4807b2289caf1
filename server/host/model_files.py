"""The names of the files that models are made of."""

__all__ = ["DETOKENIZER_FILE", "MODEL_FILE", "MODEL_SUFFIXES", "TOKENIZER_FILE"]

MODEL_FILE = "openvino_model.xml"
TOKENIZER_FILE = "openvino_tokenizer.xml"
DETOKENIZER_FILE = "openvino_detokenizer.xml"

MODEL_SUFFIXES = (".xml", ".onnx", ".tflite", ".pb", ".pdmodel")
"""Of all kinds of models that OpenVINO reads."""
