"""OpenVINO Model Server's Python nodes: a class in a file of the user's."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, TypeVar

from calculators.python_nodes.handler_file import check_handler, describe_failure, load_handler
from calculators.python_nodes.handler_threads import HandlerThread, HandlerThreads
from calculators.python_nodes.packets import PythonPacket, from_python, step_of, to_python
from calculators.python_nodes.py_tensor import Tensor as PyTensor
from server.errors import InvalidRequestError, ModelLoadError, NodeHungError, did_you_mean
from server.graph import (
    Calculator,
    Contract,
    EndOfStream,
    NodeConfig,
    OpenContext,
    ProcessContext,
    StreamClosed,
    Tag,
)
from server.tensors import Tensor

__all__ = ["PythonExecutorCalculator", "PythonExecutorCalculatorOptions"]

LOOPBACK = "LOOPBACK"
# How long an unloaded node waits for handlers that still work.
STOP_TIMEOUT_S = 10.0
END = object()

T = TypeVar("T")
Packets = Sequence[tuple[Tag[Tensor], PythonPacket]]
"""The tensors that `execute` returned, each with the output that it goes to."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PythonExecutorCalculatorOptions:
    """`handler_path` is a Python file with a class OvmsPythonModel."""

    PROTO_NAME: ClassVar[str] = "mediapipe.PythonExecutorCalculatorOptions"

    handler_path: str


