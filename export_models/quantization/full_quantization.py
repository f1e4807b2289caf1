"""`python -m export_models.quantization.full_quantization MODEL TOKENS`: int8 activations.

Quantises the weights and the activations of an exported model to int8, in its folder. TOKENS is a
JSON list of samples, each a list of token ids, on which activations are measured. A process of its
own, like the converter.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nncf
import numpy as np
import openvino as ov
from openvino import opset15 as ops

MODEL_FILE = "openvino_model.xml"
LAST_TOKEN = "calibration_reads_last_token"


def main(arguments: list[str]) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="full_quantization")
    parser.add_argument("model", type=Path)
    parser.add_argument("tokens", type=Path)
    parser.add_argument("--sym", action="store_true")
    parser.add_argument("--smooth-quant-alpha", type=float, required=True)
    values = parser.parse_args(arguments)
    samples = [np.array([ids], np.int64) for ids in json.loads(values.tokens.read_text())]
    _quantize(values, samples)


def _quantize(values: argparse.Namespace, samples: list[Any]) -> None:
    """Layers get int8 weights and activations; the head and the embedding only int8 weights.

    The last matrix product decides on the token, and its int8 weights are also the embedding's.
    """
    from optimum.intel import OVConfig, OVQuantizationConfig

    model = ov.Core().read_model(values.model / MODEL_FILE)
    config = OVQuantizationConfig(
        sym=values.sym,
        num_samples=len(samples),
        smooth_quant_alpha=values.smooth_quant_alpha,
        ignored_scope={"names": _readers_of_head_weights(model)},
    )
    names = {port.get_any_name() for port in model.inputs}
    dataset = nncf.Dataset(samples, lambda ids: model_inputs(ids, names))
    print(f"calibrating on {len(samples)} samples, {sum(ids.size for ids in samples)} tokens")
    read_last_token_only(model)
    quantized = nncf.quantize(model, dataset, **config.to_nncf_dict())
    read_all_tokens(quantized)
    nncf.compress_weights(quantized, mode=nncf.CompressWeightsMode.INT8_SYM)
    new = values.model / "quantized.xml"
    ov.save_model(quantized, new, compress_to_fp16=False)
    for suffix in (".xml", ".bin"):
        new.with_suffix(suffix).replace((values.model / MODEL_FILE).with_suffix(suffix))
    OVConfig(quantization_config=config).save_pretrained(values.model)


def _head(model: ov.Model) -> ov.Node:
    """The matrix product that gives the logits."""
    node = model.output("logits").get_node()
    while node.get_type_name() != "MatMul":
        node = node.input_value(0).get_node()
    return node


def _readers_of_head_weights(model: ov.Model) -> list[str]:
    """The last matrix product, and the embedding where it has the same weights."""
    weights = _head(model).input_value(1).get_node()
    while weights.get_input_size():
        weights = weights.input_value(0).get_node()
    return list(_readers(weights))


def _readers(node: ov.Node) -> Iterator[str]:
    """The operations that use a value, after its conversion from f16 if there is one."""
    for port in node.output(0).get_target_inputs():
        reader = port.get_node()
        if reader.get_type_name() == "Convert":
            yield from _readers(reader)
        else:
            yield reader.get_friendly_name()


def read_last_token_only(model: ov.Model) -> None:
    """Let the head, which is not measured, compute one row of logits instead of a sample's all."""
    head = _head(model)
    last = ops.slice(head.input_value(0), [-1], [np.iinfo(np.int64).max], [1], [-2])
    last.set_friendly_name(LAST_TOKEN)
    head.input(0).replace_source_output(last.output(0))


def read_all_tokens(model: ov.Model) -> None:
    """Undo `read_last_token_only`, in a model that was made of that one."""
    head = _head(model)
    last = head.input_value(0).get_node()
    assert last.get_friendly_name() == LAST_TOKEN, "nothing is inserted around an ignored head"
    head.input(0).replace_source_output(last.input_value(0))


def model_inputs(ids: Any, names: set[str]) -> dict[str, Any]:
    """The inputs of a sample [1, T] of token ids, of those with these names."""
    inputs = {
        "input_ids": ids,
        "attention_mask": np.ones_like(ids),
        "position_ids": np.arange(ids.shape[1])[None],
        "beam_idx": np.zeros(1, np.int32),
    }
    return {name: value for name, value in inputs.items() if name in names}


if __name__ == "__main__":
    main(sys.argv[1:])
