"""Keys, health, reflection, the log, and methods that are not here."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from support.fakes import echo_graph, write_repository
from support.grpc_serving import running_grpc
from tritonclient.grpc import InferInput, service_pb2, service_pb2_grpc
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from server.api.clients.api_keys import ApiKey, KeyRing, Scope, digest_of
from server.api.clients.wrong_keys import WrongKeys
from server.api.kserve_grpc.settings import GrpcSettings
from server.api.settings import KeyScope
from server.models.config import load_config
from server.models.model_manager import ModelManager

# The models are loaded once, for all tests of this folder.
pytestmark = pytest.mark.asyncio(loop_scope="package")

KEY = "secret key"
SERVICE = "inference.GRPCInferenceService"


class TestKey:
    """Which calls need it."""

    @pytest.fixture
    def scope(self) -> KeyScope:
        return KeyScope.CHANGES

    @pytest.fixture
    def settings(self, scope: KeyScope) -> GrpcSettings:
        return GrpcSettings(keys=KeyRing([ApiKey.of(KEY)]), key_scope=scope)

    @pytest.mark.parametrize(
        ("headers", "problem"),
        [
            (None, "no API key was sent"),
            ({"authorization": "Bearer other"}, "the API key is wrong"),
            ({"authorization": KEY}, "no API key was sent"),
            ({"authorization": f"Bearer {KEY}"}, None),
            ({"authorization": f"bearer {KEY}"}, None),
            ({"x-api-key": KEY}, None),
        ],
    )
    async def test_inference(
        self, client: InferenceServerClient, headers: dict[str, str] | None, problem: str | None
    ) -> None:
        tensor = InferInput("x", [1], "INT8")
        tensor.set_data_from_numpy(np.zeros(1, np.int8))
        if problem is None:
            await client.infer("repeat", [tensor], headers=headers)
            return
        with pytest.raises(InferenceServerException, match=problem) as error:
            await client.infer("repeat", [tensor], headers=headers)
        assert error.value.status() == "StatusCode.UNAUTHENTICATED"

    async def test_streams(self, address: str) -> None:
        async with grpc.aio.insecure_channel(address) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            call = stub.ModelStreamInfer(iter([service_pb2.ModelInferRequest(model_name="repeat")]))
            assert await call.code() == grpc.StatusCode.UNAUTHENTICATED

    @pytest.mark.parametrize(
        ("scope", "is_open"),
        [
            (KeyScope.CHANGES, (True, True, True)),
            (KeyScope.ALL_BUT_HEALTH, (True, True, False)),
            (KeyScope.ALL, (False, False, False)),
        ],
    )
    async def test_scopes(self, address: str, is_open: tuple[bool, ...]) -> None:
        async with grpc.aio.insecure_channel(address) as channel:
            kserve = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            health = health_pb2_grpc.HealthStub(channel)
            calls = [
                kserve.ServerReady(service_pb2.ServerReadyRequest()),
                health.Check(health_pb2.HealthCheckRequest()),
                kserve.ServerMetadata(service_pb2.ServerMetadataRequest()),
            ]
            codes = [await call.code() for call in calls]
        expected = [grpc.StatusCode.OK if e else grpc.StatusCode.UNAUTHENTICATED for e in is_open]
        assert codes == expected


class TestManyWrongKeys:
    """Above the bound of an address."""

    @pytest.fixture
    def settings(self) -> GrpcSettings:
        return GrpcSettings(keys=KeyRing([ApiKey.of(KEY)], WrongKeys(2)))

    async def test_wrong_keys_are_refused_and_right_ones_taken(self, address: str) -> None:
        async with grpc.aio.insecure_channel(address) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)

            def call(key: str) -> Any:
                metadata = (("authorization", f"Bearer {key}"),)
                return stub.ModelInfer(service_pb2.ModelInferRequest(), metadata=metadata)

            codes = [await call("wrong").code() for _ in range(2)]
            assert codes == [grpc.StatusCode.UNAUTHENTICATED] * 2
            refused = call("wrong")
            assert await refused.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "--max_wrong_keys_per_minute 2" in await refused.details()
            trailing = dict(await refused.trailing_metadata())
            assert 1 <= int(trailing["retry-after"]) <= 60
            # The model has no name.
            assert await call(KEY).code() == grpc.StatusCode.NOT_FOUND


class TestSeveralKeys:
    """Scopes, models and limits of keys with names."""

    @pytest.fixture
    def settings(self) -> GrpcSettings:
        def key(name: str, **fields: Any) -> ApiKey:
            return ApiKey(digest_of(name), name, **{"scope": Scope.USE, **fields})

        keys = [
            key("reader", scope=Scope.READ),
            key("narrow", models=frozenset(["identity"])),
            key("slow", requests_per_minute=2),
            key("user"),
        ]
        return GrpcSettings(keys=KeyRing(keys))

    @pytest.mark.parametrize(
        ("name", "code", "problem"),
        [
            ("reader", "PERMISSION_DENIED", "'reader' has the scope read, and this needs use"),
            ("narrow", "PERMISSION_DENIED", "does not allow the model 'repeat'"),
            ("user", None, ""),
        ],
    )
    async def test_scopes_and_models(
        self, client: InferenceServerClient, name: str, code: str | None, problem: str
    ) -> None:
        tensor = InferInput("x", [1], "INT8")
        tensor.set_data_from_numpy(np.zeros(1, np.int8))
        headers = {"authorization": f"Bearer {name}"}
        if code is None:
            for _ in range(2):
                await client.infer("repeat", [tensor], headers=headers)
            return
        with pytest.raises(InferenceServerException, match=problem) as error:
            await client.infer("repeat", [tensor], headers=headers)
        assert error.value.status() == f"StatusCode.{code}"

    async def test_a_limit(self, client: InferenceServerClient) -> None:
        tensor = InferInput("x", [1], "INT8")
        tensor.set_data_from_numpy(np.zeros(1, np.int8))
        headers = {"authorization": "Bearer slow"}
        for _ in range(2):
            await client.infer("repeat", [tensor], headers=headers)
        with pytest.raises(InferenceServerException, match="requests_per_minute, 2") as error:
            await client.infer("repeat", [tensor], headers=headers)
        assert error.value.status() == "StatusCode.RESOURCE_EXHAUSTED"

    async def test_a_limit_of_a_stream(self, address: str) -> None:
        """Each request of a stream counts; the stream goes on."""
        request = service_pb2.ModelInferRequest(model_name="repeat")
        request.inputs.add(name="x", datatype="INT8", shape=[1]).contents.int_contents.append(0)
        async with grpc.aio.insecure_channel(address) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            metadata = (("authorization", "Bearer slow"),)
            call = stub.ModelStreamInfer(iter([request] * 4), metadata=metadata)
            errors = [answer.error_message async for answer in call]
        refused = ["requests_per_minute" in error for error in errors]
        assert (refused[0], refused[-2:]) == (False, [True, True])


async def test_health(tmp_path: Path) -> None:
    states = health_pb2.HealthCheckResponse
    manager = ModelManager(load_config(write_repository(tmp_path, {"echo": echo_graph()})))
    await manager.load_all()
    async with (
        running_grpc(manager) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", SERVICE, "grpc.health.v1.Health"):
            found = await health.Check(health_pb2.HealthCheckRequest(service=service))
            assert found.status == states.SERVING
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await health.Check(health_pb2.HealthCheckRequest(service="other"))
        assert error.value.code() == grpc.StatusCode.NOT_FOUND
        watch = health.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == states.SERVING
        unknown = health.Watch(health_pb2.HealthCheckRequest(service="other"))
        assert (await unknown.read()).status == states.SERVICE_UNKNOWN
        await manager.close(0)
        assert (await watch.read()).status == states.NOT_SERVING
        assert (await health.Check(health_pb2.HealthCheckRequest())).status == states.NOT_SERVING


def _reflect(address: str) -> tuple[set[str], Any]:
    with grpc.insecure_channel(address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        services = set(database.get_services())
        return services, database.FindFileContainingSymbol(SERVICE)


async def test_reflection(address: str) -> None:
    services, file = await asyncio.to_thread(_reflect, address)
    assert services == {
        SERVICE,
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    methods = [method.name for method in file.service[0].method]
    assert "ModelStreamInfer" in methods


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (f"/{SERVICE}/RepositoryIndex", "RepositoryIndex is not here; the configuration file"),
        (f"/{SERVICE}/RepositoryModelLoad", "RepositoryModelLoad is not here"),
        (f"/{SERVICE}/RepositoryModelUnload", "RepositoryModelUnload is not here"),
        (f"/{SERVICE}/ModelStatistics", f"there is no method '/{SERVICE}/ModelStatistics'"),
        (
            "/tensorflow.serving.PredictionService/Predict",
            "tensorflow.serving.PredictionService is not here over gRPC",
        ),
        ("/tensorflow.serving.ModelService/GetModelStatus", "ModelService is not here over gRPC"),
        ("/other/Method", "there is no method '/other/Method'"),
    ],
)
async def test_missing_methods(address: str, method: str, message: str) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await channel.unary_unary(method)(b"")
        assert error.value.code() == grpc.StatusCode.UNIMPLEMENTED
        assert message in str(error.value.details())
        stream = channel.unary_stream(method)(b"")
        assert await stream.code() == grpc.StatusCode.UNIMPLEMENTED


async def test_the_access_log(
    client: InferenceServerClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "server.access")
    await client.get_model_metadata("repeat", headers={"x-request-id": "mine"})
    with pytest.raises(InferenceServerException):
        await client.infer("nothing\n\n", [])
    await client.is_server_ready()
    first, second, third = (record.getMessage() for record in caplog.records)
    assert first.startswith("GRPC ModelMetadata OK model=repeat total_ms=")
    assert first.endswith(" id=mine")
    assert second.startswith("GRPC ModelInfer NOT_FOUND model='nothing\\n\\n' total_ms=")
    assert second.endswith(" error=not_found")
    assert third.startswith("GRPC ServerReady OK ")
    assert [record.levelname for record in caplog.records] == ["INFO", "INFO", "DEBUG"]
