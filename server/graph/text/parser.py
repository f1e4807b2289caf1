"""graph.pbtxt -> GraphConfig."""

import re
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from server.errors import GraphParseError
from server.graph.config import DEFAULT_MAX_QUEUE_SIZE, GraphConfig, NodeConfig, Position
from server.graph.plugins import close_names
from server.graph.text.mediapipe_messages import SCHEDULING_OPTIONS, CalculatorGraphConfig, Node
from server.graph.text.options import OptionsBlock, OptionsText, explain, message_class
from server.graph.text.source_text import Body, Field, ParseProblem, SourceText

__all__ = ["load_graph_config", "parse_graph_config"]

MAX_FILE_BYTES = 1 << 20
MAX_NODES = 1000

# In MediaPipe these change results, so they are refused and not ignored.
REFUSED_FIELDS = {
    "packet_factory": "side packets come from a calculator's open()",
    "packet_generator": "side packets come from a calculator's open()",
    "status_handler": "a calculator's close() runs when a graph ends",
    "graph_options": "a subgraph is a Python class, which takes the options of its node",
    "option_value": "a subgraph is a Python class, which takes the options of its node",
    "external_input": "it is called input_side_packet",
}
REFUSED_GRAPH_OPTIONS = "options belong to a node; a whole graph takes none"
# Handlers that deliver every packet in order. A node reads its streams when it likes.
INPUT_STREAM_HANDLERS = (
    "BarrierInputStreamHandler",
    "DefaultInputStreamHandler",
    "EarlyCloseInputStreamHandler",
    "ImmediateInputStreamHandler",
    "SyncSetInputStreamHandler",
)
OUTPUT_STREAM_HANDLERS = ("InOrderOutputStreamHandler",)
SCHEDULING_FIELDS = ("input_stream_handler", "output_stream_handler", "executor")

# OVMS reads the size of its queue of graph objects from this comment: one of its graph objects
# serves one request at a time. Here a graph serves any number of requests, so the value has no
# effect; a value that OVMS refuses is refused.
_QUEUE_COMMENT = re.compile(r"^\s*#\s*OVMS_GRAPH_QUEUE_MAX_SIZE\s*:[ \t]*(\S*)", re.MULTILINE)

_TYPE_URL = re.compile(r"\[type\.googleapis\.com/([\w.]+)\]")
_EXTENSION = re.compile(r"\[([\w.]+)\.\w+\]")


def load_graph_config(path: Path) -> GraphConfig:
    """Read a graph.pbtxt; raises GraphParseError."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            # To open a FIFO waits for a writer.
            raise GraphParseError(f"{path} is no regular file")
        if found.st_size > MAX_FILE_BYTES:
            largest = f"a graph has at most {MAX_FILE_BYTES}"
            raise GraphParseError(f"{path} has {found.st_size} bytes; {largest}")
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise GraphParseError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise GraphParseError(
            f"{path}:{line}: byte {error.object[error.start]:#04x} is not UTF-8 text; "
            f"graph.pbtxt is a text file"
        ) from error
    return parse_graph_config(text, str(path))


def parse_graph_config(text: str, source_name: str) -> GraphConfig:
    """Parse the text of a graph.pbtxt; raises GraphParseError with each mistake and its place.

    The options of the nodes are kept as text: only their calculators know what they may hold.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        # protobuf fails in several ways on half of a surrogate pair.
        line = text.count("\n", 0, error.start) + 1
        raise GraphParseError(f"{source_name}:{line}: {error}") from None
    reader = _Reader(SourceText(text))
    config = None
    try:
        config = reader.read(source_name)
    except ParseProblem as problem:
        reader.problems.append((problem.position, problem.message))
    if config is None or reader.problems:
        raise GraphParseError(
            "\n".join(
                f"{source_name}:{position}: {message}"
                for position, message in sorted(reader.problems)
            )
        )
    return config


