"""POST load_lora_adapter and unload_lora_adapter: adapters come and go while their model serves."""

import asyncio
from functools import partial
from pathlib import Path

from aiohttp import web

from server.api.body import read_call
from server.api.endpoint import Answer, Answers, Endpoint, error_answers, json_body
from server.api.keys import LORA_FOLDER, MODEL_MANAGER
from server.api.model_lookup import find_model
from server.api.unknown_fields import UNKNOWN_FIELD_POLICY
from server.errors import InvalidRequestError, ModelLoadError, NotAllowedError
from server.graph import Graph
from server.models.model_manager import ModelManager, ServedModel
from server.payloads import AdapterLoader
from server.protocol.adapters import (
    ADAPTER_RULES,
    LoadAdapterFields,
    UnloadAdapterFields,
    parse_load_adapter,
    parse_unload_adapter,
)

__all__ = ["ADAPTER_PATHS", "ENDPOINTS"]


async def _load(request: web.Request) -> web.Response:
    """Load an adapter; its name may be used as soon as the answer comes."""
    folder = _folder(request)
    fields = await read_call(request, parse_load_adapter)
    request.app[UNKNOWN_FIELD_POLICY].apply(request, ADAPTER_RULES.unknown_fields(fields))
    path = await asyncio.to_thread(_resolve, folder, fields.lora_path)
    model = _find(request, fields)
    _check_name(request.app[MODEL_MANAGER], model, fields)
    async with model.graph.hold() as graph:
        loader = _require(_find_loader(graph), model)
        load = partial(loader.load_adapter, fields.lora_name, path, replaces=fields.load_inplace)
        try:
            await asyncio.to_thread(load)
        except ModelLoadError as error:
            raise InvalidRequestError(str(error), "lora_path") from error
    return web.Response(text=f"Success: LoRA adapter {fields.lora_name!r} added successfully.")


async def _unload(request: web.Request) -> web.Response:
    """Unload an adapter; requests that have it already end with it."""
    _folder(request)
    fields = await read_call(request, parse_unload_adapter)
    request.app[UNKNOWN_FIELD_POLICY].apply(request, ADAPTER_RULES.unknown_fields(fields))
    model = find_model(request, fields.model or fields.lora_name)
    async with model.graph.hold() as graph:
        loader = _require(_find_loader(graph), model)
        await asyncio.to_thread(loader.unload_adapter, fields.lora_name)
    return web.Response(text=f"Success: LoRA adapter {fields.lora_name!r} removed successfully.")


def _folder(request: web.Request) -> Path:
    folder = request.app[LORA_FOLDER]
    if folder is None:
        raise NotAllowedError(
            "adapters cannot be loaded and unloaded here; the flag --lora_folder allows it"
        )
    return folder


def _resolve(folder: Path, text: str) -> Path:
    """The adapter's path, which must be below the folder. Raises InvalidRequestError."""
    try:
        root = folder.resolve()
        path = (root / text).resolve()
        exists = path.exists()
    except (OSError, ValueError, RuntimeError) as error:
        raise InvalidRequestError(f"lora_path cannot be used: {error}", "lora_path") from error
    if not path.is_relative_to(root):
        raise InvalidRequestError(
            "lora_path leads out of the folder of adapters, which --lora_folder names", "lora_path"
        )
    if not exists:
        problem = f"lora_path {text[:100]!r}: there is no such file or folder below --lora_folder"
        raise InvalidRequestError(problem, "lora_path")
    return path


def _find(request: web.Request, fields: LoadAdapterFields) -> ServedModel:
    """The model that is named, or else the only one that takes adapters."""
    if fields.model is not None:
        return find_model(request, fields.model)
    manager = request.app[MODEL_MANAGER]
    names = [
        model.name
        for model in manager.available_models()
        if model.is_loaded and _find_loader(model) is not None
    ]
    if len(names) != 1:
        found = ", ".join(names or manager.served_names()) or "none"
        raise InvalidRequestError(
            f"model is missing: it says which model the adapter belongs to; possible: {found}",
            "model",
        )
    return find_model(request, names[0])


def _check_name(manager: ModelManager, model: ServedModel, fields: LoadAdapterFields) -> None:
    """Raise InvalidRequestError where another model, or its adapter, has the name."""
    others = [each for each in manager.all_models() if each.name != model.name]
    taken = {*manager.served_names(), *(name for each in others for name in each.more_names)}
    if fields.lora_name in taken:
        problem = f"lora_name {fields.lora_name!r} is the name of another model"
        raise InvalidRequestError(problem, "lora_name")


def _find_loader(source: Graph | ServedModel) -> AdapterLoader | None:
    return source.find_side_packet(AdapterLoader)  # type: ignore[type-abstract]


def _require(found: AdapterLoader | None, model: ServedModel) -> AdapterLoader:
    if found is None:
        raise InvalidRequestError(f"model {model.name!r} takes no adapters", "model")
    return found


def _answers(description: str) -> Answers:
    done = Answer(description, {"text/plain": {"type": "string"}})
    return {"200": done, **error_answers(400, 403, 404, 413, 500, 503)}


ENDPOINTS = (
    Endpoint(
        "POST",
        "/v1/load_lora_adapter",
        _load,
        "Load a LoRA adapter while its model serves",
        _answers("The adapter can be named as a model"),
        body=json_body(LoadAdapterFields),
        is_admin=True,
    ),
    Endpoint(
        "POST",
        "/v1/unload_lora_adapter",
        _unload,
        "Unload a LoRA adapter",
        _answers("No further request can name the adapter"),
        body=json_body(UnloadAdapterFields),
        is_admin=True,
    ),
)
ADAPTER_PATHS = frozenset(endpoint.path for endpoint in ENDPOINTS)
