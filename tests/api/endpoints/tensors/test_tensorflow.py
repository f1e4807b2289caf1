"""TensorFlow Serving's REST API: the examples of its documentation, and what goes wrong.

https://www.tensorflow.org/tfx/serving/api_rest
"""

import base64
from collections.abc import Callable, Mapping
from typing import Any

import openai
import openvino as ov
import pytest
from support.openvino_models import add_model, half_plus_three_model, sensor_model
from support.serving import Server

MODELS = {
    "add": add_model,
    "half_plus_three": half_plus_three_model,
    "org/sensors": sensor_model,
}
FOO, BAR = "Zm9v", "YmFy"


@pytest.fixture(scope="module")
def models() -> Mapping[str, Callable[[], ov.Model]]:
    return MODELS


async def predict(server: Server, body: Any, model: str = "half_plus_three") -> Any:
    status, answer = await server.post(f"/v1/models/{model}:predict", body)
    assert status == 200, answer
    return answer


async def error_of(
    server: Server, body: Any, model: str = "half_plus_three", status: int = 400
) -> str:
    found, answer = await server.post(f"/v1/models/{model}:predict", body)
    assert (found, list(answer)) == (status, ["error"]), answer
    assert isinstance(answer["error"], str)
    return str(answer["error"])


async def get(server: Server, path: str) -> tuple[int, Any]:
    async with server.http.get(path) as response:
        return response.status, await response.json()


@pytest.mark.parametrize("version", ["", "/versions/1"])
async def test_half_plus_three(server: Server, version: str) -> None:
    model = f"half_plus_three{version}"
    assert await predict(server, {"instances": [1.0, 2.0, 5.0]}, model) == {
        "predictions": [3.5, 4.0, 5.5]
    }
    body = {"signature_name": "serving_default", "inputs": [1, 2, 5]}
    assert await predict(server, body, model) == {"outputs": [3.5, 4.0, 5.5]}


async def test_named_inputs_in_rows(server: Server) -> None:
    rows = [
        {"tag": "foo", "signal": [1, 2, 3, 4, 5], "sensor": [[1, 2], [3, 4]]},
        {"tag": {"b64": BAR}, "signal": [3, 4, 1, 2, 5], "sensor": [[4, 5], [6, 8]]},
    ]
    assert await predict(server, {"instances": rows}, "org/sensors") == {
        "predictions": [
            {
                "tag_bytes": [{"b64": FOO}],
                "signals": [[1, 2, 3, 4, 5]],
                "sensors": [[[1, 2], [3, 4]]],
            },
            {
                "tag_bytes": [{"b64": BAR}],
                "signals": [[3, 4, 1, 2, 5]],
                "sensors": [[[4, 5], [6, 8]]],
            },
        ]
    }


async def test_named_inputs_in_columns(server: Server) -> None:
    columns = {
        "tag": ["foo", {"b64": BAR}],
        "signal": [[1, 2, 3, 4, 5], [3, 4, 1, 2, 5]],
        "sensor": [[[1, 2], [3, 4]], [[4, 5], [6, 8]]],
    }
    assert await predict(server, {"inputs": columns}, "org/sensors/versions/1") == {
        "outputs": {
            "tag_bytes": [[{"b64": FOO}], [{"b64": BAR}]],
            "signals": [[[1, 2, 3, 4, 5]], [[3, 4, 1, 2, 5]]],
            "sensors": [[[[1, 2], [3, 4]]], [[[4, 5], [6, 8]]]],
        }
    }


async def test_values_that_are_not_json(server: Server) -> None:
    body = b'{"instances": [NaN, Infinity, -Infinity]}'
    async with server.http.post("/v1/models/half_plus_three:predict", data=body) as response:
        assert await response.text() == '{"predictions":[NaN, Infinity, -Infinity]}'


async def test_texts(server: Server) -> None:
    rows = [{"tag": text, "signal": [0] * 5, "sensor": [[0, 0]] * 2} for text in ("ä", "", "x" * 9)]
    answer = await predict(server, {"instances": rows}, "org/sensors")
    found = [base64.b64decode(row["tag_bytes"][0]["b64"]).decode() for row in answer["predictions"]]
    assert found == ["ä", "", "x" * 9]


