"""Tiny model folders with real tokenizers, converted as an export converts them."""

import json
import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import openvino as ov
from openvino import opset15 as ops
from openvino_tokenizers import _get_factory, convert_tokenizer
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

CORPUS = [
    "The quick brown fox jumps over the lazy dog. The quick brown fox jumps!",
    "Grüße aus Köln, čeština, ελληνικά, Русский текст, 日本語のテキスト, 한국어, עברית",
    "العربية, हिन्दी, ไทย, 😀👍🏽 emoji 👩‍👩‍👧",
    "def f(x):\n    return x+1\n",
    "numbers 123 4567",
] * 5

CHATML_TEMPLATE = """\
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""


class ModelFolder(NamedTuple):
    """A folder with tokenizer files, and the tokenizer that they were made from."""

    path: Path
    hf: Any


def write_model(folder: Path, hf: Any, **convert_options: Any) -> ModelFolder:
    """Save what an exported model folder has of a tokenizer."""
    hf.save_pretrained(folder)
    encoder, decoder = convert_tokenizer(hf, with_detokenizer=True, **convert_options)
    ov.save_model(encoder, folder / "openvino_tokenizer.xml")
    ov.save_model(decoder, folder / "openvino_detokenizer.xml")
    return ModelFolder(folder, hf)


def make_byte_level() -> Any:
    """Make a tokenizer as Qwen has one."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    hf = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        padding_side="left",
        # Such a tokenizer_config.json makes the exported detokenizer eat spaces.
        clean_up_tokenization_spaces=True,
    )
    hf.chat_template = CHATML_TEMPLATE
    return hf


def make_metaspace() -> Any:
    """Make a tokenizer as Llama 2 has one: SentencePiece-like, byte fallback, a BOS token."""
    vocabulary = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=vocabulary, limit_alphabet=60, show_progress=False
    )
    words = [word for line in CORPUS for word in line.split(" ")]
    tokenizer.train_from_iterator(words, trainer)
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = [token for token in state["added_tokens"] if token["id"] < 3]
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)),
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
    )


def make_word_piece() -> Any:
    """Make a tokenizer as BERT has one, with special tokens on both sides."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=300,
        special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        clean_up_tokenization_spaces=False,
    )


def write_sentencepiece(folder: Path) -> Path:
    """Save a tokenizer as older exports made it, with SentencePiece inside the operations."""
    model = ops.constant(_sentencepiece_model()).output(0)
    factory = _get_factory()
    text = ops.parameter([-1], ov.Type.string)
    indices, values, shape = factory.create(
        "SentencepieceTokenizer",
        [model, text.output(0)],
        {"add_bos": True, "add_eos": False, "reverse": False, "alpha": 1.0, "nbest_size": 1},
    ).outputs()
    outputs = []
    for name, fill, update in (
        ("input_ids", 0, values),
        ("attention_mask", 0, ops.broadcast(ops.constant(1, ov.Type.i32), ops.shape_of(values))),
    ):
        dense = ops.broadcast(ops.constant(fill, ov.Type.i32), shape, "BIDIRECTIONAL")
        # An export with truncation cuts at the tokenizer's model_max_length.
        cut = ops.slice(
            ops.scatter_nd_update(dense, indices, update), start=[0], stop=[8], step=[1], axes=[-1]
        )
        cut.output(0).tensor.add_names({name})
        outputs.append(ops.result(cut))
    ov.save_model(ov.Model(outputs, [text], "tokenizer"), folder / "openvino_tokenizer.xml")

    ids = ops.parameter([-1, -1], ov.Type.i32)
    decoded = factory.create("SentencepieceDetokenizer", [model, ids.output(0)]).outputs()
    validated = factory.create("UTF8Validate", decoded, {"replace_mode": True}).outputs()
    result = ops.result(ops.string_tensor_pack(*validated))
    ov.save_model(ov.Model([result], [ids], "detokenizer"), folder / "openvino_detokenizer.xml")
    return folder


def _sentencepiece_model() -> Any:
    """Serialise a ModelProto of a few pieces: unk, bos, eos, 256 bytes, then words."""

    def field(number: int, payload: bytes) -> bytes:
        size = len(payload)
        length = bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])
        return bytes([number << 3 | 2]) + length + payload

    def piece(text: str, score: float, kind: int) -> bytes:
        return field(
            1, field(1, text.encode()) + b"\x1d" + struct.pack("<f", score) + bytes([0x18, kind])
        )

    pieces = [piece("<unk>", 0, 2), piece("<s>", 0, 3), piece("</s>", 0, 3)]
    pieces += [piece(f"<0x{byte:02X}>", 0, 6) for byte in range(256)]
    words = ["▁hello", "▁world", "▁", *"abcdehlorw", "日"]
    pieces += [piece(word, -float(index), 1) for index, word in enumerate(words)]
    # Trainer: a unigram model with byte fallback. Normalizer: identity, with a dummy prefix.
    trainer = field(2, bytes([3 << 3, 1]) + bytes([35 << 3 & 127 | 128, 35 >> 4, 1]))
    normalizer = field(3, field(1, b"identity") + bytes([3 << 3, 1, 4 << 3, 0, 5 << 3, 1]))
    return np.frombuffer(b"".join(pieces) + trainer + normalizer, np.uint8)
