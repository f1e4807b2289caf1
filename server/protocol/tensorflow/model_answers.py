"""What is told of a model: TensorFlow Serving's metadata, and the types of its answers."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

from server.protocol.tensorflow.predict import SIGNATURE_NAME
from server.tensors import ModelSignature, TensorInfo

__all__ = ["Metadata", "PredictAnswer", "describe_metadata"]

# https://www.tensorflow.org/api_docs/python/tf/dtypes
DATATYPES: Mapping[str, str] = {
    "BF16": "DT_BFLOAT16",
    "BOOL": "DT_BOOL",
    "BYTES": "DT_STRING",
    "FP16": "DT_HALF",
    "FP32": "DT_FLOAT",
    "FP64": "DT_DOUBLE",
}


class PredictAnswer(BaseModel):
    """`predictions` for a request with `instances`, `outputs` for one with `inputs`."""

    predictions: list[Any] | None = None
    outputs: Any = None


class ModelSpec(BaseModel):
    """Which model this is."""

    name: str
    signature_name: str = ""
    version: str


class Dimension(BaseModel):
    """A dimension; -1 is any."""

    size: str
    name: str = ""


class TensorShape(BaseModel):
    """A shape, as a protobuf message in JSON."""

    dim: list[Dimension]
    unknown_rank: bool = False


class SignatureTensor(BaseModel):
    """An input or output."""

    dtype: str
    tensor_shape: TensorShape
    name: str


class SignatureDef(BaseModel):
    """The inputs and outputs of a model."""

    inputs: dict[str, SignatureTensor]
    outputs: dict[str, SignatureTensor]
    method_name: str = "tensorflow/serving/predict"


class SignatureDefs(BaseModel):
    """TensorFlow Serving's SignatureDefMap."""

    signature_def: dict[str, SignatureDef]


class MetadataMap(BaseModel):
    """The kinds of metadata; there is one."""

    signature_def: SignatureDefs


class Metadata(BaseModel):
    """TensorFlow Serving's GetModelMetadataResponse."""

    model_spec: ModelSpec
    metadata: MetadataMap


def describe_metadata(name: str, version: str, signature: ModelSignature) -> Metadata:
    """The metadata of a model."""
    described = SignatureDef(inputs=_tensors(signature.inputs), outputs=_tensors(signature.outputs))
    return Metadata(
        model_spec=ModelSpec(name=name, version=version),
        metadata=MetadataMap(
            signature_def=SignatureDefs(signature_def={SIGNATURE_NAME: described})
        ),
    )


def _tensors(infos: Iterable[TensorInfo]) -> dict[str, SignatureTensor]:
    return {
        info.name: SignatureTensor(
            dtype=DATATYPES.get(info.datatype, f"DT_{info.datatype}"),
            tensor_shape=TensorShape(dim=[Dimension(size=str(size)) for size in info.shape]),
            name=info.name,
        )
        for info in infos
    }
