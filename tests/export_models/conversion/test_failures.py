from pathlib import Path

import pytest

from export_models.conversion.failures import explain_failure, find_random_weights
from export_models.conversion.tool import ToolResult
from export_models.source import Source, SourceKind

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
        (
            "openvino._pyopenvino.OpConversionFailure: Check 'false' failed at src/a.cpp:151:\n"
            "FrontEnd API failed with OpConversionFailure:\nModel wasn't fully converted.\n"
            "Summary:\n-- No conversion rule found for operations: aten::eig, aten::foo\n",
            "OpenVINO has no conversion for these operations of the model: aten::eig, aten::foo",
        ),
        ("OSError: [Errno 12] Cannot allocate memory", "not enough memory"),
        ("huggingface_hub.errors.HfHubHTTPError: 429 Client Error: Too", "refuses more downloads"),
        ("requests.exceptions.SSLError: HTTPSConnectionPool", "or cannot be reached"),
        ("NameError: name 'QuantizeConfig' is not defined", "pip install gptqmodel"),
        (
            "metadata.PackageNotFoundError: No package metadata was found for bitsandbytes",
            "pip install bitsandbytes",
        ),
        ("ImportError: an AWQ model requires it (`pip install autoawq`)", "`pip install autoawq`"),
        ("ValueError: Converting from SentencePiece and Tiktoken failed, if", "sentencepiece"),
        ("json.decoder.JSONDecodeError: Expecting ',' delimiter: line 1", "is cut or broken: Exp"),
        (
            "RuntimeError: Error(s) in loading state_dict for Linear:\n"
            "\tsize mismatch for weight: copying a param with shape torch.Size([5])",
            "the weights do not fit config.json: size mismatch for weight: copying",
        ),
        (
            f"ValueError: first\n\nDuring handling it:\n\n{TRACEBACK}"
            "openvino.Strange: Exception from src/x.cpp:3:\nCheck 'a == b' failed at src/b.cpp:4:\n"
            "the rank\nis 3",
            "org/model: openvino.Strange: the rank is 3",
        ),
        ("AssertionError", "org/model: AssertionError"),
        ("nothing that is known", "the converter failed with exit code 1"),
    ],
)
def test_meaning(log: str, message: str) -> None:
    assert message in explain_failure(ToolResult(1, TRACEBACK + log, Path("log")), SOURCE)


def test_source_code_in_a_traceback_explains_nothing() -> None:
    log = f"{TRACEBACK}    except MemoryError:\n    ^^^^\nValueError: no"
    assert explain_failure(ToolResult(1, log, Path("log")), SOURCE) == "org/model: ValueError: no"


def test_quantized_weights_are_named(tmp_path: Path) -> None:
    config = '{"quantization_config": {"quant_method": "gptq"}}'
    (tmp_path / "config.json").write_text(config)
    source = Source("m", SourceKind.CHECKPOINT_FOLDER, tmp_path)
    explained = explain_failure(ToolResult(1, f"{TRACEBACK}ValueError: x", Path("log")), source)
    assert explained.startswith("m: ValueError: x; its weights are quantized already (gptq): ")


def test_weights_that_the_checkpoint_lacks() -> None:
    log = (
        "Some weights of X were not initialized from the model checkpoint at a and are newly "
        "initialized: ['model.up.weight', 'rotary.inv_freq', 'lm_head.weight']\nYou should"
    )
    assert find_random_weights(log) == "model.up.weight, lm_head.weight"
    assert (
        find_random_weights(
            log.replace("model.up.weight', '", "").replace("lm_head.weight", "h.masked_bias")
        )
        is None
    )
    assert find_random_weights("all is well") is None


def test_weights_of_a_module_that_is_not_exported_may_be_missing() -> None:
    log = (
        "Some weights of X were not initialized from the model checkpoint at a and are newly "
        "initialized: ['pooler.dense.bias', 'bert.pooler.dense.weight', 'my_pooler.weight']\nYou"
    )
    assert find_random_weights(log, "pooler") == "my_pooler.weight"


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
