"""Make a BERT text classifier with random weights and few words, and its logits of some texts."""

import sys
from pathlib import Path

TEXTS = ["the fox sees a bear !", "not good", "the bear hears the fox and sees"]
SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [*SPECIAL_TOKENS, "the", "a", "fox", "bear", "sees", "hears", "good", "and", "not", "!"]


def make(folder: Path) -> None:
    """Write `folder`/source as transformers has it, and `folder`/expected.npz."""
    import numpy as np
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    source = folder / "source"
    source.mkdir(parents=True)
    (source / "vocab.txt").write_text("\n".join(WORDS))
    tokenizer = BertTokenizerFast(str(source / "vocab.txt"))
    tokenizer.save_pretrained(source)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        num_labels=3,
        # The default makes all weights so small that every text gets the same answer.
        initializer_range=0.5,
    )
    model = BertForSequenceClassification(config).eval()
    model.save_pretrained(source)
    inputs = tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = model(**inputs).logits
    arrays = {name: array.numpy() for name, array in inputs.items()}
    np.savez(folder / "expected.npz", logits=logits.numpy(), **arrays)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
