"""`python -m export_models.verification.ask_source SOURCE MODEL EXCHANGE`: what the source says.

Compares the tokenizers, and lets the source model read the prompts that lie in the folder EXCHANGE.
server/engine/verification/source.py describes the files there.
"""

import argparse
import json
import logging
import sys
from pathlib import Path

import transformers

from export_models.tokenizer.comparison import compare_tokenizers
from export_models.verification.source_model import answer_prompts

logger = logging.getLogger(__name__)


def main(arguments: list[str]) -> None:
    """Leave the answers and what was found of the tokenizer in EXCHANGE."""
    parser = argparse.ArgumentParser(prog="ask_source")
    parser.add_argument("source")
    parser.add_argument("model", type=Path)
    parser.add_argument("exchange", type=Path)
    parser.add_argument("--trust-remote-code", action="store_true")
    values = parser.parse_args(arguments)
    transformers.logging.set_verbosity_error()
    logging.disable(logging.WARNING)
    options = {"trust_remote_code": values.trust_remote_code}
    print("comparing the tokenizer with that of the source", flush=True)
    found = compare_tokenizers(values.source, values.model, options)
    (values.exchange / "tokenizer.json").write_text(json.dumps(found))
    print("running the source model in torch", flush=True)
    try:
        said = answer_prompts(values.source, values.exchange, options)
    except Exception as error:
        # Whatever transformers, torch or the model's own code raises.
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        said = {"notes": [f"not compared with the source model, which does not run: {reason}"]}
    (values.exchange / "source.json").write_text(json.dumps(said))


if __name__ == "__main__":
    main(sys.argv[1:])
