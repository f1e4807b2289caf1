"""The messages of grpc_predict_v2.proto, read from its compiled form.

Not generated Python code: that would run with few versions of protobuf.
"""

from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

__all__ = ["POOL", "SERVICE", "message_class"]

SERVICE = "inference.GRPCInferenceService"

# A pool of its own: a client in the same process may bring the same messages.
POOL = DescriptorPool()
for _file in FileDescriptorSet.FromString(
    (Path(__file__).parent / "grpc_predict_v2.desc").read_bytes()
).file:
    POOL.Add(_file)


def message_class(name: str) -> Any:
    """The class of a message, `ModelInferRequest` for example."""
    return GetMessageClass(POOL.FindMessageTypeByName(f"inference.{name}"))
