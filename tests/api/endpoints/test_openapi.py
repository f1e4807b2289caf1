"""/openapi.json: that it is valid, complete and true."""

from typing import Any

import pytest
from openapi_spec_validator import validate
from support.serving import Server

from server.api.app import create_app
from server.api.endpoints.openapi import documented_path
from server.api.settings import HttpSettings
from server.models.config import ServerConfig
from server.models.model_manager import ModelManager


@pytest.fixture
async def document(server: Server) -> Any:
    async with server.http.get("/openapi.json") as response:
        assert response.headers["Content-Type"].startswith("application/json")
        return await response.json()


async def test_it_is_valid(document: Any) -> None:
    validate(document)
    assert document["openapi"].startswith("3.")


async def test_it_has_every_route_and_no_other(document: Any) -> None:
    # The files of the page are no API.
    settings = HttpSettings(has_page=False)
    app = create_app(ModelManager(ServerConfig(models=())), settings)
    routes = set()
    for route in app.router.routes():
        assert route.resource is not None
        info = route.resource.get_info()
        template = info.get("path") or info["formatter"]
        routes.add((route.method, documented_path(template)))
    documented = {
        (method.upper(), path)
        for path, operations in document["paths"].items()
        for method in operations
    }
    with_heads = documented | {("HEAD", path) for method, path in documented if method == "GET"}
    assert routes == with_heads


async def test_fields_checked_before_pydantic_are_documented(document: Any) -> None:
    fields = document["components"]["schemas"]["ChatCompletionFields"]
    assert fields["additionalProperties"] is True
    assert set(fields["required"]) == {"model", "messages"}
    properties = fields["properties"]
    assert properties["user"] == {"type": ["string", "null"]}
    assert properties["audio"] == {"enum": [None]}
    assert {"type": "null"} in properties["stream"]["anyOf"]
    assert {"type": "null"} in properties["seed"]["anyOf"]


async def test_streams_and_whole_answers_are_documented(document: Any) -> None:
    answer = document["paths"]["/v1/chat/completions"]["post"]["responses"]["200"]
    assert set(answer["content"]) == {"application/json", "text/event-stream"}
