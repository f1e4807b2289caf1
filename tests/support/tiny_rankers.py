"""Make rerankers and classifiers with random weights, and what others' libraries answer.

`python tiny_rankers.py FOLDER` writes, for each kind, FOLDER/<kind>/source as transformers has it,
its f32 IR in FOLDER/<kind>/openvino and expected.json: the scores of sentence-transformers'
CrossEncoder for PAIRS, and for the classifiers what transformers' pipeline says of TEXTS.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

QUERY = "Which fox jumps over the dog?"
DOCUMENTS = [
    "The quick brown fox jumps over the lazy dog.",
    "",
    "Grüße aus Köln, čeština, ελληνικά",
    "日本語のテキスト 😀👍🏽 emoji",
    "numbers 123 4567 " * 3,
    "   leading and trailing spaces  ",
    "two\nlines\n\nof \t foxes\n",
    "fox",
]
TEXTS = ["The quick brown fox", "", "Grüße aus Köln 😀", "lazy dog " * 12]
CORPUS = [*DOCUMENTS, QUERY, "Русский текст, 한국어, עברית", "def f(x):\n    return x+1\n"] * 4

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    # The default makes all weights so small that every text gets the same answer.
    "initializer_range": 0.6,
}
KINDS = ("bert", "roberta", "xlm_roberta", "mpnet", "deberta", "modernbert", "qwen3")
CLASSIFIERS = ("single_label", "multi_label", "regression")


def make_tokenizer(kind: str) -> Any:
    """A tokenizer as this kind of model has it, trained on few words."""
    from tokenizers import (
        Regex,
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
        processors,
    )
    from tokenizers import trainers as trainer
    from transformers import PreTrainedTokenizerFast

    roberta_names = {"bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>"} | {
        "sep_token": "</s>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "mask_token": "<mask>",
    }
    bert_names = {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]"} | {
        "unk_token": "[UNK]",
        "mask_token": "[MASK]",
    }
    names = roberta_names if kind in ("roberta", "xlm_roberta", "mpnet") else bert_names
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    special = special if names is roberta_names else ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]
    if kind in ("bert", "mpnet"):
        tokenizer = Tokenizer(models.WordPiece(unk_token=names["unk_token"]))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece()
        teacher: Any = trainer.WordPieceTrainer(
            vocab_size=400, special_tokens=special, show_progress=False
        )
    elif kind in ("xlm_roberta", "deberta"):
        tokenizer = Tokenizer(models.Unigram())
        several_blanks = normalizers.Replace(Regex(" {2,}"), " ")
        steps = [normalizers.NFKC(), several_blanks]
        metaspace = pre_tokenizers.Metaspace()
        tokenizer.pre_tokenizer = metaspace
        if kind == "xlm_roberta":
            splits = [pre_tokenizers.WhitespaceSplit(), metaspace]
            tokenizer.pre_tokenizer = pre_tokenizers.Sequence(splits)
        else:
            steps.insert(0, normalizers.Strip())
        tokenizer.normalizer = normalizers.Sequence(steps)
        tokenizer.decoder = decoders.Metaspace()
        teacher = trainer.UnigramTrainer(
            vocab_size=300,
            special_tokens=special,
            unk_token=names["unk_token"],
            show_progress=False,
        )
    else:
        if kind == "qwen3":
            names = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
            special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        teacher = trainer.BpeTrainer(
            vocab_size=420,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
    tokenizer.train_from_iterator(CORPUS, teacher)
    ids = {name: tokenizer.token_to_id(name) for name in special}
    if kind == "roberta":
        tokenizer.post_processor = processors.RobertaProcessing(
            ("</s>", ids["</s>"]), ("<s>", ids["<s>"]), add_prefix_space=False
        )
    elif kind != "qwen3":
        first, last = names["cls_token"], names["sep_token"]
        middle = f"{last} {last}" if names is roberta_names else last
        second = 1 if kind in ("bert", "deberta", "mpnet") else 0
        pair = f"{first} $A {middle} $B:{second} {last}:{second}"
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{first} $A {last}", pair=pair, special_tokens=list(ids.items())
        )
    inputs = ["input_ids", "attention_mask"]
    if kind in ("bert", "deberta"):
        inputs.append("token_type_ids")
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=512 if kind == "qwen3" else 128,
        model_input_names=inputs,
        **names,
    )


def make_model(kind: str, tokenizer: Any, num_labels: int = 1, **config: Any) -> Any:
    """A model with random weights."""
    import torch
    import transformers as t

    torch.manual_seed(0)
    shared = {
        **SIZES,
        "vocab_size": len(tokenizer),
        "num_labels": num_labels,
        "pad_token_id": tokenizer.pad_token_id,
        "max_position_embeddings": 128,
        **config,
    }
    offset = {**shared, "max_position_embeddings": 130}
    models: dict[str, Any] = {
        "bert": lambda: t.BertForSequenceClassification(t.BertConfig(**shared)),
        "roberta": lambda: t.RobertaForSequenceClassification(
            t.RobertaConfig(**offset, type_vocab_size=1)
        ),
        "xlm_roberta": lambda: t.XLMRobertaForSequenceClassification(
            t.XLMRobertaConfig(**offset, type_vocab_size=1)
        ),
        "mpnet": lambda: t.MPNetForSequenceClassification(t.MPNetConfig(**offset)),
        "deberta": lambda: t.DebertaV2ForSequenceClassification(
            t.DebertaV2Config(
                **shared,
                type_vocab_size=2,
                relative_attention=True,
                pos_att_type=["p2c", "c2p"],
                position_biased_input=True,
            )
        ),
        "modernbert": lambda: t.ModernBertForSequenceClassification(
            t.ModernBertConfig(
                **shared,
                initializer_cutoff_factor=2.0,
                cls_token_id=tokenizer.cls_token_id,
                sep_token_id=tokenizer.sep_token_id,
                bos_token_id=tokenizer.cls_token_id,
                eos_token_id=tokenizer.sep_token_id,
                reference_compile=False,
            )
        ),
        "qwen3": lambda: t.Qwen3ForSequenceClassification(
            t.Qwen3Config(
                **{**shared, "max_position_embeddings": 512},
                num_key_value_heads=1,
                head_dim=16,
            )
        ),
    }
    return models[kind]().eval()


def export(source: Path, to: Path) -> None:
    """Convert to an f32 IR with optimum, or with OpenVINO where optimum does not know the model.

    The tokenizer adds special tokens or, as in an export for Model Server, does not.
    """
    import openvino as ov
    from openvino_tokenizers import convert_tokenizer
    from optimum.exporters.openvino import main_export
    from transformers import AutoTokenizer

    kind = source.parent.name
    if kind == "modernbert":
        convert_modernbert(source, to)
    else:
        main_export(str(source), output=to, task="text-classification", device="cpu")
    tokenizer = AutoTokenizer.from_pretrained(source)
    adds = kind not in ("bert", "roberta")
    ir = convert_tokenizer(tokenizer, add_special_tokens=adds)
    ov.save_model(ir, to / "openvino_tokenizer.xml")


def convert_modernbert(source: Path, to: Path) -> None:
    """Trace it, with OpenVINO alone."""
    import openvino as ov
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(
        source, attn_implementation="eager"
    ).eval()
    texts = ["a b", "fox"]
    inputs = dict(AutoTokenizer.from_pretrained(source)(texts, padding=True, return_tensors="pt"))
    shapes = {name: [-1, -1] for name in inputs}
    ir = ov.convert_model(model, example_input=inputs, input=shapes)
    for name, port in zip(inputs, ir.inputs, strict=True):
        port.get_tensor().set_names({name})
    ir.outputs[0].get_tensor().set_names({"logits"})
    shutil.copytree(source, to, ignore=shutil.ignore_patterns("*.safetensors"))
    ov.save_model(ir, to / "openvino_model.xml", compress_to_fp16=False)


def make_ranker(kind: str, folder: Path) -> None:
    """A model with one label, and CrossEncoder's scores."""
    from sentence_transformers import CrossEncoder

    tokenizer = make_tokenizer(kind)
    source = folder / kind / "source"
    make_model(kind, tokenizer).save_pretrained(source)
    tokenizer.save_pretrained(source)
    export(source, folder / kind / "openvino")
    encoder = CrossEncoder(str(source), device="cpu")
    pairs = [(QUERY, document) for document in DOCUMENTS]
    if kind == "qwen3":
        pairs = [qwen3_pair(*pair) for pair in pairs]
    write(folder / kind, {"scores": encoder.predict(pairs, batch_size=3).tolist()})


