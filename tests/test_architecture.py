"""The layers of docs/architecture.md, compared with what the files import."""

from collections.abc import Iterable
from pathlib import Path

import pytest
from support.imports import PACKAGES, ROOT, arrows, floors, imports_of, modules

# A package stands for all in it that has no entry of its own; a file stands for itself alone. Each
# may import itself and what is listed.
PACKAGE_LAYERS: dict[str, set[str]] = {
    "server.host": set(),
    "server.graph": {"server.errors"},
    "server.engine.system": set(),
    "server.engine.adapters": {"server.errors", "server.host"},
    "server.engine.kv": {
        "server.engine.sequence",
        "server.engine.system",
        "server.errors",
        "server.host",
    },
    "server.engine.sampling": {
        "server.engine.prompt_logprobs",
        "server.engine.sequence",
        "server.engine.token_mask",
        "server.host",
        "server.payloads",
    },
    "server.engine.scheduling": {
        "server.engine.kv",
        "server.engine.sequence",
        "server.engine.token_mask",
        "server.host",
    },
    "server.engine.model": {
        "server.engine.adapters",
        "server.engine.config",
        "server.engine.kv",
        "server.engine.prompt_logprobs",
        "server.engine.sampling",
        "server.engine.scheduling",
        "server.engine.sequence",
        "server.engine.system",
        "server.errors",
        "server.host",
        "server.payloads",
    },
    "server.engine.requests": {
        "server.engine.adapters",
        "server.engine.config",
        "server.engine.model",
        "server.engine.pooling",
        "server.engine.prompt_logprobs",
        "server.engine.sampling",
        "server.engine.scheduling",
        "server.engine.sequence",
        "server.engine.token_constraint",
        "server.engine.token_mask",
        "server.errors",
        "server.host",
        "server.payloads",
    },
    "server.engine.speculation": {
        "server.engine.config",
        "server.engine.kv",
        "server.engine.model",
        "server.engine.sampling",
        "server.engine.scheduling",
        "server.engine.sequence",
        "server.errors",
        "server.host",
    },
    "server.engine.verification": {
        "server.engine.config",
        "server.engine.engine",
        "server.engine.model",
        "server.engine.sequence",
        "server.errors",
        "server.host",
        "server.payloads",
    },
    "server.payloads": {"server.sampling_params", "server.tensors"},
    "server.terminal": {"server.errors"},
    "server.models": {"server.errors", "server.graph", "server.host"},
    "server.protocol": {
        "server.errors",
        "server.payloads",
        "server.sampling_params",
        "server.tensors",
        "server.host",
    },
    "server.api": {
        "server.errors",
        "server.graph",
        "server.models",
        "server.payloads",
        "server.protocol",
        "server.tensors",
        "server.host",
    },
    "server.llm": {
        "server.errors",
        "server.graph",
        "server.models",
        "server.payloads",
        "server.protocol",
    },
    "server.cli": {
        "server.api",
        "server.errors",
        "server.graph",
        "server.models",
        "server.payloads",
        "server.terminal",
        "server.host",
    },
    "calculators.text": {
        "calculators.chat_template",
        "calculators.inference",
        "server.errors",
        "server.graph",
        "server.host",
        "server.payloads",
    },
    "calculators.chat_template": {"server.errors", "server.host", "server.payloads"},
    "calculators.llm": {"server.engine", "server.errors", "server.graph", "server.payloads"},
    "calculators.rerank": {
        "calculators.chat_template",
        "calculators.encoders",
        "calculators.inference",
        "calculators.text",
        "server.engine",
        "server.errors",
        "server.payloads",
    },
    "calculators.inference": {
        "server.errors",
        "server.graph",
        "server.host",
        "server.payloads",
        "server.tensors",
    },
    "calculators.embeddings": {
        "calculators.encoders",
        "calculators.inference",
        "calculators.text",
        "server.engine",
        "server.errors",
        "server.host",
        "server.payloads",
    },
    "calculators.encoders": {
        "calculators.inference",
        "calculators.text",
        "server.engine",
        "server.errors",
        "server.graph",
        "server.host",
        "server.payloads",
    },
    "calculators.media": {
        "calculators.llm",
        "server.errors",
        "server.graph",
        "server.host",
        "server.payloads",
    },
    "calculators.python_nodes": {
        "server.errors",
        "server.graph",
        "server.host",
        "server.tensors",
    },
    "calculators.guided": {
        "calculators.output_parsers",
        "calculators.text",
        "server.errors",
        "server.payloads",
    },
    "calculators.output_parsers": {"server.errors", "server.graph", "server.payloads"},
    "export_models.conversion": {
        "export_models",
        "server.errors",
        "server.host",
        "server.models",
    },
    "export_models.quantization": {"export_models", "server.errors", "server.host"},
    "export_models.tokenizer": {"calculators", "server.errors", "server.host"},
    "export_models.verification": {"export_models", "server.errors", "server.host"},
}

