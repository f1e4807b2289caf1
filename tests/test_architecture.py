"""The layers of the README's architecture section, compared with what the files import."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# Longest prefix wins. A layer may import itself and what is listed.
ALLOWED: dict[str, set[str]] = {
    "server.errors": set(),
    "server.tensors": set(),
    "server.sampling_params": {"server.errors"},
    "server.payloads": {"server.sampling_params", "server.tensors"},
    "server.version": set(),
    "server.graph": {"server.errors"},
    "server.engine": {"server.atomic_files", "server.errors", "server.payloads"},
    "server.models.config": {"server.models.classic_config", "server.errors", "server.graph"},
    "server.atomic_files": set(),
    "server.models.config_file": {"server.atomic_files", "server.models.config", "server.errors"},
    "server.models.classic_config": {"server.errors"},
    "server.models.classic_model": {
        "server.models.classic_config",
        "server.models.config",
        "server.errors",
        "server.graph",
    },
    "server.models.watched_files": set(),
    "server.models.config_source": {
        "server.models.classic_model",
        "server.models.config",
        "server.errors",
        "server.models.watched_files",
    },
    "server.models.model_loading": {
        "server.models.classic_model",
        "server.models.config",
        "server.graph",
        "server.models.watched_files",
    },
    "server.models.served_model": {
        "server.models.config",
        "server.errors",
        "server.graph",
        "server.models.model_loading",
        "server.models.watched_files",
    },
    "server.models.model_manager": {
        "server.models.config",
        "server.models.config_source",
        "server.errors",
        "server.graph",
        "server.models.served_model",
        "server.models.watched_files",
    },
    "server.models.file_watcher": {
        "server.errors",
        "server.models.model_manager",
        "server.models.watched_files",
    },
    "server.protocol": {
        "server.errors",
        "server.payloads",
        "server.sampling_params",
        "server.tensors",
        "server.version",
    },
    "server.api": {
        "server.errors",
        "server.graph",
        "server.protocol",
        "server.models.model_manager",
        "server.payloads",
        "server.sampling_params",
        "server.tensors",
        "server.version",
    },
    "server.cli.main": {"server"},
    "server": {"server"},
    "calculators": {"server.errors", "server.graph", "server.payloads", "server.tensors"},
    "calculators.llm_executor_calculator": {
        "calculators",
        "server.engine",
        "server.errors",
        "server.graph",
        "server.payloads",
    },
    "export_models": {
        "server.atomic_files",
        "server.models.config",
        "server.models.config_file",
        "server.errors",
        "server.graph",
    },
}

# Heavy libraries, and the only places that may import them.
LIBRARIES: dict[str, set[str]] = {
    "aiohttp": {"server.api"},
    "google": {"server.graph"},
    "llguidance": {"calculators.guided"},
    "nncf": {"export_models.quantization.full_quantization"},
    "openvino": {"server.engine", "calculators", "export_models.quantization.full_quantization"},
    "openvino_tokenizers": {"calculators", "export_models"},
    "optimum": {"export_models"},
    "jinja2": {"calculators"},
    "torch": set(),
    "transformers": {"export_models.quantization.full_quantization"},
    "yaml": {"server.models.config"},
}

FORBIDDEN_NAMES = {"types.py", "logging.py", "queue.py", "http.py"}


def modules() -> Iterator[tuple[str, Path]]:
    for package in ("server", "calculators", "export_models"):
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            yield name.removesuffix(".__init__"), path


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            found.add(node.module or "")
    return found


def is_within(module: str, layer: str) -> bool:
    return module == layer or module.startswith(layer + ".")


def layer_of(module: str) -> str:
    return max((layer for layer in ALLOWED if is_within(module, layer)), key=len)


def forbidden_imports(module: str, path: Path) -> list[str]:
    layer = layer_of(module)
    allowed = ALLOWED[layer] | {layer}
    bad = []
    for imported in imports_of(path):
        top = imported.split(".")[0]
        if top in {"server", "calculators", "export_models"}:
            if not any(is_within(imported, name) for name in allowed):
                bad.append(imported)
        elif top in LIBRARIES and not any(is_within(module, at) for at in LIBRARIES[top]):
            bad.append(imported)
    return bad


@pytest.mark.parametrize(("module", "path"), list(modules()), ids=lambda value: str(value)[-40:])
def test_imports_point_down(module: str, path: Path) -> None:
    assert forbidden_imports(module, path) == []


def test_a_forbidden_import_would_be_found(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text("import aiohttp\nfrom server.graph import Graph\nfrom server.errors import E\n")
    assert sorted(forbidden_imports("server.engine.x", path)) == ["aiohttp", "server.graph"]


def test_no_file_shadows_the_standard_library() -> None:
    assert [path for _, path in modules() if path.name in FORBIDDEN_NAMES] == []
