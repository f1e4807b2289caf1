"""`python -m export_models.tokenizer.conversion SOURCE FOLDER`: convert a tokenizer.

There are several ways, for where openvino_tokenizers' usual one fails or gives other tokens.
"""

import argparse
import copy
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openvino as ov
import transformers
from openvino_tokenizers import convert_tokenizer
from openvino_tokenizers.hf_parser import is_sentencepiece_model

from server.host.model_files import DETOKENIZER_FILE, TOKENIZER_FILE

__all__ = ["USUAL", "conversions", "load_tokenizer"]

Conversion = Callable[[Path], None]

USUAL = "openvino_tokenizers, as usual"
REWRITTEN = "openvino_tokenizers, of a rewritten tokenizer.json"
SENTENCEPIECE = "openvino_tokenizers, by its SentencePiece backend"


def load_tokenizer(source: str, options: dict[str, Any]) -> Any:
    """The source's tokenizer, with the padding that optimum sets for text generation."""
    auto: Any = transformers.AutoTokenizer
    tokenizer = auto.from_pretrained(source, **options)
    tokenizer.padding_side = tokenizer.truncation_side = "left"
    return tokenizer


def conversions(tokenizer: Any) -> Iterator[tuple[str, Conversion]]:
    """Each way to convert: its name, and a function that fills a folder and may raise anything."""
    yield USUAL, lambda folder: _convert(tokenizer, folder)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    state = {} if backend is None else json.loads(backend.to_str())
    if _rewrite(state):
        rewritten = copy.deepcopy(tokenizer)
        make: Any = type(backend)
        rewritten._tokenizer = make.from_str(json.dumps(state))
        yield REWRITTEN, lambda folder: _convert(rewritten, folder)
    if is_sentencepiece_model(tokenizer):
        yield SENTENCEPIECE, lambda folder: _convert(tokenizer, folder, is_sentencepiece=True)


def _convert(tokenizer: Any, folder: Path, is_sentencepiece: bool = False) -> None:
    encoder, decoder = convert_tokenizer(
        tokenizer, with_detokenizer=True, use_sentencepiece_backend=is_sentencepiece
    )
    ov.save_model(encoder, folder / TOKENIZER_FILE)
    ov.save_model(decoder, folder / DETOKENIZER_FILE)


def _rewrite(state: dict[str, Any]) -> bool:
    """Replace what openvino_tokenizers 2026.4 gets wrong; returns whether anything was replaced.

    Its Metaspace loses all but one of several blanks where it splits, and a split Metaspace with
    prepend_scheme "first" makes a file that cannot be read. Pieces of a Unigram model hold no inner
    "▁", so that it need not split. Of decoders it does not know Metaspace.
    """
    is_rewritten = False
    for step in _steps(state.get("pre_tokenizer"), "pretokenizers"):
        if step["type"] == "Metaspace" and step.get("split"):
            step["split"] = False
            is_rewritten = True
    decoder = state.get("decoder")
    steps = _steps(decoder, "decoders")
    if any(step["type"] == "Metaspace" for step in steps):
        decoders = [new for step in steps for new in _replace_decoder(step)]
        state["decoder"] = {"type": "Sequence", "decoders": decoders}
        is_rewritten = True
    return is_rewritten


def _steps(part: dict[str, Any] | None, key: str) -> list[dict[str, Any]]:
    if part is None:
        return []
    steps: list[dict[str, Any]] = part[key] if part["type"] == "Sequence" else [part]
    return steps


def _replace_decoder(step: dict[str, Any]) -> list[dict[str, Any]]:
    if step["type"] != "Metaspace":
        return [step]
    blank = {"type": "Replace", "pattern": {"String": step["replacement"]}, "content": " "}
    strip = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
    is_stripped = step.get("prepend_scheme", "always") != "never"
    return [blank, {"type": "Fuse"}, *([strip] if is_stripped else [])]


def main(arguments: list[str]) -> None:
    """Convert by the first way that works. Raises what the usual way raises if none does."""
    parser = argparse.ArgumentParser(prog="conversion")
    parser.add_argument("source")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--trust-remote-code", action="store_true")
    values = parser.parse_args(arguments)
    tokenizer = load_tokenizer(values.source, {"trust_remote_code": values.trust_remote_code})
    errors = []
    for _, convert in conversions(tokenizer):
        try:
            convert(values.folder)
        except Exception as error:  # whatever openvino_tokenizers raises
            errors.append(error)
        else:
            tokenizer.save_pretrained(values.folder)
            return
    raise errors[0]


if __name__ == "__main__":
    main(sys.argv[1:])
