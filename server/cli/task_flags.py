"""The flags that only some tasks have: their form in `export_model`, and in a graph in memory."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from server.errors import ConfigError
from server.models.classic_model import find_versions
from server.models.config import ServerConfig
from server.models.tasks import (
    EMBEDDINGS,
    IMAGE_GENERATION,
    RERANK,
    SPEECH_TO_TEXT,
    TEXT_GENERATION,
    TEXT_TO_SPEECH,
    Task,
    find_task,
    task_named,
)
from server.terminal.export_help import EXPORT_HELP, TASK_HELP
from server.terminal.flag_parser import AddFlag, Switch, boolean
from server.terminal.flag_values import at_least, number

__all__ = ["GRAPH_FLAGS", "TaskFlags", "add_task_flags", "exporter_flags", "graph_keys"]

COMMON = ("--weight-format", "--extra_quantization_params")
IMAGES = (
    "--resolution",
    "--guidance_scale",
    "--num_images_per_prompt",
    "--max_resolution",
    "--default_resolution",
    "--max_num_images_per_prompt",
    "--default_num_inference_steps",
    "--max_num_inference_steps",
    "--source_loras",
)
# `export_model` has these as switches: the first for true, the second for false.
SWITCHES = {
    "--normalize": ("", "--skip_normalize"),
    "--truncate": ("--truncate", ""),
    "--dynamic_split_fuse": ("", "--disable_dynamic_split_fuse"),
    "--enable_word_timestamps": ("--enable_word_timestamps", ""),
    "--prompt_lookup_decoding": ("--prompt_lookup_decoding", ""),
}
# `export_model` uses a folder with an OpenVINO model where it is.
OTHER_NAMES = {"--draft_model_path": "--draft_source_model"}
SWITCH_HELP = {
    "--normalize": "Scale the vectors of texts to the length 1: true or false (default: true).",
    "--truncate": "Cut texts that are too long, instead of refusing them: true or false (default: "
    "false).",
    "--dynamic_split_fuse": "Split prompts into chunks and mix them with decoding (default: true).",
    "--enable_word_timestamps": "Let requests ask when each word begins and ends: true or false "
    "(default: false).",
    "--prompt_lookup_decoding": "Guess what followed the last tokens where they occurred before: "
    "true or false (default: false).",
}
TASKS_OF: dict[str, tuple[Task, ...]] = {
    **{flag: (TEXT_GENERATION,) for flag in EXPORT_HELP if flag not in COMMON},
    "--dynamic_split_fuse": (TEXT_GENERATION,),
    "--prompt_lookup_decoding": (TEXT_GENERATION,),
    "--draft_model_path": (TEXT_GENERATION,),
    "--num_streams": (EMBEDDINGS, RERANK, IMAGE_GENERATION, TEXT_TO_SPEECH, SPEECH_TO_TEXT),
    "--pooling": (EMBEDDINGS,),
    "--normalize": (EMBEDDINGS,),
    "--truncate": (EMBEDDINGS,),
    "--max_allowed_chunks": (RERANK,),
    **dict.fromkeys(IMAGES, (IMAGE_GENERATION,)),
    "--model_type": (TEXT_TO_SPEECH,),
    "--vocoder": (TEXT_TO_SPEECH,),
    "--enable_word_timestamps": (SPEECH_TO_TEXT,),
}


def _or_default(text: str) -> int | None:
    """A number; 0 leaves the default."""
    return at_least(0)(text) or None


def _folder(text: str) -> str:
    """A folder as the working directory has it, else as the folder of the model has it."""
    path = Path(text).expanduser()
    return str(path.resolve()) if path.is_dir() else text


def _kv_cache_precision(text: str) -> str:
    if text != "u8":
        raise argparse.ArgumentTypeError(f"{text!r} is unknown; possible: 'u8'")
    return text


# Flags that a graph made in memory takes as well: the option of the node, and the value's parser.
OPTIONS: Mapping[str, tuple[str, Callable[[str], object]]] = {
    "--pipeline_type": ("pipeline_type", str),
    "--enable_prefix_caching": ("enable_prefix_caching", boolean),
    "--max_num_batched_tokens": ("max_num_batched_tokens", at_least(1)),
    "--max_num_seqs": ("max_num_seqs", at_least(1)),
    "--cache_size": ("cache_size", at_least(0)),
    "--cache_interval_multiplier": ("cache_interval_multiplier", at_least(1)),
    "--tool_parser": ("tool_parser", str),
    "--reasoning_parser": ("reasoning_parser", str),
    "--enable_tool_guided_generation": ("enable_tool_guided_generation", boolean),
    "--dynamic_split_fuse": ("dynamic_split_fuse", boolean),
    "--draft_model_path": ("draft_models_path", _folder),
    "--pooling": ("pooling", str),
    "--normalize": ("normalize_embeddings", boolean),
    "--truncate": ("truncate", boolean),
    "--max_allowed_chunks": ("max_allowed_chunks", at_least(1)),
    "--resolution": ("resolution", str),
    "--guidance_scale": ("guidance_scale", number),
    "--num_images_per_prompt": ("num_images_per_prompt", at_least(1)),
    "--max_resolution": ("max_resolution", str),
    "--default_resolution": ("default_resolution", str),
    "--max_num_images_per_prompt": ("max_num_images_per_prompt", _or_default),
    "--default_num_inference_steps": ("default_num_inference_steps", _or_default),
    "--max_num_inference_steps": ("max_num_inference_steps", _or_default),
    "--enable_word_timestamps": ("enable_word_timestamps", boolean),
}
# The same for properties of OpenVINO, which are in plugin_config.
PROPERTIES: Mapping[str, tuple[str, Callable[[str], object]]] = {
    "--num_streams": ("NUM_STREAMS", _or_default),
    "--kv_cache_precision": ("KV_CACHE_PRECISION", _kv_cache_precision),
    "--prompt_lookup_decoding": ("prompt_lookup", boolean),
}
GRAPH_FLAGS = frozenset({*OPTIONS, *PROPERTIES})

TaskFlags = tuple[tuple[str, str], ...]
"""Flags with their values, as the command line has them."""


def exporter_flags(flags: TaskFlags, task: Task) -> Sequence[str]:
    """The same flags of `export_model`. Raises ConfigError for one of another task."""
    _check_task(flags, task)
    return [text for text in (_exporter_flag(*flag) for flag in flags) if text]


def graph_keys(
    flags: TaskFlags, config: ServerConfig, keys: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Keys of the single model's entry in config.json: `keys`, and what GRAPH_FLAGS say.

    A property in `keys` takes precedence. Raises ConfigError for a flag of another task, for a
    value that cannot be used, and for a model with a graph.
    """
    model = config.models[0]
    graph = model.find_graph()
    if graph is not None:
        flag, _ = flags[0]
        raise ConfigError(f"{flag} is for a model without a graph; set the option in {graph}")
    versions = find_versions(config).models
    folder = (versions[-1] if versions else model).model_folder or model.base_path
    task = task_named(keys["task"]) if "task" in keys else find_task(folder)
    _check_task(flags, task)
    options, properties = _values(flags, OPTIONS), _values(flags, PROPERTIES)
    added: dict[str, Any] = {"options": options} if options else {}
    given = keys.get("plugin_config", {})
    # Anything else than an object is refused later.
    if properties and isinstance(given, dict):
        added["plugin_config"] = {**properties, **given}
    return {**keys, **added}


