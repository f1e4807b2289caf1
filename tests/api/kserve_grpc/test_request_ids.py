"""x-request-id in the metadata of answers, and in every log line of the call."""

import logging
import re
from typing import Any

import grpc
import pytest
from support.grpc_serving import running_grpc

from server.api.clients.api_keys import ApiKey, KeyRing
from server.api.kserve_grpc.messages import SERVICE, message_class
from server.api.kserve_grpc.settings import GrpcSettings
from server.host.current_request import CURRENT_REQUEST, LoggedRequest
from server.models.model_manager import ModelManager

# The models are loaded once, for all tests of this folder.
pytestmark = pytest.mark.asyncio(loop_scope="package")


async def ids_of(call: Any) -> list[str]:
    found = [*await call.initial_metadata(), *await call.trailing_metadata()]
    return [value for name, value in found if name == "x-request-id"]


async def ask(address: str, method: str, request: bytes, *metadata: tuple[str, str]) -> Any:
    """The call, after it has ended."""
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.unary_unary(f"/{SERVICE}/{method}")(request, metadata=metadata)
        await call.code()
        return call


async def test_the_clients_own(address: str) -> None:
    call = await ask(address, "ServerLive", b"", ("x-request-id", "mine"))
    assert await ids_of(call) == ["mine", "mine"]


@pytest.mark.parametrize("given", ["", "two words", "x" * 129, "caf\u00e9".encode().hex() + " "])
async def test_one_that_is_made(address: str, given: str) -> None:
    call = await ask(address, "ServerLive", b"", ("x-request-id", given))
    first, second = await ids_of(call)
    assert first == second
    assert re.fullmatch("[0-9a-f]{32}", first)


async def test_of_an_error(address: str) -> None:
    request = message_class("ModelInferRequest")(model_name="nothing").SerializeToString()
    call = await ask(address, "ModelInfer", request, ("x-request-id", "mine"))
    assert await call.code() == grpc.StatusCode.NOT_FOUND
    assert await ids_of(call) == ["mine", "mine"]


async def test_without_a_key(manager: ModelManager) -> None:
    settings = GrpcSettings(keys=KeyRing([ApiKey("secret")]))
    async with running_grpc(manager, settings) as address:
        call = await ask(address, "ModelInfer", b"", ("x-request-id", "mine"))
        assert await call.code() == grpc.StatusCode.UNAUTHENTICATED
        assert await ids_of(call) == ["mine"]


class _Keep(logging.Handler):
    """What was the request where a line was logged."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[LoggedRequest | None] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(CURRENT_REQUEST.get())


async def test_in_the_lines_of_a_call(address: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    handler = _Keep()
    logger = logging.getLogger("server")
    logger.addHandler(handler)
    try:
        request = message_class("ModelInferRequest")(model_name="nothing").SerializeToString()
        await ask(address, "ModelInfer", request, ("x-request-id", "mine"))
    finally:
        logger.removeHandler(handler)
    assert handler.found == [LoggedRequest("mine", "nothing")]
