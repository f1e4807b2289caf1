"""The flags of a single model without a graph: keys of its entry in config.json, one by one."""

import argparse
import json
from collections.abc import Callable
from typing import Any

__all__ = ["add_model_flags"]

# What the values mean, and which are possible, is the business of server.classic_config.
FLAGS = {
    "--batch_size": "4, 1:4 or auto",
    "--layout": "NHWC:NCHW, or a JSON object with one for each tensor",
    "--model_version_policy": 'JSON, for example {"latest": {"num_versions": 2}}',
    "--nireq": "how many requests run at once",
    "--plugin_config": "JSON object of OpenVINO properties",
    "--shape": "(1,3,224,224), or a JSON object with one for each input",
}


def add_model_flags(add: Callable[..., object]) -> None:
    """Add them; what they say comes together as `model_keys`."""
    for flag, help_text in FLAGS.items():
        add(flag, action=_ModelFlag, help=f"{help_text}; see the README")


class _ModelFlag(argparse.Action):
    def __init__(self, option_strings: list[str], dest: str, help: str) -> None:
        self._key = dest
        super().__init__(option_strings, "model_keys", default={}, metavar="VALUE", help=help)

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        namespace.model_keys = {**namespace.model_keys, self._key: _value(values)}


def _value(text: str) -> object:
    """An object, a number, or the text itself."""
    if text.isascii() and text.isdigit() and len(text) <= 18:
        return int(text)
    if text.lstrip().startswith("{"):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            pass
    return text
