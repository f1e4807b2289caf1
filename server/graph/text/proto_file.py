"""Reads calculator.proto into protobuf descriptors, so that nothing needs protoc."""

import functools
import re
from collections.abc import Iterator
from pathlib import Path

from google.protobuf import any_pb2, message_factory
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message

__all__ = ["config_message_class"]

_TOKEN = re.compile(r'//[^\n]*|"[^"]*"|[\w.]+|[^\s\w]')
_LABELS = {
    "optional": FieldDescriptorProto.LABEL_OPTIONAL,
    "repeated": FieldDescriptorProto.LABEL_REPEATED,
    "required": FieldDescriptorProto.LABEL_REQUIRED,
}
_SCALARS = {
    "string": FieldDescriptorProto.TYPE_STRING,
    "int32": FieldDescriptorProto.TYPE_INT32,
    "int64": FieldDescriptorProto.TYPE_INT64,
    "bool": FieldDescriptorProto.TYPE_BOOL,
}
_MAX_FIELD_NUMBER = 2**29


@functools.cache
def config_message_class(name: str) -> type[Message]:
    """Return the class of a message of calculator.proto: `CalculatorGraphConfig.Node`."""
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"mediapipe.{name}"))


@functools.cache
def _pool() -> DescriptorPool:
    pool = DescriptorPool()
    pool.AddSerializedFile(any_pb2.DESCRIPTOR.serialized_pb)
    path = Path(__file__).with_name("calculator.proto")
    pool.AddSerializedFile(_read(path.read_text("utf-8"), path.name).SerializeToString())
    return pool


def _read(text: str, name: str) -> FileDescriptorProto:
    file = FileDescriptorProto(name=name)
    tokens = (token for token in _TOKEN.findall(text) if not token.startswith("//"))
    for word in tokens:
        if word == "message":
            _read_message(tokens, file.message_type.add(name=next(tokens)))
            continue
        statement = _statement(tokens)
        if word == "package":
            file.package = statement[0]
        elif word == "import":
            file.dependency.append(statement[0].strip('"'))
        else:
            assert word == "syntax", f"{name}: {word!r} is not understood"
    return file


def _read_message(tokens: Iterator[str], message: DescriptorProto) -> None:
    assert next(tokens) == "{"
    for word in tokens:
        if word == "}":
            return
        if word == "message":
            _read_message(tokens, message.nested_type.add(name=next(tokens)))
        elif word == "extensions":
            start = int(_statement(tokens)[0])
            message.extension_range.add(start=start, end=_MAX_FIELD_NUMBER)
        elif word == "extend":
            extendee = next(tokens)
            assert next(tokens) == "{"
            for label in iter(lambda: next(tokens), "}"):
                _read_field(label, _statement(tokens), message.extension.add(extendee=extendee))
        else:
            _read_field(word, _statement(tokens), message.field.add())


def _read_field(label: str, statement: list[str], field: FieldDescriptorProto) -> None:
    kind, field.name, equals, number = statement
    assert equals == "="
    field.label = _LABELS[label]
    field.number = int(number)
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type_name = kind


def _statement(tokens: Iterator[str]) -> list[str]:
    return list(iter(lambda: next(tokens), ";"))
