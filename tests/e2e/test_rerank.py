"""Rerank, score and classify over HTTP, with Cohere's own clients, on a graph as OVMS writes it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import pytest_asyncio
from support.serving import Server, running_server
from support.tiny_rankers import DOCUMENTS, QUERY, TEXTS

from server.models.config import load_config
from server.models.model_manager import ModelManager

# demos/common/export_models/export_model.py of OpenVINO Model Server writes it like this.
GRAPH = """\
# OVMS_GRAPH_QUEUE_MAX_SIZE: AUTO
input_stream: "REQUEST_PAYLOAD:input"
output_stream: "RESPONSE_PAYLOAD:output"
node {{
    name: "RerankExecutor",
    input_side_packet: "RERANK_NODE_RESOURCES:rerank_servable"
    calculator: "RerankCalculatorOV"
    input_stream: "REQUEST_PAYLOAD:input"
    output_stream: "RESPONSE_PAYLOAD:output"
    node_options: {{
        [type.googleapis.com / mediapipe.RerankCalculatorOVOptions]: {{
            models_path: "{folder}",
            plugin_config: '{{"NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32" }}',
            target_device: "CPU"
        }}
    }}
}}
"""


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(
    rankers: Path, tiny_encoders: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Server]:
    """`reranker`, `labels` and `vectors` have a graph.pbtxt; `bare` is a folder without one."""
    folder = tmp_path_factory.mktemp("repository")
    entries = []
    vectors_graph = GRAPH.replace("Rerank", "Embeddings").replace("RERANK", "EMBEDDINGS")
    for name, graph, model in (
        ("reranker", GRAPH, rankers / "xlm_roberta"),
        ("labels", GRAPH, rankers / "single_label"),
        ("vectors", vectors_graph, tiny_encoders / "bert"),
    ):
        (folder / name).mkdir()
        (folder / name / "graph.pbtxt").write_text(graph.format(folder=model / "openvino"))
        entries.append({"config": {"name": name, "base_path": name}})
    entries.append({"config": {"name": "bare", "base_path": str(rankers / "bert" / "openvino")}})
    path = folder / "config.json"
    path.write_text(json.dumps({"model_config_list": entries}))
    manager = ModelManager(load_config(path))
    await manager.load_all()
    async with running_server(manager) as running:
        yield running


@pytest.fixture
def expected(rankers: Path) -> list[float]:
    """What CrossEncoder gives the documents."""
    scores: list[float] = json.loads((rankers / "xlm_roberta" / "expected.json").read_text())[
        "scores"
    ]
    return scores


def ranking(scores: list[float]) -> list[int]:
    return sorted(range(len(scores)), key=lambda i: -scores[i])


@pytest.mark.parametrize(
    ("path", "has_documents"),
    [
        ("/v3/rerank", False),
        ("/v3/v1/rerank", False),
        ("/v1/rerank", False),
        ("/v2/rerank", False),
        ("/rerank", True),
    ],
)
async def test_every_path_reranks(
    server: Server, expected: list[float], path: str, has_documents: bool
) -> None:
    body = {"model": "reranker", "query": QUERY, "documents": DOCUMENTS, "top_n": 3}
    status, answer = await server.post(path, body)
    assert status == 200
    assert [result["index"] for result in answer["results"]] == ranking(expected)[:3]
    for result in answer["results"]:
        index = result["index"]
        assert result["relevance_score"] == pytest.approx(expected[index], abs=1e-4)
        assert result.get("document") == ({"text": DOCUMENTS[index]} if has_documents else None)
    assert answer["usage"]["prompt_tokens"] > 0


@pytest.mark.parametrize("path", ["/v3/rerank", "/v2/rerank"])
async def test_errors_name_the_field(server: Server, path: str) -> None:
    for body, problem in (
        ({"model": "reranker", "documents": ["a"]}, "query field is missing in request"),
        ({"model": "reranker", "query": "q", "documents": ["a"] * 10001}, "max_allowed_chunks"),
        (b'{"model": "reranker", "query": "q", "documents": [NaN]}', "NaN is no JSON number"),
    ):
        status, answer = await server.post(path, body)
        error = answer["error"]
        assert status == 400
        assert problem in (error if path.startswith("/v2") else error["message"])


async def test_models_of_other_kinds_and_unknown_models_are_refused(server: Server) -> None:
    body: dict[str, Any] = {"model": "nobody", "query": "q", "documents": ["a"]}
    assert (await server.post("/v3/rerank", body))[0] == 404
    chat = {"model": "reranker", "messages": [{"role": "user", "content": "hi"}]}
    status, answer = await server.post("/v3/chat/completions", chat)
    assert status == 400
    assert "does not serve this endpoint" in answer["error"]["message"]


@pytest.mark.parametrize("path", ["/score", "/v1/score"])
async def test_scores_keep_the_order_of_the_request(
    server: Server, expected: list[float], path: str
) -> None:
    body = {"model": "reranker", "text_1": QUERY, "text_2": DOCUMENTS}
    status, answer = await server.post(path, body)
    assert status == 200
    assert [item["score"] for item in answer["data"]] == pytest.approx(expected, abs=1e-4)


async def test_a_model_that_embeds_texts_scores_by_cosine(
    server: Server, tiny_encoders: Path
) -> None:
    from support.tiny_encoders import TEXTS as EMBEDDED

    with np.load(tiny_encoders / "bert" / "expected.npz") as arrays:
        vectors = arrays["vectors"]
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    expected = (vectors @ vectors[1]).tolist()
    body = {"model": "vectors", "text_1": EMBEDDED[1], "text_2": EMBEDDED}
    status, answer = await server.post("/score", body)
    assert status == 200
    assert [item["score"] for item in answer["data"]] == pytest.approx(expected, abs=1e-4)
    body = {"model": "vectors", "query": EMBEDDED[1], "documents": EMBEDDED}
    status, answer = await server.post("/v1/rerank", body)
    assert [item["index"] for item in answer["results"]] == ranking(expected)
    status, answer = await server.post("/classify", {"model": "vectors", "input": "a"})
    assert status == 400
    assert "does not serve this endpoint" in answer["error"]["message"]


async def test_texts_are_classified(server: Server, rankers: Path) -> None:
    status, answer = await server.post("/classify", {"model": "labels", "input": TEXTS})
    assert status == 200
    wanted = json.loads((rankers / "single_label" / "expected.json").read_text())["answers"]
    for item, labels in zip(answer["data"], wanted, strict=True):
        best = max(labels, key=lambda label: label["score"])
        assert item["label"] == best["label"]
        assert max(item["probs"]) == pytest.approx(best["score"], abs=1e-4)
        assert item["num_classes"] == 3


async def test_the_tokenizer_of_a_reranker_is_served(server: Server) -> None:
    status, answer = await server.post("/v3/tokenize", {"model": "bare", "text": ["fox", ""]})
    assert status == 200
    # As exported for Model Server: special tokens are not the tokenizer's.
    assert [len(tokens) for tokens in answer["tokens"]] == [1, 0]
    async with server.http.get("/v3/models/bare") as response:
        assert (await response.json())["max_model_len"] == 128


async def test_a_folder_without_graph_is_recognised(server: Server) -> None:
    body = {"model": "bare", "query": QUERY, "documents": DOCUMENTS}
    status, answer = await server.post("/v3/rerank", body)
    assert status == 200
    assert len(answer["results"]) == len(DOCUMENTS)
    async with server.http.get("/v1/config") as response:
        states = await response.json()
    assert states["bare"]["model_version_status"][0]["state"] == "AVAILABLE"


Maker = Callable[..., Any]


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_coheres_clients(server: Server, expected: list[float], version: str) -> None:
    import cohere

    make: Maker = cohere.AsyncClient if version == "v1" else cohere.AsyncClientV2
    async with httpx.AsyncClient() as http:
        client = make(api_key="unused", base_url=server.url, httpx_client=http)
        answer = await client.rerank(model="reranker", query=QUERY, documents=DOCUMENTS, top_n=2)
        assert [result.index for result in answer.results] == ranking(expected)[:2]
        assert answer.results[0].relevance_score == pytest.approx(max(expected), abs=1e-4)
        assert answer.meta.tokens.input_tokens > 0
        if version == "v2":
            return
        objects = [{"text": text, "number": str(i)} for i, text in enumerate(DOCUMENTS)]
        answer = await client.rerank(
            model="reranker", query=QUERY, documents=objects, return_documents=True
        )
        found = answer.results[0]
        assert found.document.text == DOCUMENTS[found.index]
        assert found.document.number == str(found.index)


async def test_langchains_reranker(server: Server, expected: list[float]) -> None:
    from cohere import ClientV2
    from langchain_cohere import CohereRerank
    from langchain_core.documents import Document

    with httpx.Client() as http:
        client = ClientV2(api_key="unused", base_url=server.url, httpx_client=http)
        reranker = CohereRerank(client=client, model="reranker", top_n=3)
        documents = [Document(text) for text in DOCUMENTS]
        found = await asyncio.to_thread(reranker.compress_documents, documents, QUERY)
    assert [document.page_content for document in found] == [
        DOCUMENTS[index] for index in ranking(expected)[:3]
    ]
