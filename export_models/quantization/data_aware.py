"""Which of optimum's flags in --extra_quantization_params need texts, and where those come from."""

import importlib.util
from collections.abc import Sequence

from server.errors import ExportError

__all__ = ["check_data_flags", "needs_download"]

NEED_TEXTS = ("--scale-estimation", "--gptq", "--lora-correction")
OWN_TEXTS = "auto"


def needs_download(words: Sequence[str]) -> bool:
    """Whether texts come from the Hub."""
    return _value(words, "--dataset") not in (None, OWN_TEXTS)


def check_data_flags(words: Sequence[str]) -> None:
    """Raise ExportError where optimum would find out only after the conversion."""
    dataset = _value(words, "--dataset")
    if dataset is None:
        for flag in NEED_TEXTS:
            if flag in words:
                raise ExportError(
                    f"--extra_quantization_params: {flag} compares effects on texts and "
                    f"needs --dataset: {OWN_TEXTS} (texts that the model writes), or one that is "
                    "downloaded, such as wikitext2"
                )
    elif dataset != OWN_TEXTS and importlib.util.find_spec("datasets") is None:
        raise ExportError(
            f"--extra_quantization_params: --dataset {dataset} is downloaded with the Python "
            f"package 'datasets', which is missing: pip install datasets, or use {OWN_TEXTS}"
        )


def _value(words: Sequence[str], flag: str) -> str | None:
    for index, word in enumerate(words):
        if word.startswith(f"{flag}="):
            return word.partition("=")[2]
        if word == flag:
            return words[index + 1] if index + 1 < len(words) else ""
    return None
