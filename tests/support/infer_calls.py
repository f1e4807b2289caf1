"""Requests to KServe's inference endpoint."""

import io
import json
from typing import Any

from support.serving import Server

HEADER = "Inference-Header-Content-Length"


def tensor(name: str, data: Any, shape: list[int], datatype: str = "FP32") -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": datatype, "data": data}


def add_inputs(**changed: Any) -> list[dict[str, Any]]:
    x = tensor("x", [1, 2, 3.5], [1, 3])
    return [{**x, **changed}, tensor("y", [[10, 20, 30]], [1, 3])]


async def infer_ok(server: Server, body: Any, model: str = "add") -> Any:
    status, answer = await server.post(f"/v2/models/{model}/infer", body)
    assert status == 200, answer
    return answer


async def infer_error(server: Server, body: Any, model: str = "add", status: int = 400) -> str:
    """The message of KServe's error object."""
    found, answer = await server.post(f"/v2/models/{model}/infer", body)
    assert (found, list(answer)) == (status, ["error"]), answer
    assert isinstance(answer["error"], str)
    return str(answer["error"])


async def post_binary(
    server: Server, head: Any, data: bytes, model: str = "add", length: object = None
) -> tuple[int, dict[str, str], bytes]:
    text = json.dumps(head).encode()
    headers = {HEADER: str(len(text) if length is None else length)}
    url = f"/v2/models/{model}/infer"
    sent = io.BytesIO(text + data)
    async with server.http.post(url, data=sent, headers=headers) as response:
        return response.status, dict(response.headers), await response.read()
