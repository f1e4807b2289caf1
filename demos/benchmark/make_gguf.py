"""Convert the random model for llama.cpp with llama.cpp's own converter, in Q8_0.

`python demos/benchmark/make_gguf.py --llama_cpp FOLDER`, the folder of llama.cpp's source. The
converter knows tokenizers by the hash of how they cut a test text and refuses all others, so it is
told here that the synthetic one cuts as GPT-2's does.
"""

import argparse
import sys
from pathlib import Path


def convert(llama_cpp: Path, model: Path, output: Path) -> None:
    """Run the converter in this process."""
    sys.path[:0] = [str(llama_cpp), str(llama_cpp / "gguf-py")]
    import convert_hf_to_gguf
    from conversion.base import TextModel

    TextModel.get_vocab_base_pre = lambda *_: "gpt-2"
    # The converter tries this tokenizer first, which would need one more package.
    TextModel._set_vocab_sentencepiece = TextModel._set_vocab_gpt2
    sys.argv = ["convert_hf_to_gguf.py", str(model), "--outtype", "q8_0", "--outfile", str(output)]
    convert_hf_to_gguf.main()


def main() -> None:
    """Convert the model that make_model.py made."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--llama_cpp", type=Path, required=True, help="folder of its source")
    parser.add_argument("--model", type=Path, default=Path("build/benchmark/qwen05b"))
    parser.add_argument("--output", type=Path, default=Path("build/benchmark/qwen05b-q8_0.gguf"))
    args = parser.parse_args()
    convert(args.llama_cpp.resolve(), args.model.resolve(), args.output.resolve())


if __name__ == "__main__":
    main()
