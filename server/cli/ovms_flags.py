"""The flags of OpenVINO Model Server that say nothing here.

A start command that is known to work goes on working: what changes nothing for the clients of this
server is taken with a warning. What would be missed is refused, with the reason.
"""

import argparse
import logging
from collections.abc import Sequence
from typing import Any

__all__ = ["add_ovms_flags"]

logger = logging.getLogger(__name__)

NO_GRPC = "there is no gRPC here; REST has all endpoints"
NO_FETCHING = "no media is fetched or read here at all"
IGNORED = {
    "--port": NO_GRPC,
    "--grpc_bind_address": NO_GRPC,
    "--grpc_workers": NO_GRPC,
    "--grpc_max_threads": NO_GRPC,
    "--grpc_memory_quota": NO_GRPC,
    "--grpc_channel_arguments": NO_GRPC,
    "--rest_workers": "one event loop takes any number of requests; max_num_seqs of a graph bounds "
    "how many are computed at once",
    "--custom_node_resources_cleaner_interval_seconds": "there are no custom node libraries",
    "--allowed_media_domains": NO_FETCHING,
    "--allowed_local_media_path": NO_FETCHING,
}

NO_PREPROCESSING = "tensors go into the model as they come; a calculator can change them"
NO_METRICS = "there are no metrics yet"
REFUSED = {
    "--metrics_enable": NO_METRICS,
    "--metrics_list": NO_METRICS,
    "--verbose_response": "answers have no such part",
    "--trace_path": "there is no tracing; --log_level TRACE says most",
    "--cpu_extension": "no libraries are loaded into OpenVINO; a calculator can do what they did",
    "--mean": NO_PREPROCESSING,
    "--scale": NO_PREPROCESSING,
    "--color_format": NO_PREPROCESSING,
    "--precision": NO_PREPROCESSING,
    "--gguf_filename": "GGUF files cannot be exported; name the Hugging Face model they came from",
    "--source_loras": "adapters are not supported",
    "--draft_source_model": "speculative decoding is not supported yet",
    "--vocoder": "only text generation is served",
}


def add_ovms_flags(parser: argparse.ArgumentParser) -> None:
    """Add them; `--help` does not show them."""
    for flag, reason in IGNORED.items():
        parser.add_argument(flag, action=_IgnoredFlag, reason=reason)
    for flag, reason in REFUSED.items():
        parser.add_argument(flag, action=_RefusedFlag, reason=reason)


class _IgnoredFlag(argparse.Action):
    def __init__(self, option_strings: Sequence[str], dest: str, reason: str) -> None:
        self._reason = reason
        super().__init__(
            option_strings, "ignored_flags", default=(), help=argparse.SUPPRESS, metavar="VALUE"
        )

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        line = f"{option_string} has no effect: {self._reason}"
        namespace.ignored_flags = (*namespace.ignored_flags, line)


class _RefusedFlag(argparse.Action):
    def __init__(self, option_strings: Sequence[str], dest: str, reason: str) -> None:
        self._reason = reason
        super().__init__(
            option_strings, argparse.SUPPRESS, nargs="?", help=argparse.SUPPRESS, metavar="VALUE"
        )

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        parser.error(f"{option_string} of Model Server cannot be used here: {self._reason}")
