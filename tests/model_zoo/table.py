"""`make zoo`: try every architecture of the zoo, and write the table of docs/model-zoo.md.

`python -m model_zoo.table PAGE FOLDER [NAME...]` makes the named models, by default all, in FOLDER
unless they are there, tries them, and keeps a row beside each. The page has all rows of FOLDER.
"""

import json
import logging
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from model_zoo.kinds import KINDS
from model_zoo.reference import ANSWERS, FAILURE, VERSION
from model_zoo.zoo import COLUMNS, make_models, outcomes

from server.errors import ServingError

ROW = "row.json"
WRONG = "**{}**"
MAX_REASON_CHARS = 240
HEADER = """# Architectures

`make zoo` writes this page. For each architecture it makes a small model with random weights in
transformers. Windows, soft caps and scales are chosen so that they matter in it. The model is
exported and run in every way that could change its answers:

- **batched**, **alone**, **chunked**, **prefix cache**, **preemption**: five prompts of 5 to 150
  tokens, in fp32. They run at once, one by one, in chunks of at most 64 tokens, and a second time
  through the prefix cache. The last run has so few KV blocks that a sequence is preempted. A cell
  is the number of greedy tokens, of 200, that are those of transformers.
- **n > 1**: two choices for each prompt, sampled with a seed. A token is right if the first choice
  has the token of a separate run. Its log probability in both choices must be that of the same
  text read as a prompt. Models with an encoder make one choice at a time.
- **prompt logprobs**: the largest difference of a prompt token's log probability from
  transformers' in fp32; right below 0.001. Where an encoder reads the prompt, it is of the answer.
- **int8, u8 cache**: the average difference with int8 weights and a u8 KV cache; right below 0.3.

A wrong cell is bold. **export** names the version of transformers; 4.57.6 is the one that
`pip install '.[export]'` brings, and models of others were made in an environment with them, by
`python -m model_zoo.reference FOLDER NAME` with `PYTHONPATH=tests:.`.
**load** says in which form a model runs; models on the [slower path](models.md#the-slower-path)
have no prefix cache, and their sequences never wait for blocks in these runs.

Not in the zoo: architectures whose code comes with the checkpoint (`--trust_remote_code`), such as
InternLM, Baichuan, ChatGLM, MiniCPM, Orion and DeepSeek V2.

"""
REFUSED = """
## Not served

Each is refused with the reason. transformers 4.57.6 was tried, and for some a later or an earlier
version.

| architecture | fails at | reason |
|---|---|---|
"""


@dataclass(frozen=True, slots=True)
class Row:
    """What was found of one architecture; `failed_at` and `reason` are empty if it is served."""

    name: str
    version: str
    cells: list[str]
    failed_at: str = ""
    reason: str = ""

    def __str__(self) -> str:
        if self.failed_at:
            return f"| {self.name} | {self.failed_at} | {self.reason} |"
        return f"| {self.name} | {self.version} | {' | '.join(self.cells)} |"


def main(page: Path, folder: Path, names: list[str]) -> None:
    """Try the architectures and write the page."""
    # Each engine would say that its model was not verified.
    logging.disable(logging.WARNING)
    made = {path.parent.name for name in (ANSWERS, FAILURE) for path in folder.glob(f"*/{name}")}
    make_models(folder, [name for name in names if name not in made])
    for name in names:
        row = _try(name, folder / name)
        print(row, flush=True)
        (folder / name / ROW).write_text(json.dumps(asdict(row)))
    rows = [Row(**json.loads(path.read_text())) for path in sorted(folder.glob(f"*/{ROW}"))]
    page.write_text(_page(rows), encoding="utf-8")


def _page(rows: Iterable[Row]) -> str:
    columns = ("architecture", "export", *COLUMNS)
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    lines += [str(row) for row in rows if not row.failed_at]
    refused = [str(row) for row in rows if row.failed_at]
    return HEADER + "\n".join(lines) + "\n" + REFUSED + "\n".join(refused) + "\n"


def _try(name: str, folder: Path) -> Row:
    if (folder / FAILURE).exists():
        return Row(name, "", [], "export", _shorten((folder / FAILURE).read_text()))
    cells = []
    try:
        for _, outcome in outcomes(folder):
            cells.append(outcome.text if outcome.is_right else WRONG.format(outcome.text))
    except ServingError as error:
        stage = COLUMNS[len(cells)]
        return Row(name, "", cells, stage, _shorten(str(error).replace(f"{folder}/", "")))
    return Row(name, (folder / VERSION).read_text(), cells)


def _shorten(reason: str) -> str:
    line = " ".join(reason.split()).replace("|", "/")
    # What follows is advice for those who write an exporter, or about PyTorch.
    for advice in (", but no custom export", " Please "):
        line = line.partition(advice)[0]
    return line if len(line) <= MAX_REASON_CHARS else f"{line[:MAX_REASON_CHARS]}..."


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:] or list(KINDS))
