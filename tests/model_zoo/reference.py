"""Makes models of the zoo, with what transformers say of them.

`PYTHONPATH=tests:. python -m model_zoo.reference FOLDER NAME...` needs torch, transformers and
optimum-intel, and nothing that the server needs: some architectures need another version of
transformers than that of its environment. What takes long to import is imported once; each model is
then made in a fork, whose memory is free afterwards.
"""

import json
import logging
import os
import shutil
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from model_zoo.kinds import KINDS
from model_zoo.kinds.sizes import VOCAB_SIZE

PROMPT_LENGTHS = (5, 17, 60, 100, 150)
NUM_TOKENS = 40
TASK, ENCODER_DECODER_TASK = "text-generation-with-past", "text2text-generation-with-past"
GAIN = 1.5
"""How much a matrix enlarges; the usual small weights make all answers alike."""

INT8 = "int8"
ANSWERS = "answers.json"
LOGPROBS = "logprobs.npz"
FAILURE = "failure.txt"
VERSION = "transformers.txt"


def prompts(lengths: Sequence[int] = PROMPT_LENGTHS) -> list[list[int]]:
    """Random tokens, by default of lengths on both sides of windows, chunks and blocks."""
    rng = np.random.default_rng(3)
    return [rng.integers(3, VOCAB_SIZE, length).tolist() for length in lengths]


def main(folder: Path, names: Sequence[str]) -> None:
    """Make each model in a folder of its name; one that fails leaves FAILURE there."""
    _import_all()
    for name in names:
        process = os.fork()
        if process == 0:
            _make_or_explain(name, folder / name)
        os.waitpid(process, 0)


def _import_all() -> None:
    import torch
    import transformers.activations  # noqa: F401

    from export_models.conversion.more_architectures import register

    register()
    # nncf makes its own the class of loggers, which lacks what others call.
    logging.setLoggerClass(logging.Logger)
    # A process with threads cannot fork; the models are too small for several.
    torch.set_num_threads(1)


def _make_or_explain(name: str, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    log = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    try:
        _make(name, folder)
    except BaseException as error:
        traceback.print_exc()
        (folder / FAILURE).write_text(f"{type(error).__name__}: {error}")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _make(name: str, folder: Path) -> None:
    """The IR in f32 and in int8, the greedy answers, and log probabilities of all prompts."""
    import torch
    import transformers
    from optimum.exporters.openvino import main_export

    class_name, arguments = KINDS[name]
    torch.manual_seed(0)
    config_class = getattr(transformers, class_name, None)
    if config_class is None:
        raise LookupError(f"transformers {transformers.__version__} has no {class_name}")
    config = config_class(**arguments)
    has_encoder = config.is_encoder_decoder
    auto: Any = transformers.AutoModelForCausalLM
    if has_encoder:
        auto = transformers.AutoModelForSeq2SeqLM
    model = auto.from_config(config).eval().float()
    source = folder / "source"
    with torch.no_grad():
        for tensor in model.parameters():
            _randomize(tensor)
        if has_encoder:
            # Some positions are parameters, but never saved.
            model.save_pretrained(source)
            model = auto.from_pretrained(source).eval()
        answers = [_generate(model, prompt) for prompt in prompts()]
        logprobs = [_logprobs(model, *pair) for pair in zip(prompts(), answers, strict=True)]
    model.save_pretrained(source)
    task = ENCODER_DECODER_TASK if has_encoder else TASK
    main_export(str(source), folder, task=task, convert_tokenizer=False, stateful=True)
    shutil.rmtree(source)
    if not has_encoder:
        _compress(folder)
    np.savez(folder / LOGPROBS, *logprobs)
    (folder / VERSION).write_text(transformers.__version__)
    (folder / ANSWERS).write_text(json.dumps(answers))


def _randomize(tensor: Any) -> None:
    """Matrices of known gain; scales, biases and sinks a little off what they begin with."""
    if tensor.dim() > 1:
        tensor.normal_(0, GAIN / tensor.shape[-1] ** 0.5)
    else:
        tensor.add_(tensor.new_empty(tensor.shape).normal_(0, 0.2))


def _generate(model: Any, prompt: list[int]) -> list[int]:
    import torch

    tokens = torch.tensor([prompt])
    answer = model.generate(
        tokens,
        attention_mask=torch.ones_like(tokens),
        max_new_tokens=NUM_TOKENS,
        min_new_tokens=NUM_TOKENS,
        do_sample=False,
        pad_token_id=2,
        eos_token_id=None,
    )
    num_before = 1 if model.config.is_encoder_decoder else len(prompt)
    tokens_after: list[int] = answer[0, num_before:].tolist()
    return tokens_after


def _logprobs(model: Any, prompt: list[int], answer: list[int]) -> Any:
    """f32[tokens, vocabulary] of what follows each token of the prompt.

    Where an encoder reads the prompt, it is what follows each token of the decoder.
    """
    import torch

    decoder = {}
    if model.config.is_encoder_decoder:
        begun = [model.config.decoder_start_token_id, *answer[:-1]]
        decoder["decoder_input_ids"] = torch.tensor([begun])
    logits = model(torch.tensor([prompt]), **decoder).logits[0]
    return torch.log_softmax(logits, -1).numpy()


def _compress(folder: Path) -> None:
    """Write the same model with int8 weights."""
    import nncf
    import openvino as ov

    model = ov.Core().read_model(folder / "openvino_model.xml")
    compressed = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_ASYM)
    ov.save_model(compressed, folder / INT8 / "openvino_model.xml", compress_to_fp16=False)
    for path in folder.glob("*.json"):
        shutil.copyfile(path, folder / INT8 / path.name)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
