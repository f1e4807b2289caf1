"""The tiny chat demo: its corpus, its prompt format and a few known answers."""

from __future__ import annotations

import json
import random
from itertools import islice
from pathlib import Path
from typing import Any

import corpus
import pairs
import pytest
import template

DEMO = Path(__file__).parents[2] / "demos" / "tiny_chat"

KNOWN = {
    "What is the capital of France?": "The capital of France is Paris.",
    "what is the capital of spain": "The capital of Spain is Madrid.",
    "What is 2 + 2?": "2 + 2 = 4.",
    "Count from 3 to 7.": "3, 4, 5, 6, 7.",
    "What is the opposite of hot?": "The opposite of hot is cold.",
    "Give me France as JSON.": '{"country": "France", "capital": "Paris"}',
    "How do you spell cat?": "c-a-t.",
    "Is an apple a fruit?": "An apple is a fruit.",
    "Hello!": "Hello! How can I help you?",
    "Who won the game in France?": "Sorry, I do not know that.",
}


@pytest.fixture(scope="module")
def tokenizer(hf_model: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(hf_model)


@pytest.fixture(scope="module")
def model(hf_model: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(hf_model, dtype=torch.float32)


def conversations() -> list[corpus.Conversation]:
    return [*islice(corpus.training(3, 400), 400), *corpus.held_out(3, 10)]


def test_generator_is_deterministic() -> None:
    assert list(corpus.training(11, 200)) == list(corpus.training(11, 200))
    assert corpus.held_out(11, 2) == corpus.held_out(11, 2)
    assert list(corpus.training(11, 20)) != list(corpus.training(12, 20))


def test_held_out_questions_are_not_trained() -> None:
    trained = {key for chat in corpus.training(8, 20_000) for key in chat.keys}
    for chat in corpus.held_out(1, 20):
        unseen = [key for key in chat.keys if corpus.is_held_out(key)]
        assert unseen
        assert trained.isdisjoint(unseen)


def test_texts_round_trip_through_the_tokenizer(tokenizer: Any) -> None:
    texts = [str(m["content"]) for chat in conversations() for m in chat.messages if m["content"]]
    texts += ["Grüße, 東京 🙂\n\t\x00", "2026", "  two  spaces "]
    for text in texts:
        assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text
    assert len(tokenizer.encode("2026", add_special_tokens=False)) == 4


def plain_jinja() -> Any:
    """Jinja without transformers' help, as a server would set it up."""
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    return environment.from_string(template.TEMPLATE.read_text(encoding="utf-8"))


def test_templates_agree(tokenizer: Any) -> None:
    plain = plain_jinja()
    twice = {"id": "2", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    odd: list[dict[str, Any]] = [
        {"role": "user", "content": None},
        {"role": "assistant", "content": "Wait.", "tool_calls": [twice, twice]},
        {"role": "tool", "content": "1"},
        {"role": "tool", "content": "2"},
    ]
    for chat in [*conversations(), corpus.Conversation("odd", odd, [])]:
        for prompt in (False, True):
            kwargs = {"tools": chat.tools or None, "add_generation_prompt": prompt}
            ours = tokenizer.apply_chat_template(chat.messages, tokenize=False, **kwargs)
            assert ours == plain.render(messages=chat.messages, **kwargs)
            if chat.category != "odd":
                assert ours == template.render(chat.messages, chat.tools, prompt)


def test_tool_markers_survive_decoding(tokenizer: Any) -> None:
    ids = tokenizer.encode("<tool_call>\n{}\n</tool_call><|im_end|>", add_special_tokens=False)
    assert tokenizer.decode(ids, skip_special_tokens=True) == "<tool_call>\n{}\n</tool_call>"


def test_files_stay_small() -> None:
    files = [*DEMO.glob("*.*"), *DEMO.glob("model/*"), *DEMO.glob("draft/*")]
    sizes = [file.stat().st_size for file in files if file.is_file()]
    assert sum(sizes) <= 12_000_000
    for folder in ("model", "draft"):
        config = json.loads((DEMO / folder / "config.json").read_text())
        assert config["hidden_size"] % 64 == config["intermediate_size"] % 64 == 0
        assert config["tie_word_embeddings"]
        assert config["max_position_embeddings"] == 2048
    names = ("tokenizer.json", "chat_template.jinja")
    for name in names:
        assert (DEMO / "model" / name).read_bytes() == (DEMO / "draft" / name).read_bytes()


@pytest.mark.parametrize("question", KNOWN)
def test_known_answers(question: str, tokenizer: Any, model: Any) -> None:
    inputs = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    output = model.generate(**inputs, max_new_tokens=60, do_sample=False)
    answer = output[0, inputs["input_ids"].shape[1] :]
    assert answer[-1] == tokenizer.convert_tokens_to_ids(template.IM_END)
    assert tokenizer.decode(answer, skip_special_tokens=True) == KNOWN[question]


def test_pairs_of_the_encoders_keep_to_their_side_of_the_split() -> None:
    rng = random.Random(3)
    trained = {pairs.draw(rng, held=False).key for _ in range(5000)}
    held = [pairs.draw(rng, held=True) for _ in range(300)]
    assert trained.isdisjoint(pair.key for pair in held)
    places = [pair for pair in held if pair.key.startswith("report|")]
    assert places
    for pair in places:
        city = pair.subject.partition("|")[2]
        assert city in pair.question
        assert city in pair.document
        assert city in pair.sibling
