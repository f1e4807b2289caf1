"""Compare answers with a draft model and without it, by alternating rounds in one engine.

Without --model it is the bundled model, and without --draft its draft of half the size, which this
script exports from demos/tiny_chat/draft to int8 the first time: `python demos/tiny_chat/train.py
--only draft` trains it anew, in about 8 minutes. `greedy` answers at temperature 0, `random` at 1
with a seed. Prints a Markdown table of medians.

    python demos/benchmark/speculation/draft_model.py --rounds 9
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from rounds import HEADER, Prompts, Run, alternate, encode_questions, run, table_row

from server.engine.config import DraftConfig, EngineConfig
from server.engine.engine import LLMEngine
from server.payloads import SamplingParams

ROOT = Path(__file__).parents[3]
BUNDLED = ROOT / "server" / "bundled_models" / "tiny_chat"
TRAINED_DRAFT = ROOT / "demos" / "tiny_chat" / "draft"
LOADS = ("greedy", "random")
HEROES = ("fox", "cat", "bear", "owl", "rabbit", "mouse", "dog", "frog")
NAMES = ("Mia", "Tom", "Anna", "Ben", "Lily", "Max", "Emma", "Sam")
STORIES = [f"Tell me a story about a {hero} named {name}." for hero in HEROES for name in NAMES]


def export_draft(repository: Path) -> Path:
    """The draft model of the bundled one as int8; made only once."""
    folder = repository / "tiny_chat_draft"
    if not (folder / "openvino_model.xml").is_file():
        command = [sys.executable, "-m", "export_models.export_model", "text_generation"]
        command += ["--source_model", str(TRAINED_DRAFT), "--model_name", folder.name]
        command += ["--weight-format", "int8_asym", "--kv_cache_precision", "u8"]
        command += ["--model_repository_path", str(repository), "--no_config_file"]
        subprocess.run(command, cwd=ROOT, check=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    return folder


def measure(engine: LLMEngine, load: str, prompts: Prompts, max_tokens: int, rounds: int) -> str:
    """One row of the table."""

    def do(number: int, with_drafts: bool) -> Run:
        params = SamplingParams(
            temperature=1.0 if load == "random" else 0.0,
            seed=number,
            max_tokens=max_tokens,
            num_assistant_tokens=None if with_drafts else 0,
        )
        return run(engine, prompts, params)[0]

    return table_row(load, len(prompts), alternate(do, rounds))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=BUNDLED, help="folder of an exported model")
    parser.add_argument("--draft", type=Path, help="folder of its draft model")
    parser.add_argument("--repository", type=Path, default=ROOT / "build" / "drafts")
    parser.add_argument("--plugin_config", type=json.loads, default={})
    parser.add_argument("--loads", choices=LOADS, nargs="+", default=LOADS)
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--questions", nargs="+", default=STORIES)
    parser.add_argument("--max_tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    draft = args.draft or export_draft(args.repository)
    config = EngineConfig(
        args.model, plugin_config=args.plugin_config, cache_size=2, draft=DraftConfig(draft)
    )
    engine = LLMEngine(config)
    print(HEADER)
    for load in args.loads:
        for count in args.batch_sizes:
            prompts = encode_questions(args.model, args.questions, count)
            print(measure(engine, load, prompts, args.max_tokens, args.rounds), flush=True)
    engine.close()


if __name__ == "__main__":
    main()
