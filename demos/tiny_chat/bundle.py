"""Export the tiny models into the package, which serves them without torch.

int8 with zero points is near the fastest form on any CPU, and needs no property of the plugin.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
BUNDLED = ROOT / "server" / "bundled_models"
NAME = "tiny_chat"
PACKAGED = BUNDLED / NAME
# The name of each model in the package, its folder here, and how it is exported.
MODELS = {
    NAME: ("model", "text_generation", ("--kv_cache_precision", "u8")),
    "tiny_embedder": ("embedder", "embeddings_ov", ()),
    "tiny_reranker": ("reranker", "rerank_ov", ()),
}


def export(repository: Path, name: str = NAME) -> Path:
    """Export a model into a repository; returns its folder."""
    source, task, flags = MODELS[name]
    command = [sys.executable, "-m", "export_models.export_model", task]
    command += ["--source_model", str(Path(__file__).parent / source), "--model_name", name]
    command += ["--weight-format", "int8_asym", *flags]
    command += ["--model_repository_path", str(repository), "--no_config_file"]
    subprocess.run(command, cwd=ROOT, check=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    return repository / name


def main() -> None:
    """Replace the packaged models, or those that the command line names."""
    for name in sys.argv[1:] or MODELS:
        packaged = BUNDLED / name
        with tempfile.TemporaryDirectory() as repository:
            exported = export(Path(repository), name)
            shutil.rmtree(packaged, ignore_errors=True)
            shutil.copytree(exported, packaged)
        _forget_paths(packaged / "openvino_config.json")
        print(f"{packaged} is what the exporter makes today")


def _forget_paths(path: Path) -> None:
    """Remove the folder of the tokenizer, which is one of this machine."""
    config = json.loads(path.read_text(encoding="utf-8"))
    config["quantization_config"]["tokenizer"] = None
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