class PythonExecutorCalculator(Calculator[PythonExecutorCalculatorOptions]):
    """Runs a Python file with OVMS's class OvmsPythonModel on tensors.

    The tags are the user's. `execute` gets the tensors in the order of the tags, and returns a list
    of tensors that are named after the output streams, or yields such lists.
    """

    is_watched = False
    contract = Contract()

    @classmethod
    def contract_for(cls, node: NodeConfig) -> Contract:
        """Tensors under every tag; OVMS's side packet is accepted and not used."""
        return Contract(
            inputs=tuple(Tag(tag, Tensor) for tag in sorted(node.input_tags)),
            outputs=tuple(Tag(tag, Tensor) for tag in node.output_tags if tag != LOOPBACK),
            input_side_packets=(Tag("PYTHON_NODE_RESOURCES", object, optional=True),),
        )

    def __init__(self) -> None:
        self._model: Any = None
        self._threads: HandlerThreads | None = None

    def check(self, cc: OpenContext) -> None:
        """Read the file; raises ModelLoadError."""
        check_handler(cc.resolve(self.options.handler_path))

    def open(self, cc: OpenContext) -> None:
        """Import the file, make the model and let it initialize itself. Raises ModelLoadError."""
        self._node_name = cc.node_name
        self._file = cc.resolve(self.options.handler_path)
        model_class, files = load_handler(self._file)
        for file in files:
            cc.resolve(str(file))
        self._inputs = tuple(Tag(tag, Tensor) for tag in sorted(cc.ports.inputs))
        if not self._inputs:
            raise ModelLoadError("a Python node needs at least one input_stream")
        self._outputs = {name: Tag(tag, Tensor) for tag, name in cc.ports.outputs.items()}
        self._threads = HandlerThreads(cc.node_name)
        arguments = {
            "node_name": cc.node_name,
            "input_names": list(cc.ports.inputs.values()),
            "output_names": list(self._outputs),
            "base_path": str(self._file.parent),
        }
        self._initialize(model_class, arguments)

    async def process(self, cc: ProcessContext) -> None:
        """Execute the model on each set of inputs, and send what it returns or yields."""
        assert self._threads is not None
        inputs = await self._receive(cc)
        if not inputs:
            return
        async with self._threads.take() as thread:
            while inputs:
                await self._execute(cc, thread, inputs)
                inputs = await self._receive(cc)

    def close(self) -> None:
        """Wait for handlers that work, and let the model finalize itself."""
        if self._threads is not None:
            num_busy = self._threads.join(STOP_TIMEOUT_S)
            if num_busy:
                where = f"node {self._node_name!r}"
                logger.warning("%s: %d calls of execute still run; finalize", where, num_busy)
        model, self._model = self._model, None
        if callable(getattr(model, "finalize", None)):
            model.finalize()

    def status(self) -> Mapping[str, object]:
        """The runs of the handler."""
        return {} if self._threads is None else self._threads.status()

    def _initialize(self, model_class: type[Any], arguments: Mapping[str, object]) -> None:
        try:
            model = model_class()
            if callable(getattr(model, "initialize", None)):
                model.initialize(arguments)
        except (Exception, SystemExit) as error:
            logger.error("node %r: initialize failed", self._node_name, exc_info=error)
            raise ModelLoadError(
                f"initialize failed: {describe_failure(error, self._file)}"
            ) from error
        self._model = model

    async def _receive(self, cc: ProcessContext) -> list[Tensor]:
        """The next packet of each input; none from those that have ended."""
        packets = []
        for tag in self._inputs:
            with suppress(EndOfStream):
                packets.append(await cc.receive(tag))
        return packets

    async def _execute(
        self, cc: ProcessContext, thread: HandlerThread, inputs: Sequence[Tensor]
    ) -> None:
        step = max(map(step_of, inputs))
        result = await self._call(thread, partial(self._start, inputs, step))
        if not isinstance(result, Iterator):
            await self._send(cc, result)
            return
        try:
            while (
                packets := await self._call(thread, partial(self._next, result, step))
            ) is not None:
                await self._send(cc, packets)
                step += 1
        finally:
            # In its thread, after the step that may still run there.
            thread.submit(partial(self._close, result))

    async def _call(self, thread: HandlerThread, function: Callable[[], T]) -> T:
        try:
            return await thread.run(function)
        except (InvalidRequestError, NodeHungError):
            raise
        except Exception as error:
            raise self._failure(describe_failure(error, self._file), error) from error

    def _start(self, inputs: Sequence[Tensor], step: int) -> Iterator[object] | Packets:
        """Execute the model; in its thread, as is what copies data."""
        result = self._model.execute([*map(to_python, inputs)])
        return result if isinstance(result, Iterator) else self._packets(result, step)

    def _next(self, generator: Iterator[object], step: int) -> Packets | None:
        found = next(generator, END)
        return None if found is END else self._packets(found, step)

    def _packets(self, result: object, step: int) -> Packets:
        """The output of each tensor that `execute` returned, and its packet."""
        if not isinstance(result, list):
            found = type(result).__name__
            raise self._failure(
                f"it returned a {found}; possible: a list of pyovms.Tensor, or a generator of lists"
            )
        packets = []
        for tensor in result:
            if not isinstance(tensor, PyTensor):
                found = type(tensor).__name__
                raise self._failure(f"its list holds a {found}; possible: pyovms.Tensor")
            tag = self._outputs.get(tensor.name)
            if tag is None:
                names = list(self._outputs)
                hint = did_you_mean(tensor.name, names) or f"; possible: {', '.join(names)}"
                raise self._failure(f"it returned a tensor {tensor.name[:100]!r}{hint}")
            packets.append((tag, from_python(tensor, step)))
        return packets

    async def _send(self, cc: ProcessContext, packets: Packets) -> None:
        for tag, packet in packets:
            # An output that nobody reads any more; the run is stopped when that is so of all.
            with suppress(StreamClosed):
                await cc.send(tag, packet)

    def _close(self, generator: Any) -> None:
        try:
            if hasattr(generator, "close"):
                generator.close()
        except BaseException as error:
            logger.warning("node %r: its generator failed", self._node_name, exc_info=error)

    def _failure(self, text: str, error: Exception | None = None) -> InvalidRequestError:
        """The error of a request; like OVMS's its status is 400."""
        problem = f"node {self._node_name!r}: execute failed: {text}"
        logger.error("%s", problem, exc_info=error)
        return InvalidRequestError(problem)
