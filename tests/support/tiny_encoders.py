"""Make text encoders with random weights, as sentence-transformers stores them, and their IRs.

`python tiny_encoders.py FOLDER` writes, for each of KINDS, `source` as sentence-transformers has
it, `openvino` as an export does, and `expected.npz`: sentence-transformers' vectors of TEXTS.
"""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

TEXTS = [
    "",
    "the fox sees a bear !",
    "not good",
    "the bear hears the fox and sees a good fox and not the bear " * 3,
    "a fox, a béar: 北京?",
]
SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [*"abcdefghijklmnopqrstuvwxyz!,.:?", "the", "fox", "bear", "sees", "hears", "good", "and"]
WIDE = 0.3
SIZES = {
    "vocab_size": 300,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    # The default makes all weights so small that every text gets nearly the same vector.
    "initializer_range": WIDE,
}


def load_expected(folder: Path) -> dict[str, Any]:
    """The arrays of `expected.npz`."""
    import numpy as np

    with np.load(folder / "expected.npz") as arrays:
        return dict(arrays)


def _word_piece(folder: Path) -> Any:
    from transformers import BertTokenizerFast

    vocab = [*SPECIAL_TOKENS, *WORDS, *(f"##{letter}" for letter in WORDS[:26])]
    (folder / "vocab.txt").write_text("\n".join(vocab))
    return BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=64)


