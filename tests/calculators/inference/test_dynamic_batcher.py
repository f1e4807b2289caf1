"""Requests of different callers that run as the rows of one."""

import asyncio
import json
import re
import threading
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops
from support.openvino_models import add_model, counter_model, identity_model, write_model

from calculators.openvino_inference_calculator import (
    OpenVINOInferenceCalculator,
    OpenVINOInferenceCalculatorOptions,
)
from server.errors import InvalidRequestError, ModelLoadError, QueueFullError
from server.graph.testing import CalculatorRunner
from server.models.config import load_config
from server.models.loading.model_loading import check_model
from server.models.watched_files import WatchedFiles
from server.payloads import InferRequest, InferResponse
from server.tensors import Tensor, join_elements


class Model:
    """A calculator with one infer request, which a test can hold back."""

    def __init__(self, folder: Path, model: ov.Model, **options: Any) -> None:
        write_model(folder, model, "model")
        chosen = OpenVINOInferenceCalculatorOptions(".", device="CPU", nireq=1, **options)
        self.runner = CalculatorRunner(OpenVINOInferenceCalculator, chosen, base_path=folder)
        self.runner.open()
        self.may_run = threading.Event()
        self.may_run.set()
        batcher = self.runner.calculator._batcher  # type: ignore[attr-defined]
        infer = batcher._infer

        def wait_and_infer(*arguments: Any) -> InferResponse:
            assert self.may_run.wait(60)
            answer: InferResponse = infer(*arguments)
            return answer

        batcher._infer = wait_and_infer

    def ask(self, *inputs: Tensor, outputs: tuple[str, ...] = ()) -> "asyncio.Task[Any]":
        """Start a request."""
        return asyncio.create_task(self._ask(InferRequest(inputs, outputs)))

    async def _ask(self, request: InferRequest) -> InferResponse:
        found = await self.runner.run({"INFER_REQUEST": [request]})
        answer: InferResponse = found["INFER_RESPONSE"][0]
        return answer

    @property
    def counts(self) -> tuple[object, object, object]:
        """Batches, requests in them, requests that wait."""
        status = self.runner.calculator.status()
        return status["batches"], status["batched_requests"], status["waiting_requests"]

    async def until(self, *counts: int) -> None:
        async with asyncio.timeout(60):
            while self.counts != counts:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.001)

    async def close(self) -> None:
        self.may_run.set()
        await asyncio.to_thread(self.runner.close)


def floats(name: str, array: Any) -> Tensor:
    values = np.asarray(array, np.float32)
    return Tensor(name, "FP32", values.shape, values.tobytes())


def pair(value: float, num_rows: int = 1) -> tuple[Tensor, Tensor]:
    rows = np.full((num_rows, 3), value)
    return floats("x", rows), floats("y", 2 * rows)


def values_of(answer: InferResponse) -> dict[str, list[Any]]:
    return {
        t.name: np.frombuffer(t.data, np.float32).reshape(t.shape).tolist() for t in answer.outputs
    }


def sums(value: float, num_rows: int = 1) -> dict[str, list[Any]]:
    return {
        "sum": [[3 * value] * 3] * num_rows,
        "product": [[2 * value * value] * 3] * num_rows,
    }


async def test_requests_that_wait_run_together(tmp_path: Path) -> None:
    model = Model(tmp_path, add_model(), max_batch_size=8)
    model.may_run.clear()
    first = model.ask(*pair(1))
    await model.until(1, 1, 0)
    # 1 + 2 + 5 rows fill a batch; the last one has to wait for the next.
    others = [model.ask(*pair(value, rows)) for value, rows in ((2, 1), (3, 2), (4, 5), (5, 1))]
    await model.until(1, 1, 4)
    model.may_run.set()
    answers = [values_of(answer) for answer in await asyncio.gather(first, *others)]
    assert answers == [sums(1), sums(2), sums(3, 2), sums(4, 5), sums(5)]
    assert model.counts == (3, 5, 0)
    await model.close()


async def test_the_first_request_waits_for_others(tmp_path: Path) -> None:
    model = Model(tmp_path, add_model(), max_batch_size=3, max_queue_delay_ms=10_000)
    requests = [model.ask(*pair(value)) for value in (1, 2)]
    await model.until(0, 0, 2)
    # The third one fills the batch.
    requests.append(model.ask(*pair(3)))
    answers = [values_of(answer) for answer in await asyncio.gather(*requests)]
    assert answers == [sums(1), sums(2), sums(3)]
    assert model.counts == (1, 3, 0)
    await model.close()


