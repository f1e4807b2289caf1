"""`make zoo`: try every architecture of the zoo, and write the table of docs/model-zoo.md."""

import logging
import sys
import tempfile
from pathlib import Path

from model_zoo.architectures import ARCHITECTURES
from model_zoo.zoo import MODES, make_model, num_equal_tokens

from server.errors import ServingError

MAX_REASON_CHARS = 160
HEADER = """# Architectures

Small models with random weights, one for each architecture, are exported in fp32 and run in every
way that could change their answers: five prompts at once, one by one, in chunks, through the prefix
cache, and with so few KV blocks that sequences are preempted. Each cell is the number of greedy
tokens, of 200, that are those of transformers. `make zoo` writes this page.

"""


def main(page: Path, names: list[str]) -> None:
    """Try the architectures and write the page."""
    # Each engine would say that its model was not verified.
    logging.disable(logging.WARNING)
    lines = [f"| architecture | {' | '.join(MODES)} |", f"|---{'|---' * len(MODES)}|"]
    for name in names:
        line = f"| {name} | {' | '.join(_cells(name))} |"
        print(line, flush=True)
        lines.append(line)
    page.write_text(HEADER + "\n".join(lines) + "\n", encoding="utf-8")


def _cells(name: str) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        try:
            model = make_model(name, Path(folder))
            return [str(num_equal_tokens(model, mode)[0]) for mode in MODES]
        except AssertionError as error:
            return [f"not exported: {_last_line(error)}", *[""] * (len(MODES) - 1)]
        except ServingError as error:
            reason = str(error).replace(f"{folder}/", "")
            return [f"refused: {reason[:MAX_REASON_CHARS]}", *[""] * (len(MODES) - 1)]


def _last_line(error: AssertionError) -> str:
    return str(error).strip().splitlines()[-1][:MAX_REASON_CHARS]


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] or list(ARCHITECTURES))
