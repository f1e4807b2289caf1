"""embeddings, pooling and embed on a real socket, with published clients and a small BERT."""

import asyncio
import base64
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import cohere
import httpx
import numpy as np
import pytest
from langchain_cohere import CohereEmbeddings
from langchain_openai import OpenAIEmbeddings
from pydantic import SecretStr
from support.compiled_once import compile_once
from support.fakes import echo_graph, write_repository
from support.serving import Server, running_server
from support.tiny_encoders import TEXTS, load_expected

from calculators.encoders import encoder_model
from server.models.config import load_config
from server.models.model_manager import ModelManager

# As Model Server's exporter writes it.
GRAPH = """# OVMS_GRAPH_QUEUE_MAX_SIZE: AUTO
input_stream: "REQUEST_PAYLOAD:input"
output_stream: "RESPONSE_PAYLOAD:output"
node {
  name: "EmbeddingsExecutor",
  input_side_packet: "EMBEDDINGS_NODE_RESOURCES:embeddings_servable"
  calculator: "EmbeddingsCalculatorOV"
  input_stream: "REQUEST_PAYLOAD:input"
  output_stream: "RESPONSE_PAYLOAD:output"
  node_options: {
    [type.googleapis.com / mediapipe.EmbeddingsCalculatorOVOptions]: {
      models_path: "./model",
      plugin_config: '{"NUM_STREAMS": "1", "INFERENCE_PRECISION_HINT": "f32"}',
      normalize_embeddings: true,
      target_device: "CPU"
    }
  }
}
"""


@pytest.fixture(scope="module")
def expected(tiny_encoders: Path) -> Any:
    return load_expected(tiny_encoders / "bert")["vectors"]


@pytest.fixture(scope="module")
def config(tiny_encoders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("embeddings")
    shutil.copytree(tiny_encoders / "bert" / "openvino", folder / "bert" / "model")
    return write_repository(folder, {"bert": GRAPH, "echo": echo_graph()})


@pytest.fixture
async def server(config: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    compile_once(monkeypatch, encoder_model, "compile_model")
    manager = ModelManager(load_config(config))
    await manager.load_all()
    async with running_server(manager) as running:
        yield running


def fields(**given: Any) -> dict[str, Any]:
    return {"model": "bert", **given}


async def vectors_of(server: Server, path: str = "/v3/embeddings", **given: Any) -> list[Any]:
    status, answer = await server.post(path, fields(**given))
    assert status == 200, answer
    return [np.array(item["embedding"]) for item in answer["data"]]


async def message_of(server: Server, path: str = "/v3/embeddings", **given: Any) -> str:
    status, answer = await server.post(path, fields(**given))
    assert status == 400, answer
    error = answer["error"]
    return str(error if isinstance(error, str) else error["message"])


@pytest.mark.parametrize("prefix", ["/v3", "/v1", "/v3/v1"])
async def test_the_answer_of_one_text(server: Server, expected: Any, prefix: str) -> None:
    status, answer = await server.post(f"{prefix}/embeddings", fields(input=TEXTS[1]))
    assert status == 200
    assert list(answer) == ["object", "data", "model", "usage"]
    assert answer["model"] == "bert"
    assert answer["usage"] == {"prompt_tokens": 8, "total_tokens": 8}
    (item,) = answer["data"]
    assert (item["object"], item["index"]) == ("embedding", 0)
    np.testing.assert_allclose(item["embedding"], expected[1], atol=1e-4)


async def test_every_form_of_input(server: Server, expected: Any) -> None:
    _, found = await server.post("/tokenize", fields(text=TEXTS[1:3]))
    ids = found["tokens"]
    for given in (TEXTS[1:3], ids):
        for one, other in zip(await vectors_of(server, input=given), expected[1:3], strict=True):
            np.testing.assert_allclose(one, other, atol=1e-4)
    (alone,) = await vectors_of(server, input=ids[0])
    np.testing.assert_allclose(alone, expected[1], atol=1e-4)
    (empty,) = await vectors_of(server, input="")
    np.testing.assert_allclose(empty, expected[0], atol=1e-4)


async def test_base64_and_floats_are_the_same_numbers(server: Server) -> None:
    numbers = (await vectors_of(server, input="the fox", encoding_format="float"))[0]
    _, answer = await server.post(
        "/v3/embeddings", fields(input="the fox", encoding_format="base64")
    )
    raw = base64.b64decode(answer["data"][0]["embedding"])
    assert np.array_equal(np.frombuffer(raw, "<f4"), numbers.astype(np.float32))


async def test_dimensions_and_limits(server: Server) -> None:
    (vector,) = await vectors_of(server, input="the fox", dimensions=4, user="me")
    assert len(vector) == 4
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    long = "the fox " * 50
    _, answer = await server.post("/v1/embeddings", fields(input=long, truncate_prompt_tokens=9))
    assert answer["usage"]["prompt_tokens"] == 9


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "input field is required"),
        ({"input": None}, "input should be string, array of strings or array of integers, found"),
        ({"input": 1}, "input should be string, array of strings or array of integers, found"),
        ({"input": {}}, "input should be string, array of strings or array of integers"),
        ({"input": []}, "input array should not be empty"),
        ({"input": [[]]}, "input[0] is empty"),
        ({"input": ["a", 1]}, "homogeneous: every element in input array should be string"),
        ({"input": [1, "a"]}, "input must be homogeneous"),
        ({"input": [1.5]}, "found the number 1.5"),
        ({"input": [True]}, "input must be homogeneous"),
        ({"input": [[1], "a"]}, "input must be homogeneous"),
        ({"input": [[1, True]]}, "input[0] holds true"),
        ({"input": [-1]}, "input holds the number -1"),
        ({"input": [10**9]}, "token id 1000000000 is unknown to the model"),
        ({"input": "a", "encoding_format": "x"}, "encoding_format should either base64 or float"),
        ({"input": "a", "encoding_format": 1}, "encoding_format should be string"),
        ({"input": "a", "dimensions": 0}, "dimensions must be at least 1"),
        ({"input": "a", "dimensions": 33}, "dimensions is 33; possible for this model: 1 to 32"),
        ({"input": "the " * 99}, "Input length 101 longer than allowed 64"),
        ({"input": "a", "truncate_prompt_tokens": 0}, "it must be at least 1, or -1"),
        ({"input": "a", "prompt_name": "x"}, "prompt_name is 'x'"),
        ({"input": "a", "messages": [{}]}, "messages is not supported"),
        ({"input": "a", "model": "echo"}, "goes from GenerationRequest to TextChunk"),
    ],
)
async def test_bad_requests(server: Server, given: Any, message: str) -> None:
    assert message in await message_of(server, **given)


