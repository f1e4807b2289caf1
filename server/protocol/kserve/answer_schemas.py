"""The types of KServe's answers, for /openapi.json; the small answers are made from them."""

from typing import Any

from pydantic import BaseModel

__all__ = ["InferAnswer", "KServeError", "ModelMetadata", "ServerMetadata", "TensorMetadata"]


class ServerMetadata(BaseModel):
    """KServe's description of a server."""

    name: str
    version: str
    extensions: list[str]


class KServeError(BaseModel):
    """KServe's form of an error."""

    error: str


class TensorMetadata(BaseModel):
    """KServe's description of an input or output; a dimension of -1 may be anything."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """KServe's description of a model."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class OutputTensor(TensorMetadata):
    """A tensor that came out. `data` is flat; instead of it, `binary_data_size` may be there."""

    data: list[Any] | None = None
    parameters: dict[str, int] | None = None


class InferAnswer(BaseModel):
    """KServe's inference response."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[OutputTensor]
