"""Asks a server for GET /v1/status."""

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from server.cli.chat.client import describe_failure, describe_refusal, opener_for
from server.errors import ServingError

__all__ = ["StatusClient", "StatusError", "UnreachableError"]

TIMEOUT_S = 10.0
PATH = "/v1/status"
# No point of the history is as late.
NO_HISTORY = 9e12


class StatusError(ServingError):
    """The server answers, but not with its status."""


class UnreachableError(StatusError):
    """The server does not answer now; it may do so later."""


@dataclass(frozen=True)
class StatusClient:
    """A server at `url`. `ca_certs` are the authorities to trust; None means the system's."""

    url: str
    api_key: str | None = None
    ca_certs: Path | None = None

    def read(self, since_s: float = NO_HISTORY) -> Mapping[str, Any]:
        """The status, with the history after a moment of the server's clock.

        Raises StatusError.
        """
        address = f"{self._address()}{PATH}?since={since_s:.1f}"
        headers = {} if self.api_key is None else {"Authorization": f"Bearer {self.api_key}"}
        try:
            request = urllib.request.Request(address, headers=headers)
            opener = opener_for(address, self.ca_certs)
            with opener.open(request, timeout=TIMEOUT_S) as response:
                body = response.read()
        except urllib.error.HTTPError as error:
            with error:
                if error.code >= 500:
                    raise UnreachableError(describe_refusal(error)) from error
                if error.code == 404:
                    raise StatusError(f"{self.url}: that server has no {PATH}") from error
                raise StatusError(describe_refusal(error)) from error
        except (OSError, http.client.HTTPException) as error:
            problem = f"no answer from {self.url}: {describe_failure(error)}"
            raise UnreachableError(problem) from error
        except ValueError as error:
            raise StatusError(f"--url {self.url}: {error}") from error
        return self._parse(body)

    def _parse(self, body: bytes) -> Mapping[str, Any]:
        try:
            found = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise StatusError(f"{self.url}: the answer is not JSON: {body[:100]!r}") from error
        if not isinstance(found, dict) or not isinstance(found.get("models"), list):
            raise StatusError(f"{self.url}: the answer is no status of this kind of server")
        return found

    def _address(self) -> str:
        """The URL without a path: that of an API, /v3 for example, is not needed."""
        url = self.url if "://" in self.url else f"http://{self.url}"
        return urlsplit(url)._replace(path="", query="", fragment="").geturl()
