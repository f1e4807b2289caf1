"""The client of a server that `serve` started."""

import json
import os
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from typing import Any
from urllib.parse import quote

from server.errors import GenerationError, InvalidRequestError, ModelNotFoundError
from server.llm.deployments import registry

__all__ = ["DeploymentClient", "Response", "client"]

POLL_S = 0.05
# More than the server gives running requests when it stops.
STOP_TIMEOUT_S = 60.0
EVENT = b"data: "
DONE = b"[DONE]"
# A deployment is on this machine; a proxy would look for it on its own, and would see the key.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))

Responses = list["Response"]


@dataclass(frozen=True, slots=True)
class Response:
    """The answer to one prompt, or with `streaming_fn` what is new of it; lengths are tokens.

    `finish_reason` is "stop", "length", or "none" for an answer that goes on.
    """

    generated_text: str
    prompt_length: int
    generated_length: int
    finish_reason: str

    def __str__(self) -> str:
        return self.generated_text


def client(deployment_name: str) -> "DeploymentClient":
    """A client of a running deployment. Raises ModelNotFoundError if there is none of this name."""
    deployment = registry.find(deployment_name)
    if deployment is None:
        names = ", ".join(registry.running_names()) or "none"
        raise ModelNotFoundError(f"no deployment {deployment_name!r} runs; running: {names}")
    return DeploymentClient(deployment)


class DeploymentClient:
    """Sends prompts to a deployment; any number of threads may use it."""

    def __init__(self, deployment: registry.Deployment) -> None:
        self._deployment = deployment

    @property
    def url(self) -> str:
        """The address of the server, which also speaks the APIs of OpenAI and Anthropic."""
        return self._deployment.url

    def __call__(self, prompts: str | Sequence[str], **fields: Any) -> Responses:
        """The same as `generate`."""
        return self.generate(prompts, **fields)

    def generate(
        self,
        prompts: str | Sequence[str],
        streaming_fn: Callable[[Responses], object] | None = None,
        **fields: Any,
    ) -> Responses:
        """Continue one prompt or many; the answers are in their order.

        `fields` are those of `POST /mii/{deployment}`: max_new_tokens, max_length, min_new_tokens,
        do_sample, temperature, top_p, top_k, stop, ignore_eos, return_full_text. `streaming_fn` is
        called with what is new of the answer to a single prompt, and an empty list is returned.

        Raises InvalidRequestError for what the server refuses, GenerationError for other failures.
        """
        texts = [prompts] if isinstance(prompts, str) else list(prompts)
        if streaming_fn is None:
            with self._post({"prompts": texts, **fields}) as answer:
                return _responses(json.loads(_read(answer.read)))
        if len(texts) != 1:
            raise InvalidRequestError("streaming_fn needs a single prompt", "prompts")
        with self._post({"prompts": texts, "stream": True, **fields}) as answer:
            for event in _events(answer):
                streaming_fn(_responses(event))
        return []

    def terminate_server(self) -> None:
        """Stop the server, for all its clients; requests that run have 30 s to end.

        Harmless a second time. Raises GenerationError if it does not stop.
        """
        deployment = self._deployment
        deadline = time.monotonic() + STOP_TIMEOUT_S
        if deployment.is_running():
            os.kill(deployment.pid, signal.SIGTERM)
        while deployment.is_running():
            if time.monotonic() > deadline:
                raise GenerationError(f"process {deployment.pid} does not stop; kill -9 ends it")
            _reap(deployment.pid)
            time.sleep(POLL_S)
        if registry.find(deployment.name) is None:
            registry.remove(deployment.name)

    def _post(self, body: dict[str, Any]) -> HTTPResponse:
        url = f"{self.url}/mii/{quote(self._deployment.name)}"
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get("API_KEY"):
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        try:
            answer: HTTPResponse = _OPENER.open(request)
            return answer
        except urllib.error.HTTPError as error:
            with error:
                raise _error(error.code, error.read()) from None
        except (OSError, HTTPException) as error:
            raise GenerationError(f"deployment {self._deployment.name!r}: {error}") from error


def _reap(pid: int) -> None:
    """Let a process that this one started be gone once it has ended."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except OSError:
        return


def _read(read: Callable[[], bytes]) -> bytes:
    try:
        return read()
    except (OSError, HTTPException) as error:
        raise GenerationError(f"the server is gone: {error}") from error


def _events(answer: HTTPResponse) -> Iterator[list[dict[str, Any]]]:
    is_done = False
    for line in iter(lambda: _read(answer.readline), b""):
        data = line.removeprefix(EVENT).strip()
        is_done = is_done or data == DONE
        if not line.startswith(EVENT) or is_done:
            continue
        event = json.loads(data)
        if isinstance(event, dict):
            raise GenerationError(str(event["error"]["message"]))
        yield event
    if not is_done:
        raise GenerationError("the server is gone: the stream has no end")


def _responses(items: list[dict[str, Any]]) -> Responses:
    return [Response(**item) for item in items]


def _error(status: int, body: bytes) -> Exception:
    try:
        fields = json.loads(body)["error"]
        message, param = str(fields["message"]), fields.get("param")
    except (ValueError, KeyError, TypeError, AttributeError):
        message, param = f"status {status}: {body[:200]!r}", None
    if 400 <= status < 500:
        return InvalidRequestError(message, param)
    return GenerationError(message)
