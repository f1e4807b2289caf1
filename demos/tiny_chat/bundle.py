"""Export the tiny chat model into the package, which serves it without torch.

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
NAME = "tiny_chat"
PACKAGED = ROOT / "server" / "bundled_models" / NAME


def export(repository: Path) -> Path:
    """Export the model into a repository; returns its folder."""
    command = [sys.executable, "-m", "export_models.export_model", "text_generation"]
    command += ["--source_model", str(Path(__file__).parent / "model"), "--model_name", NAME]
    command += ["--weight-format", "int8_asym", "--kv_cache_precision", "u8"]
    command += ["--model_repository_path", str(repository), "--no_config_file"]
    subprocess.run(command, cwd=ROOT, check=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    return repository / NAME


def main() -> None:
    """Replace the packaged model."""
    with tempfile.TemporaryDirectory() as repository:
        exported = export(Path(repository))
        shutil.rmtree(PACKAGED, ignore_errors=True)
        shutil.copytree(exported, PACKAGED)
    _forget_paths(PACKAGED / "openvino_config.json")
    print(f"{PACKAGED} is what the exporter makes today")


def _forget_paths(path: Path) -> None:
    """Remove the folder of the tokenizer, which is one of this machine."""
    config = json.loads(path.read_text(encoding="utf-8"))
    config["quantization_config"]["tokenizer"] = None
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
