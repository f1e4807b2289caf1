"""A tiny model with a recurrent state, as state-space models have it, and no attention."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino import opset13 as ops

VOCAB_SIZE = 50
HIDDEN_SIZE = 8
DECAY = 0.5

_rng = np.random.default_rng(0)
_EMBEDDINGS = _rng.normal(size=(VOCAB_SIZE, HIDDEN_SIZE)).astype(np.float32)
_HEAD = _rng.normal(size=(VOCAB_SIZE, HIDDEN_SIZE)).astype(np.float32)


def save_recurrent_model(folder: Path) -> Path:
    """Write the model to a folder.

    Its state is DECAY * state + embedding of the token. A chunk of several tokens forgets the state
    before it, as the graphs that optimum-intel exports do.
    """
    inputs = {
        "input_ids": ops.parameter([-1, -1], ov.Type.i64, name="input_ids"),
        "attention_mask": ops.parameter([-1, -1], ov.Type.i64, name="attention_mask"),
        "beam_idx": ops.parameter([-1], ov.Type.i32, name="beam_idx"),
    }
    for name, parameter in inputs.items():
        parameter.output(0).get_tensor().set_names({name})
    axis = ops.constant(0, dtype=ov.Type.i64)
    embedded = ops.gather(ops.constant(_EMBEDDINGS), inputs["input_ids"], axis)
    zeros = ops.multiply(ops.reduce_sum(embedded, [1], False), ops.constant(np.float32(0)))
    past = ops.read_value(zeros, "state", ov.Type.f32, ov.PartialShape([-1, HIDDEN_SIZE]))
    ordered = ops.gather(past, inputs["beam_idx"], axis)
    num_tokens = ops.gather(ops.shape_of(embedded), ops.constant([1]), axis)
    is_single = ops.convert(ops.equal(num_tokens, ops.constant([1])), ov.Type.f32)
    kept = ops.multiply(ordered, ops.multiply(is_single, ops.constant(np.float32(DECAY))))
    state = ops.add(kept, ops.reduce_sum(embedded, [1], False))
    used = ops.reduce_sum(ops.convert(inputs["attention_mask"], ov.Type.f32), [0, 1], False)
    used = ops.multiply(used, ops.constant(np.float32(0)))
    hidden = ops.add(ops.multiply(embedded, used), ops.unsqueeze(state, [1]))
    logits = ops.matmul(hidden, ops.constant(_HEAD), False, True)
    result = ops.result(logits)
    result.output(0).get_tensor().set_names({"logits"})
    model = ov.Model([result], [ops.assign(state, "state")], list(inputs.values()), "recurrent")
    folder.mkdir(parents=True, exist_ok=True)
    ov.save_model(model, folder / "openvino_model.xml", compress_to_fp16=False)
    return folder


def expected_logits(tokens: list[int]) -> npt.NDArray[np.float32]:
    """f32[tokens, vocabulary]: what the model says after each token."""
    state = np.zeros(HIDDEN_SIZE, np.float32)
    rows = []
    for token in tokens:
        state = DECAY * state + _EMBEDDINGS[token]
        rows.append(_HEAD @ state)
    return np.array(rows, np.float32)


def expected_answer(prompt: list[int], num_tokens: int) -> list[int]:
    """The greedy tokens after a prompt."""
    tokens = list(prompt)
    for _ in range(num_tokens):
        tokens.append(int(expected_logits(tokens)[-1].argmax()))
    return tokens[len(prompt) :]
