"""A calculator's options: a dataclass, and the protobuf message as which they are parsed.

    @dataclass(frozen=True)
    class MaskOptions:
        PROTO_NAME: ClassVar[str] = "my_company.MaskOptions"   # the class's name by default
        words: tuple[str, ...]                                 # no default: graph.pbtxt must set it
        replacement: str = "***"
        max_words: UInt64 = 100                                # refuses negative numbers

A field is a str, int, float, bool, Enum (by the names of its members) or another such dataclass. It
may be a list[...] or tuple[..., ...] of one of these, or `X | None`. `__post_init__` may raise
ValueError; its message becomes a problem of the graph. Every class gets descriptors of its own, so
that two plug-ins may use the same type name.
"""

import dataclasses
import functools
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any

from google.protobuf import message_factory
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message

from server.errors import ServingError
from server.graph.config import Position
from server.graph.plugins import close_names
from server.graph.text.source_text import Body, ParseProblem, SourceText

__all__ = [
    "OptionsBlock",
    "OptionsError",
    "OptionsText",
    "UInt64",
    "explain",
    "make_options",
    "message_class",
    "proto_name",
]

NO_OVERRIDES: Mapping[str, Any] = types.MappingProxyType({})

UInt64 = Annotated[int, "uint64"]

_SCALARS: Mapping[Any, Any] = {
    str: FieldDescriptorProto.TYPE_STRING,
    int: FieldDescriptorProto.TYPE_INT64,
    float: FieldDescriptorProto.TYPE_DOUBLE,
    bool: FieldDescriptorProto.TYPE_BOOL,
}


class OptionsError(Exception):
    """Options that cannot be used; `problems` are texts with their places, if known."""

    def __init__(self, problems: list[tuple[Position | None, str]]) -> None:
        super().__init__("; ".join(message for _, message in problems))
        self.problems = problems


@dataclass(frozen=True)
class OptionsBlock:
    """One `[type] { ... }` of a node in a graph.pbtxt."""

    type_name: str
    body: Body
    position: Position


@dataclass(frozen=True)
class OptionsText:
    """The options of a node in a graph.pbtxt, not yet parsed."""

    source: SourceText
    blocks: tuple[OptionsBlock, ...]


def proto_name(options_class: type) -> str:
    """Return the type that graph.pbtxt names for these options."""
    return str(getattr(options_class, "PROTO_NAME", options_class.__name__))


def make_options(
    options_class: type, text: OptionsText | None, overrides: Mapping[str, Any] = NO_OVERRIDES
) -> Any:
    """Return an instance of the dataclass from a node's options; raises OptionsError.

    Without `text` the defaults are taken. `overrides` replace the fields of these names, if the
    dataclass has them.
    """
    name = proto_name(options_class)
    position = None
    try:
        message = message_class(options_class)()
    except TypeError as error:
        raise OptionsError(
            [(None, f"{options_class.__name__} cannot be options: {error}")]
        ) from error
    if text is not None:
        wrong = [block for block in text.blocks if block.type_name != name]
        if wrong:
            raise OptionsError(
                [
                    (block.position, f"options of type {block.type_name}; it takes {name}")
                    for block in wrong
                ]
            )
        if len(text.blocks) > 1:
            raise OptionsError([(text.blocks[1].position, f"{name} is given twice")])
        position = text.blocks[0].position
        _parse(text.source, text.blocks[0].body, message)
    _override(message, overrides)
    problems: list[str] = []
    options = _to_dataclass(options_class, message, f"{name}.", problems)
    if problems:
        raise OptionsError([(position, problem) for problem in problems])
    return options


def explain(message: str, descriptor: Any) -> str:
    """Reword a message of text_format, so that it says what was possible."""
    pool = descriptor.file.pool
    if match := re.search(r'Message type "([^"]+)" has no field named "([^"]+)"', message):
        names = [field.name for field in pool.FindMessageTypeByName(match[1]).fields]
        return f"unknown field {match[2]!r}; {close_names(match[2], names)}"
    if match := re.search(r'Enum type "([^"]+)" has no value named (.+)\.$', message):
        names = [value.name for value in pool.FindEnumTypeByName(match[1]).values]
        return f"unknown value {match[2]!r}; {close_names(match[2], names)}"
    if match := re.search(r'should not have multiple "([^"]+)" fields', message):
        return f"field {match[1]!r} is given twice"
    return message


def _parse(source: SourceText, body: Body, message: Message) -> None:
    try:
        source.parse(body, message)
    except ParseProblem as first:
        # text_format stops at the first mistake: parse field by field to find all.
        problems: list[tuple[Position | None, str]] = []
        try:
            fields = source.fields(body)
        except ParseProblem as problem:
            raise OptionsError([(problem.position, problem.message)]) from None
        for field in fields:
            try:
                source.parse_range(field.start, field.end, type(message)())
            except ParseProblem as problem:
                words = explain(problem.message, message.DESCRIPTOR)
                is_known = field.name in message.DESCRIPTOR.fields_by_name
                words = f"{field.name}: {words}" if is_known else words
                problems.append((problem.position, words))
        if not problems:
            problems.append((first.position, explain(first.message, message.DESCRIPTOR)))
        raise OptionsError(problems) from None


