"""The models that are attacked: those of the package, a small classic one, a Python node."""

import importlib.util
import json
import shutil
from pathlib import Path

from support.e2e_graphs import ONE_NODE_GRAPH
from support.e2e_names import SMALL_BLOCKS
from support.made_models import TEST_MODELS
from support.openvino_models import half_plus_three_model, image_model, write_model
from support.server_process import ROOT

__all__ = ["TEMPLATED_BLOCKS", "TEMPLATES", "write_repository"]

BUNDLED = ROOT / "server" / "bundled_models"
# Blocks of 32 tokens: memory for the KV cache would else be most of what is measured.
CHAT_BLOCKS = 4096
TEMPLATED_BLOCKS = 128

# The text of the last message chooses what the template of the model `templated` does. `one` is 1,
# which the compiler of the template does not know.
TEMPLATES = {
    "loops": "{% for a in range(99999) %}{% for b in range(99999) %}"
    "{{ a * b }}{% endfor %}{% endfor %}",
    "quiet_loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "center": "{{ 'x'.center(one * 3000000000) }}",
    "ljust": "{{ 'x'.ljust(one * 3000000000)|length }}",
    "zfill": "{{ 'x'.zfill(one * 3000000000)|length }}",
    "replace": "{{ ('x' * 100000 * one).replace('x', 'x' * 100000 * one)|length }}",
    "join": "{{ ('x' * 100000 * one).join(['a'] * 100000 * one)|length }}",
    "multiply": "{{ (one * 3000000000 * 'x')|length }}",
    "list": "{{ (one * 900000000 * [0])|length }}",
    "power": "{{ (one * 9) ** 9 ** 9 }}",
    "sort": "{{ (one * 20000000 * [3, 2, 1])|sort|length }}",
    "indent": "{{ {'a': {'b': [one, 2]}}|tojson(indent=1000000000) }}",
    "format": "{{ '%3000000000d'|format(one) }}",
    "expandtabs": "{{ ('\\t' * 1000 * one).expandtabs(10000000)|length }}",
    "recursion": "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
    "doubling": "{% set n = namespace(s='x') %}{% for i in range(99) %}"
    "{% set n.s = n.s ~ n.s %}{% endfor %}{{ n.s|length }}",
    "batch": "{{ range(99999)|batch(2, 'x' * 1000000 * one)|list|length }}",
    "classes": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "globals": "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "division": "{{ one // 0 }}",
    "unicode": "{{ '\\ud800' }}",
}


def write_repository(folder: Path, *, media: bool = True, chat_blocks: int = CHAT_BLOCKS) -> Path:
    """The config.json of all of them; speech too where its library and a made model are there."""
    entries = [
        _bundled(folder, "tiny_chat", f"num_kv_blocks: {chat_blocks}"),
        {"name": "embedder", "base_path": str(BUNDLED / "tiny_embedder")},
        {"name": "reranker", "base_path": str(BUNDLED / "tiny_reranker")},
        _classic(folder, "half", half_plus_three_model()),
        _classic(folder, "image", image_model()) | {"layout": {"image": "NHWC:NCHW"}},
        {"name": "uppercase", "base_path": str(ROOT / "demos" / "python_nodes" / "uppercase")},
        _small(folder),
        _templated(folder),
    ]
    if media and (whisper := _made_whisper()) is not None:
        entries.append({"name": "whisper", "base_path": str(whisper)})
    config = folder / "config.json"
    config.write_text(json.dumps({"model_config_list": [{"config": entry} for entry in entries]}))
    return config


def _bundled(folder: Path, name: str, options: str) -> dict[str, str]:
    """A copy of a bundled LLM with its own options."""
    shutil.copytree(BUNDLED / "tiny_chat", folder / name)
    graph = folder / name / "graph.pbtxt"
    graph.write_text(graph.read_text().replace("cache_size: 0", options))
    return {"name": name, "base_path": name}


def _templated(folder: Path) -> dict[str, str]:
    entry = _bundled(folder, "templated", f"num_kv_blocks: {TEMPLATED_BLOCKS}")
    branches = [
        f"{{% if messages[-1].content == '{name}' %}}{attack}{{% endif %}}"
        for name, attack in TEMPLATES.items()
    ]
    text = "{% set one = messages|length %}" + "".join(branches) + "{{ messages[-1].content }}"
    (folder / "templated" / "chat_template.jinja").write_text(text)
    return entry


def _small(folder: Path) -> dict[str, str]:
    """A model with few blocks: one request that needs all of them shows that none is lost."""
    (folder / "small").mkdir()
    graph = ONE_NODE_GRAPH.format(
        models_path=BUNDLED / "tiny_chat", options=f"num_kv_blocks: {SMALL_BLOCKS}"
    )
    (folder / "small" / "graph.pbtxt").write_text(graph)
    return {"name": "small", "base_path": "small"}


def _classic(folder: Path, name: str, model: object) -> dict[str, object]:
    write_model(folder / name, model)
    return {"name": name, "base_path": name}


def _made_whisper() -> Path | None:
    if importlib.util.find_spec("av") is None or importlib.util.find_spec("openvino_genai") is None:
        return None
    made = sorted(TEST_MODELS.glob("speech-*/whisper"))
    return made[-1] if made else None
