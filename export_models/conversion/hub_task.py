"""`python -m export_models.conversion.hub_task SOURCE`: what a model on the Hub is for.

Prints the name of a task. Only the small files that show it are fetched.
"""

import sys
import tempfile
from pathlib import Path

import huggingface_hub

from server.models.tasks import find_source_task

FILES = ("config.json", "config_sentence_transformers.json", "model_index.json", "modules.json")


def main(source: str) -> None:
    """Print the task. Raises whatever huggingface_hub raises."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file in huggingface_hub.list_repo_files(source):
            if file in FILES:
                path = Path(huggingface_hub.hf_hub_download(source, file))
                (folder / file).write_bytes(path.read_bytes())
            elif "/" in file:
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
        print(find_source_task(folder).name)


if __name__ == "__main__":
    main(sys.argv[1])
