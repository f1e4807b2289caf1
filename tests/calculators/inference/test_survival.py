"""A process outlives models that are freed while requests for them wait, run or are cancelled."""

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import asyncio, sys
from pathlib import Path
import numpy as np
import openvino as ov
from openvino import opset13 as ops
from calculators.inference.inference_model import ModelSettings, compile_model_file
from calculators.inference.inference_pool import InferencePool

NUM_ROUNDS = 100
file = Path(sys.argv[1]) / "model.xml"
data = ops.parameter([-1, 64, 64], np.float32)
product = ops.matmul(data, data, False, True)
ov.save_model(ov.Model([ops.reduce_max(product, ops.constant([2]))], [data]), file)
values = np.ones((64, 64, 64), np.float32)


async def close_while_it_infers():
    pool = InferencePool(compile_model_file(file, ModelSettings("CPU")), 3, "test")
    runs = [pool.run(lambda request: request.infer([values])) for _ in range(6)]
    tasks = [asyncio.create_task(run) for run in runs]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    tasks[1].cancel()
    await asyncio.to_thread(pool.close)
    await asyncio.wait(tasks, timeout=30)
    assert all(task.done() for task in tasks)


async def main():
    for _ in range(NUM_ROUNDS):
        await close_while_it_infers()


asyncio.run(main())
print("alive")
"""


def test_models_are_freed_while_they_infer(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr[-2000:]
