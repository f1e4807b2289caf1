"""What is known of a request: its token counts, and what the access log says of it."""

import re
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from aiohttp import web

from server.api.clients.address import ClientAddresses
from server.api.clients.api_keys import ApiKey
from server.api.clients.client_limits import ClientSlot
from server.host.current_request import LoggedRequest
from server.payloads import ClientRequest, TextChunk
from server.protocol.generation_call import Usage, usage_of

if TYPE_CHECKING:
    from server.api.tracing.request_trace import RequestTrace

__all__ = ["REQUEST_FACTS", "REQUEST_ID_HEADER", "REQUEST_ID_KEY", "RequestFacts"]

REQUEST_ID_HEADER = "X-Request-Id"
# The same in the metadata of gRPC.
REQUEST_ID_KEY = "x-request-id"
# A client's own id goes into headers and logs.
REQUEST_ID = re.compile("[!-~]{1,128}")


PacketT = TypeVar("PacketT", bound=ClientRequest)


@dataclass(slots=True)
class RequestFacts:
    """Filled in by the handlers. `last_chunks` has the newest chunk of each choice.

    `client` is who asks: the name of the API key, or else the address; never a header that anybody
    can set. `logged` is what every log line of the request says; its id is the client's, from the
    header X-Request-Id, or else a new one.
    `adapter` is the name of the model's adapter that is asked, if any.
    `api`, `interface` and `method` are what Model Server's metrics call a request.
    `slot` is its place among the requests of a client with a limit. `num_input_tokens` is what a
    model read that answers with no text. `num_bytes` is the size of the answer so far.
    `trace` is the request's span, where there is one, and `on_chunk` what wants its whole answers.
    `is_answered_by_replica` is for the front of replicas: the replica logs the request.
    """

    client: str
    key: ApiKey | None = None
    cache_salt: str = ""
    logged: LoggedRequest = field(default_factory=lambda: LoggedRequest(uuid.uuid4().hex))
    start_s: float = field(default_factory=time.monotonic)
    first_chunk_s: float | None = None
    error: str | None = None
    slot: ClientSlot | None = None
    num_choices: int = 1
    adapter: str = ""
    api: str = ""
    interface: str = "REST"
    method: str = ""
    num_input_tokens: int | None = None
    num_bytes: int = 0
    trace: "RequestTrace | None" = None
    on_chunk: Callable[[TextChunk], None] | None = None
    last_chunks: dict[int, TextChunk] = field(default_factory=dict)
    is_answered_by_replica: bool = False

    @classmethod
    def of(cls, request: web.Request, addresses: ClientAddresses) -> "RequestFacts":
        """The facts of an HTTP request that has just come."""
        forwarded_for = ",".join(request.headers.getall("X-Forwarded-For", ()))
        client = addresses.find(request.remote, forwarded_for)
        return cls.named(request.headers.get(REQUEST_ID_HEADER, ""), client)

    @classmethod
    def named(cls, request_id: str, client: str) -> "RequestFacts":
        """The facts of a request that has just come, with the client's id if that is usable."""
        if REQUEST_ID.fullmatch(request_id):
            return cls(client, logged=LoggedRequest(request_id))
        return cls(client)

    @property
    def request_id(self) -> str:
        """What the client and the log call this request."""
        return self.logged.request_id

    @property
    def model(self) -> str | None:
        """The model that the request names, as soon as that is known."""
        return self.logged.model

    def identify(self, key: ApiKey, cache_salt: str) -> None:
        """Note the key that came with the request, and what keeps its prefix cache apart."""
        self.key = key
        self.cache_salt = cache_salt
        self.client = key.name or self.client

    def claim(self, packets: Sequence[PacketT]) -> list[PacketT]:
        """Packets with the client's name and salt in them, after they were counted for it.

        Raises ClientLimitError, or InvalidRequestError for more than the client may ever have.
        """
        if self.slot is not None:
            self.slot.resize(sum(packet.num_requests for packet in packets))
        if self.trace is not None:
            self.trace.note_packets(packets)
        return [
            replace(
                packet,
                client=self.client,
                cache_salt=self._salted(packet.cache_salt),
                adapter=self.adapter,
            )
            for packet in packets
        ]

    def _salted(self, own: str) -> str:
        """The request's own salt, below that of the API key if there is one.

        A salt from a client cannot begin like this: those of keys have no zero byte.
        """
        return f"{self.cache_salt}\0{own}" if self.cache_salt else own

    def add(self, chunk: TextChunk) -> None:
        """Count a chunk."""
        if self.first_chunk_s is None:
            self.first_chunk_s = time.monotonic()
        self.last_chunks[chunk.index] = chunk
        if self.on_chunk is not None:
            self.on_chunk(chunk)

    def usage(self) -> Usage:
        """The token counts so far."""
        return usage_of(self.last_chunks, self.num_choices)

    def log_members(self) -> dict[str, object]:
        """What the access log shows, as far as it is known; times are whole milliseconds."""
        known: dict[str, object] = {}
        if self.key is not None and self.key.name is not None:
            known["key"] = self.key.name
        if self.model is not None:
            known["model"] = self.model
        if self.num_input_tokens is not None:
            known["in"] = self.num_input_tokens
        if self.last_chunks:
            usage = self.usage()
            known["in"] = usage["prompt_tokens"]
            known["cached"] = usage["prompt_tokens_details"]["cached_tokens"]
            known["out"] = usage["completion_tokens"]
        if self.first_chunk_s is not None:
            known["ttft_ms"] = round((self.first_chunk_s - self.start_s) * 1000)
        known["total_ms"] = round((time.monotonic() - self.start_s) * 1000)
        known["id"] = self.request_id
        if self.error is not None:
            known["error"] = self.error
        return known

    def log_fields(self, members: Mapping[str, object]) -> dict[str, object]:
        """What a line in JSON has of these `log_members`, besides what every line has."""
        fields = {name: value for name, value in members.items() if name not in {"id", "model"}}
        fields["duration_ms"] = fields.pop("total_ms")
        return {**fields, "client": self.client, "bytes": self.num_bytes}


REQUEST_FACTS = web.RequestKey("request_facts", RequestFacts)
"""Where a request has its facts."""
