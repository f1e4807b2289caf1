"""A process outlives the models that it opens and closes, in the middle of inference as well."""

import subprocess
import sys

OPTIONS = "auto_tune=False, num_kv_blocks=32, max_num_batched_tokens=4, max_num_seqs=2"

# Each model answers, and is closed while threads generate and stream.
OPEN_AND_CLOSE = f"""
import threading
from server import LLM, SamplingParams
from server.errors import ModelNotReadyError

NUM_ROUNDS, NUM_FIRST, MAX_GROWTH_MB = 22, 8, 42
SHORT = SamplingParams(max_tokens=4)
ENDLESS = SamplingParams(max_tokens=1000, ignore_eos=True)


def resident_mb():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20


def ask(llm, streams):
    try:
        while True:
            list(llm.stream("Hello", ENDLESS)) if streams else llm.generate(["Hello"] * 3, ENDLESS)
    except ModelNotReadyError:
        num_told.append(1)


for number in range(NUM_ROUNDS):
    num_told = []
    with LLM("tiny_chat", {OPTIONS}) as llm:
        assert llm.generate("Hello", SHORT)[0].outputs[0].token_ids
        threads = [threading.Thread(target=ask, args=(llm, streams)) for streams in (True, False)]
        for thread in threads:
            thread.start()
        next(iter(llm.stream("Hello", SHORT)))
    for thread in threads:
        thread.join(60)
    assert len(num_told) == 2, num_told
    if number == NUM_FIRST:
        before_mb = resident_mb()
grown_mb = resident_mb() - before_mb
assert grown_mb < MAX_GROWTH_MB, grown_mb
print("alive")
"""

# Nobody closes the model, and the garbage collector finds it in a thread that closing waits for.
FORGOTTEN = f"""
import asyncio, gc
from server import LLM, SamplingParams

llm = LLM("tiny_chat", {OPTIONS})
llm.generate("Hello", SamplingParams(max_tokens=4))
llm.itself, loop = llm, llm._loop._loop
del llm


async def collect():
    return gc.collect()


assert asyncio.run_coroutine_threadsafe(collect(), loop).result(30)
print("alive")
"""


def outlives(script: str) -> None:
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr[-3000:]


def test_models_are_opened_and_closed_while_they_answer() -> None:
    outlives(OPEN_AND_CLOSE)


def test_a_forgotten_model_is_freed_by_any_thread() -> None:
    outlives(FORGOTTEN)
