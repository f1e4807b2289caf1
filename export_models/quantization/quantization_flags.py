"""The flags in --extra_quantization_params that --quant_mode takes."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from server.errors import ExportError

__all__ = ["QuantizationFlags"]

# NNCF's default of 0.95 moves nearly all of the activations' range into the weights, which hurts
# decoders: on the bundled model perplexity rises by 4.4%, with the 0.5 of the paper
# (https://arxiv.org/abs/2211.10438) by 0.2%.
SMOOTH_QUANT_ALPHA = 0.5


@dataclass(frozen=True)
class QuantizationFlags:
    """They mean what they mean to optimum.

    Without `num_samples` all texts of a file are taken, and one answer to each prompt.
    """

    sym: bool
    num_samples: int | None
    smooth_quant_alpha: float

    @classmethod
    def parse(cls, words: Sequence[str]) -> "QuantizationFlags":
        """Read the flags. Raises ExportError for others."""
        parser = _Parser(allow_abbrev=False, add_help=False)
        parser.add_argument("--sym", action="store_true")
        parser.add_argument("--num-samples", type=_sample_count)
        parser.add_argument("--smooth-quant-alpha", type=_alpha, default=SMOOTH_QUANT_ALPHA)
        return cls(**vars(parser.parse_args(words)))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ExportError(f"--extra_quantization_params of --quant_mode: {message}")


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
