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


def load_tokenizer(source: str, options: dict[str, Any], *, is_generator: bool = True) -> Any:
    """The source's tokenizer; for text generation with the padding that optimum sets."""
    auto: Any = transformers.AutoTokenizer
    tokenizer = auto.from_pretrained(source, **options)
    if is_generator:
        tokenizer.padding_side = tokenizer.truncation_side = "left"
    return tokenizer


def conversions(tokenizer: Any, **options: Any) -> Iterator[tuple[str, Conversion]]:
    """Each way to convert: its name, and a function that fills a folder and may raise anything.

    `options` are more arguments of openvino_tokenizers' `convert_tokenizer`.
    """
    yield USUAL, lambda folder: _convert(tokenizer, folder, **options)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    state = {} if backend is None else json.loads(backend.to_str())
    if _rewrite(state):
        rewritten = copy.deepcopy(tokenizer)
        make: Any = type(backend)
        rewritten._tokenizer = make.from_str(json.dumps(state))
        yield REWRITTEN, lambda folder: _convert(rewritten, folder, **options)
    if is_sentencepiece_model(tokenizer):
        sentencepiece = {"use_sentencepiece_backend": True, **options}
        yield SENTENCEPIECE, lambda folder: _convert(tokenizer, folder, **sentencepiece)


def _convert(tokenizer: Any, folder: Path, with_detokenizer: bool = True, **options: Any) -> None:
    converted = convert_tokenizer(tokenizer, with_detokenizer=with_detokenizer, **options)
    encoder, decoder = converted if with_detokenizer else (converted, None)
    ov.save_model(encoder, folder / TOKENIZER_FILE)
    if decoder is not None:
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
    # Of models that read texts and write none: the source's padding, no detokenizer.
    parser.add_argument("--whole-texts", action="store_true")
    parser.add_argument("--without-special-tokens", action="store_true")
    parser.add_argument("--max-length", type=int)
    values = parser.parse_args(arguments)
    remote = {"trust_remote_code": values.trust_remote_code}
    tokenizer = load_tokenizer(values.source, remote, is_generator=not values.whole_texts)
    if values.max_length is not None:
        tokenizer.model_max_length = values.max_length
    options: dict[str, Any] = {"with_detokenizer": False} if values.whole_texts else {}
    if values.without_special_tokens:
        options["add_special_tokens"] = False
    errors = []
    for _, convert in conversions(tokenizer, **options):
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