def _values(
    flags: TaskFlags, table: Mapping[str, tuple[str, Callable[[str], object]]]
) -> dict[str, object]:
    values: dict[str, object] = {}
    for flag, text in flags:
        if flag in table:
            name, parse = table[flag]
            try:
                values[name] = parse(text)
            except argparse.ArgumentTypeError as error:
                raise ConfigError(f"{flag}: {error}") from error
    return {name: value for name, value in values.items() if value is not None}


def _check_task(flags: TaskFlags, task: Task | None) -> None:
    """Raise ConfigError for a flag of another task; without a task a model takes tensors."""
    for flag, _ in flags:
        tasks = TASKS_OF.get(flag, (task,))
        if task not in tasks:
            names = " and ".join(possible.name for possible in tasks if possible)
            found = task.name if task else "tensors, unless --task says otherwise"
            raise ConfigError(f"{flag} is for {names}; this model is for {found}")


def _exporter_flag(flag: str, value: str) -> str:
    if flag in SWITCHES:
        if_true, if_false = SWITCHES[flag]
        return if_true if boolean(value) else if_false
    # With "=", because a value may begin with a dash.
    return f"{OTHER_NAMES.get(flag, flag)}={value}"


def add_task_flags(add: AddFlag) -> None:
    """Add them, with those that all tasks have."""
    for flag, text in EXPORT_HELP.items():
        add(flag, action=_TaskFlag, help=f"{text}{_scope(flag)}")
    for flag, text in SWITCH_HELP.items():
        add(flag, action=_TaskSwitch, help=_with_task(flag, text))
    for flag, text in TASK_HELP.items():
        add(flag, action=_TaskFlag, help=_with_task(flag, text))


def _with_task(flag: str, text: str) -> str:
    tasks = TASKS_OF[flag]
    return f"{text} For {', '.join(task.name for task in tasks)}.{_scope(flag)}"


def _scope(flag: str) -> str:
    return " Also for a model without graph.pbtxt." if flag in GRAPH_FLAGS else ""


class _TaskFlag(argparse.Action):
    """Keeps the flag as it is; `export_model` checks its value."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:
        super().__init__(option_strings, "task_flags", default=(), metavar="VALUE", help=help)

    def __call__(self, _: object, namespace: argparse.Namespace, values: Any, *__: object) -> None:
        _keep(namespace, self, values)


class _TaskSwitch(Switch):
    """Keeps a flag that is true or false."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:
        super().__init__(option_strings, "task_flags", default=(), metavar="BOOL", help=help)

    def __call__(self, _: object, namespace: argparse.Namespace, values: Any, *__: object) -> None:
        _keep(namespace, self, values)


def _keep(namespace: argparse.Namespace, flag: argparse.Action, value: object) -> None:
    namespace.task_flags = (*namespace.task_flags, (flag.option_strings[0], str(value)))
