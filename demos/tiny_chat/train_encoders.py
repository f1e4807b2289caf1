"""Train the embedder and the reranker: two small BERT models on `pairs.py`.

The embedder learns by contrast: of all documents of a batch, the one that answers the question
must be nearest (van den Oord et al., arXiv 1807.03748). The reranker reads question and document
together and tells whether they belong together; it begins with the embedder's layers.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from pathlib import Path

import torch
from pairs import Pair, draw
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from torch.nn import functional
from train import Stopwatch, factor
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    PreTrainedTokenizerFast,
)

HERE = Path(__file__).parent
VOCABULARY = 2048
MAX_LENGTH = 256
# Of the texts in training: the first sentences of a story tell what it is about.
TRAINED_LENGTH = 40
TEMPERATURE = 0.05
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
STEPS = {"embedder": 400, "reranker": 700}
BATCH = 128
# Among so many documents the reranker's wrong ones are chosen, most of them among the nearest.
NUM_DOCUMENTS, NUM_NEAREST = 6400, 12


def train_tokenizer(pairs: list[Pair]) -> PreTrainedTokenizerFast:
    """A lower-case WordPiece tokenizer with BERT's form of single texts and pairs."""
    core = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100))
    core.normalizer = normalizers.BertNormalizer(lowercase=True)
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.BertPreTokenizer(), pre_tokenizers.Digits(individual_digits=True)]
    )
    trainer = trainers.WordPieceTrainer(
        vocab_size=VOCABULARY, special_tokens=SPECIAL, show_progress=False
    )
    texts = (text for pair in pairs for text in (pair.question, pair.document))
    core.train_from_iterator(texts, trainer)
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=MAX_LENGTH,
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def config(tokenizer: PreTrainedTokenizerFast) -> BertConfig:
    """The shape of both models: about a million parameters."""
    return BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=512,
        max_position_embeddings=MAX_LENGTH,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        pad_token_id=tokenizer.pad_token_id,
        num_labels=1,
    )


def batches(seed: int) -> Iterator[list[Pair]]:
    """Batches without end; no two pairs of a batch are about the same subject."""
    rng = random.Random(seed)
    while True:
        batch: dict[str, Pair] = {}
        while len(batch) < BATCH:
            pair = draw(rng, held=False)
            batch.setdefault(pair.subject, pair)
        yield list(batch.values())


def embed(model: BertModel, tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> Tensor:
    """Unit vectors [texts, hidden]: the mean over the tokens of each text."""
    inputs = tokenizer(
        texts, padding=True, truncation=True, max_length=TRAINED_LENGTH, return_tensors="pt"
    )
    hidden = model(**inputs).last_hidden_state
    mask = inputs["attention_mask"].unsqueeze(-1)
    return functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)


def contrast(model: BertModel, tokenizer: PreTrainedTokenizerFast, batch: list[Pair]) -> Tensor:
    """The loss of a batch, from questions to documents and back."""
    questions = embed(model, tokenizer, [pair.question for pair in batch])
    documents = embed(model, tokenizer, [pair.document for pair in batch])
    scores = questions @ documents.T / TEMPERATURE
    right = torch.arange(len(batch))
    return functional.cross_entropy(scores, right) + functional.cross_entropy(scores.T, right)


class WrongDocuments:
    """Documents that do not answer a question although the embedder places them near it."""

    def __init__(self, embedder: BertModel, tokenizer: PreTrainedTokenizerFast) -> None:
        rng = random.Random(6)
        self._pairs = [draw(rng, held=False) for _ in range(NUM_DOCUMENTS)]
        self._embedder, self._tokenizer, self._rng = embedder, tokenizer, rng
        documents = [pair.document for pair in self._pairs]
        parts = [documents[i : i + BATCH] for i in range(0, NUM_DOCUMENTS, BATCH)]
        with torch.no_grad():
            self._vectors = torch.cat([embed(embedder, tokenizer, part) for part in parts])

    def choose(self, batch: list[Pair]) -> list[str]:
        """One document for each pair, about another subject."""
        with torch.no_grad():
            questions = embed(self._embedder, self._tokenizer, [pair.question for pair in batch])
        nearest = (questions @ self._vectors.T).topk(NUM_NEAREST).indices
        return [
            self._choose(pair, near) for pair, near in zip(batch, nearest.tolist(), strict=True)
        ]

    def _choose(self, pair: Pair, nearest: list[int]) -> str:
        chance = self._rng.random()
        if pair.sibling and chance < 0.4:
            return pair.sibling
        near = [self._pairs[i] for i in nearest if self._pairs[i].subject != pair.subject]
        if near and chance < 0.9:
            return self._rng.choice(near).document
        others = (self._rng.choice(self._pairs) for _ in range(NUM_DOCUMENTS))
        return next(other.document for other in others if other.subject != pair.subject)


