"""Compares an exported tokenizer, as the server uses it, with that of the source."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import transformers

from calculators.text.tokenizer import Tokenizer
from export_models.tokenizer.conversion import USUAL, conversions, load_tokenizer
from export_models.tokenizer.probe_texts import probe_texts
from server.errors import ServingError
from server.host.openvino_errors import error_summary

__all__ = ["compare_tokenizers"]

MAX_DIFFERENCES = 8
MAX_TEXT_CHARS = 40
MAX_IDS = 6


def compare_tokenizers(source: str, folder: Path, options: dict[str, Any]) -> dict[str, Any]:
    """Compare, and replace the exported tokenizer if another conversion of it is better.

    Returns what is kept of it in the record: `differences` to warn of, `faults` for which the
    model is refused.
    """
    reference = load_tokenizer(source, options)
    texts = probe_texts(reference.get_added_vocab())
    best = _try(folder, USUAL, reference, texts)
    if best.num_wrong:
        best = _improve(folder, best, reference, texts)
    for difference in best.differences[:MAX_DIFFERENCES]:
        print(f"warning: the tokenizer is not quite that of the source: {difference}", flush=True)
    return {
        "num_texts": len(texts),
        "num_wrong": best.num_wrong,
        "conversion": best.name,
        "differences": best.differences[:MAX_DIFFERENCES],
        "faults": best.faults(len(texts)),
        "transformers": transformers.__version__,
        "openvino_tokenizers": version("openvino-tokenizers"),
    }


@dataclass(frozen=True, slots=True)
class _Attempt:
    """A converted tokenizer; `problem` says why the server cannot use it."""

    name: str
    num_wrong: int
    differences: Sequence[str] = ()
    problem: str | None = None

    def faults(self, num_texts: int) -> list[str]:
        if self.problem is not None:
            return [f"the tokenizer cannot be used: {self.problem}"]
        if 2 * self.num_wrong <= num_texts:
            return []
        return [
            f"the tokenizer is not that of the source: {self.num_wrong} of {num_texts} texts give "
            f"other tokens, for example {self.differences[0]}"
        ]


def _improve(folder: Path, best: _Attempt, reference: Any, texts: Sequence[str]) -> _Attempt:
    for name, convert in conversions(reference):
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            other = Path(temporary)
            try:
                _copy_settings(folder, other)
                convert(other)
            except Exception as error:  # whatever openvino_tokenizers raises
                print(f"{name}: fails: {error_summary(error)}", flush=True)
                continue
            attempt = _try(other, name, reference, texts)
            if attempt.num_wrong < best.num_wrong:
                best = attempt
                for path in other.glob("openvino_*tokenizer.*"):
                    path.replace(folder / path.name)
        if not best.num_wrong:
            break
    return best


def _copy_settings(folder: Path, to: Path) -> None:
    for path in folder.glob("*.json"):
        (to / path.name).write_bytes(path.read_bytes())


def _try(folder: Path, name: str, reference: Any, texts: Sequence[str]) -> _Attempt:
    try:
        tokenizer = Tokenizer(folder)
        found = [_differences(text, reference, tokenizer) for text in texts]
    except (ServingError, RuntimeError, OSError) as error:
        return _Attempt(name, len(texts) + 1, problem=" ".join(str(error).split())[:300])
    wrong = [differences for differences in found if differences]
    return _Attempt(name, len(wrong), [line for lines in wrong for line in lines[:1]])


def _differences(text: str, reference: Any, tokenizer: Tokenizer) -> list[str]:
    lines = []
    for add in (True, False):
        expected = reference.encode(text, add_special_tokens=add)
        found = list(tokenizer.encode(text, add))
        if found != expected:
            lines.append(f"{_shorten(text)} {_describe_ids(expected, found)}")
    ids = reference.encode(text)
    for skip in (True, False):
        # A model's answer is not to be tidied up.
        wanted = reference.decode(ids, skip_special_tokens=skip, clean_up_tokenization_spaces=False)
        decoded = tokenizer.decode(ids, skip)
        if decoded != wanted:
            lines.append(f"the tokens of {_shorten(wanted)} give {_shorten(decoded)}")
    return lines


def _describe_ids(expected: list[int], found: list[int]) -> str:
    pairs = zip(expected, found, strict=False)
    same = next((i for i, (one, other) in enumerate(pairs) if one != other), None)
    start = min(len(expected), len(found)) if same is None else same
    wanted, given = (_join(ids[start : start + MAX_IDS + 1]) for ids in (expected, found))
    return f"should give from token {start} on: {wanted}; gives: {given}"


def _join(ids: list[int]) -> str:
    names = [str(token_id) for token_id in ids[:MAX_IDS]]
    return ", ".join([*names, "..."] if len(ids) > MAX_IDS else names) or "none"


def _shorten(text: str) -> str:
    return repr(text if len(text) <= MAX_TEXT_CHARS else f"{text[:MAX_TEXT_CHARS]}...")
