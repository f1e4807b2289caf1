"""The files of a model folder that the engine reads."""

MODEL_FILE = "openvino_model.xml"