def qwen3_pair(query: str, document: str) -> tuple[str, str]:
    """The texts that the model card of Qwen3-Reranker's one-label form gives to CrossEncoder."""
    prefix = (
        "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query "
        'and the Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n'
        "<|im_start|>user\n"
    )
    suffix = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    task = "Given a web search query, retrieve relevant passages that answer the query"
    return (
        f"{prefix}<Instruct>: {task}\n<Query>: {query}\n",
        f"<Document>: {document}{suffix}",
    )


GENERATOR = "qwen3_generator"


def make_generator(folder: Path) -> None:
    """A Qwen3-Reranker as it is published: it generates text, and answers yes or no."""
    import openvino as ov
    import torch
    import transformers as t
    from openvino_tokenizers import convert_tokenizer
    from optimum.exporters.openvino import main_export

    tokenizer = make_tokenizer("qwen3")
    tokenizer.add_tokens(["yes", "no"])
    tokenizer.padding_side = "left"
    sizes = {**SIZES, "vocab_size": len(tokenizer), "max_position_embeddings": 512}
    torch.manual_seed(0)
    config = t.Qwen3Config(**sizes, num_key_value_heads=1, head_dim=16)
    model = t.Qwen3ForCausalLM(config).eval()
    source, to = folder / GENERATOR / "source", folder / GENERATOR / "openvino"
    model.save_pretrained(source)
    tokenizer.save_pretrained(source)
    main_export(str(source), output=to, task="text-generation-with-past", device="cpu")
    ir = convert_tokenizer(tokenizer, add_special_tokens=False)
    ov.save_model(ir, to / "openvino_tokenizer.xml")
    pairs = [(QUERY, document) for document in DOCUMENTS]
    write(folder / GENERATOR, {"scores": qwen3_probabilities(model, tokenizer, pairs)})