async def test_the_delay_ends(tmp_path: Path) -> None:
    model = Model(tmp_path, add_model(), max_batch_size=64, max_queue_delay_ms=50)
    start = asyncio.get_running_loop().time()
    answers = await asyncio.gather(model.ask(*pair(1)), model.ask(*pair(2)))
    assert [values_of(answer) for answer in answers] == [sums(1), sums(2)]
    assert asyncio.get_running_loop().time() - start >= 0.05
    assert model.counts == (1, 2, 0)
    await model.close()


async def test_each_caller_gets_its_own_outputs(tmp_path: Path) -> None:
    model = Model(tmp_path, add_model(), max_batch_size=8, max_queue_delay_ms=10_000)
    requests = [
        model.ask(*pair(1, 3), outputs=("product",)),
        model.ask(*pair(2, 3), outputs=("sum", "product")),
        model.ask(*reversed(pair(3, 2))),
    ]
    answers = [values_of(answer) for answer in await asyncio.gather(*requests)]
    assert answers == [{"product": sums(1, 3)["product"]}, sums(2, 3), sums(3, 2)]
    assert [*answers[1]] == ["sum", "product"]
    assert model.counts == (1, 3, 0)
    await model.close()


def any_width_model() -> ov.Model:
    """Texts of any width, and numbers."""
    model = identity_model()
    names = ("int32", "bytes")
    parameters = [p for p in model.get_parameters() if p.get_friendly_name() in names]
    results = [ops.result(ops.concat([parameter], 0)) for parameter in parameters]
    small = ov.Model(results, parameters, "small")
    for port, name in zip(small.inputs, names, strict=True):
        port.set_names({name})
    for port, name in zip(small.outputs, names, strict=True):
        port.set_names({f"{name}_out"})
    return small


def texts_and_numbers(width: int, number: int) -> tuple[Tensor, Tensor]:
    numbers = np.full((1, width), number, np.int32)
    texts = join_elements(f"{number}:{i}".encode() * i for i in range(width))
    return (
        Tensor("int32", "INT32", (1, width), numbers.tobytes()),
        Tensor("bytes", "BYTES", (1, width), texts),
    )


async def test_other_shapes_are_other_batches(tmp_path: Path) -> None:
    model = Model(tmp_path, any_width_model(), max_batch_size=4, max_queue_delay_ms=300)
    widths = [2, 3, 2, 3, 2]
    requests = [model.ask(*texts_and_numbers(width, i)) for i, width in enumerate(widths)]
    answers = await asyncio.gather(*requests)
    for i, (width, answer) in enumerate(zip(widths, answers, strict=True)):
        found = {tensor.name: tensor for tensor in answer.outputs}
        for sent in texts_and_numbers(width, i):
            assert found[f"{sent.name}_out"].shape == sent.shape
            assert found[f"{sent.name}_out"].data == sent.data
    assert model.counts == (2, 5, 0)
    await model.close()


def zeros_model() -> ov.Model:
    """x minus the numbers of its elements that are not 0: fails if some are 0, but not all."""
    x = ops.parameter([-1], np.float32, name="x")
    found = ops.squeeze(ops.non_zero(x, output_type="i32"), [0])
    total = ops.subtract(x, ops.convert(found, np.float32))
    model = ov.Model([ops.result(total)], [x], "zeros")
    model.inputs[0].set_names({"x"})
    model.outputs[0].set_names({"rest"})
    return model


async def test_a_bad_request_fails_alone(tmp_path: Path) -> None:
    model = Model(tmp_path, zeros_model(), max_batch_size=8, max_queue_delay_ms=200)
    requests = [
        model.ask(floats("x", [5])),
        model.ask(floats("x", [1, 0, 1])),
        model.ask(floats("x", [7, 8])),
    ]
    good, bad, other = await asyncio.gather(*requests, return_exceptions=True)
    assert values_of(good) == {"rest": [5]}
    assert values_of(other) == {"rest": [7, 7]}
    assert isinstance(bad, InvalidRequestError)
    assert "the model cannot process these tensors" in str(bad)
    assert model.counts == (1, 3, 0)
    await model.close()


