"""The endpoints that tokenise, on the bundled model, compared with transformers."""

from typing import TYPE_CHECKING

import pytest
from support.server_process import ROOT, ServerProcess

if TYPE_CHECKING:
    from transformers import AutoTokenizer

TEXTS = ["Tell me a story about a fox.", "", "né 漢字 🦊", "<|im_start|>user\nHi<|im_end|>"]
CHAT = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture(scope="module")
def reference() -> "AutoTokenizer":
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(ROOT / "demos" / "tiny_chat" / "model")


@pytest.mark.parametrize("model", ["tiny_chat", "one_node"])
def test_there_and_back(server: ServerProcess, reference: "AutoTokenizer", model: str) -> None:
    status, answer = server.post("/v3/tokenize", {"model": model, "text": TEXTS})
    assert (status, answer["tokens"]) == (200, [reference(text).input_ids for text in TEXTS])
    for text, tokens in zip(TEXTS, answer["tokens"], strict=True):
        body = {"model": model, "tokens": tokens}
        assert server.post("/v3/detokenize", body) == (200, {"prompt": text})


def test_a_conversation_has_as_many_tokens_as_its_answer_says(
    server: ServerProcess, reference: "AutoTokenizer"
) -> None:
    body = {"model": "tiny_chat", "messages": CHAT, "return_token_strs": True}
    status, answer = server.post("/tokenize", body)
    assert status == 200
    assert answer["tokens"] == reference.apply_chat_template(
        CHAT, add_generation_prompt=True, return_dict=False
    )
    assert "<|im_start|>" in answer["token_strs"]
    chat = server.openai().chat.completions.create(model="tiny_chat", messages=CHAT, max_tokens=1)
    assert chat.usage.prompt_tokens == answer["count"]


def test_the_limit_is_the_models(server: ServerProcess) -> None:
    limits = {}
    for model in ("tiny_chat", "small"):
        _, answer = server.post("/tokenize", {"model": model, "prompt": "Hi"})
        limits[model] = answer["max_model_len"]
    assert limits == {"tiny_chat": 2048, "small": 641}


def test_padding(server: ServerProcess, reference: "AutoTokenizer") -> None:
    body = {"model": "tiny_chat", "text": "Hi", "max_length": 6, "pad_to_max_length": True}
    _, answer = server.post("/v3/tokenize", body)
    ids = reference("Hi").input_ids
    assert answer["tokens"] == ids + [reference.pad_token_id] * (6 - len(ids))


def test_tokenizer_info(server: ServerProcess, reference: "AutoTokenizer") -> None:
    status, info = server.get("/tokenizer_info?model=tiny_chat")
    assert status == 200
    assert info["vocab_size"] == len(reference)
    assert info["eos_token"] == reference.eos_token
    assert info["chat_template"] == reference.chat_template


@pytest.mark.parametrize("prefix", ["/v1", "/v3"])
def test_a_rendered_chat_is_the_prompt_that_the_model_reads(
    server: ServerProcess, reference: "AutoTokenizer", prefix: str
) -> None:
    body = {"model": "tiny_chat", "messages": CHAT, "max_tokens": 1, "cache_salt": "mine"}
    status, answer = server.post(f"{prefix}/chat/completions/render", body)
    assert status == 200
    assert answer["token_ids"] == reference.apply_chat_template(
        CHAT, add_generation_prompt=True, return_dict=False
    )
    assert (answer["model"], answer["features"]) == ("tiny_chat", None)
    assert (answer["cache_salt"], answer["priority"]) == ("mine", 0)
    _, chat = server.post(f"{prefix}/chat/completions", body)
    assert chat["usage"]["prompt_tokens"] == len(answer["token_ids"])


def test_rendered_completions_are_a_list(server: ServerProcess, reference: "AutoTokenizer") -> None:
    texts = [text for text in TEXTS if text]
    status, answers = server.post("/v1/completions/render", {"model": "tiny_chat", "prompt": texts})
    assert status == 200
    assert [each["token_ids"] for each in answers] == [reference(text).input_ids for text in texts]
    assert len({each["request_id"] for each in answers}) == len(texts)
    ids = {"model": "tiny_chat", "prompt": [5, 6, 7, 8], "truncate_prompt_tokens": 2}
    assert server.post("/v1/completions/render", ids)[1][0]["token_ids"] == [7, 8]


@pytest.mark.parametrize("path", ["/v3/chat/completions/render", "/v3/completions/render"])
def test_what_cannot_be_rendered_is_refused(server: ServerProcess, path: str) -> None:
    assert server.post(path, {"model": "nobody", "messages": CHAT, "prompt": "Hi"})[0] == 404
    status, answer = server.post(path, {"model": "tiny_chat", "messages": 3, "prompt": {}})
    assert status == 400
    assert answer["error"]["param"] in ("messages", "prompt")
