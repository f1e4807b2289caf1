"""`python -m export_models.conversion.fetch_file SOURCE TARGET [--file NAME]`: fetch weights.

SOURCE is a Hugging Face id, of which --file or else its only .safetensors file is taken, or a URL.
"""

import argparse
import shutil
import sys
import urllib.request
from pathlib import Path

import huggingface_hub

SUFFIX = ".safetensors"


def main(arguments: list[str]) -> None:
    """Write TARGET. Raises whatever the network raises, ValueError for a choice of files."""
    parser = argparse.ArgumentParser(prog="fetch_file")
    parser.add_argument("source")
    parser.add_argument("target", type=Path)
    parser.add_argument("--file")
    values = parser.parse_args(arguments)
    partial = values.target.with_suffix(".partial")
    if values.source.startswith(("https://", "http://")):
        with (
            urllib.request.urlopen(values.source, timeout=60) as answer,
            partial.open("wb") as file,
        ):
            shutil.copyfileobj(answer, file)
    else:
        name = values.file or _only_file(values.source)
        shutil.copyfile(huggingface_hub.hf_hub_download(values.source, name), partial)
    partial.replace(values.target)


def _only_file(repository: str) -> str:
    names = [n for n in huggingface_hub.list_repo_files(repository) if n.endswith(SUFFIX)]
    if len(names) != 1:
        found = ", ".join(names) or "none"
        raise ValueError(f"name one of its {SUFFIX} files, as {repository}@file; found {found}")
    return names[0]


if __name__ == "__main__":
    main(sys.argv[1:])
