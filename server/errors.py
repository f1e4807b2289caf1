"""Every error that a user can cause.

ServingError
├── ConfigError                config.json, config.yaml, the command line
│   └── ConfigNotFoundError    the file is not there, or cannot be opened
├── ReloadError                some models could not be reloaded; the server goes on
├── GraphError                 graph.pbtxt
│   ├── GraphParseError        not a text protobuf of the known messages
│   ├── GraphValidationError   parsed, but it cannot work; carries every problem found
│   └── CalculatorOpenError    a node's `open` failed
├── ModelLoadError             a model folder with a missing or unusable file
├── ExportError                export_model could not finish
├── ChatError                  `server chat` got no answer
└── RequestError               one request; the others go on
    ├── InvalidRequestError    a field has a value that cannot be used
    │   ├── ContextLengthError the prompt does not fit the model or its KV cache
    │   └── WrongGraphError    the model's graph takes or gives other packets
    ├── ModelNotFoundError     no such model
    ├── ModelNotReadyError     the model is loading, failed to load, or is shutting down
    ├── OverloadedError        too much at once; `retry_after_s` says when to try again
    │   ├── QueueFullError     too much waits for the model
    │   └── ClientLimitError   this client asks for too much at a time
    ├── NotAllowedError        the API key does not allow it
    ├── GenerationError        the engine failed while it worked on the request
    └── NodeHungError          a node worked on the request for too long, and was given up

A message says where, what was found, and what was possible. An `assert` elsewhere means a bug.
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

__all__ = [
    "CalculatorOpenError",
    "ChatError",
    "ClientLimitError",
    "ConfigError",
    "ConfigNotFoundError",
    "ContextLengthError",
    "ExportError",
    "GenerationError",
    "GraphError",
    "GraphParseError",
    "GraphValidationError",
    "InvalidRequestError",
    "ModelLoadError",
    "ModelNotFoundError",
    "ModelNotReadyError",
    "NodeHungError",
    "NotAllowedError",
    "OverloadedError",
    "QueueFullError",
    "ReloadError",
    "RequestError",
    "ServingError",
    "WrongGraphError",
    "copy_error",
    "describe_error",
    "describe_value",
    "did_you_mean",
]


ErrorT = TypeVar("ErrorT", bound=BaseException)

# Comparing a long name takes long, and clients choose names.
MAX_COMPARED_CHARACTERS = 1000


class ServingError(Exception):
    """Base of everything a user can cause."""


class ConfigError(ServingError):
    """The configuration file or the command line cannot be used."""


class ConfigNotFoundError(ConfigError):
    """The configuration file is not there or cannot be opened."""


class ReloadError(ServingError):
    """Some models of a reload cannot be loaded; `errors` has the reasons by model name."""

    def __init__(self, errors: Mapping[str, Exception]) -> None:
        self.errors = dict(errors)
        lines = "".join(f"\n  - {name}: {error}" for name, error in self.errors.items())
        super().__init__(f"{len(self.errors)} model(s) could not be loaded{lines}")


class GraphError(ServingError):
    """A graph.pbtxt cannot be used."""


class GraphParseError(GraphError):
    """A graph.pbtxt is not a text protobuf of the messages that its nodes declare."""


class GraphValidationError(GraphError):
    """A graph parsed but cannot work; `problems` holds one line for each thing found."""

    def __init__(self, where: str, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        lines = "".join(f"\n  - {problem}" for problem in self.problems)
        super().__init__(f"{where}: {len(self.problems)} problem(s){lines}")


class CalculatorOpenError(GraphError):
    """A node of a valid graph could not be opened, for example because a model file is missing."""


class ModelLoadError(ServingError):
    """A file of a model is missing or cannot be used."""


class ExportError(ServingError):
    """A model could not be exported; nothing that looks like a finished model was left."""


class ChatError(ServingError):
    """A server did not answer `server chat`, or not as it should."""


class RequestError(ServingError):
    """One request cannot be served; all others go on."""


class InvalidRequestError(RequestError):
    """A field of a request cannot be used; `param` names the field where it is known."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class ContextLengthError(InvalidRequestError):
    """The prompt, or the prompt and the tokens asked for, can never fit."""


class WrongGraphError(InvalidRequestError):
    """The model's graph does not serve the endpoint."""


class ModelNotFoundError(RequestError):
    """No model of that name is configured."""


class ModelNotReadyError(RequestError):
    """The model exists but cannot serve now; the message says why.

    `retry_after_s` is when to ask again, where that is known.
    """

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class OverloadedError(RequestError):
    """There is too much to do now; `reason` is the name of the limit that would be exceeded."""

    def __init__(self, message: str, reason: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry_after_s = retry_after_s


class QueueFullError(OverloadedError):
    """Too many requests or tokens wait for the model."""


class ClientLimitError(OverloadedError):
    """A client has too many requests at work at once."""


class NotAllowedError(RequestError):
    """The client's API key does not allow this request."""


class GenerationError(RequestError):
    """The engine failed while it worked on this request."""


class NodeHungError(RequestError):
    """A node of the graph hangs: it worked on this request for longer than is allowed."""


def did_you_mean(name: str, possible: Iterable[str]) -> str:
    """The end of a message about an unknown name: similar names as a question, or nothing."""
    if len(name) > MAX_COMPARED_CHARACTERS:
        return ""
    close = difflib.get_close_matches(name, list(possible), n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(repr(match) for match in close)}?" if close else ""


def copy_error(error: ErrorT) -> ErrorT:
    """A copy for one of several requests that fail alike.

    Where an error is raised, its traceback grows: one for all would get the frames of each request.
    """
    copied = type(error).__new__(type(error), *error.args)
    copied.__dict__.update(error.__dict__)
    copied.__cause__ = error.__cause__
    copied.__context__ = error.__context__
    copied.__suppress_context__ = error.__suppress_context__
    return copied.with_traceback(error.__traceback__)


def describe_error(error: BaseException) -> str:
    """An exception as a message names it: its text, with its class where that says more."""
    text = str(error)
    if text and isinstance(error, Exception):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def describe_value(value: object) -> str:
    """A value of a JSON or YAML document as an error message names it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"the string {value if len(value) <= 40 else value[:40] + '...'!r}"
    if isinstance(value, int) and abs(value) >= 2**64:
        return "a huge number"
    if isinstance(value, int | float):
        return f"the number {value}"
    return "a list" if isinstance(value, list) else "an object"
