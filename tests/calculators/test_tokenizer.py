import subprocess
import sys
from pathlib import Path

from calculators.tokenizer import Tokenizer

PROGRAM = """
import sys
from pathlib import Path
from calculators.tokenizer import Tokenizer
tokenizer = Tokenizer(Path(sys.argv[1]))
assert tokenizer.decode(tokenizer.encode("Hello", True)) == "Hello"
print(sorted({"torch", "transformers", "tokenizers"} & set(sys.modules)))
"""


def test_a_tokenizer_goes_both_ways(model):
    tokenizer = Tokenizer(model.path)
    ids = tokenizer.encode("the quick fox", add_special_tokens=True)
    assert tokenizer.decode(ids) == "the quick fox"


def test_a_process_that_has_a_tokenizer_needs_no_training_library_and_ends_well(metaspace):
    # Libraries of OpenVINO that are unloaded in the wrong order end a process by a signal.
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, metaspace.path],
        cwd=Path(__file__).parents[2],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "[]\n"
