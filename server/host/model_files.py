"""The names of the files in the folder of an OpenVINO text generation model."""

__all__ = ["DETOKENIZER_FILE", "MODEL_FILE", "TOKENIZER_FILE"]

MODEL_FILE = "openvino_model.xml"
TOKENIZER_FILE = "openvino_tokenizer.xml"
DETOKENIZER_FILE = "openvino_detokenizer.xml"
