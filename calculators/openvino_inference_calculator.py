"""The node that runs a model of any kind: named tensors in, named tensors out."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from calculators.inference.batch_tensors import check_can_batch, num_bytes_of
from calculators.inference.dynamic_batcher import BatchLimits, DynamicBatcher
from calculators.inference.inference_model import (
    ModelSettings,
    check_model_file,
    compile_model_file,
    find_model_file,
)
from calculators.inference.inference_pool import InferencePool
from calculators.inference.model_cache import with_cache_dir
from calculators.inference.model_ports import ModelPorts
from calculators.inference.openvino_tensors import from_openvino, to_openvino
from calculators.inference.session_inference import (
    SESSION,
    SessionInference,
    TensorNames,
    is_session_node,
    session_contract,
)
from calculators.inference.shape_options import parse_batch_size, parse_layouts, parse_shapes
from calculators.inference.tag_names import TagName
from calculators.llm.llm_options import parse_plugin_config
from calculators.tags import INFER_REQUEST, INFER_RESPONSE, SIGNATURE
from server.errors import InvalidRequestError, ModelLoadError
from server.graph import (
    Calculator,
    Contract,
    NodeConfig,
    OpenContext,
    ProcessContext,
    QueueDefaults,
    QueueLimits,
    RequestQueue,
    Ticket,
    UInt64,
)
from server.host.openvino_errors import error_summary
from server.payloads import InferResponse
from server.tensors import Tensor

__all__ = ["OpenVINOInferenceCalculator", "OpenVINOInferenceCalculatorOptions"]

MAX_NIREQ = 1024
MAX_BATCH_SIZE = 2**16
MAX_QUEUE_DELAY_MS = 60_000
QUEUE_LIMITS = QueueLimits(max_num_queued_requests=1024)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class OpenVINOInferenceCalculatorOptions:
    """Which model, and how it runs; raises ValueError for what cannot be understood.

    `models_path` is a model file or a folder with one. `device` "" is the first GPU, or the CPU
    where there is none; `plugin_config` is a JSON object of OpenVINO properties. `nireq` is how
    many requests run at once, 0 takes what OpenVINO advises. `shape`, `batch_size` and `layout`
    are described in calculators.inference.shape_options.

    With `max_batch_size`, requests that wait at the same time run together, with as many rows at
    most; the first of them waits `max_queue_delay_ms` for others. At most
    `max_num_queued_requests` wait; 0 is no limit, and None what the server says.

    The rest is for a node with a session: which tensor of the model is behind each tag, and the
    order in streams of several tensors.
    """

    PROTO_NAME: ClassVar[str] = "mediapipe.OpenVINOInferenceCalculatorOptions"

    models_path: str = ""
    device: str = ""
    plugin_config: str = ""
    nireq: UInt64 = 0
    shape: str = ""
    batch_size: str = ""
    layout: str = ""
    max_batch_size: UInt64 = 0
    max_queue_delay_ms: UInt64 = 0
    max_num_queued_requests: UInt64 | None = None
    tag_to_input_tensor_names: tuple[TagName, ...] = ()
    tag_to_output_tensor_names: tuple[TagName, ...] = ()
    input_order_list: tuple[str, ...] = ()
    output_order_list: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.settings()
        self.tensor_names()
        if self.nireq > MAX_NIREQ:
            raise ValueError(f"nireq is {self.nireq}; possible: 0 to {MAX_NIREQ}")
        for name, value, limit in (
            ("max_batch_size", self.max_batch_size, MAX_BATCH_SIZE),
            ("max_queue_delay_ms", self.max_queue_delay_ms, MAX_QUEUE_DELAY_MS),
        ):
            if value > limit:
                raise ValueError(f"{name} is {value}; possible: 0 to {limit}")
        if self.max_queue_delay_ms and not self.max_batch_size:
            raise ValueError("max_queue_delay_ms needs max_batch_size")
        if self.shape and parse_batch_size(self.batch_size) is not None:
            raise ValueError("shape and batch_size are both there; possible: one of them")

    def settings(self) -> ModelSettings:
        """The options, parsed."""
        return ModelSettings(
            device=self.device,
            plugin_config=parse_plugin_config(self.plugin_config),
            shapes=parse_shapes(self.shape),
            batch_size=parse_batch_size(self.batch_size),
            layouts=parse_layouts(self.layout),
        )

    def tensor_names(self) -> TensorNames:
        """What a node with a session says of its streams."""
        return TensorNames.of(
            self.tag_to_input_tensor_names,
            self.tag_to_output_tensor_names,
            self.input_order_list,
            self.output_order_list,
        )


class OpenVINOInferenceCalculator(Calculator[OpenVINOInferenceCalculatorOptions]):
    """Runs a model on OpenVINO: INFER_REQUEST in, INFER_RESPONSE out.

    In OVMS's form it has the side packet SESSION, a model of the same server, instead of a model of
    its own, and a stream for each tensor.
    """

    is_watched = False
    contract = Contract(
        inputs=(INFER_REQUEST,),
        outputs=(INFER_RESPONSE,),
        output_side_packets=(SIGNATURE,),
    )

    def __init__(self) -> None:
        self._resources = ExitStack()
        self._session: SessionInference | None = None
        self._batcher: DynamicBatcher | None = None
        # A node with a session has no queue: the model behind it has one.
        self._queue: RequestQueue | None = None

    @classmethod
    def contract_for(cls, node: NodeConfig) -> Contract:
        """The ports of either form."""
        return session_contract(node) if is_session_node(node) else cls.contract

    def check(self, cc: OpenContext) -> None:
        """Read the model; raises ModelLoadError."""
        if SESSION.name not in cc.ports.input_side_packets:
            file = self._find_file(cc)
            model = check_model_file(file, self.options.settings())
            self._make_ports(file, model, lambda: bool(model.get_sinks()))

    def open(self, cc: OpenContext) -> None:
        """Compile the model; raises ModelLoadError."""
        options = self.options
        if SESSION.name in cc.ports.input_side_packets:
            session = cc.side_packet(SESSION)
            self._session = SessionInference(session, cc.ports, options.tensor_names())
            return
        self._file = self._find_file(cc)
        self._queue = cc.service(QueueDefaults).queue(QUEUE_LIMITS, options.max_num_queued_requests)
        settings = options.settings()
        properties = with_cache_dir(settings.plugin_config, cc.cache_dir)
        compiled = compile_model_file(self._file, replace(settings, plugin_config=properties))
        num_requests = options.nireq or compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        self._pool = InferencePool(compiled, num_requests, cc.node_name, cc.graph_name)
        self._resources.callback(self._pool.close)
        self._ports = self._make_ports(self._file, compiled, self._pool.has_state)
        if options.max_batch_size:
            limits = BatchLimits(options.max_batch_size, options.max_queue_delay_ms / 1000)
            self._batcher = DynamicBatcher(self._pool, num_requests, self._infer, limits)
        cc.set_side_packet(SIGNATURE, self._ports.signature)

    def admit(self, packets: Sequence[object]) -> Ticket | None:
        """Let requests wait for their turn, if the queue has room."""
        return None if self._queue is None else self._queue.admit(packets)

    async def process(self, cc: ProcessContext) -> None:
        """Run the model on the tensors of one request, in parallel with other requests."""
        if self._session is not None:
            await self._session.process(cc)
            return
        request = await cc.receive(INFER_REQUEST)
        for name in request.parameters:
            # All others are ignored, as by Model Server.
            if name.startswith("sequence_"):
                problem = f"the parameter {name[:100]!r} is unknown to this model, which has"
                raise InvalidRequestError(f"{problem} no sequences", "parameters")
        tensors: Sequence[Tensor] = request.inputs
        if self._ports.has_images(tensors):
            tensors = await asyncio.to_thread(self._ports.decode_images, tensors)
        inputs = self._ports.sort_inputs(tensors)
        outputs = self._ports.find_outputs(request.outputs)
        if self._batcher is not None:
            response = await self._batcher.run(inputs, outputs, cc.ticket)
        else:
            work = partial(self._infer, inputs, outputs)
            response = await self._pool.run(work, cc.ticket, num_bytes_of(inputs))
        await cc.send(INFER_RESPONSE, response)

    def status(self) -> Mapping[str, object]:
        """What the batches did, and what waits."""
        batches = {} if self._batcher is None else self._batcher.status()
        return batches | ({} if self._queue is None else self._queue.status())

    def health(self) -> str | None:
        """Say that an inference hangs, if one does."""
        return None if self._session is not None else self._pool.failure

    def needs_reload(self) -> bool:
        """Whether an inference hangs."""
        return self.health() is not None

    def close(self) -> None:
        """Free the model."""
        self._resources.close()

    def _make_ports(self, file: Path, model: Any, has_state: Callable[[], bool]) -> ModelPorts:
        """Describe a model, compiled or not, and check that it can do what the options ask for."""
        try:
            ports = ModelPorts(model)
            if self.options.max_batch_size:
                check_can_batch(ports, self.options.max_batch_size, has_state=has_state())
        except ModelLoadError as error:
            raise ModelLoadError(f"{file}: {error}") from error
        return ports

    def _find_file(self, cc: OpenContext) -> Path:
        if not self.options.models_path:
            raise ModelLoadError("models_path must be set: a model file, or a folder with one")
        return find_model_file(cc.resolve(self.options.models_path))

    def _infer(
        self, inputs: Sequence[Tensor], outputs: Sequence[tuple[str, int]], infer_request: Any
    ) -> InferResponse:
        try:
            for index, tensor in enumerate(inputs):
                infer_request.set_input_tensor(index, to_openvino(tensor))
            # A model with state must not see the state of another request.
            infer_request.reset_state()
            # Not infer(): it copies every output once more, and fails with some texts.
            infer_request.start_async()
            infer_request.wait()
        except (RuntimeError, MemoryError) as error:
            # Each tensor fits its port, but they may not fit each other.
            reason = error_summary(error)
            logger.warning("%s: inference failed: %s", self._file, reason)
            raise InvalidRequestError(
                f"the model cannot process these tensors: {reason}", "inputs"
            ) from error
        tensors = (
            from_openvino(name, infer_request.get_output_tensor(index)) for name, index in outputs
        )
        return InferResponse(tuple(tensors))