def _override(message: Message, values: Mapping[str, Any]) -> None:
    for name in message.DESCRIPTOR.fields_by_name.keys() & values.keys():
        try:
            update = type(message)(**{name: values[name]})
        except (TypeError, ValueError) as error:
            found = f"{values[name]!r}"[:100]
            enum = message.DESCRIPTOR.fields_by_name[name].enum_type
            hint = f"; {close_names(str(values[name]), enum.values_by_name)}" if enum else ""
            problem = f"{name} cannot be set to {found}: {error}{hint}"
            raise OptionsError([(None, problem)]) from error
        message.ClearField(name)
        message.MergeFrom(update)


@functools.cache
def message_class(options_class: type) -> type[Message]:
    """Return the message class for a dataclass; raises TypeError for fields it cannot have."""
    package, _, name = proto_name(options_class).rpartition(".")
    file = FileDescriptorProto(name="options.proto", package=package, syntax="proto2")
    _describe(options_class, file.message_type.add(name=name), f"{package}.{name}".strip("."), ())
    pool = DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(proto_name(options_class)))


def _describe(
    options_class: type, message: DescriptorProto, full_name: str, outer: tuple[type, ...]
) -> None:
    """Describe a dataclass; its enums and messages are nested and named by their field."""
    if options_class in outer:
        raise TypeError(f"{options_class.__name__} contains itself")
    for number, field in enumerate(_fields(options_class), 1):
        proto = message.field.add(name=field.name, number=number)
        proto.label = (
            FieldDescriptorProto.LABEL_REPEATED
            if field.is_repeated
            else FieldDescriptorProto.LABEL_OPTIONAL
        )
        nested_name = f"{field.name}_type"
        if field.proto_type is not None:
            proto.type = field.proto_type
        elif issubclass(field.item_class, Enum):
            # Each enum in a message of its own: values of two enums in one message could clash.
            proto.type = FieldDescriptorProto.TYPE_ENUM
            proto.type_name = f".{full_name}.{nested_name}.Enum"
            enum = message.nested_type.add(name=nested_name).enum_type.add(name="Enum")
            for value, member in enumerate(field.item_class):
                enum.value.add(name=member.name, number=value)
        else:
            proto.type = FieldDescriptorProto.TYPE_MESSAGE
            proto.type_name = f".{full_name}.{nested_name}"
            nested = message.nested_type.add(name=nested_name)
            path = f"{full_name}.{nested_name}"
            _describe(field.item_class, nested, path, (*outer, options_class))


@dataclass(frozen=True)
class _OptionsField:
    """A field of an options dataclass; `proto_type` is None for an Enum or a dataclass."""

    name: str
    item_class: Any
    proto_type: Any
    container: type | None
    is_required: bool

    @property
    def is_repeated(self) -> bool:
        return self.container is not None


@functools.cache
def _fields(options_class: type) -> tuple[_OptionsField, ...]:
    hints = typing.get_type_hints(options_class, include_extras=True)
    return tuple(
        _options_field(field, hints[field.name])
        for field in dataclasses.fields(options_class)
        if field.init
    )


def _options_field(field: "dataclasses.Field[Any]", hint: Any) -> _OptionsField:
    item = _without_none(hint)
    container = None
    if typing.get_origin(item) in (list, tuple):
        container = typing.get_origin(item)
        item, *rest = typing.get_args(item)
        if rest not in ([], [...]):
            raise TypeError(f"field {field.name!r} is a {hint}; a tuple must be tuple[X, ...]")
    is_unsigned = item == UInt64
    proto_type = FieldDescriptorProto.TYPE_UINT64 if is_unsigned else _SCALARS.get(item)
    is_class = isinstance(item, type) and (issubclass(item, Enum) or dataclasses.is_dataclass(item))
    if proto_type is None and not is_class:
        raise TypeError(
            f"field {field.name!r} is a {hint}; possible are str, int, float, bool, UInt64, an "
            f"Enum, a dataclass, and a list or tuple of one of these"
        )
    is_required = (
        field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    )
    return _OptionsField(field.name, item, proto_type, container, is_required)


def _without_none(hint: Any) -> Any:
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return hint
    arms = [arm for arm in typing.get_args(hint) if arm is not type(None)]
    return arms[0] if len(arms) == 1 else hint


def _to_dataclass(options_class: type, message: Any, path: str, problems: list[str]) -> Any:
    """Build the dataclass from a message; if it has problems, add them and return None."""
    values: dict[str, Any] = {}
    num_problems = len(problems)
    for field in _fields(options_class):
        is_set = (
            len(getattr(message, field.name)) > 0
            if field.is_repeated
            else message.HasField(field.name)
        )
        if is_set:
            found = getattr(message, field.name)
            where = f"{path}{field.name}."
            if field.container is None:
                values[field.name] = _to_value(field, found, where, problems)
            else:
                items = [_to_value(field, item, where, problems) for item in found]
                values[field.name] = field.container(items)
        elif field.is_required:
            problems.append(f"{path}{field.name} must be set")
    if len(problems) > num_problems:
        return None
    try:
        return options_class(**values)
    except (ValueError, TypeError, ServingError) as error:
        problems.append(f"{path.removesuffix('.')}: {error}")
        return None


def _to_value(field: _OptionsField, found: Any, path: str, problems: list[str]) -> Any:
    if field.proto_type is not None:
        return found
    if issubclass(field.item_class, Enum):
        return list(field.item_class)[found]
    return _to_dataclass(field.item_class, found, path, problems)