async def test_what_cannot_be_joined_runs_alone(tmp_path: Path) -> None:
    model = Model(tmp_path, add_model(), max_batch_size=2)
    x, y = floats("x", np.ones((5, 3))), floats("y", np.ones((1, 3)))
    broadcast, large = await asyncio.gather(model.ask(x, y), model.ask(*pair(1, 5)))
    assert values_of(broadcast)["sum"] == [[2] * 3] * 5
    assert values_of(large) == sums(1, 5)
    with pytest.raises(InvalidRequestError, match="has shape .1, 4.; the model takes"):
        await model.ask(floats("x", np.ones((1, 4))), y)
    assert model.counts == (0, 0, 0)
    await model.close()


async def test_callers_that_leave(tmp_path: Path) -> None:
    model = Model(tmp_path, add_model(), max_batch_size=8)
    model.may_run.clear()
    running, *waiting = [model.ask(*pair(value)) for value in range(4)]
    await model.until(1, 1, 3)
    waiting[1].cancel()
    await model.until(1, 1, 2)
    running.cancel()
    await asyncio.wait([running, waiting[1]])
    model.may_run.set()
    answers = [values_of(answer) for answer in await asyncio.gather(waiting[0], waiting[2])]
    assert answers == [sums(1), sums(3)]
    assert model.counts == (2, 3, 0)
    await model.close()


async def test_the_queue_has_an_end(tmp_path: Path) -> None:
    model = Model(tmp_path, add_model(), max_batch_size=8, max_num_queued_requests=2)
    model.may_run.clear()
    first = model.ask(*pair(0))
    await model.until(1, 1, 0)
    waiting = [model.ask(*pair(value)) for value in (1, 2)]
    await model.until(1, 1, 2)
    with pytest.raises(QueueFullError, match="2 requests wait, and with 1 more"):
        await model.ask(*pair(3))
    model.may_run.set()
    await asyncio.gather(first, *waiting)
    assert model.runner.calculator.status()["num_queued_requests"] == 0
    await model.close()


async def test_clients_take_turns(tmp_path: Path) -> None:
    model = Model(tmp_path, add_model(), max_batch_size=2)
    model.may_run.clear()
    done: list[str] = []

    async def ask(client: str) -> None:
        await model._ask(InferRequest(pair(1), client=client))
        done.append(client)

    running = [asyncio.create_task(ask("first"))]
    await model.until(1, 1, 0)
    running += [asyncio.create_task(ask("noisy")) for _ in range(20)]
    await model.until(1, 1, 20)
    running.append(asyncio.create_task(ask("quiet")))
    await model.until(1, 1, 21)
    model.may_run.set()
    await asyncio.gather(*running)
    assert "quiet" in done[:3], "it is in the next batch"
    await model.close()


def fixed_model() -> ov.Model:
    """A batch of up to 4 comes in, and one row comes out."""
    x = ops.parameter(ov.PartialShape(["1..4", 3]), np.float32, name="x")
    model = ov.Model([ops.result(ops.reduce_sum(x, [0], keep_dims=True))], [x], "fixed")
    model.inputs[0].set_names({"x"})
    model.outputs[0].set_names({"total"})
    return model


@pytest.mark.parametrize(
    ("model", "size", "text"),
    [
        (counter_model(), 2, "it has a state, which belongs to one caller"),
        (fixed_model(), 2, "output 'total' has shape [1,3]"),
        (fixed_model(), 5, "input 'x' has shape [1..4,3]"),
    ],
)
def test_models_that_cannot_batch(tmp_path: Path, model: ov.Model, size: int, text: str) -> None:
    with pytest.raises(ModelLoadError, match=re.escape(text)):
        Model(tmp_path / "m", model, max_batch_size=size)
    # `--check` says the same, without compiling.
    entry = {"name": "m", "base_path": "m", "max_batch_size": size}
    (tmp_path / "config.json").write_text(json.dumps({"model_config_list": [{"config": entry}]}))
    (config,) = load_config(tmp_path / "config.json").models
    checked = check_model(config_with_folder(config, tmp_path / "m"), WatchedFiles())
    with pytest.raises(ModelLoadError, match=re.escape(text)):
        checked.check_files()


def config_with_folder(config: Any, folder: Path) -> Any:
    from dataclasses import replace

    return replace(config, model_folder=folder)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"max_queue_delay_ms": 5}, "max_queue_delay_ms needs max_batch_size"),
        ({"max_batch_size": 100_000}, "max_batch_size is 100000; possible: 0 to 65536"),
        (
            {"max_batch_size": 2, "max_queue_delay_ms": 100_000},
            "max_queue_delay_ms is 100000; possible: 0 to 60000",
        ),
    ],
)
def test_options(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        OpenVINOInferenceCalculatorOptions(".", **options)