def _byte_level(folder: Path, *, bos: str, eos: str, pad: str, adds_bos: bool = True) -> Any:
    """A byte-level BPE tokenizer as RoBERTa's, MPNet's or Qwen's; the special tokens come first."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = list(dict.fromkeys((bos, pad, eos, "<unk>", "<mask>")))
    vocab = {token: i for i, token in enumerate(special)}
    for letter in sorted(pre_tokenizers.ByteLevel.alphabet()):
        vocab[letter] = len(vocab)
    tokenizer = Tokenizer(models.BPE(vocab, [], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    template = f"{bos} $A {eos}" if adds_bos else f"$A {eos}"
    tokens = [(token, vocab[token]) for token in dict.fromkeys((bos, eos))]
    tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=tokens)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=bos,
        eos_token=eos,
        pad_token=pad,
        unk_token="<unk>",
        mask_token="<mask>",
        cls_token=bos,
        sep_token=eos,
        padding_side="right" if adds_bos else "left",
        model_max_length=64,
        model_input_names=["input_ids", "attention_mask"],
    )


def _roberta_like(folder: Path) -> Any:
    return _byte_level(folder, bos="<s>", eos="</s>", pad="<pad>")


def _qwen_like(folder: Path) -> Any:
    return _byte_level(
        folder, bos="<|im_start|>", eos="<|endoftext|>", pad="<|endoftext|>", adds_bos=False
    )


def _gemma_like(folder: Path) -> Any:
    return _byte_level(folder, bos="<bos>", eos="<eos>", pad="<pad>")


def _bert() -> Any:
    from transformers import BertConfig, BertModel

    return BertModel(BertConfig(**SIZES, max_position_embeddings=64))


def _roberta() -> Any:
    from transformers import RobertaConfig, RobertaModel

    return RobertaModel(RobertaConfig(**SIZES, max_position_embeddings=66, pad_token_id=1))


def _xlm_roberta() -> Any:
    from transformers import XLMRobertaConfig, XLMRobertaModel

    return XLMRobertaModel(XLMRobertaConfig(**SIZES, max_position_embeddings=66, pad_token_id=1))


def _mpnet() -> Any:
    from transformers import MPNetConfig, MPNetModel

    return MPNetModel(MPNetConfig(**SIZES, max_position_embeddings=66, pad_token_id=1))


def _qwen3() -> Any:
    from transformers import Qwen3Config, Qwen3Model

    return Qwen3Model(
        Qwen3Config(**SIZES, num_key_value_heads=1, head_dim=16, max_position_embeddings=64)
    )


def _modernbert() -> Any:
    from transformers import ModernBertConfig, ModernBertModel

    config = ModernBertConfig(
        **SIZES, initializer_cutoff_factor=3, max_position_embeddings=64, local_attention=16,
        global_attn_every_n_layers=2, pad_token_id=1, bos_token_id=0, eos_token_id=2,
        cls_token_id=0, sep_token_id=2, attn_implementation="eager", reference_compile=False,
    )  # fmt: skip
    return ModernBertModel(config)


def _gemma3() -> Any:
    from transformers import Gemma3TextConfig, Gemma3TextModel

    config = Gemma3TextConfig(
        **SIZES, num_key_value_heads=1, head_dim=16, max_position_embeddings=64, sliding_window=16,
        layer_types=["sliding_attention", "full_attention"], use_bidirectional_attention=True,
    )  # fmt: skip
    return Gemma3TextModel(config)


# Name -> model, tokenizer, pooling, sizes of dense layers.
KINDS: dict[str, tuple[Callable[[], Any], Callable[[Path], Any], str, tuple[int, ...]]] = {
    "bert": (_bert, _word_piece, "mean", ()),
    "roberta": (_roberta, _roberta_like, "mean", ()),
    "xlm-roberta": (_xlm_roberta, _roberta_like, "cls", ()),
    "mpnet": (_mpnet, _roberta_like, "mean", ()),
    "modernbert": (_modernbert, _roberta_like, "cls", ()),
    "qwen3": (_qwen3, _qwen_like, "lasttoken", ()),
    "gemma3": (_gemma3, _gemma_like, "mean", (48, 24)),
}


def make(kind: str, folder: Path) -> None:
    """Write one kind."""
    import numpy as np
    import torch
    from sentence_transformers import SentenceTransformer, models

    make_model, make_tokenizer, pooling, dense = KINDS[kind]
    plain, source = folder / "plain", folder / "source"
    plain.mkdir(parents=True)
    torch.manual_seed(0)
    make_model().save_pretrained(plain)
    _restore_window(plain)
    make_tokenizer(plain).save_pretrained(plain)
    transformer = models.Transformer(str(plain))
    modules: list[Any] = [transformer, models.Pooling(32, pooling)]
    size = 32
    for number in dense:
        layer = models.Dense(size, number, bias=False, activation_function=torch.nn.Identity())
        modules.append(layer)
        size = number
    modules.append(models.Normalize())
    prompts = {"query": "Instruct: see\nQuery:", "document": ""}
    model = SentenceTransformer(modules=modules, prompts=prompts, device="cpu")
    model.save(str(source), create_model_card=False)
    _restore_window(source)
    vectors = [model.encode(text) for text in TEXTS]
    queries = [model.encode(text, prompt_name="query") for text in TEXTS]
    np.savez(folder / "expected.npz", vectors=vectors, queries=queries)
    export(source, folder / "openvino")
    shutil.rmtree(plain)


def _restore_window(folder: Path) -> None:
    """Gemma 3's configuration halves its window whenever it is loaded, and saves the half."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    if config.get("use_bidirectional_attention"):
        path.write_text(json.dumps({**config, "sliding_window": 16}))


def export(source: Path, folder: Path) -> None:
    """Convert the transformer and its tokenizer; copy sentence-transformers' own files."""
    import openvino as ov
    from openvino_tokenizers import convert_tokenizer
    from optimum.exporters.openvino import main_export
    from transformers import AutoConfig, AutoTokenizer

    from export_models.conversion.encoder_architectures import register_encoders

    config = AutoConfig.from_pretrained(source)
    is_bidirectional = bool(getattr(config, "use_bidirectional_attention", False))
    register_encoders(config.model_type, is_bidirectional=is_bidirectional)
    main_export(str(source), folder, task="feature-extraction", library_name="transformers")
    tokenizers = convert_tokenizer(AutoTokenizer.from_pretrained(source), with_detokenizer=True)
    for name, tokenizer in zip(("tokenizer", "detokenizer"), tokenizers, strict=True):
        ov.save_model(tokenizer, folder / f"openvino_{name}.xml")
    for path in source.rglob("*"):
        name = path.relative_to(source)
        is_own = len(name.parts) > 1 or "sentence" in path.name or path.name == "modules.json"
        if path.is_file() and is_own:
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copy(path, folder / name)


if __name__ == "__main__":
    for name in KINDS:
        make(name, Path(sys.argv[1]) / name)
