"""The comparison with the source model, which an export runs in torch.

The export starts a process with torch between two of this package; they meet in a folder. This side
writes PROMPTS_FILE into it: the tokens, and what torch needs to compute the same. The answers come
back in ANSWERS_FILE, arrays like those of `Prediction` for each prompt that was read, and
SOURCE_FILE says with which versions, or why there are none. The export may also leave what it found
of the tokenizer in TOKENIZER_FILE.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov

from server.engine.verification.compare import Difference, distances, find_first
from server.engine.verification.stateful import Prediction, StatefulModel

Ints = npt.NDArray[np.int64]

PROMPTS_FILE, ANSWERS_FILE = "prompts.npz", "answers.npz"
SOURCE_FILE, TOKENIZER_FILE = "source.json", "tokenizer.json"

COMPRESSED = "compressed"
PRECISIONS = {"f32": "f32", "f16": "f16", "bf16": "bf16"}

MAX_COMPRESSED_DIFFERENCE = 5.0
"""Mean difference of log probabilities beyond which no compression of weights explains it.

Of small random models, which suffer most, 4 bits made one of 0.3 to 0.8, and 8 bits less than 0.1.
"""


def write_prompts(
    folder: Path, model: ov.Model, prompts: Sequence[Ints], prefix: Sequence[int]
) -> None:
    """Write PROMPTS_FILE for the process with torch.

    The decoder of an encoder-decoder model begins with `prefix`, which is empty for other models.
    """
    precision, num_weights = _describe_weights(model)
    arrays: dict[str, Any] = {f"prompt.{index}": prompt for index, prompt in enumerate(prompts)}
    arrays |= {"precision": precision, "num_weights": num_weights}
    np.savez(folder / PROMPTS_FILE, prefix=np.array(prefix, np.int64), **arrays)


@dataclass(frozen=True, slots=True)
class SourceComparison:
    """How the exported model and its source differ on `num_tokens` tokens.

    Where the export has compressed the weights, only an absurd difference is a fault.
    """

    precision: str
    num_tokens: int
    longest: int
    max_difference: float
    mean_difference: float
    fault: Difference | None

    def as_dict(self) -> dict[str, Any]:
        """The comparison as JSON can say it."""
        found = {name: value for name, value in asdict(self).items() if name != "fault"}
        return {**found, "faults": [] if self.fault is None else [str(self.fault)]}


def compare_with_source(
    folder: Path, model: StatefulModel, tolerance: float
) -> SourceComparison | None:
    """Compare the IR with the answers in a folder; None where there are none."""
    if not (folder / ANSWERS_FILE).is_file():
        return None
    pairs = []
    with np.load(folder / PROMPTS_FILE) as prompts, np.load(folder / ANSWERS_FILE) as answers:
        precision = str(prompts["precision"])
        index = 0
        while f"logprobs.{index}" in answers:
            arrays = (answers[f"{field.name}.{index}"] for field in fields(Prediction))
            pairs.append((_predict(model, prompts[f"prompt.{index}"]), Prediction(*arrays)))
            index += 1
    apart = [distances(found, expected) for found, expected in pairs]
    everything = np.concatenate(apart)
    fault = None
    for (found, expected), far in zip(pairs, apart, strict=True):
        first = find_first(found, expected, tolerance)
        if first is not None and fault is None and _is_fault(precision, everything):
            name = "the exported model, compared with its source in torch"
            fault = Difference(name, first + 1, len(far) + 1, float(far.max()))
    return SourceComparison(
        precision=precision,
        num_tokens=len(everything),
        longest=max(len(far) for far in apart) + 1,
        max_difference=float(everything.max()),
        mean_difference=float(everything.mean()),
        fault=fault,
    )


def _predict(model: StatefulModel, tokens: Ints) -> Prediction:
    """An encoder gets the first half; nothing is predicted of it."""
    num_encoded = len(tokens) // 2 if model.has_encoder else 1
    return model.predict(tokens, num_encoded).after(num_encoded - 1)


def read_exchanged(folder: Path, name: str) -> dict[str, Any] | None:
    """What the export has left in a JSON file of the folder; None where it has left nothing."""
    path = folder / name
    found: dict[str, Any] | None = json.loads(path.read_text()) if path.is_file() else None
    return found


def _is_fault(precision: str, far: npt.NDArray[np.float64]) -> bool:
    return precision != COMPRESSED or not far.mean() <= MAX_COMPRESSED_DIFFERENCE


def _describe_weights(model: ov.Model) -> tuple[str, int]:
    """The precision of most weights, or COMPRESSED, and the number of them."""
    sizes: Counter[str] = Counter()
    for node in model.get_ordered_ops():
        if node.get_type_name() == "Constant" and len(node.get_output_shape(0)) > 1:
            kind = node.get_output_element_type(0).get_type_name()
            sizes[kind] += int(np.prod(node.get_output_shape(0)))
    kinds = {kind: size for kind, size in sizes.items() if kind not in ("boolean", "i64", "i32")}
    largest = max(kinds, key=lambda kind: kinds[kind], default="f32")
    return PRECISIONS.get(largest, COMPRESSED), sum(kinds.values())
