"""`python -m export_models.verification.ask_encoder SOURCE MODEL TASK ANSWER`: two encoders, asked.

Writes into the JSON file ANSWER how far the exported model MODEL is from its source.
"""

import argparse
import json
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import transformers

from export_models.conversion.nomic_bert import register_nomic_bert
from export_models.tokenizer.conversion import load_tokenizer
from export_models.tokenizer.probe_texts import probe_texts
from server.host.memory import available_bytes
from server.host.model_files import MODEL_FILE, TOKENIZER_FILE
from server.host.openvino_core import shared_core

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]

# Of different lengths, so that padding and windows of attention count.
QUERIES = ("What is the capital of France?", "how to bake bread", "¿Dónde está la biblioteca?")
DOCUMENTS = (
    "Paris has been the capital of France since the Middle Ages.",
    "Bread is baked from flour, water, salt and yeast. " * 12,
    "The moon.",
)
MAX_TOKENS = 256
BYTES_PER_WEIGHT = 5
"""f32, and what is held twice while a file of weights is read."""


def main(arguments: list[str]) -> None:
    """Compare them. Raises whatever transformers, torch and OpenVINO raise."""
    parser = argparse.ArgumentParser(prog="ask_encoder")
    parser.add_argument("source")
    parser.add_argument("model", type=Path)
    parser.add_argument("task", choices=("embeddings", "rerank"))
    parser.add_argument("answer", type=Path)
    parser.add_argument("--trust-remote-code", action="store_true")
    values = parser.parse_args(arguments)
    transformers.logging.set_verbosity_error()
    logging.disable(logging.WARNING)
    options = {"trust_remote_code": values.trust_remote_code}
    values.answer.write_text(json.dumps(_compare(values, options)))


def _compare(values: argparse.Namespace, options: dict[str, Any]) -> dict[str, Any]:
    note = _memory_note(values.model)
    if note is not None:
        return {"note": note}
    register_nomic_bert()
    tokenizer = load_tokenizer(values.source, options, is_generator=False)
    is_reranker = values.task == "rerank"
    auto: Any = transformers.AutoModel
    if is_reranker:
        auto = transformers.AutoModelForSequenceClassification
    model = auto.from_pretrained(values.source, dtype=torch.float32, **options).eval()
    hint = {"INFERENCE_PRECISION_HINT": "f32"}
    export = shared_core().compile_model(values.model / MODEL_FILE, "CPU", hint)
    batch = _batch(tokenizer, model.config, is_reranker=is_reranker)
    wanted, found = _ask_source(model, batch), _ask_export(export, batch)
    if is_reranker:
        measured = {"difference": float(np.abs(_scores(wanted) - _scores(found)).max())}
    else:
        measured = {"cosine": _min_cosine(wanted, found, batch["attention_mask"])}
    wrong, num_texts = _wrong_texts(tokenizer, values.model, add_special_tokens=not is_reranker)
    return {**measured, "wrong_texts": wrong, "num_texts": num_texts}


def _memory_note(model: Path) -> str | None:
    needed = 2 * BYTES_PER_WEIGHT * (model / MODEL_FILE).with_suffix(".bin").stat().st_size
    if needed <= available_bytes():
        return None
    return f"memory does not suffice; {needed >> 20} MiB may be needed"


def _batch(tokenizer: Any, config: Any, *, is_reranker: bool) -> dict[str, Ids]:
    """Texts, or pairs of a query and a document, as long as the model allows."""
    limit = min(MAX_TOKENS, getattr(config, "max_position_embeddings", MAX_TOKENS) - 2)
    texts = [[*QUERIES], [*DOCUMENTS]] if is_reranker else [[*QUERIES, *DOCUMENTS]]
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    encoded = tokenizer(
        *texts, padding=True, truncation=True, max_length=limit, return_tensors="np"
    )
    return {name: array.astype(np.int64) for name, array in encoded.items()}


def _ask_source(model: Any, batch: dict[str, Ids]) -> Floats:
    inputs = {name: torch.from_numpy(batch[name]) for name in ("input_ids", "attention_mask")}
    with torch.inference_mode():
        answer: Floats = model(**inputs)[0].float().numpy()
    return answer


def _ask_export(export: Any, batch: dict[str, Ids]) -> Floats:
    names = [port.get_any_name() for port in export.inputs]
    shape = batch["input_ids"].shape
    other = {
        "token_type_ids": np.zeros(shape, np.int64),
        "position_ids": np.broadcast_to(np.arange(shape[1]), shape),
    }
    inputs = {**other, **{name: batch[name] for name in ("input_ids", "attention_mask")}}
    result: Floats = export({name: inputs[name] for name in names})[0]
    return result


def _scores(logits: Floats) -> Floats:
    """From 0 to 1, of the only label or of each."""
    scores: Floats = (1 / (1 + np.exp(-np.clip(logits, -50, 50)))).astype(np.float32)
    return scores


def _min_cosine(wanted: Floats, found: Floats, mask: Ids) -> float:
    """Of the means over all tokens, and of the first and the last token, the smallest of any."""
    cosines = []
    for one, other, tokens in zip(wanted, found, mask.astype(bool), strict=True):
        for a, b in zip(_pooled(one[tokens]), _pooled(other[tokens]), strict=True):
            size = float(np.linalg.norm(a) * np.linalg.norm(b))
            cosines.append(float(a @ b) / size if size else 0.0)
    # NaN is smaller than any limit.
    return float(np.nan_to_num(np.min(cosines), nan=-1.0))


def _pooled(states: Floats) -> tuple[Floats, Floats, Floats]:
    return states.mean(0), states[0], states[-1]


def _wrong_texts(
    tokenizer: Any, folder: Path, *, add_special_tokens: bool
) -> tuple[list[str], int]:
    """The texts whose tokens differ, with both, and the number of texts."""
    core = shared_core()
    converted = core.compile_model(core.read_model(folder / TOKENIZER_FILE), "CPU")
    texts = [text for text in probe_texts(tokenizer.get_added_vocab()) if text]
    wrong = []
    for text in texts:
        expected = tokenizer.encode(text, add_special_tokens=add_special_tokens)
        found = [int(token) for token in converted([text])["input_ids"][0]]
        if found != expected[: len(found)] or len(found) < min(len(expected), MAX_TOKENS):
            wrong.append(f"{text[:40]!r} gives {found[:8]}, should give {expected[:8]}")
    return wrong, len(texts)


if __name__ == "__main__":
    main(sys.argv[1:])