NODE = {"calculators", "server.errors", "server.graph", "server.host", "server.payloads"}
EXPORT = {
    "calculators",
    "export_models",
    "server.errors",
    "server.graph",
    "server.host",
    "server.models",
    "server.terminal",
}

FILE_LAYERS: dict[str, set[str]] = {
    "server.errors": set(),
    "server.tensors": set(),
    "server.sampling_params": {"server.errors"},
    "server": {"server.llm"},
    "server.__main__": {"server.cli"},
    "server.engine.token_constraint": set(),
    "server.engine.token_mask": set(),
    "server.engine.config": {"server.engine.adapters", "server.errors"},
    "server.engine.pooling": set(),
    "server.engine.prompt_logprobs": {"server.payloads"},
    "server.engine.sequence": {
        "server.engine.adapters",
        "server.engine.pooling",
        "server.engine.prompt_logprobs",
        "server.engine.token_constraint",
        "server.engine.token_mask",
        "server.errors",
        "server.payloads",
    },
    "server.engine.engine": {"server.engine", "server.errors", "server.host", "server.payloads"},
    "server.engine.sample_answers": {
        "server.engine",
        "server.errors",
        "server.host",
        "server.payloads",
    },
    "server.engine.async_engine": {
        "server.engine",
        "server.errors",
        "server.host",
        "server.payloads",
    },
    "server.engine.replaceable_engine": {
        "server.engine",
        "server.errors",
        "server.host",
    },
    "server.engine": {"server.engine"},
    "calculators": set(),
    "calculators.detokenizer_calculator": NODE,
    "calculators.embeddings_calculator_ov": NODE,
    "calculators.http_llm_calculator": NODE,
    "calculators.image_gen_calculator": NODE,
    "calculators.llm_executor_calculator": NODE | {"server.engine"},
    "calculators.openvino_inference_calculator": NODE | {"server.tensors"},
    "calculators.openvino_model_server_session_calculator": NODE,
    "calculators.output_parser_calculator": NODE,
    "calculators.pass_through_calculator": NODE,
    "calculators.python_executor_calculator": NODE | {"server.tensors"},
    "calculators.pytensor_ovtensor_converter_calculator": NODE | {"server.tensors"},
    "calculators.tensor_streams_calculators": NODE | {"server.tensors"},
    "calculators.rerank_calculator_ov": NODE,
    "calculators.s2t_calculator": NODE,
    "calculators.t2s_calculator": NODE,
    "calculators.tags": {"server.graph", "server.payloads", "server.tensors"},
    "calculators.tokenizer_calculator": NODE,
    "export_models": set(),
    "export_models.arguments": EXPORT,
    "export_models.draft_source": EXPORT,
    "export_models.embeddings_ov": EXPORT,
    "export_models.export_model": EXPORT,
    "export_models.export_run": EXPORT,
    "export_models.graph_text": EXPORT,
    "export_models.image_generation": EXPORT,
    "export_models.loras": EXPORT,
    "export_models.model_files": EXPORT,
    "export_models.model_repository": EXPORT,
    "export_models.progress": EXPORT,
    "export_models.rerank_ov": EXPORT,
    "export_models.source": EXPORT,
    "export_models.speech2text": EXPORT,
    "export_models.staging": EXPORT,
    "export_models.text2speech": EXPORT,
    "export_models.text_encoders": EXPORT,
    "export_models.text_generation": EXPORT,
    "export_models.weight_precision": EXPORT,
}

