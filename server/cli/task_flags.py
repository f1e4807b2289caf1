"""The flags of an export that only some tasks have, and their form in `export_model`."""

import argparse
from collections.abc import Sequence
from typing import Any

from server.errors import ConfigError
from server.models.tasks import (
    EMBEDDINGS,
    IMAGE_GENERATION,
    RERANK,
    SPEECH_TO_TEXT,
    TEXT_GENERATION,
    TEXT_TO_SPEECH,
    Task,
)
from server.terminal.export_help import EXPORT_HELP, TASK_HELP
from server.terminal.flag_parser import AddFlag, Switch, boolean

__all__ = ["TaskFlags", "add_task_flags", "exporter_flags"]

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
}
SWITCH_HELP = {
    "--normalize": "Scale the vectors of texts to the length 1: true or false (default: true).",
    "--truncate": "Cut texts that are too long, instead of refusing them: true or false (default: "
    "false).",
    "--dynamic_split_fuse": "Split prompts into chunks and mix them with decoding (default: true).",
    "--enable_word_timestamps": "Let requests ask when each word begins and ends: true or false "
    "(default: false).",
}
TASKS_OF: dict[str, tuple[Task, ...]] = {
    **{flag: (TEXT_GENERATION,) for flag in EXPORT_HELP if flag not in COMMON},
    "--dynamic_split_fuse": (TEXT_GENERATION,),
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

TaskFlags = tuple[tuple[str, str], ...]
"""Flags with their values, as the command line has them."""


def exporter_flags(flags: TaskFlags, task: Task) -> Sequence[str]:
    """The same flags of `export_model`. Raises ConfigError for one of another task."""
    for flag, _ in flags:
        tasks = [possible.name for possible in TASKS_OF.get(flag, (task,))]
        if task.name not in tasks:
            raise ConfigError(f"{flag} is for {' and '.join(tasks)}; this model is for {task.name}")
    return [text for text in (_exporter_flag(*flag) for flag in flags) if text]


def _exporter_flag(flag: str, value: str) -> str:
    if flag in SWITCHES:
        if_true, if_false = SWITCHES[flag]
        return if_true if boolean(value) else if_false
    # With "=", because a value may begin with a dash.
    return f"{flag}={value}"


def add_task_flags(add: AddFlag) -> None:
    """Add them, with those that all tasks have."""
    for flag, text in EXPORT_HELP.items():
        add(flag, action=_TaskFlag, help=text)
    for flag, text in SWITCH_HELP.items():
        add(flag, action=_TaskSwitch, help=_with_task(flag, text))
    for flag, text in TASK_HELP.items():
        add(flag, action=_TaskFlag, help=_with_task(flag, text))


def _with_task(flag: str, text: str) -> str:
    tasks = TASKS_OF[flag]
    return f"{text} For {', '.join(task.name for task in tasks)}."


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
