"""Asks a server with OpenAI's API, and reads its answers as they come."""

import http.client
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from server.errors import ChatError

__all__ = [
    "ChatClient",
    "Message",
    "Piece",
    "describe_failure",
    "describe_refusal",
    "opener_for",
]

Message = dict[str, str]
DEFAULT_PATH = "/v3"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
LIST_TIMEOUT_S = 10.0
TEXT_KEYS = ("reasoning_content", "content")


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of an answer, or of the reasoning before it."""

    text: str
    is_reasoning: bool = False


@dataclass(frozen=True)
class ChatClient:
    """A server at `url`; `parameters` go into every request. Every method raises ChatError.

    `ca_certs` are the authorities that may have signed its certificate; None means the system's.
    """

    url: str
    api_key: str | None = None
    parameters: Mapping[str, object] = field(default_factory=dict)
    ca_certs: Path | None = None

    def models(self) -> Sequence[str]:
        """The names of the models that can be asked."""
        with self._answer("/models", None, LIST_TIMEOUT_S) as response:
            document = _parse(response.read())
        try:
            return [model["id"] for model in document["data"]]
        except (KeyError, TypeError) as error:
            raise ChatError(f"{self.url}: is not a server with OpenAI's API") from error

    def stream(self, model: str, messages: Sequence[Message]) -> Generator[Piece]:
        """The answer, piece by piece. To close the iterator stops the server's work on it."""
        body = {"model": model, "messages": messages, "stream": True, **self.parameters}
        # No time limit: a long prompt takes its time before the first token.
        with self._answer("/chat/completions", body, None) as response:
            for line in response:
                if not line.startswith(b"data: "):
                    continue
                data = line.removeprefix(b"data: ").strip()
                if data == b"[DONE]":
                    return
                yield from _pieces(_parse(data))
        raise ChatError(f"{self.url}: the connection ended in the middle of the answer")

    @contextmanager
    def _answer(self, path: str, body: object, timeout_s: float | None) -> Iterator[Any]:
        address = self._address()
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        if self.api_key is not None:
            headers["Authorization"] = f"Bearer {self.api_key}"
        try:
            request = urllib.request.Request(address + path, data, headers)
            with opener_for(address, self.ca_certs).open(request, timeout=timeout_s) as response:
                yield response
        except urllib.error.HTTPError as error:
            with error:
                raise ChatError(describe_refusal(error)) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ChatError(f"no answer from {self.url}: {describe_failure(error)}") from error

    def _address(self) -> str:
        """The URL to which paths are added: `host:port` and `http://host:port` get /v3."""
        url = self.url if "://" in self.url else f"http://{self.url}"
        url = url.rstrip("/")
        return url if urlsplit(url).path else url + DEFAULT_PATH


def describe_failure(error: Exception) -> str:
    """Why a server could not be asked."""
    reason = getattr(error, "reason", error)
    if isinstance(reason, ssl.SSLCertVerificationError):
        return f"{reason.verify_message}; --ssl_ca_certs names whom to trust"
    return str(getattr(reason, "strerror", None) or reason)


def opener_for(address: str, ca_certs: Path | None) -> urllib.request.OpenerDirector:
    """What opens URLs of a server."""
    handlers: list[urllib.request.BaseHandler] = []
    if urlsplit(address).hostname in LOOPBACK:
        # A proxy would look for the server on its own machine.
        handlers.append(urllib.request.ProxyHandler({}))
    if ca_certs is not None:
        context = ssl.create_default_context(cafile=ca_certs)
        handlers.append(urllib.request.HTTPSHandler(context=context))
    return urllib.request.build_opener(*handlers)


def describe_refusal(error: urllib.error.HTTPError) -> str:
    """What an answer with an error says."""
    if error.code == 401:
        return (
            "the server wants an API key: give --api_key_file, or set the environment variable "
            "API_KEY"
        )
    try:
        return _error_text(json.loads(error.read())["error"])
    except (OSError, ValueError, KeyError, TypeError):
        return f"{error.url}: HTTP status {error.code} {error.reason}"


def _parse(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ChatError(f"the server's answer is not JSON: {data[:100]!r}") from error


def _pieces(event: Any) -> Iterator[Piece]:
    try:
        if "error" in event:
            raise ChatError(_error_text(event["error"]))
        deltas = [choice.get("delta") or {} for choice in event.get("choices") or ()]
        found = [(key, delta.get(key) or "") for delta in deltas for key in TEXT_KEYS]
        pieces = [Piece("" + text, key != "content") for key, text in found if text]
    except (AttributeError, TypeError) as error:
        raise ChatError(f"the server's answer is not a part of a chat: {event!r:.100}") from error
    yield from pieces


def _error_text(found: Any) -> str:
    return str(found.get("message", found) if isinstance(found, dict) else found)