# Heavy libraries, and the only places that may import them.
LIBRARIES: dict[str, set[str]] = {
    "PIL": {"calculators.inference.images", "calculators.media"},
    "aiohttp": {"server.api"},
    "av": {"calculators.media"},
    "google": {"server.graph", "server.api.kserve_grpc"},
    "grpc": {"server.api.kserve_grpc"},
    "grpc_health": {"server.api.kserve_grpc"},
    "grpc_reflection": {"server.api.kserve_grpc"},
    "llguidance": {"calculators.guided"},
    "nncf": {"export_models.quantization"},
    "openvino": {
        "server.engine",
        "server.host.openvino_core",
        "calculators",
        "export_models.quantization",
        "export_models.tokenizer",
    },
    "openvino_tokenizers": {"server.host.openvino_core", "export_models"},
    # The engine is this project's own; only the tasks that are no text run the library's pipelines.
    "openvino_genai": {"calculators.media"},
    "optimum": {"export_models"},
    "opentelemetry": {"server.api.tracing"},
    "prometheus_client": {"server.host.metrics"},
    "jinja2": {"calculators"},
    "torch": {"export_models.conversion", "export_models.verification"},
    "transformers": {
        "export_models.conversion",
        "export_models.quantization",
        "export_models.tokenizer",
        "export_models.verification",
    },
    "yaml": {"server.models"},
}

FORBIDDEN_NAMES = {"types.py", "logging.py", "queue.py", "http.py"}
MAX_FILES_IN_A_ROOM = 20


def is_within(module: str, layer: str) -> bool:
    return module == layer or module.startswith(layer + ".")


def is_within_any(module: str, layers: Iterable[str]) -> bool:
    return any(is_within(module, layer) for layer in layers)


def allowed_imports(module: str) -> set[str] | None:
    """What a module may import, its own layer included; None for one that no layer names."""
    if module in FILE_LAYERS:
        return FILE_LAYERS[module] | {module}
    packages = [package for package in PACKAGE_LAYERS if is_within(module, package)]
    if not packages:
        return None
    package = max(packages, key=len)
    return PACKAGE_LAYERS[package] | {package}


def forbidden_imports(module: str, path: Path) -> list[str]:
    allowed = allowed_imports(module)
    assert allowed is not None, f"{module} is in no layer: name it, or its package, in this file"
    bad = []
    for imported in imports_of(path):
        top = imported.split(".")[0]
        if top in PACKAGES:
            if not is_within_any(imported, allowed):
                bad.append(imported)
        elif top in LIBRARIES and not is_within_any(module, LIBRARIES[top]):
            bad.append(imported)
    return bad


@pytest.mark.parametrize(("module", "path"), list(modules()), ids=lambda value: str(value)[-40:])
def test_imports_point_down(module: str, path: Path) -> None:
    assert forbidden_imports(module, path) == []


def test_every_layer_exists() -> None:
    names = {module for module, _ in modules()}
    listed = {*PACKAGE_LAYERS, *FILE_LAYERS}
    assert listed - names == set()


def test_a_forbidden_import_would_be_found(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text("import aiohttp\nfrom server.graph import Graph\nfrom server.errors import E\n")
    found = forbidden_imports("server.engine.kv.x", path)
    assert sorted(found) == ["aiohttp", "server.graph"]


def test_a_new_file_at_the_top_would_be_found() -> None:
    assert allowed_imports("server.new") is None
    assert allowed_imports("server.engine.new") is None
    assert allowed_imports("calculators.new") is None


def test_no_room_imports_what_imports_it() -> None:
    # floors() raises CycleError where one does.
    assert max(floors().values()) <= 7
    assert sum(map(len, arrows().values())) < 50


@pytest.mark.parametrize("package", sorted({path.parent for _, path in modules()}))
def test_every_package_says_what_it_is_for(package: Path) -> None:
    first = (package / "__init__.py").read_text(encoding="utf-8")
    assert first.startswith('"""')
    assert len(first.splitlines()[0]) > 20
    assert len(list(package.glob("*.py"))) <= MAX_FILES_IN_A_ROOM


def test_no_file_shadows_the_standard_library() -> None:
    assert [path for _, path in modules() if path.name in FORBIDDEN_NAMES] == []


def test_the_names_of_packages_are_those_of_folders() -> None:
    assert {path.name for path in ROOT.iterdir() if (path / "__init__.py").exists()} == {*PACKAGES}
