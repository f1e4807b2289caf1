"""Compares the engine's predictions with those of the stateful IR, token by token."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import numpy.typing as npt

from server.engine.model.load_check.declared import edges
from server.engine.model.loading.files import check_files
from server.engine.model.model_info import (
    config_layers,
    longrope_switch,
    read_config,
    read_model_info,
)
from server.engine.model.stateful.encoder import read_prefix
from server.engine.verification.compare import (
    ROUGH_TOLERANCE,
    TOLERANCE,
    Difference,
    distances,
    find_first,
)
from server.engine.verification.paged import MODES, NUM_GENERATED, Observation, observe
from server.engine.verification.source import (
    SourceComparison,
    compare_with_source,
    write_prompts,
)
from server.engine.verification.stateful import (
    EXACT,
    Prediction,
    StatefulModel,
    read_stateful,
    vocab_size_of,
)
from server.errors import ModelLoadError
from server.host.memory import available_bytes
from server.host.model_files import has_encoder, text_model_file

Ints = npt.NDArray[np.int64]
Report = Callable[[str], None]

PROMPT_LENGTHS = (7, 61, 150)
LONG_PROMPT = 300
BEYOND = 40
"""Tokens after the end of a window, so that something lies outside it."""

MAX_LONG_PROMPT = 2048
MAX_LOGITS_BYTES = 2**31


@dataclass(frozen=True, slots=True)
class Verification:
    """The outcome.

    `max_difference` is of log probabilities in f32. `served_difference` is their mean difference in
    the precision in which the device serves the model. `notes` say what was not tried. `source` is
    the comparison with the source model, where an export has run that.
    """

    differences: tuple[Difference, ...]
    max_difference: float
    served_difference: float
    num_tokens: int
    longest: int
    seconds: float
    notes: tuple[str, ...]
    source: SourceComparison | None = None

    @property
    def has_passed(self) -> bool:
        """Whether the engine said everywhere what the stateful IR says."""
        return not self.differences

    def as_dict(self) -> dict[str, Any]:
        """The outcome as JSON can say it."""
        return {
            "passed": self.has_passed,
            "differences": [str(difference) for difference in self.differences],
            "max_difference": self.max_difference,
            "served_difference": self.served_difference,
            "num_tokens": self.num_tokens,
            "longest": self.longest,
            "notes": list(self.notes),
            "source": None if self.source is None else self.source.as_dict(),
        }


def prepare(models_path: Path, exchange: Path) -> None:
    """Write the prompts on which an export runs the source model. Raises ModelLoadError."""
    check_files(models_path)
    lengths, _ = choose_lengths(models_path)
    model = read_stateful(models_path)
    prefix = read_prefix(models_path) if has_encoder(models_path) else ()
    write_prompts(exchange, model, _prompts(lengths, vocab_size_of(models_path)), prefix)


def verify(models_path: Path, report: Report, exchange: Path | None = None) -> Verification:
    """Run a model both ways on random tokens; `report` is told each part as it begins.

    `exchange` is the folder with what an export knows of the source.
    Raises ModelLoadError where the model cannot be loaded at all, and GenerationError where the
    engine fails on it.
    """
    started = monotonic()
    check_files(models_path)
    lengths, notes = choose_lengths(models_path)
    prompts = _prompts(lengths, vocab_size_of(models_path))
    observations: list[Observation] = []
    for mode in MODES:
        report(mode)
        observations += observe(models_path, prompts, mode, dict(EXACT))
    report("all prompts as they are served")
    served = list(observe(models_path, prompts, next(iter(MODES)), {}))
    report("the model as it was exported")
    with StatefulModel(models_path) as model:
        expected = _Expected(model, _longrope_switch(models_path))
        tolerance = _tolerance(models_path)
        compared = [(o, *_difference(o, expected(o), tolerance)) for o in observations]
        served_difference = np.mean([distances(_said(o), expected(o)).mean() for o in served])
        source = None if exchange is None else compare_with_source(exchange, model, tolerance)
    found = {o.mode: difference for o, _, difference in reversed(compared) if difference}
    return Verification(
        differences=tuple(found[mode] for mode in MODES if mode in found),
        max_difference=max(worst for _, worst, _ in compared),
        served_difference=float(served_difference),
        num_tokens=sum(len(observation.logprobs) for observation in observations),
        longest=max(lengths) + NUM_GENERATED,
        seconds=monotonic() - started,
        notes=tuple(notes),
        source=source,
    )


def choose_lengths(models_path: Path) -> tuple[list[int], list[str]]:
    """Lengths of prompts, one of them beyond each edge that config.json names, and what is not.

    Raises ModelLoadError for a context that is too short for any prompt.
    """
    context = read_model_info(models_path).max_model_len or MAX_LONG_PROMPT
    most = min(context - NUM_GENERATED, MAX_LONG_PROMPT, _most_tokens(models_path))
    if most < 1:
        raise ModelLoadError(f"{models_path}: a context of {context} tokens is too short to verify")
    wanted = LONG_PROMPT
    notes = []
    for key, edge in _edges(models_path).items():
        if edge + BEYOND <= most:
            wanted = max(wanted, edge + BEYOND)
        elif edge < context:
            notes.append(f"nothing beyond {key} {edge} was tried: prompts had up to {most} tokens")
    return sorted({min(length, most) for length in (*PROMPT_LENGTHS, wanted)}), notes


def _edges(models_path: Path) -> dict[str, int]:
    config = read_config(models_path / "config.json")
    try:
        return edges(config_layers(config)[-1])
    except TypeError as error:
        raise ModelLoadError(f"{models_path / 'config.json'}: {error}") from error


def _most_tokens(models_path: Path) -> int:
    """The longest text whose logits have room in memory."""
    room = min(MAX_LOGITS_BYTES, available_bytes() // 4)
    return int(room // (4 * vocab_size_of(models_path)))


def _prompts(lengths: Sequence[int], vocab_size: int) -> list[Ints]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, vocab_size, length) for length in lengths]


def _tolerance(models_path: Path) -> float:
    config = read_config(models_path / "config.json")
    # transformers rounds Falcon's ALiBi to bf16, by whole positions after 256 tokens.
    rounds_positions = config.get("model_type") == "falcon" and config.get("alibi")
    return ROUGH_TOLERANCE if rounds_positions or _rounds_activations(models_path) else TOLERANCE


def _rounds_activations(models_path: Path) -> bool:
    """Whether activations are quantised: a difference of 1e-4 may then be one of a whole level."""
    with text_model_file(models_path).open("rb") as file:
        return any(b'type="FakeQuantize"' in line for line in file)


def _longrope_switch(models_path: Path) -> int | None:
    return longrope_switch(config_layers(read_config(models_path / "config.json"))[-1])


class _Expected:
    """The stateful model's predictions; each text is read once."""

    def __init__(self, model: StatefulModel, long_after: int | None) -> None:
        self._model = model
        self._long_after = long_after
        self._known: dict[bytes, Prediction] = {}

    def __call__(self, observation: Observation) -> Prediction:
        """What is expected of the tokens from `begin` on."""
        tokens, switch = observation.tokens, self._long_after
        num_prompt = observation.num_prompt_tokens
        expected = self._predict(tokens, num_prompt)
        # A text of `switch` tokens still had the short rope factors when it was continued.
        if switch is not None and num_prompt <= switch < len(tokens) - 1:
            short = self._predict(tokens[: switch + 1], num_prompt)
            expected = short.followed_by(expected.after(switch))
        return expected.after(observation.begin - 1)

    def _predict(self, tokens: Ints, num_prompt_tokens: int) -> Prediction:
        key = tokens.tobytes()
        if key not in self._known:
            self._known[key] = self._model.predict(tokens, num_prompt_tokens)
        return self._known[key]


def _said(observation: Observation) -> Prediction:
    """What the engine said, without margins."""
    entries = observation.logprobs
    return Prediction(
        logprobs=np.array([entry.logprob for entry in entries]),
        best_ids=np.array([entry.top[0][0] for entry in entries]),
        best_logprobs=np.array([entry.top[0][1] for entry in entries]),
        margins=np.zeros(len(entries)),
    )


def _difference(
    observation: Observation, expected: Prediction, tolerance: float
) -> tuple[float, Difference | None]:
    """The largest difference, and where the first one is that rounding does not explain."""
    said = _said(observation)
    worst = float(distances(said, expected).max())
    first = find_first(said, expected, tolerance)
    if first is None:
        return worst, None
    position = observation.begin + first
    return worst, Difference(observation.mode, position, len(observation.tokens), worst)
