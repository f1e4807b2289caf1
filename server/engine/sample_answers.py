"""`python -m server.engine.sample_answers FOLDER PROMPTS`: what a model itself would write.

PROMPTS is a JSON list of prompts, each a list of token ids. The engine continues all of them in one
batch, sampling from the whole distribution, and puts each prompt with its answer in its place.
A process of its own: its memory is free again when it ends. Prints a bar for the export to follow.
"""

import argparse
import json
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic

from server.engine.config import EngineConfig
from server.engine.engine import LLMEngine
from server.errors import GenerationError, ServingError
from server.payloads import SamplingParams

MAX_ANSWER_TOKENS = 128
MAX_SECONDS = 60.0
# Answers at once; --num-samples may ask for many more.
MAX_SEATS = 64
STEP_TOKENS = 512
REPORT_S = 0.5


def main(arguments: list[str]) -> None:
    """Continue the prompts in a file; exits with a message where the model cannot."""
    # An engine that serves no client needs no log.
    logging.disable(logging.WARNING)
    parser = argparse.ArgumentParser(prog="server.engine.sample_answers")
    parser.add_argument("folder", type=Path)
    parser.add_argument("prompts", type=Path)
    values = parser.parse_args(arguments)
    prompts = json.loads(values.prompts.read_text())
    _print_bar(0, "")
    try:
        texts = _sample(values.folder, prompts)
    except ServingError as error:
        sys.exit(f"generation: {' '.join(str(error).split())}")
    values.prompts.write_text(json.dumps(texts))


def _sample(folder: Path, prompts: list[list[int]]) -> list[list[int]]:
    num_seats = min(len(prompts), MAX_SEATS)
    num_tokens = num_seats * (max(map(len, prompts)) + MAX_ANSWER_TOKENS)
    config = EngineConfig(
        folder,
        max_num_seqs=num_seats,
        max_num_batched_tokens=STEP_TOKENS,
        # Each sequence leaves its last block half empty.
        max_cached_tokens=2 * num_tokens,
        target_inter_token_latency_ms=0,
        enable_prefix_caching=True,
    )
    engine = LLMEngine(config)
    try:
        return sample_answers(engine, prompts, MAX_ANSWER_TOKENS, MAX_SECONDS, _Reporter())
    finally:
        engine.close()


def sample_answers(
    engine: LLMEngine,
    prompts: Sequence[Sequence[int]],
    max_tokens: int,
    max_seconds: float,
    report: Callable[[int, int], None],
) -> list[list[int]]:
    """Each prompt with its answer: at most `max_tokens`, and what there is after `max_seconds`.

    Prompts that leave no room for an answer in the model's context are left out. `report` is
    called after each step with the number of tokens that are sampled, and that may be. Raises
    GenerationError where a step fails, or where no prompt fits.
    """
    texts: dict[int, list[int]] = {}
    rooms: dict[int, int] = {}
    for seed, prompt in enumerate(prompts):
        room = min(max_tokens, engine.limits.room(len(prompt), 1))
        if room < 1:
            continue
        request = engine.make_request(prompt, SamplingParams(max_tokens=room, seed=seed))
        texts[request.request_id], rooms[request.request_id] = [*prompt], room
        engine.add(request)
    if not texts:
        raise GenerationError("no prompt fits into the model's context")
    total, left = sum(rooms.values()), dict(rooms)
    end = monotonic() + max_seconds
    while engine.has_work and monotonic() < end:
        for output in engine.step():
            if output.error is not None:
                raise GenerationError(str(output.error))
            texts[output.request_id] += output.token_ids
            is_over = output.finish_reason is not None
            left[output.request_id] -= left[output.request_id] if is_over else len(output.token_ids)
        report(total - sum(left.values()), total)
    for request_id in texts:
        engine.abort(request_id)
    return list(texts.values())


class _Reporter:
    """Prints how far it is, a few times a second."""

    def __init__(self) -> None:
        self._last_s = 0.0
        self._start = monotonic()

    def __call__(self, num_done: int, total: int) -> None:
        now = monotonic()
        if now - self._last_s < REPORT_S:
            return
        self._last_s = now
        fraction = max(num_done / total, (now - self._start) / MAX_SECONDS)
        _print_bar(fraction, f"{num_done}/{total} tokens, for at most {MAX_SECONDS:.0f} s")


def _print_bar(fraction: float, detail: str) -> None:
    """A bar in the form in which NNCF draws its own."""
    print(f"generating calibration text ━━━ {100 * min(fraction, 1):.0f}% {detail}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
