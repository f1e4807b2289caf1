"""Make a random model in the shape of a real one: speed depends on shapes, not on what is learned.

The tokenizer is synthetic too, so that nothing is downloaded: the 256 bytes, then strings of
lower-case letters, each merged from a shorter one. Every token id decodes to some text.
"""

import argparse
import itertools
import random
import shutil
import string
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# How the byte-level alphabet of GPT-2 writes a blank.
BLANK = "\u0120"


@dataclass(frozen=True)
class Shape:
    """The sizes of a Qwen2 decoder; `logit_scale` spreads its logits."""

    num_layers: int
    hidden_size: int
    num_heads: int
    num_kv_heads: int
    intermediate_size: int
    vocab_size: int
    max_position_embeddings: int
    logit_scale: float = 1.0


SHAPES = {
    "qwen05b": Shape(24, 896, 14, 2, 4864, 151_936, 32_768),
    # With `--weight-format int4` it stands for what people run on two cores.
    "qwen15b": Shape(28, 1536, 12, 2, 8960, 151_936, 32_768),
    "tiny": Shape(2, 64, 4, 2, 128, 1_024, 16_384),
    # A step of it is little more than what the host does; its logits are as far apart as those of
    # a trained model.
    "wide": Shape(1, 64, 2, 1, 128, 151_936, 32_768, logit_scale=31.0),
}


def make_model(shape_name: str, folder: Path, seed: int) -> Path:
    """Write the Hugging Face folder unless it is there already; return it."""
    if (folder / "config.json").is_file():
        return folder
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    shape = SHAPES[shape_name]
    _save_tokenizer(shape, part, seed)
    _save_weights(shape, part, seed)
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
    return folder


def make_vocab(vocab_size: int, seed: int) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Return the vocabulary without special tokens, and the merge behind each longer token."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    vocab = {token: index for index, token in enumerate(sorted(bytes_to_unicode().values()))}
    num_merges = vocab_size - len(vocab) - len(SPECIAL_TOKENS)
    merges = list(itertools.islice(_iter_merges(random.Random(seed)), num_merges))
    for left, right in merges:
        vocab[left + right] = len(vocab)
    return vocab, merges


def _iter_merges(rng: random.Random) -> Iterator[tuple[str, str]]:
    """Yield pairs whose parts are bytes or came earlier; no two pairs make the same string."""
    letters = string.ascii_lowercase
    words: list[str] = list(letters)
    for letter in letters:
        yield BLANK, letter
    for _ in range(2):
        longer = []
        for word, letter in itertools.product(words, letters):
            yield word, letter
            longer.append(word + letter)
        words = longer
        for word in words:
            yield BLANK + word[:-1], word[-1]
    fours = list(itertools.product(words, letters))
    rng.shuffle(fours)
    yield from fours


def _save_tokenizer(shape: Shape, folder: Path, seed: int) -> None:
    from tokenizers import (  # type: ignore[import-untyped]  # it has no stubs
        Tokenizer,
        decoders,
        models,
        pre_tokenizers,
    )
    from transformers import PreTrainedTokenizerFast

    vocab, merges = make_vocab(shape.vocab_size, seed)
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(folder)


def _save_weights(shape: Shape, folder: Path, seed: int) -> None:
    import torch
    from transformers import GenerationConfig, Qwen2Config, Qwen2ForCausalLM

    eos_token_id = shape.vocab_size - 1
    config = Qwen2Config(
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.num_layers,
        num_attention_heads=shape.num_heads,
        num_key_value_heads=shape.num_kv_heads,
        max_position_embeddings=shape.max_position_embeddings,
        # Tied, a token would be likely to follow itself.
        tie_word_embeddings=shape.logit_scale == 1,
        eos_token_id=eos_token_id,
        pad_token_id=shape.vocab_size - len(SPECIAL_TOKENS),
    )
    torch.manual_seed(seed)
    # At once in bf16: in f32 a large shape would need twice the memory.
    model = Qwen2ForCausalLM._from_config(config, dtype=torch.bfloat16)
    model.model.norm.weight.data *= shape.logit_scale
    model.generation_config = GenerationConfig(eos_token_id=eos_token_id, do_sample=False)
    model.save_pretrained(folder)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="qwen05b")
    parser.add_argument("--output", type=Path, help="folder (default build/benchmark/<shape>)")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    args = parse_args()
    print(make_model(args.shape, args.output or Path("build/benchmark") / args.shape, args.seed))
