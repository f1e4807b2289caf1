"""The endpoints of images, with a real model and the openai client."""

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
from PIL import Image
from support.loras import layers_of, write_lora
from support.serving import Server, running_server

from calculators.media import pipeline_queue
from server.api.settings import HttpSettings
from server.graph import QueueDefaults, Services
from server.models.config import load_config
from server.models.model_manager import ModelManager

# As OpenVINO Model Server's exporter writes it.
GRAPH = """# OVMS_GRAPH_QUEUE_MAX_SIZE: AUTO
input_stream: "HTTP_REQUEST_PAYLOAD:input"
output_stream: "HTTP_RESPONSE_PAYLOAD:output"

node: {{
  name: "ImageGenExecutor"
  calculator: "ImageGenCalculator"
  input_stream: "HTTP_REQUEST_PAYLOAD:input"
  input_side_packet: "IMAGE_GEN_NODE_RESOURCES:pipes"
  output_stream: "HTTP_RESPONSE_PAYLOAD:output"
  node_options: {{
      [type.googleapis.com / mediapipe.ImageGenCalculatorOptions]: {{
          models_path: "{model}",
          plugin_config: '{{ "NUM_STREAMS": "1" }}',
          device: "CPU",
          default_resolution: "64x64",
          max_resolution: "128x128",
          default_num_inference_steps: 2,
          lora_adapters {{ alias: "style" path: "{lora}" alpha: 1.0 mode: DYNAMIC }}
      }}
  }}
}}
"""


@pytest.fixture
async def server(sd_model: Path, tmp_path: Path) -> AsyncIterator[Server]:
    layers = layers_of(sd_model / "unet" / "openvino_model.xml")
    lora = write_lora(tmp_path / "style.safetensors", layers, 1)
    folder = tmp_path / "painter"
    folder.mkdir()
    (folder / "graph.pbtxt").write_text(GRAPH.format(model=sd_model, lora=lora))
    entry = {"config": {"name": "painter", "base_path": str(folder)}}
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"model_config_list": [entry]}))
    manager = ModelManager(load_config(config), services=Services(extras=(QueueDefaults(True),)))
    await manager.load_all()
    async with running_server(manager, HttpSettings()) as running:
        yield running
    await manager.close(0)


def pixels_of(image: Any) -> Any:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(image.b64_json))))


def png_of(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


async def test_everything_that_openai_has(server: Server) -> None:
    """One test, as loading a model is what takes the time."""
    async with server.openai() as client:
        await check_images_of_texts(client)
        await check_edits(client)
        await check_adapters(client, server)
        await check_refusals(client, server)
    await check_the_queue(server)


async def check_images_of_texts(client: openai.AsyncOpenAI) -> None:
    answer = await client.images.generate(
        model="painter",
        prompt="a cat",
        n=2,
        size="64x64",
        response_format="b64_json",
        extra_body={"rng_seed": 3, "num_inference_steps": 2},
    )
    assert answer.created > 1_700_000_000
    assert answer.data is not None
    images = [pixels_of(image) for image in answer.data]
    assert [image.shape for image in images] == [(64, 64, 3)] * 2
    assert not np.array_equal(images[0], images[1])


async def check_edits(client: openai.AsyncOpenAI) -> None:
    picture = Image.fromarray(np.full((64, 64, 3), 120, np.uint8))
    mask = picture.convert("RGBA")
    mask.paste((0, 0, 0, 0), (0, 0, 64, 32))
    seed = {"rng_seed": 3, "strength": 0.9}
    files = {"image": ("p.png", png_of(picture)), "mask": ("m.png", png_of(mask))}
    found = []
    for names in (("image",), ("image", "mask")):
        given: Any = {name: files[name] for name in names}
        answer = await client.images.edit(model="painter", prompt="a cat", extra_body=seed, **given)
        assert answer.data is not None
        found.append(pixels_of(answer.data[0]))
    assert not np.array_equal(*found)
    listed: Any = [files["image"]]
    answer = await client.images.edit(
        model="painter", image=listed, prompt="a cat", extra_body=seed
    )
    assert answer.data is not None
    assert np.array_equal(pixels_of(answer.data[0]), found[0])
    with pytest.raises(openai.BadRequestError, match="only one image can be edited, found 2"):
        await client.images.edit(model="painter", image=listed * 2, prompt="a cat")


async def check_adapters(client: openai.AsyncOpenAI, server: Server) -> None:
    assert [model.id async for model in client.models.list()] == ["painter", "style"]
    async with server.http.get("/v3/models/style") as response:
        answer = await response.json()
    assert (response.status, answer["id"], answer["parent"]) == (200, "style", "painter")
    images = []
    for model, alphas in (("painter", None), ("style", None), ("style", {"style": 0.0})):
        body: dict[str, Any] = {"model": model, "prompt": "a cat", "rng_seed": 3}
        body |= {} if alphas is None else {"lora_alphas": alphas}
        status, answer = await server.post("/v3/images/generations", body)
        assert status == 200
        images.append(answer["data"][0]["b64_json"])
    assert images[0] == images[2] != images[1]


async def check_refusals(client: openai.AsyncOpenAI, server: Server) -> None:
    with pytest.raises(openai.BadRequestError, match="Unhandled parameter: quality"):
        await client.images.generate(model="painter", prompt="a cat", quality="high")
    with pytest.raises(openai.BadRequestError, match="width exceeds max_resolution 128x128"):
        await client.images.generate(model="painter", prompt="a cat", size="256x256")
    with pytest.raises(openai.BadRequestError, match="image: Image parsing failed"):
        await client.images.edit(model="painter", prompt="a cat", image=b"no image")
    # The client warns that its method for this is deprecated.
    status, answer = await server.post("/v3/images/variations", b"")
    assert status == 400
    assert "images/variations is not supported" in answer["error"]["message"]
    with pytest.raises(openai.BadRequestError, match="its graph goes from ImageRequest"):
        await client.completions.create(model="painter", prompt="a cat")


async def check_the_queue(server: Server) -> None:
    long = {"model": "painter", "prompt": "a cat", "num_inference_steps": 100}
    tasks = [
        asyncio.create_task(server.post("/v3/images/generations", long))
        for _ in range(pipeline_queue.QUEUE_LIMITS.max_num_queued_requests + 5)
    ]
    done, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED, timeout=60)
    status, answer = done.pop().result()
    assert status == 503
    assert "64 requests wait" in answer["error"]["message"]
    # All clients leave, and the model is free for the next one at once.
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    short = {"model": "painter", "prompt": "a cat"}
    async with asyncio.timeout(30):
        await server.until_running(0, "painter")
        status, _ = await server.post("/v3/images/generations", short)
    assert status == 200
