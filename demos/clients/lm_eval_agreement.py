"""lm-evaluation-harness on the server and on transformers: the same weights, the same figures.

    pip install "lm-eval[api]" torch transformers accelerate
    demos/clients/serve_fp32.sh &
    python demos/clients/lm_eval_agreement.py --url http://127.0.0.1:8000

`local-completions` scores given answers by the log probabilities of an echoed prompt, and lets the
model write answers. The questions are those of demos/tiny_chat; nothing is downloaded.
"""

import argparse
import json
import os
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

DEMOS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(DEMOS / "tiny_chat"))
# Set before the harness is imported, whose libraries would otherwise use the network.
os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}

import lm_eval  # noqa: E402
from template import render  # noqa: E402
from world import COUNTRIES  # noqa: E402

TOLERANCE = 0.01
"""Tolerance of a log-likelihood; sums of f32 in another order differ by less."""

Results = dict[str, Any]


def documents(count: int) -> list[Results]:
    """Questions for capitals, each with four answers of which one is right."""
    rng = random.Random(1)
    found = []
    for country, capital, _ in rng.sample(COUNTRIES, count):
        others = rng.sample([name for _, name, _ in COUNTRIES if name != capital], 3)
        choices = [f"The capital of {country} is {name}." for name in (capital, *others)]
        order = rng.sample(range(4), 4)
        question = {"role": "user", "content": f"What is the capital of {country}?"}
        found.append(
            {
                "prompt": render([question], [], prompt=True),
                "choices": [choices[i] for i in order],
                "label": order.index(0),
                "answer": choices[0],
            }
        )
    return found


def tasks(path: Path) -> list[Results]:
    """The two tasks, as the harness names them."""
    data = {
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(path)}},
        "test_split": "test",
        "doc_to_text": "{{prompt}}",
        "target_delimiter": "",
    }
    score = {
        "task": "score_capitals",
        "output_type": "multiple_choice",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "{{label}}",
        "metric_list": [{"metric": "acc"}],
    }
    write = {
        "task": "write_capitals",
        "output_type": "generate_until",
        "doc_to_target": "{{answer}}",
        "generation_kwargs": {"until": ["\n"], "do_sample": False, "max_gen_toks": 32},
        "metric_list": [{"metric": "exact_match"}],
    }
    return [data | score, data | write]


def evaluate(model: str, arguments: str, path: Path) -> Results:
    """Run both tasks on one of the harness's models."""
    return lm_eval.simple_evaluate(
        model=model,
        model_args=arguments,
        tasks=tasks(path),
        batch_size=8,
        log_samples=True,
        bootstrap_iters=0,
    )


def answers(results: Results, task: str) -> list[Any]:
    """What the model answered to each question, in their order."""
    samples = sorted(results["samples"][task], key=lambda sample: sample["doc_id"])
    return [sample["filtered_resps"] for sample in samples]


def compare(ours: Results, theirs: Results) -> bool:
    """Print both sides; returns whether they agree."""
    for task, metric in (("score_capitals", "acc,none"), ("write_capitals", "exact_match,none")):
        values = [side["results"][task][metric] for side in (ours, theirs)]
        print(f"{task}: {metric} {values[0]:.3f} on the server, {values[1]:.3f} on transformers")
    ours_scored, theirs_scored = (answers(side, "score_capitals") for side in (ours, theirs))
    pairs = [
        pair
        for mine, other in zip(ours_scored, theirs_scored, strict=True)
        for pair in zip(mine, other, strict=True)
    ]
    furthest = max(abs(float(mine[0]) - float(other[0])) for mine, other in pairs)
    same_greedy = sum(mine[1] == other[1] for mine, other in pairs)
    written = list(
        zip(answers(ours, "write_capitals"), answers(theirs, "write_capitals"), strict=True)
    )
    same_text = sum(mine == other for mine, other in written)
    print(f"log-likelihoods: {len(pairs)}, furthest apart {furthest:.5f}")
    print(f"is_greedy: equal in {same_greedy} of {len(pairs)}")
    print(f"written answers: equal in {same_text} of {len(written)}")
    return furthest < TOLERANCE and same_greedy == len(pairs) and same_text == len(written)


def main() -> int:
    """Evaluate both; the exit status says whether they agree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--model", default="tiny_chat_fp32")
    parser.add_argument("--weights", default=str(DEMOS / "tiny_chat" / "model"))
    parser.add_argument("--questions", type=int, default=40)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "questions.json"
        path.write_text("".join(json.dumps(one) + "\n" for one in documents(args.questions)))
        url = f"{args.url}/v1/completions"
        # The server tokenizes, too: nothing else knows the model here.
        where = f"model={args.model},base_url={url},tokenizer_backend=remote,num_concurrent=4"
        ours = evaluate("local-completions", where, path)
        theirs = evaluate("hf", f"pretrained={args.weights},dtype=float32,device=cpu", path)
    return 0 if compare(ours, theirs) else 1


if __name__ == "__main__":
    sys.exit(main())