async def test_errors(server: Server) -> None:
    for body, message in (
        (b"{", "the body is not JSON"),
        ({"instances": [1, "x"]}, "instances: x holds the string 'x', which is no FP32"),
        ({"instances": [[1]]}, "has shape [1, 1]"),
        ({"inputs": {}}, "inputs that are missing: x"),
        ({"inputs": 1}, "has shape []"),
    ):
        assert message in await error_of(server, body)


async def test_which_model(server: Server) -> None:
    body = {"instances": [1]}
    assert "did you mean 'half_plus_three'" in await error_of(server, body, "half_plus_thre", 404)
    found = await error_of(server, body, "half_plus_three/versions/2", 404)
    assert found == "model 'half_plus_three' has no version '2'; versions: 1"
    found = await error_of(server, body, "half_plus_three/labels/stable", 404)
    assert found == "there is no label 'stable'; name a version: /versions/1"
    assert "does not serve this endpoint" in await error_of(server, body, "echo")
    assert "must name the model's inputs: x, y" in await error_of(server, body, "add")


async def test_status(server: Server) -> None:
    version = {
        "version": "1",
        "state": "AVAILABLE",
        "status": {"error_code": "OK", "error_message": "OK"},
    }
    expected = {"model_version_status": [version]}
    assert await get(server, "/v1/models/org/sensors/versions/1") == (200, expected)
    status, answer = await get(server, "/v1/models/org/sensors")
    assert (status, answer["model_version_status"]) == (200, [version])
    assert (answer["id"], answer["object"]) == ("org/sensors", "model")
    status, answer = await get(server, "/v1/models/org/sensors/versions/2")
    assert (status, answer["error"]) == (
        404,
        "model 'org/sensors' has no version '2'; versions: 1",
    )


async def test_openais_client_reads_the_same_path(server: Server) -> None:
    async with server.openai("/v1") as client:
        model = await client.models.retrieve("org/sensors")
        assert (model.id, model.object) == ("org/sensors", "model")
        with pytest.raises(openai.NotFoundError):
            await client.models.retrieve("nothing")


@pytest.mark.parametrize("version", ["", "/versions/1"])
async def test_metadata(server: Server, version: str) -> None:
    status, answer = await get(server, f"/v1/models/half_plus_three{version}/metadata")

    def described(name: str) -> dict[str, Any]:
        shape = {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False}
        return {name: {"dtype": "DT_FLOAT", "tensor_shape": shape, "name": name}}

    signature = {
        "inputs": described("x"),
        "outputs": described("y"),
        "method_name": "tensorflow/serving/predict",
    }
    assert status == 200
    assert answer == {
        "model_spec": {"name": "half_plus_three", "signature_name": "", "version": "1"},
        "metadata": {"signature_def": {"signature_def": {"serving_default": signature}}},
    }


async def test_types_in_metadata(server: Server) -> None:
    _, answer = await get(server, "/v1/models/org/sensors/metadata")
    definition = answer["metadata"]["signature_def"]["signature_def"]["serving_default"]
    types = [each["dtype"] for each in definition["inputs"].values()]
    assert types == ["DT_STRING", "DT_FLOAT", "DT_INT32"]
    status, answer = await get(server, "/v1/models/echo/metadata")
    assert (status, list(answer)) == (400, ["error"])


@pytest.mark.parametrize("verb", ["classify", "regress"])
async def test_other_verbs(server: Server, verb: str) -> None:
    url = f"/v1/models/org/sensors:{verb}"
    async with server.http.post(url, json={"examples": []}) as response:
        assert response.status == 404
        answer = await response.json()
    assert answer == {"error": f"TensorFlow Serving's :{verb} is not here; :predict is"}


async def test_a_large_request(server: Server) -> None:
    """It is read and written in a thread."""
    answer = await predict(server, {"instances": list(range(100_000))})
    assert answer["predictions"] == [number / 2 + 3 for number in range(100_000)]
