"""Encrypted connections over HTTP and gRPC, with real clients."""

import asyncio
import socket
import ssl
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
import pytest
from openai import APIConnectionError, AsyncOpenAI
from support.fakes import echo_graph, write_repository
from support.security.certificates import Certificate
from tritonclient.grpc import service_pb2, service_pb2_grpc

from server.api.app import create_app
from server.api.clients.tls import Tls, TlsFiles
from server.api.http_server import HttpServer, open_sockets
from server.api.kserve_grpc.grpc_server import GrpcServer
from server.api.kserve_grpc.settings import GrpcSettings
from server.api.settings import HttpSettings
from server.models.config import load_config
from server.models.model_manager import ModelManager


@dataclass
class Secure:
    """A server with TLS on both ports; `certificate` is what its files hold at first."""

    tls: Tls
    port: int
    grpc_port: int
    certificate: Certificate
    manager: ModelManager

    def renew(self, certificate: Certificate) -> None:
        """Put another certificate into the server's files, and have it read them."""
        self.tls.files.certfile.write_bytes(certificate.cert.read_bytes())
        self.tls.files.keyfile.write_bytes(certificate.key.read_bytes())
        self.tls.reload()


@asynccontextmanager
async def running(
    folder: Path, certificate: Certificate, ca_certs: Path | None = None
) -> AsyncIterator[Secure]:
    manager = ModelManager(load_config(write_repository(folder, {"echo": echo_graph()})))
    await manager.load_all()
    files = TlsFiles(
        folder / "cert",
        folder / "key",
        ca_certs,
        ssl.CERT_NONE if ca_certs is None else ssl.CERT_REQUIRED,
    )
    files.certfile.write_bytes(certificate.cert.read_bytes())
    files.keyfile.write_bytes(certificate.key.read_bytes())
    tls = Tls(files)
    sockets, grpc_sockets = open_sockets(["127.0.0.1"], 0), open_sockets(["127.0.0.1"], 0)
    ports = [opened[0].getsockname()[1] for opened in (sockets, grpc_sockets)]
    http = HttpServer(create_app(manager), sockets, HttpSettings(tls=tls))
    grpc_server = GrpcServer(manager, grpc_sockets, GrpcSettings(tls=tls))
    await http.start()
    await grpc_server.start()
    try:
        yield Secure(tls, *ports, certificate, manager)
    finally:
        await manager.close(0)
        await grpc_server.stop()
        await http.stop()


@pytest.fixture
async def server(tmp_path: Path, first: Certificate) -> AsyncIterator[Secure]:
    async with running(tmp_path, first) as secure:
        yield secure


def context_of(trusted: Certificate, own: Certificate | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=trusted.cert)
    if own is not None:
        context.load_cert_chain(own.cert, own.key)
    return context


async def status_of(port: int, context: ssl.SSLContext) -> int:
    async with httpx.AsyncClient(verify=context) as client:
        return (await client.get(f"https://127.0.0.1:{port}/v3/models")).status_code


async def is_live(port: int, trusted: Certificate, own: Certificate | None = None) -> bool:
    keys = [None, None] if own is None else [own.key.read_bytes(), own.cert.read_bytes()]
    credentials = grpc.ssl_channel_credentials(trusted.cert.read_bytes(), *keys)
    # Each call is to make a connection of its own.
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.secure_channel(f"localhost:{port}", credentials, options) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        answer = await stub.ServerLive(service_pb2.ServerLiveRequest(), timeout=60)
        return bool(answer.live)


async def test_openais_client(server: Secure, first: Certificate, second: Certificate) -> None:
    async def ask(context: ssl.SSLContext) -> str:
        async with (
            httpx.AsyncClient(verify=context) as http,
            AsyncOpenAI(
                base_url=f"https://localhost:{server.port}/v3",
                api_key="unused",
                max_retries=0,
                http_client=http,
            ) as client,
        ):
            stream = await client.completions.create(model="echo", prompt="a b c", stream=True)
            return "".join([chunk.choices[0].text async for chunk in stream if chunk.choices])

    assert await ask(context_of(first)) == "a b c"
    with pytest.raises(APIConnectionError):
        await ask(context_of(second))


async def test_grpc(server: Secure, first: Certificate, second: Certificate) -> None:
    assert await is_live(server.grpc_port, first)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await is_live(server.grpc_port, second)
    assert error.value.code() == grpc.StatusCode.UNAVAILABLE


async def test_a_renewed_certificate(
    server: Secure, first: Certificate, second: Certificate
) -> None:
    """Connections that are open go on with the old one."""
    old = httpx.AsyncClient(verify=context_of(first))
    async with old:
        url = f"https://127.0.0.1:{server.port}/v3/models"
        assert (await old.get(url)).status_code == 200
        server.renew(second)
        assert (await old.get(url)).status_code == 200
    assert await status_of(server.port, context_of(second)) == 200
    with pytest.raises(httpx.ConnectError):
        await status_of(server.port, context_of(first))
    assert await is_live(server.grpc_port, second)


async def test_old_versions_are_refused(server: Secure, first: Certificate) -> None:
    context = context_of(first)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(httpx.ConnectError):
        await status_of(server.port, context)


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01", b""])
async def test_a_client_without_tls(
    data: bytes, server: Secure, first: Certificate, caplog: pytest.LogCaptureFixture
) -> None:
    for port in (server.port, server.grpc_port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(data)
        writer.write_eof()
        try:
            answer = await asyncio.wait_for(reader.read(), 10)
        except ConnectionError:
            answer = b""
        assert b"HTTP/" not in answer
        writer.close()
    assert await status_of(server.port, context_of(first)) == 200
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]


async def test_certificates_of_clients(
    tmp_path: Path, first: Certificate, second: Certificate
) -> None:
    async with running(tmp_path, first, ca_certs=second.cert) as server:
        assert await status_of(server.port, context_of(first, second)) == 200
        for own in (None, first):
            with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError, httpx.ConnectError)):
                await status_of(server.port, context_of(first, own))
        assert await is_live(server.grpc_port, first, second)
        with pytest.raises(grpc.aio.AioRpcError):
            await is_live(server.grpc_port, first)


REQUEST = b"""POST /v3/completions HTTP/1.1\r
Host: localhost\r
Content-Length: 36\r
\r
{"model": "echo", "prompt": "!wait"}"""


def announce_end(port: int, context: ssl.SSLContext) -> None:
    """Send a request and close_notify; returns when the server has done the same."""
    with (
        socket.create_connection(("127.0.0.1", port), 20) as opened,
        context.wrap_socket(opened, server_hostname="localhost") as client,
    ):
        client.sendall(REQUEST)
        client.unwrap()


async def test_a_client_that_announces_its_end_counts_as_gone(
    server: Secure, first: Certificate, caplog: pytest.LogCaptureFixture
) -> None:
    """Many at once, so that some of the requests are held."""
    context = context_of(first)
    ends = (asyncio.to_thread(announce_end, server.port, context) for _ in range(20))
    async with asyncio.timeout(20):
        await asyncio.gather(*ends)
    graph = server.manager.get("echo").graph
    async with asyncio.timeout(60):
        while graph.num_running:  # type: ignore[attr-defined]  # noqa: ASYNC110 - a loaded graph
            await asyncio.sleep(0.01)
    assert await status_of(server.port, context) == 200
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]
