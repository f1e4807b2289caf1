"""A tiny model with a recurrent state, as state-space models have it, and no attention."""

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino import opset13 as ops

VOCAB_SIZE = 50
HIDDEN_SIZE = 8
DECAY = 0.5
START, FORCED = 2, 4
"""The tokens with which the decoder begins."""

LONGEST = 100
"""The most tokens of a prompt, and of an answer with START and FORCED."""

_rng = np.random.default_rng(0)
_EMBEDDINGS = _rng.normal(size=(VOCAB_SIZE, HIDDEN_SIZE)).astype(np.float32)
_HEAD = _rng.normal(size=(VOCAB_SIZE, HIDDEN_SIZE)).astype(np.float32)


def save_recurrent_model(folder: Path) -> Path:
    """Write the model to a folder.

    Its state is DECAY * state + embedding of the token. A chunk of several tokens forgets the state
    before it, as the graphs that optimum-intel exports do.
    """
    return _save(folder, "openvino_model.xml", has_encoder=False)


def save_encoder_decoder(folder: Path) -> Path:
    """Write two models: an encoder of embeddings, and a recurrent decoder that adds their sum."""
    tokens = _parameter("input_ids", [-1, -1], ov.Type.i64)
    mask = _parameter("attention_mask", [-1, -1], ov.Type.i64)
    axis = ops.constant(0, dtype=ov.Type.i64)
    embedded = ops.gather(ops.constant(_EMBEDDINGS), tokens, axis)
    hidden = ops.multiply(embedded, ops.unsqueeze(ops.convert(mask, ov.Type.f32), [2]))
    folder.mkdir(parents=True, exist_ok=True)
    encoder = ov.Model([ops.result(hidden)], [tokens, mask], "encoder")
    ov.save_model(encoder, folder / "openvino_encoder_model.xml", compress_to_fp16=False)
    config = {"is_encoder_decoder": True, "decoder_start_token_id": START, "eos_token_id": 1}
    config["max_position_embeddings"] = LONGEST
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "generation_config.json").write_text(json.dumps({"forced_bos_token_id": FORCED}))
    return _save(folder, "openvino_decoder_model.xml", has_encoder=True)


def _parameter(name: str, shape: list[int], element_type: ov.Type) -> ov.Node:
    parameter = ops.parameter(shape, element_type, name=name)
    parameter.output(0).get_tensor().set_names({name})
    return parameter


def _save(folder: Path, name: str, has_encoder: bool) -> Path:
    tokens = _parameter("input_ids", [-1, -1], ov.Type.i64)
    beams = _parameter("beam_idx", [-1], ov.Type.i32)
    inputs = [tokens, beams]
    axis = ops.constant(0, dtype=ov.Type.i64)
    embedded = ops.gather(ops.constant(_EMBEDDINGS), tokens, axis)
    zeros = ops.multiply(ops.reduce_sum(embedded, [1], False), ops.constant(np.float32(0)))
    past = ops.read_value(zeros, "state", ov.Type.f32, ov.PartialShape([-1, HIDDEN_SIZE]))
    ordered = ops.gather(past, beams, axis)
    num_tokens = ops.gather(ops.shape_of(embedded), ops.constant([1]), axis)
    is_single = ops.convert(ops.equal(num_tokens, ops.constant([1])), ov.Type.f32)
    kept = ops.multiply(ordered, ops.multiply(is_single, ops.constant(np.float32(DECAY))))
    state = ops.add(kept, ops.reduce_sum(embedded, [1], False))
    nothing = ops.multiply(embedded, ops.constant(np.float32(0)))
    hidden = ops.add(nothing, ops.unsqueeze(state, [1]))
    if has_encoder:
        inputs.append(_parameter("encoder_hidden_states", [-1, -1, HIDDEN_SIZE], ov.Type.f32))
        hidden = ops.add(hidden, ops.reduce_sum(inputs[-1], [1], True))
    logits = ops.matmul(hidden, ops.constant(_HEAD), False, True)
    result = ops.result(logits)
    result.output(0).get_tensor().set_names({"logits"})
    model = ov.Model([result], [ops.assign(state, "state")], inputs, "recurrent")
    folder.mkdir(parents=True, exist_ok=True)
    ov.save_model(model, folder / name, compress_to_fp16=False)
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
    return _continue(list(prompt), num_tokens, np.zeros(VOCAB_SIZE, np.float32))


def expected_decoder_answer(prompt: list[int], num_tokens: int) -> list[int]:
    """The greedy tokens of the decoder for the encoder's prompt."""
    return _continue([START, FORCED], num_tokens, _HEAD @ _EMBEDDINGS[prompt].sum(axis=0))


def _continue(tokens: list[int], num_tokens: int, added: npt.NDArray[np.float32]) -> list[int]:
    begin = len(tokens)
    for _ in range(num_tokens):
        tokens.append(int((expected_logits(tokens)[-1] + added).argmax()))
    return tokens[begin:]