class _Reader:
    """Reads one text, and collects its mistakes."""

    def __init__(self, source: SourceText) -> None:
        self._source = source
        self.problems: list[tuple[Position, str]] = []

    def read(self, source_name: str) -> GraphConfig:
        """Return the graph; it is only valid if there are no problems."""
        source = self._source
        self._check_queue_comment()
        fields = source.fields(source.whole)
        nodes = [field for field in fields if field.name == "node" and field.bodies]
        if len(nodes) > MAX_NODES:
            place = source.position(nodes[MAX_NODES].start)
            raise ParseProblem(place, f"a graph has at most {MAX_NODES} nodes")
        refused = self._refuse(fields, {**REFUSED_FIELDS, "options": REFUSED_GRAPH_OPTIONS})
        read = [*nodes, *refused, *self._read_scheduling_options(fields)]
        graph = self._parse(source.whole, CalculatorGraphConfig, read)
        self._check_handlers(graph, Position(1, 1))
        return GraphConfig(
            nodes=tuple(self._node(field, body) for field in nodes for body in field.bodies),
            input_streams=tuple(graph.input_stream),
            output_streams=tuple(graph.output_stream),
            input_side_packets=tuple(graph.input_side_packet),
            output_side_packets=tuple(graph.output_side_packet),
            max_queue_size=graph.max_queue_size or DEFAULT_MAX_QUEUE_SIZE,
            source_name=source_name,
        )

    def _node(self, field: Field, body: Body) -> NodeConfig:
        position = self._source.position(field.start)
        fields = self._source.fields(body)
        options = [inner for inner in fields if inner.name in ("options", "node_options")]
        refused = self._refuse(fields, REFUSED_FIELDS)
        num_problems = len(self.problems)
        read = [*options, *refused, *self._read_scheduling_options(fields)]
        node = self._parse(body, Node, read)
        if not node.calculator and len(self.problems) == num_problems:
            self._report(position, f"node {node.name!r} has no `calculator`")
        self._check_handlers(node, position)
        return NodeConfig(
            calculator=node.calculator,
            name=node.name,
            input_streams=tuple(node.input_stream),
            output_streams=tuple(node.output_stream),
            input_side_packets=tuple(node.input_side_packet),
            output_side_packets=tuple(node.output_side_packet),
            back_edges=tuple(info.tag_index for info in node.input_stream_info if info.back_edge),
            options=self._options(options),
            position=position,
        )

    def _options(self, fields: Sequence[Field]) -> OptionsText | None:
        """Return the options blocks of a node, `node_options` or `options`, still as text."""
        blocks = []
        for field in fields:
            if not field.bodies:
                self._report(self._source.position(field.start), f"{field.name} is no message")
            blocks += [self._options_block(field.name, inner) for inner in self._inner([field])]
        found = tuple(block for block in blocks if block is not None)
        return OptionsText(self._source, found) if found else None

    def _options_block(self, kind: str, field: Field) -> OptionsBlock | None:
        """Read `[type.googleapis.com/package.Type] { ... }` or `[package.Type.ext] { ... }`."""
        pattern = _TYPE_URL if kind == "node_options" else _EXTENSION
        match = pattern.fullmatch(field.name)
        position = self._source.position(field.start)
        if match is None or len(field.bodies) != 1:
            form = "[type.googleapis.com/package.Type] { ... }"
            if kind == "options":
                form = "[package.Type.ext] { ... }"
            self._report(position, f"{kind} holds {field.name!r}; it must hold {form}")
            return None
        return OptionsBlock(match.group(1), field.bodies[0], position)

    def _read_scheduling_options(self, fields: Sequence[Field]) -> list[Field]:
        """Check the `options` of handlers and executors, and return them."""
        holders = [field for field in fields if field.name in SCHEDULING_FIELDS]
        found = [field for field in self._inner(holders) if field.name == "options"]
        for option in self._inner(found):
            if option.name not in SCHEDULING_OPTIONS:
                position = self._source.position(option.start)
                hint = close_names(option.name, SCHEDULING_OPTIONS)
                self._report(position, f"unknown {option.name!r}; {hint}")
                continue
            for body in option.bodies:
                self._parse(body, SCHEDULING_OPTIONS[option.name])
        return found

    def _inner(self, fields: Sequence[Field]) -> list[Field]:
        """Return the fields inside the messages of these fields."""
        bodies = (body for field in fields for body in field.bodies)
        return [inner for body in bodies for inner in self._source.fields(body)]

    def _parse(self, body: Body, described_by: type, left_out: Sequence[Field] = ()) -> Any:
        message = message_class(described_by)()
        try:
            self._source.parse(body, message, sorted(left_out, key=lambda field: field.start))
        except ParseProblem as problem:
            self._report(problem.position, explain(problem.message, message.DESCRIPTOR))
        return message

    def _refuse(self, fields: Sequence[Field], reasons: Mapping[str, str]) -> list[Field]:
        refused = [field for field in fields if field.name in reasons]
        for field in refused:
            position = self._source.position(field.start)
            self._report(position, f"{field.name} is not supported: {reasons[field.name]}")
        return refused

    def _check_handlers(self, message: Any, position: Position) -> None:
        """`message` is a graph or a node; both have the two fields."""
        for found, possible in (
            (message.input_stream_handler.input_stream_handler, INPUT_STREAM_HANDLERS),
            (message.output_stream_handler.output_stream_handler, OUTPUT_STREAM_HANDLERS),
        ):
            if found and found not in possible:
                self._report(
                    position,
                    f"stream handler {found!r} is not supported; {close_names(found, possible)}",
                )

    def _check_queue_comment(self) -> None:
        for match in _QUEUE_COMMENT.finditer(self._source.text):
            value = match.group(1)
            if value != "AUTO" and not (value.isascii() and value.isdigit()):
                self._report(
                    self._source.position(match.start(1)),
                    f"OVMS_GRAPH_QUEUE_MAX_SIZE is {value!r}; it must be AUTO, 0 or a positive "
                    f"number",
                )

    def _report(self, position: Position, message: str) -> None:
        self.problems.append((position, message))
