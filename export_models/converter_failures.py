"""What a converter's failure means to the person who started it."""

import re
import signal
from importlib.metadata import version

from export_models.source import Source
from export_models.tool import ToolResult

__all__ = ["explain_failure"]

NO_DISK = "the disk is full; an export needs space for the model twice"
NO_MEMORY = (
    "not enough memory; an export holds the whole model, with 2 to 4 bytes for each parameter"
)
NO_HUB = (
    "there is no such folder, and the Hugging Face Hub has no such model or cannot be reached; "
    "check the spelling and the network, and set HF_TOKEN if the model is private"
)
GATED = "the model's terms must be accepted first: do that on its page on the Hub, and set HF_TOKEN"
REMOTE_CODE = (
    "the model contains Python code, which would run on this machine; "
    "add --trust_remote_code if you trust it"
)

# Patterns in the tool's output and what they mean, the most specific first. `{0}` and `{1}` are
# groups of the pattern, `{transformers}` is a version.
FAILURES = {
    r"^calibration: (.+)": "--calibration_file: {0}",
    r"No space left on device|disk quota exceeded|File too large|iostream error": NO_DISK,
    r"\bMemoryError\b|bad_alloc|can't allocate memory|out of memory": NO_MEMORY,
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
    r"gated repo|GatedRepoError": GATED,
    r"Repository ?Not ?Found|not a valid model identifier|Can't load the config"
    r"|couldn't connect to|ConnectError|ConnectTimeout|Local ?Entry ?Not ?Found": NO_HUB,
    r"No module named '([^']+)'": "the converter needs the Python package {0!r}: pip install {0}",
    r"(?:SafetensorError|PytorchStreamReader|UnpicklingError).*": (
        "a file of weights cannot be read: {match}"
    ),
    r"calibration: (.+)": "--calibration_file: {0}",
    r"\w+: error: (.+)": "the converter refused --extra_quantization_params: {0}",
}
EXCEPTION = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception): .+", re.MULTILINE)
TRACEBACK = "Traceback (most recent call last)"
MAX_REASON_CHARS = 300
MAX_TAIL_CHARS = 2000


def explain_failure(result: ToolResult, source: Source) -> str:
    """One line that says what went wrong."""
    return f"{source.text}: {_reason(result)}"


def _reason(result: ToolResult) -> str:
    if result.return_code == -signal.SIGKILL:
        return f"the converter was killed, probably by the system: {NO_MEMORY}"
    if result.return_code < 0:
        return f"the converter was ended by {signal.Signals(-result.return_code).name}"
    # Only what follows the traceback: a warning before it may contain the same words.
    _, traceback, rest = result.log.partition(TRACEBACK)
    output = rest if traceback else result.log[-MAX_TAIL_CHARS:]
    for pattern, meaning in FAILURES.items():
        if match := re.search(pattern, output, re.IGNORECASE | re.MULTILINE):
            return _shorten(
                meaning.format(
                    *match.groups(), match=match[0], transformers=version("transformers")
                )
            )
    exceptions = EXCEPTION.findall(output)
    if exceptions:
        return _shorten(exceptions[-1])
    return f"the converter failed with exit code {result.return_code}"


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_REASON_CHARS else f"{text[:MAX_REASON_CHARS]}..."
