"""The random model as an IR, made once; and the vocabulary size of a model."""

import json
import subprocess
import sys
from pathlib import Path

from contender import BenchmarkError
from make_model import make_model
from measure import log
from server_contender import REPOSITORY


def prepare_ir(shape: str, weight_format: str, build_folder: Path) -> Path:
    """Make and export the random model unless that is done; return the folder of the IR."""
    model_name = f"{shape}-{weight_format}"
    repository = build_folder / "models"
    if not (repository / model_name / "openvino_model.xml").is_file():
        log(f"making and exporting a random model: {repository / model_name}")
        source = make_model(shape, build_folder / shape, seed=0)
        command = [
            *(sys.executable, str(REPOSITORY / "export_models" / "export_model.py")),
            *("text_generation", "--source_model", str(source), "--model_name", model_name),
            *("--model_repository_path", str(repository)),
            *("--config_file_path", str(repository / "config.json")),
            *("--weight-format", weight_format, "--kv_cache_precision", "u8"),
        ]
        if subprocess.run(command, check=False, stdout=sys.stderr).returncode:
            raise BenchmarkError(f"the export failed: {' '.join(command)}")
    return repository / model_name


def load_vocab_size(model_path: Path) -> int:
    """Read the vocabulary size from the config.json of a model folder."""
    config_path = model_path / "config.json"
    try:
        return int(json.loads(config_path.read_text())["vocab_size"])
    except (OSError, ValueError, KeyError) as error:
        raise BenchmarkError(f"{config_path}: no usable vocab_size ({error})") from error
