"""Quantises the weights and the activations of an exported model to int8, in its folder.

It runs as a process of its own, like the converter, and imports nothing of this project, so that it
runs from any folder.
"""

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

MODEL_FILE = "openvino_model.xml"
SEED = 0
NUM_SAMPLES = 128
MAX_SAMPLE_TOKENS = 512
# NNCF's default of 0.95 moves nearly all of the activations' range into the weights, which hurts
# decoders: on the bundled model perplexity rises by 4.4%, with the 0.5 of the paper
# (https://arxiv.org/abs/2211.10438) by 0.2%.
SMOOTH_QUANT_ALPHA = 0.5
GENERATED_TOKENS = 64
BATCH_SIZE = 32
# Typical questions: their answers show typical activations.
SEED_PROMPTS = (
    "What is the capital of France?",
    "Tell me a story about a fox.",
    "How are you today?",
    "What is 12 plus 7? Explain each step.",
    "Write a short letter to a friend about the summer.",
    "List five animals and say what they eat.",
    "What can you do for me?",
    "Explain why the sky is blue to a child.",
    "Write a Python function that reverses a list.",
    "Summarise how a bill becomes a law.",
    "Translate to German: The train leaves at noon.",
    "Give me a recipe for a soup, with the amounts.",
    "Who wrote Hamlet, and when?",
    "Answer in JSON: a person's name, age and city.",
    "Was ist der Unterschied zwischen Wetter und Klima?",
    "Compare two ways of heating a house in a table.",
)
# Turns before a question: long chats and tool calls have other activations.
EXCHANGES = (
    ("My name is Anna.", "Nice to meet you, Anna. What can I do for you?"),
    ("What is 8 times 9?", "8 times 9 is 72."),
    ("Count from 1 to 10.", "1, 2, 3, 4, 5, 6, 7, 8, 9, 10."),
    ("Name three colours.", "Red, green and blue."),
)
TOOL_PROMPTS = (
    "What is the weather in Paris?",
    "Add dinner with Tom to my calendar, Friday at 19:00.",
    "Is it warmer in Rome or in Oslo today?",
    "Thank you, that is all.",
)
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Tell the weather of a city.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        },
    },
    {
        "type": "function",
        "function": {
            "name": "add_event",
            "description": "Put an event into the calendar.",
            "parameters": {
                "type": "object",
                "properties": {"title": {"type": "string"}, "time": {"type": "string"}},
                "required": ["title", "time"],
            },
        },
    },
]
TOOL_CALL = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {
            "type": "function",
            "id": "call00001",
            "function": {"name": "get_weather", "arguments": {"city": "Paris"}},
        }
    ],
}
TOOL_ANSWER = {
    "role": "tool",
    "tool_call_id": "call00001",
    "name": "get_weather",
    "content": '{"temperature": 18, "sky": "clear"}',
}


def main() -> None:
    """Run the command line."""
    args = _parse_args()
    import numpy as np
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(
        args.model, padding_side="left", trust_remote_code=args.trust_remote_code
    )
    if args.samples:
        given = json.loads(args.samples.read_text())[: args.num_samples]
        samples = [encode(tokenizer, sample) for sample in given]
    else:
        samples = _generate(args, tokenizer)
    print(f"calibrating on {len(samples)} samples, {sum(map(len, samples))} tokens", flush=True)
    _quantize(args, [np.array([sample], np.int64) for sample in samples])


def _parse_args() -> argparse.Namespace:
    """The flags after --samples mean what they mean to optimum."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("model", type=Path)
    parser.add_argument("--samples", type=Path)
    parser.add_argument("--trust-remote-code", action="store_true")
    parser.add_argument("--sym", action="store_true")
    parser.add_argument("--num-samples", type=_sample_count, default=NUM_SAMPLES)
    parser.add_argument("--smooth-quant-alpha", type=_alpha, default=SMOOTH_QUANT_ALPHA)
    return parser.parse_args()


def _sample_count(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= 100_000:
        raise argparse.ArgumentTypeError(f"must be a number from 1 to 100000, found {text!r}")
    return int(text)


def _alpha(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0
    if value != -1 and not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"must be above 0, at most 1, or -1 (off), found {text!r}")
    return value


def encode(tokenizer: Any, sample: dict[str, Any]) -> list[int]:
    """The ids of one sample of the user's file."""
    try:
        content = sample["content"]
        is_chat = not isinstance(content, str)
        text = tokenizer.apply_chat_template(content, tokenize=False) if is_chat else content
        ids: list[int] = tokenizer(text, add_special_tokens=not is_chat)["input_ids"]
    # A template is code of the model's author; it may raise anything.
    except Exception as error:
        _fail(f"line {sample['line']}: {type(error).__name__}: {error}")
    if not ids:
        _fail(f"line {sample['line']}: the tokenizer gives no tokens")
    return ids[:MAX_SAMPLE_TOKENS]


def _fail(message: str) -> NoReturn:
    sys.exit(f"calibration: {' '.join(message.split())}")