def judge(
    model: BertForSequenceClassification,
    tokenizer: PreTrainedTokenizerFast,
    batch: list[Pair],
    wrong: WrongDocuments,
) -> Tensor:
    """The loss of right pairs and wrong ones."""
    questions = [pair.question for pair in batch]
    documents = [pair.document for pair in batch]
    inputs = tokenizer(
        questions * 2,
        documents + wrong.choose(batch),
        padding=True,
        truncation=True,
        max_length=TRAINED_LENGTH + 16,
        return_tensors="pt",
    )
    wanted = torch.tensor([1.0] * len(batch) + [0.0] * len(batch))
    return functional.binary_cross_entropy_with_logits(model(**inputs).logits[:, 0], wanted)


def optimizers(model: nn.Module) -> list[tuple[torch.optim.Optimizer, float]]:
    """Muon for the matrices of the layers, AdamW for the rest, each with its rate."""
    named = list(model.named_parameters())
    inner = [p for name, p in named if p.ndim == 2 and ".layer." in name]
    outer = [p for name, p in named if not (p.ndim == 2 and ".layer." in name)]
    return [
        (torch.optim.Muon(inner, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"), 4e-3),
        (torch.optim.AdamW(outer, betas=(0.9, 0.98), weight_decay=0.0), 4e-3),
    ]


def step_losses(
    name: str, model: nn.Module, tokenizer: PreTrainedTokenizerFast, embedder: Path
) -> Iterator[Tensor]:
    """The losses of the steps of a training."""
    if name == "embedder":
        yield from (contrast(model, tokenizer, batch) for batch in batches(3))
    wrong = WrongDocuments(load_embedder(embedder), tokenizer)
    yield from (judge(model, tokenizer, batch, wrong) for batch in batches(5))


def load_embedder(folder: Path) -> BertModel:
    """The trained embedder."""
    return BertModel.from_pretrained(folder, dtype=torch.float32, add_pooling_layer=False).eval()


def new_model(name: str, tokenizer: PreTrainedTokenizerFast, embedder: Path) -> nn.Module:
    """An untrained embedder, or a reranker that begins with the layers of the embedder."""
    torch.manual_seed(1)
    if name == "embedder":
        return BertModel(config(tokenizer), add_pooling_layer=False)
    model = BertForSequenceClassification(config(tokenizer))
    model.bert.load_state_dict(load_embedder(embedder).state_dict(), strict=False)
    return model


def train(name: str, model: nn.Module, losses: Iterator[Tensor]) -> None:
    """Train one of the models."""
    steps, groups, begin, mean = STEPS[name], optimizers(model), Stopwatch(), 0.0
    for step, loss in zip(range(steps), losses, strict=False):
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group, rate in groups:
            group.param_groups[0]["lr"] = rate * factor(step, steps)
            group.step()
            group.zero_grad()
        mean = 0.98 * mean + 0.02 * loss.item()
        if step % 100 == 99:
            shown = mean / (1 - 0.98 ** (step + 1))
            print(f"{name}: {step + 1} steps, {begin}, loss {shown:.4f}", flush=True)


def save(name: str, model: nn.Module, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write a float16 checkpoint, in the layout of sentence-transformers for the embedder."""
    model.half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if name == "reranker":
        return
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    entries = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(modules)
    ]
    _write(folder / "modules.json", entries)
    _write(folder / "sentence_bert_config.json", {"max_seq_length": MAX_LENGTH})
    pooling = {"word_embedding_dimension": 128, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling").mkdir(exist_ok=True)
    _write(folder / "1_Pooling" / "config.json", pooling)


def _write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Train what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=HERE)
    parser.add_argument("--only", choices=STEPS)
    args = parser.parse_args()
    rng = random.Random(2)
    tokenizer = train_tokenizer([draw(rng, held=False) for _ in range(30_000)])
    for name in [name for name in STEPS if args.only in (None, name)]:
        folder = args.output / name
        embedder = args.output / "embedder"
        model = new_model(name, tokenizer, embedder)
        train(name, model, step_losses(name, model, tokenizer, embedder))
        save(name, model, tokenizer, folder)
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        print(f"{name}: {size} bytes")


if __name__ == "__main__":
    main()