async def test_a_model_for_embeddings_does_not_chat(server: Server) -> None:
    status, answer = await server.post(
        "/v3/chat/completions", fields(messages=[{"role": "user", "content": "a"}])
    )
    assert status == 400
    assert "goes from EmbeddingRequest to EmbeddingResponse" in answer["error"]["message"]


async def test_the_openai_client(server: Server, expected: Any) -> None:
    async with server.openai("/v1") as client:
        for options in ({}, {"encoding_format": "float"}):
            found: Any = await client.embeddings.create(model="bert", input=TEXTS[1:3], **options)
            np.testing.assert_allclose(found.data[1].embedding, expected[2], atol=1e-4)
        assert found.usage.total_tokens == 14
        assert [model.id async for model in await client.models.list()] == ["bert", "echo"]


@asynccontextmanager
async def langchain_client(server: Server, **options: Any) -> AsyncIterator[OpenAIEmbeddings]:
    async with httpx.AsyncClient() as http:
        yield OpenAIEmbeddings(
            model="bert",
            base_url=f"{server.url}/v1",
            api_key=SecretStr("unused"),
            http_async_client=http,
            **options,
        )


async def test_langchain_sends_texts(server: Server, expected: Any) -> None:
    async with langchain_client(server, check_embedding_ctx_length=False) as client:
        found = await client.aembed_documents(TEXTS[1:3])
    np.testing.assert_allclose(found, expected[1:3], atol=1e-4)


