from pathlib import Path

import pytest

from export_models.converter_failures import explain_failure
from export_models.source import Source, SourceKind
from export_models.tool import ToolResult

SOURCE = Source("org/model", SourceKind.CHECKPOINT_HUB)
TRACEBACK = "Traceback (most recent call last):\n  File x\n"


@pytest.mark.parametrize(
    ("log", "message"),
    [
        ("OSError: [Errno 28] No space left on device: 'x'", "the disk is full"),
        ("RuntimeError: basic_ios::clear: iostream error", "the disk is full"),
        ("MemoryError", "not enough memory"),
        ("RuntimeError: std::bad_alloc", "not enough memory"),
        ("OSError: You are trying to access a gated repo.", "terms must be accepted"),
        ("OSError: We couldn't connect to 'https://huggingface.co'", "set HF_TOKEN"),
        (
            "Error: Local entry not found. [Errno 111]",
            "there is no such folder, and the Hugging Face",
        ),
        ("ModuleNotFoundError: No module named 'datasets'", "pip install datasets"),
        ("ValueError: set the option `trust_remote_code=True`", "add --trust_remote_code"),
        (
            "ValueError: Trying to export a foo model, that is a custom or unsupported "
            "architecture, but",
            "the architecture 'foo' cannot be exported",
        ),
        (
            "ValueError: The current version of Transformers does not allow for the export of the "
            "model. Minimum required is 5.0, got: 4.57.6",
            "pip install 'transformers>=5.0'",
        ),
        (
            "ValueError: The current version of Transformers does not allow for the export of the "
            "model. Maximum required is 4.53.3, got: 4.57.6",
            "pip install transformers==4.53.3",
        ),
        (
            "ValueError: The checkpoint has model type `gemma9` but Transformers does not "
            "recognize this architecture",
            "the architecture 'gemma9' is unknown to transformers",
        ),
        ("KeyError: 'a'\nValueError: something else", "ValueError: something else"),
        ("nothing that is known", "the converter failed with exit code 1"),
    ],
)
def test_meaning(log: str, message: str) -> None:
    assert message in explain_failure(ToolResult(1, TRACEBACK + log, Path("log")), SOURCE)


def test_a_warning_before_the_failure_does_not_explain_it() -> None:
    log = f"ModuleNotFoundError: No module named 'flash'\n{'x' * 3000}\n{TRACEBACK}ValueError: no"
    assert explain_failure(ToolResult(1, log, Path("log")), SOURCE) == "org/model: ValueError: no"


@pytest.mark.parametrize(("code", "message"), [(-9, "not enough memory"), (-11, "SIGSEGV")])
def test_signal(code: int, message: str) -> None:
    assert message in explain_failure(ToolResult(code, "", Path("log")), SOURCE)


def test_refused_flag() -> None:
    log = "usage: optimum-cli\noptimum-cli: error: unrecognized arguments: --foo"
    explained = explain_failure(ToolResult(2, log, Path("log")), SOURCE)
    assert explained.endswith("refused --extra_quantization_params: unrecognized arguments: --foo")
