"""Which contenders take part, and in which variants."""

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from contender import BenchmarkError, Contender
from genai_contender import GenaiContender
from llama_contender import LlamaContender
from measure import log
from server_contender import ServerContender
from vllm_contender import VllmContender

TUNED_CONFIGS = [
    {"DYNAMIC_QUANTIZATION_GROUP_SIZE": "65536", "KV_CACHE_PRECISION": precision}
    for precision in ("u8", "bf16")
]
"""What the server's tuning finds best for int8 exports with AMX; openvino-genai has no tuning."""


@dataclass(frozen=True)
class Entrant:
    """A contender and its variants; the best in a sweep takes part."""

    name: str
    variants: Mapping[str, Contender]


def find_entrants(args: argparse.Namespace) -> list[Entrant]:
    """The installed ones among those asked for; BenchmarkError if there are none.

    What is left out is said together with how to install it.
    """
    makers = {
        "server": _server,
        "openvino-genai": _genai,
        "vllm": _vllm,
        "llama.cpp": _llama,
    }
    entrants = [entrant for name in args.contenders for entrant in makers[name](args)]
    present = []
    for entrant in entrants:
        missing = next(iter(entrant.variants.values())).find_missing()
        if missing is None:
            present.append(entrant)
        else:
            log(f"{entrant.name} is left out: {missing}")
    if not present:
        raise BenchmarkError("no contender is left")
    return present


def _server(args: argparse.Namespace) -> list[Entrant]:
    server = ServerContender(
        model_path=args.model,
        plugin_config=args.plugin_config,
        max_num_batched_tokens=args.max_num_batched_tokens,
        max_num_seqs=args.max_num_seqs,
        cache_size_gb=args.cache_size,
        flags=args.server_flags,
    )
    return [Entrant(server.name, {"as given": server})]


def _genai(args: argparse.Namespace) -> list[Entrant]:
    """One for each model; several properties for a model are its variants."""
    models: list[Path] = args.peer_model or [args.model]
    configs = [*args.peer_plugin_config, *[args.plugin_config] * len(models)]
    if not (args.peer_model or args.peer_plugin_config or args.plugin_config):
        models, configs = models * len(TUNED_CONFIGS), TUNED_CONFIGS
    variants: dict[Path, dict[str, Contender]] = {}
    for model, config in zip(models, configs, strict=False):
        for budget in args.genai_max_num_batched_tokens:
            label = f"{budget} batched tokens"
            if models.count(model) > 1:
                label += f", {json.dumps(config)}"
            variants.setdefault(model, {})[label] = GenaiContender(
                model_path=model,
                plugin_config=config,
                max_num_batched_tokens=budget,
                max_num_seqs=args.max_num_seqs,
                cache_size_gb=args.cache_size,
                name=_genai_name(args, model),
            )
    return [Entrant(_genai_name(args, model), found) for model, found in variants.items()]


def _genai_name(args: argparse.Namespace, model: Path) -> str:
    name = GenaiContender.name
    return name if model == args.model else f"{name} ({model.name})"


def _vllm(args: argparse.Namespace) -> list[Entrant]:
    variants = {
        f"{budget} batched tokens": VllmContender(
            python=args.vllm_python,
            model_path=args.hf_model or args.build_folder / args.shape,
            max_num_batched_tokens=budget,
            cache_size_gb=args.cache_size,
            flags=args.vllm_flags,
        )
        for budget in args.vllm_max_num_batched_tokens
    }
    return [Entrant(VllmContender.name, variants)]


def _llama(args: argparse.Namespace) -> list[Entrant]:
    variants = {
        f"{num_slots} slots": LlamaContender(
            binary=args.llama_server,
            gguf_path=args.gguf or args.build_folder / f"{args.shape}-q8_0.gguf",
            num_slots=num_slots,
            context=args.llama_context,
            flags=args.llama_flags,
        )
        for num_slots in args.llama_slots
    }
    return [Entrant(LlamaContender.name, variants)]