def _generate(args: argparse.Namespace, tokenizer: Any) -> list[list[int]]:
    """The model's own answers, sampled, together with their prompts."""
    from optimum.intel import OVModelForCausalLM
    from transformers import set_seed

    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)
    model = OVModelForCausalLM.from_pretrained(args.model, trust_remote_code=args.trust_remote_code)
    ends = {tokenizer.pad_token_id, *_as_list(model.generation_config.eos_token_id)}
    prompts, is_chat = render_seeds(tokenizer)
    texts = [prompts[i % len(prompts)] for i in range(args.num_samples)]
    samples = []
    set_seed(SEED)
    for begin in range(0, len(texts), BATCH_SIZE):
        part = texts[begin : begin + BATCH_SIZE]
        inputs = tokenizer(
            part,
            return_tensors="pt",
            padding=True,
            add_special_tokens=not is_chat,
            return_token_type_ids=False,
        )
        # Sample from the whole distribution, whatever generation_config.json says.
        tokens = model.generate(
            **inputs,
            max_new_tokens=GENERATED_TOKENS,
            do_sample=True,
            num_beams=1,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            pad_token_id=tokenizer.pad_token_id,
        )
        num_prompt = inputs["input_ids"].shape[1]
        for row, mask in zip(tokens.tolist(), inputs["attention_mask"].tolist(), strict=True):
            answer = until_end(row[num_prompt:], ends)
            samples.append([*row[mask.index(1) : num_prompt], *answer])
    return samples


def render_seeds(tokenizer: Any) -> tuple[list[str], bool]:
    """The seeds as chats if the model's template supports them, else the plain questions."""
    texts = []
    for chat, tools in seed_chats():
        # There is no template, or it does not support tools.
        with contextlib.suppress(Exception):
            text = tokenizer.apply_chat_template(
                chat, tools=tools, add_generation_prompt=True, tokenize=False
            )
            texts.append(text)
    # A template that ignores the tools gives the same text twice.
    return (list(dict.fromkeys(texts)), True) if texts else (list(SEED_PROMPTS), False)


def seed_chats() -> Iterator[tuple[list[dict[str, Any]], list[dict[str, Any]] | None]]:
    """The messages and the tools of each chat."""
    for prompt in SEED_PROMPTS:
        yield [_message("user", prompt)], None
    for prompt in TOOL_PROMPTS:
        yield [_message("user", prompt)], TOOLS
    before: list[dict[str, Any]] = []
    for (question, answer), prompt in zip(EXCHANGES, SEED_PROMPTS, strict=False):
        before = [*before, _message("user", question), _message("assistant", answer)]
        yield [*before, _message("user", prompt)], None
        yield [*before, _message("user", prompt)], TOOLS
    yield [_message("user", TOOL_PROMPTS[0]), TOOL_CALL, TOOL_ANSWER], TOOLS


def _message(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "content": content}


def _as_list(value: Any) -> list[int]:
    return value if isinstance(value, list) else [] if value is None else [value]


def until_end(tokens: Sequence[int], ends: set[int]) -> Iterator[int]:
    for token in tokens:
        yield token
        if token in ends:
            return


def _quantize(args: argparse.Namespace, samples: list[Any]) -> None:
    """Layers get int8 weights and activations; the head and the embedding only int8 weights.

    The last matrix product decides on the token, and its int8 weights are also the embedding's.
    """
    import nncf
    import openvino as ov
    from optimum.intel import OVConfig, OVQuantizationConfig

    model = ov.Core().read_model(args.model / MODEL_FILE)
    config = OVQuantizationConfig(
        sym=args.sym,
        num_samples=len(samples),
        smooth_quant_alpha=args.smooth_quant_alpha,
        ignored_scope={"names": _readers_of_head_weights(model)},
    )
    names = {port.get_any_name() for port in model.inputs}
    dataset = nncf.Dataset(samples, lambda ids: model_inputs(ids, names))
    quantized = nncf.quantize(model, dataset, **config.to_nncf_dict())
    nncf.compress_weights(quantized, mode=nncf.CompressWeightsMode.INT8_SYM)
    new = args.model / "quantized.xml"
    ov.save_model(quantized, new, compress_to_fp16=False)
    for suffix in (".xml", ".bin"):
        new.with_suffix(suffix).replace((args.model / MODEL_FILE).with_suffix(suffix))
    OVConfig(quantization_config=config).save_pretrained(args.model)


def _readers_of_head_weights(model: Any) -> list[str]:
    """The last matrix product, and the embedding where it has the same weights."""
    node = model.output("logits").get_node()
    while node.get_type_name() != "MatMul":
        node = node.input_value(0).get_node()
    weights = node.input_value(1).get_node()
    while weights.get_input_size():
        weights = weights.input_value(0).get_node()
    return list(_readers(weights))


def _readers(node: Any) -> Iterator[str]:
    """The operations that use a value, after its conversion from f16 if there is one."""
    for port in node.output(0).get_target_inputs():
        reader = port.get_node()
        if reader.get_type_name() == "Convert":
            yield from _readers(reader)
        else:
            yield reader.get_friendly_name()


def model_inputs(ids: Any, names: set[str]) -> dict[str, Any]:
    import numpy as np

    inputs = {
        "input_ids": ids,
        "attention_mask": np.ones_like(ids),
        "position_ids": np.arange(ids.shape[1])[None],
        "beam_idx": np.zeros(1, np.int32),
    }
    return {name: value for name, value in inputs.items() if name in names}


if __name__ == "__main__":
    main()
