"""demos/images, on a tiny image model."""

import subprocess
import sys
from pathlib import Path

from PIL import Image
from support.server_process import ROOT, server_process


def test_images_are_made_and_changed(sd_model: Path, tmp_path: Path) -> None:
    cat, dog = tmp_path / "cat.png", tmp_path / "dog.png"
    with server_process("--model_name", "painter", "--model_path", sd_model) as server:

        def draw(*arguments: object) -> list[str]:
            common = ["--url", server.url, "--model", "painter", "--steps", "2", "--seed", "1"]
            program = ROOT / "demos" / "images" / "draw.py"
            command = [sys.executable, program, *common, *map(str, arguments)]
            return subprocess.run(
                command, capture_output=True, text=True, check=True
            ).stdout.splitlines()

        assert draw("--size", "64x64", "a cat", cat) == [str(cat)]
        numbered = [str(tmp_path / f"dog{number}.png") for number in range(2)]
        assert (
            draw("--edit", cat, "--mask", cat, "--n", 2, "--size", "72x64", "a dog", dog)
            == numbered
        )
    with Image.open(cat) as first, Image.open(numbered[1]) as last:
        assert (first.size, last.size) == ((64, 64), (72, 64))
