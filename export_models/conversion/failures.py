"""What a converter's failure means to the person who started it."""

import re
import signal
from importlib.metadata import version

from export_models.conversion.tool import ToolResult
from export_models.source import Source
from server.host.openvino_errors import error_summary

__all__ = ["explain_failure", "find_random_weights"]

NO_DISK = "the disk is full; an export needs space for the model twice"
NO_MEMORY = (
    "not enough memory; an export holds the whole model, with 2 to 4 bytes for each parameter"
)
NO_HUB = (
    "there is no such folder, and the Hugging Face Hub has no such model or cannot be reached; "
    "check the spelling and the network, and set HF_TOKEN if the model is private"
)
GATED = "the model's terms must be accepted first: do that on its page on the Hub, and set HF_TOKEN"
TOO_MANY_REQUESTS = "the Hub refuses more downloads for now: wait, or log in with HF_TOKEN"
REMOTE_CODE = (
    "the model contains Python code, which would run on this machine; "
    "add --trust_remote_code if you trust it"
)
NEEDS_PACKAGE = "the converter needs the Python package {0!r}: pip install {0}"
NO_TOKENIZER = (
    "the tokenizer's file cannot be read: it is cut, of an unknown kind, or needs a Python package "
    "that is missing: pip install sentencepiece tiktoken"
)

# Patterns in the tool's output and what they mean, the most specific first. `{0}` and `{1}` are
# groups of the pattern, `{transformers}` is a version.
FAILURES = {
    r"^calibration: (.+)": "--calibration_file: {0}",
    r"^generation: (.+)": (
        "the model cannot generate texts to measure activations on; give some with "
        "--calibration_file: {0}"
    ),
    r"No space left on device|disk quota exceeded|File too large|iostream error": NO_DISK,
    r"\bMemoryError\b|bad_alloc|can(?:'t|not) allocate memory|out of memory": NO_MEMORY,
    r"-- No conversion rule found for operations?: (.+)": (
        "OpenVINO has no conversion for these operations of the model: {0}"
    ),
    r"-- Conversion is failed for: (.+)": "OpenVINO cannot convert {0}, as the model uses them",
    r"model type `([^`]*)` but Transformers does not recognize": (
        "the architecture {0!r} is unknown to transformers {transformers}; a later one may know "
        "it: pip install 'transformers<5.6'"
    ),
    r"Minimum required is (\S+), got: (\S+)": (
        "this architecture needs transformers {0} or later, and {1} is installed: "
        "pip install 'transformers>={0}'"
    ),
    r"Maximum required is (\S+), got: (\S+)": (
        "this architecture can be exported with transformers up to {0}, and {1} is installed: "
        "pip install transformers=={0}"
    ),
    r"Trying to export an? (\S+) model, that is a custom or unsupported": (
        "the architecture {0!r} cannot be exported by this version of optimum-intel"
    ),
    r"Asked to export an? (\S+) model for the task \S+ .* only supports the tasks (.+?) for ": (
        "a {0!r} model does not generate text; its tasks are: {1}"
    ),
    r"trust.remote.code=True|requires you to execute": REMOTE_CODE,
    r"gated repo|GatedRepoError|Access to model \S+ is restricted": GATED,
    r"429 Client Error|Too Many Requests": TOO_MANY_REQUESTS,
    r"Repository ?Not ?Found|not a valid model identifier|Can't load the config"
    r"|couldn't connect to|Connect(?:ion)?Error|(?:Connect|Read)Timeout|ProxyError|SSLError"
    r"|Local ?Entry ?Not ?Found|OfflineModeIsEnabled": NO_HUB,
    r"name '(?:QuantizeConfig|GPTQModel)' is not defined": NEEDS_PACKAGE.format("gptqmodel"),
    r"No package metadata was found for (\S+)": NEEDS_PACKAGE,
    r"No module named '([^']+)'": NEEDS_PACKAGE,
    r"requires the (?:SentencePiece|tiktoken) library"
    r"|Converting from SentencePiece and Tiktoken failed": NO_TOKENIZER,
    r"(?:SafetensorError|PytorchStreamReader|UnpicklingError).*": (
        "a file of weights cannot be read: {match}"
    ),
    r"JSONDecodeError: (.+)": "a JSON file of the model is cut or broken: {0}",
    r"size mismatch for .*": "the weights do not fit config.json: {match}",
    r"calibration: (.+)": "--calibration_file: {0}",
    r"\w+: error: (.+)": "the converter refused --extra_quantization_params: {0}",
}
TRACEBACK = "Traceback (most recent call last)"
# What a traceback shows of the converter's source code, whose words explain nothing.
FRAME = re.compile(r"^  File .*\n(?:    .*\n)*", re.MULTILINE)
EXCEPTION = re.compile(r"^(?:\w+\.)*[A-Z]\w+(?:: .*)?$", re.MULTILINE)
RANDOM_WEIGHTS = re.compile(r"not initialized from the model checkpoint .*: (\[.*\])")
# Tables that transformers computes, and that few checkpoints hold.
COMPUTED = ("inv_freq", "masked_bias")
MAX_REASON_CHARS = 300
MAX_TAIL_CHARS = 2000


def explain_failure(result: ToolResult, source: Source) -> str:
    """One line that says what went wrong."""
    method = source.quantization
    if method is None or result.return_code < 0:
        return f"{source.text}: {_reason(result)}"
    return (
        f"{source.text}: {_reason(result)}; its weights are quantized already ({method}): export "
        "the model that it was made of if this one cannot be read"
    )


def find_random_weights(log: str, unused: str = "") -> str | None:
    """The weights that the checkpoint lacks and that were made up; None where all were there.

    Those of the module `unused` do not count: nothing that is exported depends on it.
    """
    match = RANDOM_WEIGHTS.search(log)
    names = re.findall(r"'([^']+)'", match[1]) if match else []
    missing = [name for name in names if not name.endswith(COMPUTED)]
    if unused:
        missing = [name for name in missing if unused not in name.split(".")]
    return _shorten(", ".join(missing)) or None


def _reason(result: ToolResult) -> str:
    if result.return_code == -signal.SIGKILL:
        return f"the converter was killed, probably by the system: {NO_MEMORY}"
    if result.return_code < 0:
        return f"the converter was ended by {signal.Signals(-result.return_code).name}"
    # Only what follows the traceback: a warning before it may contain the same words.
    _, traceback, rest = result.log.partition(TRACEBACK)
    output = FRAME.sub("", rest) if traceback else result.log[-MAX_TAIL_CHARS:]
    for pattern, meaning in FAILURES.items():
        if match := re.search(pattern, output, re.IGNORECASE | re.MULTILINE):
            groups = (group for group in match.groups() if group)
            return _shorten(
                meaning.format(*groups, match=match[0], transformers=version("transformers"))
            )
    return _last_exception(output) or f"the converter failed with exit code {result.return_code}"


def _last_exception(output: str) -> str | None:
    """The exception that ended the tool, with its whole message."""
    last = output.rpartition(TRACEBACK)[2]
    match = EXCEPTION.search(last)
    return _shorten(error_summary(last[match.start() :])) if match else None


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_REASON_CHARS else f"{text[:MAX_REASON_CHARS]}..."