def qwen3_probabilities(model: Any, tokenizer: Any, pairs: list[tuple[str, str]]) -> list[float]:
    """As the model card of Qwen3-Reranker computes them."""
    import torch

    texts = ["".join(qwen3_pair(*pair)) for pair in pairs]
    inputs = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = model(**inputs).logits[:, -1, :]
    true, false = (logits[:, tokenizer.convert_tokens_to_ids(word)] for word in ("yes", "no"))
    both = torch.log_softmax(torch.stack([false, true], dim=1), dim=1)
    found: list[float] = both[:, 1].exp().tolist()
    return found


def make_classifiers(folder: Path) -> None:
    """A model with labels, one without, and what transformers' pipeline says for each problem."""
    tokenizer = make_tokenizer("bert")
    source = folder / "single_label" / "source"
    model = make_model("bert", tokenizer, 3)
    model.config.id2label = {0: "bad", 1: "so-so", 2: "good"}
    model.config.label2id = {"bad": 0, "so-so": 1, "good": 2}
    model.save_pretrained(source)
    tokenizer.save_pretrained(source)
    export(source, folder / "single_label" / "openvino")
    copy_as("multi_label_classification", folder / "single_label", folder / "multi_label")
    copy_as("regression", folder / "bert", folder / "regression")
    for problem in CLASSIFIERS:
        write(folder / problem, {"answers": ask_pipeline(folder / problem / "source")})


def copy_as(problem: str, model: Path, to: Path) -> None:
    """The same model for another problem."""
    shutil.copytree(model, to)
    for path in to.glob("*/config.json"):
        config = {**json.loads(path.read_text()), "problem_type": problem}
        path.write_text(json.dumps(config))


def ask_pipeline(source: Path) -> list[Any]:
    """All labels of each of TEXTS, with their scores."""
    from transformers import pipeline

    classify = pipeline("text-classification", model=str(source), device="cpu", top_k=None)
    return [classify([text])[0] for text in TEXTS]


def write(folder: Path, expected: Any) -> None:
    """Beside the model."""
    (folder / "expected.json").write_text(json.dumps(expected))


def make(folder: Path) -> None:
    """All kinds."""
    import torch

    torch.set_num_threads(1)
    for kind in KINDS:
        make_ranker(kind, folder)
    make_generator(folder)
    make_classifiers(folder)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
