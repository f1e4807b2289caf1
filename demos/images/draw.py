"""Make images from a text, or change one, with OpenAI's client and a running server.

draw.py --model painter "a cat in a garden" cat.png
draw.py --model painter --edit cat.png --mask mask.png "a dog in a garden" dog.png
"""

import argparse
import base64
from pathlib import Path
from typing import Any

from openai import OpenAI


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Make or change images.")
    parser.add_argument("prompt")
    parser.add_argument("output", type=Path, help="with --n, a number is added to its name")
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--model", required=True, help="the model, or one of its LoRA adapters")
    parser.add_argument("--edit", type=Path, help="the image to change")
    parser.add_argument("--mask", type=Path, help="white or transparent where it may change")
    parser.add_argument("--size", default="auto")
    parser.add_argument("--n", type=int, default=1)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seed", type=int)
    return parser.parse_args()


def main() -> None:
    """Ask, and write the files."""
    arguments = parse_arguments()
    client = OpenAI(base_url=f"{arguments.url}/v3", api_key="unused", timeout=3600)
    more = {"num_inference_steps": arguments.steps, "rng_seed": arguments.seed}
    settings: dict[str, Any] = {
        "model": arguments.model,
        "prompt": arguments.prompt,
        "size": arguments.size,
        "n": arguments.n,
        "extra_body": {name: value for name, value in more.items() if value is not None},
    }
    if arguments.edit is None:
        answer = client.images.generate(**settings)
    else:
        files = {"image": arguments.edit, "mask": arguments.mask}
        uploads = {name: path.read_bytes() for name, path in files.items() if path is not None}
        answer = client.images.edit(**settings, **uploads)
    output: Path = arguments.output
    for number, image in enumerate(answer.data or ()):
        path = output.with_stem(f"{output.stem}{number}") if arguments.n > 1 else output
        path.write_bytes(base64.b64decode(image.b64_json or ""))
        print(path)


if __name__ == "__main__":
    main()
