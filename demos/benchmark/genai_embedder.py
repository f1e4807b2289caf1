"""`genai_embedder.py MODEL POOLING NUM_STREAMS PORT`: openvino-genai's embeddings behind HTTP.

As in OpenVINO Model Server, a request has one of NUM_STREAMS infer requests for itself; the others
wait. Here each has a pipeline of its own, with its share of the processors.
"""

import asyncio
import base64
import os
import sys
from typing import Any

import numpy as np
import openvino_genai  # type: ignore[import-untyped]  # it has no stubs
from aiohttp import web

POOLINGS = {"CLS": "CLS", "MEAN": "MEAN", "LAST": "LAST_TOKEN"}


def load_pipelines(model: str, pooling: str, num_streams: int) -> list[Any]:
    """As many pipelines as streams."""
    config = openvino_genai.TextEmbeddingPipeline.Config()
    kinds = openvino_genai.TextEmbeddingPipeline.PoolingType
    config.pooling_type = getattr(kinds, POOLINGS[pooling])
    config.normalize = True
    num_threads = max(1, (os.cpu_count() or 1) // num_streams)
    return [
        openvino_genai.TextEmbeddingPipeline(
            model, "CPU", config, INFERENCE_NUM_THREADS=num_threads, NUM_STREAMS=1
        )
        for _ in range(num_streams)
    ]


def make_app(pipelines: list[Any]) -> web.Application:
    """POST /v1/embeddings for one text."""
    idle: asyncio.Queue[Any] = asyncio.Queue()
    for pipeline in pipelines:
        idle.put_nowait(pipeline)

    async def embed(request: web.Request) -> web.Response:
        text = (await request.json())["input"]
        pipeline = await idle.get()
        try:
            vector = await asyncio.to_thread(pipeline.embed_query, text)
        finally:
            idle.put_nowait(pipeline)
        encoded = base64.b64encode(np.asarray(vector, "<f4").tobytes()).decode()
        return web.json_response({"data": [{"index": 0, "embedding": encoded}]})

    app = web.Application()
    app.router.add_post("/v1/embeddings", embed)
    return app


def main() -> None:
    model, pooling, num_streams, port = sys.argv[1:]
    app = make_app(load_pipelines(model, pooling, int(num_streams)))
    web.run_app(app, host="127.0.0.1", port=int(port), print=None)


if __name__ == "__main__":
    main()