async def test_langchain_sends_token_ids(
    server: Server, expected: Any, tiny_encoders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Encoding:
        """In place of tiktoken's, which would be downloaded; the ids are those of the model."""

        def encode_ordinary(self, text: str) -> list[int]:
            return ids[text]

        encode = encode_ordinary

    _, found = await server.post("/tokenize", fields(text=TEXTS[1:3]))
    ids = dict(zip(TEXTS[1:3], found["tokens"], strict=True))
    monkeypatch.setattr("tiktoken.encoding_for_model", lambda _: Encoding())
    async with langchain_client(server) as client:
        vectors = await client.aembed_documents(TEXTS[1:3])
    np.testing.assert_allclose(vectors, expected[1:3], atol=1e-4)


async def test_the_cohere_client(server: Server, expected: Any) -> None:
    types = ["float", "int8", "uint8", "binary", "ubinary"]
    async with cohere.AsyncClientV2("unused", base_url=server.url) as client:
        found: Any = await client.embed(
            model="bert", texts=TEXTS[1:3], input_type="search_document", embedding_types=types
        )
    vectors = np.array(found.embeddings.float_)
    np.testing.assert_allclose(vectors, expected[1:3], atol=1e-4)
    assert np.array_equal(found.embeddings.int8, np.rint(vectors * 127))
    assert np.array_equal(found.embeddings.uint8, np.rint(vectors * 127) + 128)
    bits = np.packbits(vectors >= 0, axis=1)
    assert np.array_equal(found.embeddings.ubinary, bits)
    assert np.array_equal(found.embeddings.binary, bits.astype(int) - 128)
    assert found.response_type == "embeddings_by_type"
    assert found.texts == TEXTS[1:3]
    assert found.meta.billed_units.input_tokens == 14
    assert found.meta.api_version.version == "2"


async def test_coheres_other_forms(server: Server, expected: Any) -> None:
    parts = [{"content": [{"type": "text", "text": TEXTS[1]}]}]
    status, answer = await server.post(
        "/v2/embed", fields(inputs=parts, embedding_types=["base64"], output_dimension=8)
    )
    assert status == 200
    raw = base64.b64decode(answer["embeddings"]["base64"][0])
    assert len(np.frombuffer(raw, "<f4")) == 8
    status, answer = await server.post("/v1/embed", fields(texts=[TEXTS[1]], truncate="NONE"))
    assert answer["response_type"] == "embeddings_floats"
    np.testing.assert_allclose(answer["embeddings"], expected[1:2], atol=1e-4)
    long = "not " + "the " * 99
    ends = [
        (await server.post("/v2/embed", fields(texts=[long], truncate=truncate)))[1]
        for truncate in ("START", "END")
    ]
    assert [end["meta"]["billed_units"]["input_tokens"] for end in ends] == [64, 64]
    assert ends[0]["embeddings"] != ends[1]["embeddings"]


# The client's own.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_langchains_cohere_embeddings(server: Server, expected: Any) -> None:
    client: Any = CohereEmbeddings(
        model="bert", base_url=server.url, cohere_api_key="unused", user_agent="test"
    )
    found = await client.aembed_documents(TEXTS[1:3])
    np.testing.assert_allclose(found, expected[1:3], atol=1e-4)
    assert len(await client.aembed_query(TEXTS[1])) == 32
    await client.async_client.__aexit__(None, None, None)
    client.client.__exit__(None, None, None)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "exactly one of texts and inputs is needed"),
        ({"texts": "a"}, "texts must be a list"),
        ({"texts": []}, "texts is an empty list"),
        ({"texts": [1]}, "texts[0] must be a string"),
        ({"texts": ["a"], "embedding_types": ["f"]}, "embedding_types[0] is the string 'f'"),
        ({"texts": ["a"], "embedding_types": [{}]}, "embedding_types[0] is an object"),
        ({"texts": ["a"], "truncate": "x"}, "possible: NONE, START, END"),
        ({"texts": ["a"], "truncate": ["END"]}, "possible: NONE, START, END"),
        ({"texts": ["a"], "input_type": "x"}, "input_type is 'x'; possible: search_query"),
        ({"texts": ["a"], "images": ["x"]}, "images is not supported"),
        ({"texts": ["the " * 99], "truncate": "NONE"}, "Input length 101 longer than allowed"),
        ({"inputs": [{"content": [{"type": "image_url"}]}]}, "as only texts are served"),
        ({"inputs": [{"content": []}]}, "inputs[0].content is an empty list"),
        (
            {"texts": ["a"], "embedding_types": ["binary"], "output_dimension": 9},
            "binary embeddings need a multiple of 8 dimensions, but there are 9",
        ),
    ],
)
async def test_bad_requests_of_cohere(server: Server, given: Any, message: str) -> None:
    assert message in await message_of(server, "/v2/embed", **given)


@pytest.mark.parametrize("prefix", ["", "/v1"])
async def test_pooling_gives_a_vector_of_a_text_or_of_each_token(
    server: Server, expected: Any, prefix: str
) -> None:
    path = f"{prefix}/pooling"
    status, answer = await server.post(path, fields(input=TEXTS[1], task="embed"))
    assert status == 200
    assert answer["data"][0]["object"] == "pooling"
    np.testing.assert_allclose(answer["data"][0]["data"], expected[1], atol=1e-4)
    status, answer = await server.post(path, fields(input=[TEXTS[1]], task="token_embed"))
    tokens = np.array(answer["data"][0]["data"])
    assert tokens.shape == (8, 32)
    np.testing.assert_allclose(np.linalg.norm(tokens, axis=1), 1, atol=1e-4)
    assert "possible: embed, token_embed" in await message_of(
        server, path, input="a", task="classify"
    )


async def test_many_floats_do_not_hold_up_others(server: Server) -> None:
    asking = asyncio.create_task(
        server.http.post("/v1/embeddings", json=fields(input=["the fox"] * 3000))
    )
    gaps = []
    loop = asyncio.get_running_loop()
    while not asking.done():
        start = loop.time()
        await asyncio.sleep(0.005)
        gaps.append(loop.time() - start)
    answer = await (await asking).json()
    assert len(answer["data"]) == 3000
    assert max(gaps) < 2


async def test_a_client_that_leaves_takes_its_rows_out_of_the_queue(server: Server) -> None:
    body = json.dumps(fields(input=["the fox sees a bear"] * 5000))
    asking = asyncio.create_task(server.http.post("/v1/embeddings", data=body))
    graph = server.manager.get("bert").graph
    async with asyncio.timeout(60):
        while not _num_waiting(graph):  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)
        asking.cancel()
        while graph.num_running or _num_waiting(graph):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert len(await vectors_of(server, input="the fox")) == 1


def _num_waiting(graph: Any) -> int:
    return int(graph.status()["EmbeddingsExecutor"]["num_waiting_rows"])


async def test_status_in_v1_config_and_the_models_length(server: Server) -> None:
    await vectors_of(server, input=["a", "the fox"])
    async with server.http.get("/v1/config") as response:
        found = json.dumps(await response.json())
    assert '"num_rows": 2' in found
    async with server.http.get("/v1/models/bert") as response:
        assert (await response.json())["max_model_len"] == 64
