"""Every field of a request has its effect: a real server, a real model in f32, transformers."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from support.e2e_graphs import ONE_NODE_GRAPH, write_model
from support.fakes import parse_events
from support.server_process import ServerProcess, server_process

PRECISION = '{{"KV_CACHE_PRECISION": "u8"}}'
F32 = '{{"KV_CACHE_PRECISION": "f32", "INFERENCE_PRECISION_HINT": "f32"}}'
TEXT = "Grüße, 日本語 😀! What is the capital of France? Once upon a time"
IM_START, IM_END = "<|im_start|>", "<|im_end|>"


@pytest.fixture(scope="module")
def server(model_f32: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """`model` without limits; `limited` with all that a graph can set, and one seat."""
    graph = ONE_NODE_GRAPH.replace(PRECISION, F32)
    assert graph != ONE_NODE_GRAPH
    repository = tmp_path_factory.mktemp("repository")
    write_model(repository, "model", graph.format(models_path=model_f32, options=""))
    options = (
        "max_tokens_limit: 30, max_logprobs_per_request: 100, best_of_limit: 3, "
        "max_num_seqs: 1, num_kv_blocks: 8"
    )
    write_model(repository, "limited", graph.format(models_path=model_f32, options=options))
    with server_process("--config_path", repository / "config.json") as process:
        yield process


@pytest.fixture(scope="module")
def tokenizer(hf_model: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(hf_model)


@pytest.fixture(scope="module")
def log_softmax(hf_model: Path) -> Any:
    """A function: token ids -> f32[tokens - 1, vocabulary] for every next token."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(hf_model, dtype=torch.float32).eval()

    def compute(token_ids: list[int]) -> Any:
        with torch.no_grad():
            logits = model(torch.tensor([token_ids])).logits[0, :-1]
        return torch.log_softmax(logits, dim=1).numpy()

    return compute


def complete(server: ServerProcess, prompt: Any = TEXT, **fields: Any) -> dict[str, Any]:
    body = {"model": "model", "prompt": prompt, "temperature": 0, **fields}
    status, answer = server.post("/v3/completions", body)
    assert status == 200, answer
    found: dict[str, Any] = answer
    return found


def refusal(server: ServerProcess, prompt: Any = TEXT, **fields: Any) -> tuple[str, str]:
    """The parameter and the message of a 400."""
    body = {"model": "model", "prompt": prompt, **fields}
    status, answer = server.post("/v3/completions", body)
    assert status == 400, answer
    return answer["error"]["param"], answer["error"]["message"]


def stream(server: ServerProcess, **body: Any) -> list[dict[str, Any]]:
    """The choices of all events of a stream."""
    path = "/v3/chat/completions" if "messages" in body else "/v3/completions"
    text = server.post_text(path, {"model": "model", "temperature": 0, "stream": True, **body})
    *events, done = parse_events(text)
    assert done == "[DONE]"
    return [choice for event in events for choice in event["choices"]]


def merged(parts: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """The parallel lists of all parts, one after another."""
    return {name: [value for part in parts for value in part[name]] for name in parts[0]}


@pytest.mark.parametrize("max_tokens", [0, 1, 5])
@pytest.mark.parametrize("is_ids", [False, True])
@pytest.mark.parametrize("is_streamed", [False, True])
def test_an_echo_has_the_log_probabilities_of_transformers(
    server: ServerProcess,
    tokenizer: Any,
    log_softmax: Any,
    max_tokens: int,
    is_ids: bool,
    is_streamed: bool,
) -> None:
    ids = tokenizer(TEXT)["input_ids"]
    asked = {
        "prompt": ids if is_ids else TEXT,
        "max_tokens": max_tokens,
        "echo": True,
        "logprobs": 3,
        "ignore_eos": True,
    }
    if is_streamed:
        choices = stream(server, **asked)
        text = "".join(choice["text"] for choice in choices)
        found = merged([choice["logprobs"] for choice in choices if choice["logprobs"]])
    else:
        answer = complete(server, **asked)
        (choice,) = answer["choices"]
        text, found = choice["text"], choice["logprobs"]
        assert answer["usage"]["completion_tokens"] == max_tokens
        assert answer["usage"]["prompt_tokens"] == len(ids)
        assert choice["finish_reason"] == "length"
    assert text.startswith(TEXT)
    assert (text == TEXT) == (max_tokens == 0)
    assert {len(values) for values in found.values()} == {len(ids) + max_tokens}
    assert (found["token_logprobs"][0], found["top_logprobs"][0]) == (None, None)
    expected = log_softmax(ids)
    for position, token_id in enumerate(ids[1:], 1):
        row = expected[position - 1]
        assert found["token_logprobs"][position] == pytest.approx(row[token_id], abs=2e-3)
        best = max(found["top_logprobs"][position].values())
        assert best == pytest.approx(row.max(), abs=2e-3)
    for token, start in zip(found["tokens"], found["text_offset"], strict=True):
        # Neither a piece of a character nor an end token is to be found there.
        is_text = not token.startswith("<|") and "\ufffd" not in token
        assert text.startswith(token, start) or not is_text
    assert found["text_offset"] == sorted(found["text_offset"])


def test_an_echo_of_several_prompts_and_choices(server: ServerProcess, tokenizer: Any) -> None:
    texts = ["Once upon a time", "The capital of Spain is"]
    for prompts in (texts, [tokenizer(text)["input_ids"] for text in texts]):
        answer = complete(server, prompts, n=2, max_tokens=1, echo=True, logprobs=1)
        assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]
        for choice in answer["choices"]:
            text = texts[choice["index"] // 2]
            tokens = choice["logprobs"]["tokens"]
            assert "".join(tokens[:-1]) == text
            alone = complete(server, text, max_tokens=1, echo=True, logprobs=1)["choices"][0]
            assert choice["logprobs"]["token_logprobs"][1:] == pytest.approx(
                alone["logprobs"]["token_logprobs"][1:], abs=1e-3
            )


def test_a_cached_prompt_has_the_same_log_probabilities(server: ServerProcess) -> None:
    prompt = "One fox, two foxes. " * 20
    fields = {"max_tokens": 2, "echo": True, "logprobs": 0}
    first, second = (complete(server, prompt, **fields) for _ in range(2))
    values = [answer["choices"][0]["logprobs"]["token_logprobs"][1:] for answer in (first, second)]
    assert values[0] == pytest.approx(values[1], abs=1e-3)
    assert len(values[0]) > 64


@pytest.mark.parametrize("is_chat", [False, True])
def test_streamed_log_probabilities_are_those_of_the_whole_answer(
    server: ServerProcess, is_chat: bool
) -> None:
    # With its own salt each reads the whole prompt, so that rounding is the same.
    if is_chat:
        body = {
            "model": "model",
            "messages": [{"role": "user", "content": "What is the capital of France?"}],
            "logprobs": True,
            "top_logprobs": 2,
            "temperature": 0,
        }
        _, answer = server.post("/v3/chat/completions", {**body, "cache_salt": "0"})
        whole = answer["choices"][0]["logprobs"]["content"]
        choices = stream(server, **body, cache_salt="1")
        parts = [choice["logprobs"] for choice in choices if choice["logprobs"]]
        assert [entry for part in parts for entry in part["content"]] == whole
        assert b"".join(bytes(entry["bytes"]) for entry in whole).startswith(b"The capital")
    else:
        body = {"prompt": "Once", "max_tokens": 12, "logprobs": 2}
        whole = complete(server, **body, cache_salt="2")["choices"][0]["logprobs"]
        choices = stream(server, **body, cache_salt="3")
        parts = [choice["logprobs"] for choice in choices if choice["logprobs"]]
        assert merged(parts) == whole


def test_prompt_logprobs_of_a_chat_and_a_completion(
    server: ServerProcess, tokenizer: Any, log_softmax: Any
) -> None:
    ids = tokenizer(TEXT)["input_ids"]
    (choice,) = complete(server, prompt_logprobs=2, max_tokens=1)["choices"]
    first, *rest = choice["prompt_logprobs"]
    assert (first, choice["logprobs"]) == (None, None)
    for row, token_id, entry in zip(log_softmax(ids), ids[1:], rest, strict=True):
        assert entry[str(token_id)]["logprob"] == pytest.approx(row[token_id], abs=2e-3)
        assert 2 <= len(entry) <= 3
    body = {
        "model": "model",
        "messages": [{"role": "user", "content": "Hi"}],
        "prompt_logprobs": 0,
        "max_tokens": 1,
    }
    _, answer = server.post("/v3/chat/completions", body)
    names = [next(iter(e.values()))["decoded_token"] for e in answer["prompt_logprobs"][1:]]
    assert "".join(names).startswith(f"user\nHi{IM_END}")
    assert len(names) + 1 == answer["usage"]["prompt_tokens"]


def test_a_bias_and_stop_tokens(server: ServerProcess, tokenizer: Any) -> None:
    (fox,) = tokenizer(" fox")["input_ids"][-1:]
    fields = {"max_tokens": 4, "logit_bias": {str(fox): 100}}
    plain = complete(server, max_tokens=4)["choices"][0]
    biased = complete(server, **fields)["choices"][0]
    assert biased["text"] == tokenizer.decode([fox] * 4) != plain["text"]
    stopped = complete(server, **fields, stop_token_ids=[fox])
    assert stopped["choices"][0]["text"] == ""
    assert stopped["choices"][0]["finish_reason"] == "stop"
    assert stopped["usage"]["completion_tokens"] == 1
    shown = complete(server, **fields, stop_token_ids=[fox], include_stop_str_in_output=True)
    assert shown["choices"][0]["text"] == tokenizer.decode([fox])


@pytest.mark.parametrize("field", [{"logit_bias": {"2048": 1}}, {"stop_token_ids": [2048]}])
def test_unknown_tokens_are_refused(server: ServerProcess, field: dict[str, Any]) -> None:
    param, message = refusal(server, **field)
    assert param == next(iter(field))
    assert message.endswith("has the token id 2048; the model knows 0 to 2047")


def test_min_tokens_keeps_an_answer_going(server: ServerProcess) -> None:
    question = f"{IM_START}user\nWhat is the capital of France?{IM_END}\n{IM_START}assistant\n"
    plain = complete(server, question, max_tokens=100)
    length = plain["usage"]["completion_tokens"]
    assert plain["choices"][0]["finish_reason"] == "stop"
    longer = complete(server, question, max_tokens=100, min_tokens=length + 3)
    assert longer["usage"]["completion_tokens"] > length + 3
    assert longer["choices"][0]["text"].startswith(plain["choices"][0]["text"])
    stop = {"stop": ["capital"], "max_tokens": 100}
    assert complete(server, question, **stop)["choices"][0]["text"] == "The "
    beyond = complete(server, question, **stop, min_tokens=length)["choices"][0]["text"]
    assert beyond.startswith("The capital of France")


@pytest.mark.parametrize("is_included", [False, True])
def test_stop_strings_whole_and_streamed(server: ServerProcess, is_included: bool) -> None:
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    body = {
        "model": "model",
        "messages": messages,
        "temperature": 0,
        # 16 of them; what begins one is held back only where it will not be shown.
        "stop": ["of Fran", *(f"The capital of Spain {i}" for i in range(15))],
        "include_stop_str_in_output": is_included,
    }
    expected = "The capital of Fran" if is_included else "The capital "
    _, answer = server.post("/v3/chat/completions", body)
    assert answer["choices"][0]["message"]["content"] == expected
    assert answer["choices"][0]["finish_reason"] == "stop"
    choices = stream(server, **body)
    assert "".join(choice["delta"].get("content", "") for choice in choices) == expected
    assert choices[-1]["finish_reason"] == "stop"


def test_special_tokens_are_shown_where_asked_for(server: ServerProcess, tokenizer: Any) -> None:
    token_id = tokenizer.convert_tokens_to_ids(IM_START)
    fields = {"max_tokens": 2, "logit_bias": {str(token_id): 100}}
    assert complete(server, **fields)["choices"][0]["text"] == ""
    shown = complete(server, **fields, skip_special_tokens=False)["choices"][0]["text"]
    assert shown == IM_START * 2
    ids = tokenizer(f"a{IM_START}b")["input_ids"]
    for skips, text in ((True, "ab"), (False, f"a{IM_START}b")):
        answer = complete(server, ids, max_tokens=0, echo=True, skip_special_tokens=skips)
        assert answer["choices"][0]["text"] == text


def test_a_prompt_is_cut_to_its_end(server: ServerProcess, tokenizer: Any) -> None:
    ids = tokenizer(TEXT)["input_ids"]
    for kept in (1, 5, len(ids), len(ids) + 1):
        answer = complete(server, truncate_prompt_tokens=kept, max_tokens=0, echo=True)
        assert answer["usage"]["prompt_tokens"] == min(kept, len(ids))
        assert answer["choices"][0]["text"] == tokenizer.decode(ids[-kept:])
    cut = complete(server, truncate_prompt_tokens=5, max_tokens=6)
    assert (
        cut["choices"][0]["text"] == complete(server, ids[-5:], max_tokens=6)["choices"][0]["text"]
    )


def test_a_prompt_is_cut_to_what_fits(server: ServerProcess) -> None:
    prompt = [5, 6] * 1500
    _, message = refusal(server, prompt, max_tokens=20)
    assert "3000" in message
    assert "2048" in message
    answer = complete(server, prompt, max_tokens=20, truncate_prompt_tokens=-1, ignore_eos=True)
    assert answer["usage"]["prompt_tokens"] == 2028
    assert answer["usage"]["completion_tokens"] == 20
    limited = complete(server, prompt, model="limited", truncate_prompt_tokens=-1)
    assert limited["usage"]["prompt_tokens"] == 8 * 32 + 1 - 16


def test_the_best_of_several(server: ServerProcess) -> None:
    fields = {"temperature": 1.2, "seed": 5, "max_tokens": 8, "logprobs": 0}
    every = complete(server, "Once", n=6, **fields)["choices"]
    ranked = sorted(every, key=lambda c: -fmean(c["logprobs"]["token_logprobs"]))
    best = complete(server, "Once", n=2, best_of=6, **fields)["choices"]
    assert [choice["index"] for choice in best] == [0, 1]
    assert [choice["text"] for choice in best] == [choice["text"] for choice in ranked[:2]]
    assert best[0]["text"] != every[0]["text"] or ranked[0] is every[0]
    del fields["logprobs"]
    (silent,) = complete(server, "Once", best_of=6, **fields)["choices"]
    assert (silent["text"], silent["logprobs"]) == (best[0]["text"], None)


def test_the_limits_of_a_graph(server: ServerProcess) -> None:
    fields = {"model": "limited", "ignore_eos": True}
    answer = complete(server, "Once", max_tokens=30, **fields)
    assert answer["usage"]["completion_tokens"] == 30
    param, message = refusal(server, "Once", max_tokens=31, **fields)
    assert (param, "at most 30 (max_tokens_limit)" in message) == ("max_tokens", True)
    param, message = refusal(server, ["Once", "Then"], max_tokens=30, logprobs=1, **fields)
    assert (param, "up to 120 log probabilities" in message) == ("max_tokens", True)
    assert "allows 100: ask for less, or raise its option max_logprobs_per_request" in message
    chat = {"model": "limited", "messages": [{"role": "user", "content": "Hi"}]}
    _, answer = server.post("/v3/chat/completions", {**chat, "ignore_eos": True})
    assert answer["usage"]["completion_tokens"] == 30, "the limit is the default too"
    param, message = refusal(server, "Once", best_of=3, **fields)
    assert (param, "less than 3 (best_of_limit)" in message) == ("best_of", True)
    param, message = refusal(server, "Once", best_of=2, **fields)
    assert "at most 1 sequences at once" in message
    assert refusal(server, "Once", best_of=20)[0] == "best_of"
    assert complete(server, "Once", best_of=19, temperature=1)["usage"]["completion_tokens"] <= 16


def test_a_lower_priority_is_served_first(server: ServerProcess) -> None:
    """With one seat, a more urgent request overtakes one that waits longer."""
    order: list[str] = []

    def ask(name: str, priority: int, max_tokens: int) -> None:
        complete(
            server, name, model="limited", priority=priority, max_tokens=max_tokens, ignore_eos=True
        )
        order.append(name)

    with ThreadPoolExecutor(max_workers=5) as pool:
        for _ in range(2):
            order.clear()
            # More than the pool runs at once, so that the seat is taken when the others come.
            jobs = [pool.submit(ask, "first", -1, 30) for _ in range(8)]
            jobs += [pool.submit(ask, "late", 7, 2), pool.submit(ask, "urgent", 0, 2)]
            for job in jobs:
                job.result()
            assert order.index("urgent") < order.index("late")


def test_a_salt_keeps_the_cache_of_others_out(server: ServerProcess) -> None:
    def num_cached(**fields: Any) -> int:
        answer = complete(server, "A prompt with a salt. " * 20, max_tokens=1, **fields)
        found: int = answer["usage"]["prompt_tokens_details"]["cached_tokens"]
        return found

    assert num_cached(cache_salt="a") == 0
    assert num_cached(cache_salt="a") >= 64
    assert num_cached(cache_salt="b") == 0
    assert num_cached() == 0
    assert num_cached() >= 64


def test_choices_of_a_stream_come_side_by_side(server: ServerProcess) -> None:
    fields = {"prompt": "Once", "n": 3, "seed": 3, "temperature": 1.0, "max_tokens": 12}
    whole = complete(server, **fields, ignore_eos=True)["choices"]
    choices = stream(server, **fields, ignore_eos=True)
    indices = [choice["index"] for choice in choices]
    # All are there before any of them is complete.
    ends = [i for i, choice in enumerate(choices) if choice["finish_reason"]]
    assert set(indices[: ends[0]]) == {0, 1, 2}
    for choice in whole:
        mine = [c for c in choices if c["index"] == choice["index"]]
        assert "".join(c["text"] for c in mine) == choice["text"]
        assert [c["finish_reason"] for c in mine if c["finish_reason"]] == ["length"]


def test_the_counts_of_every_event(server: ServerProcess) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    body = {"model": "model", "prompt": "Once", "max_tokens": 5, "ignore_eos": True, "stream": True}
    text = server.post_text("/v3/completions", {**body, "stream_options": options})
    *events, last, _ = parse_events(text)
    counts = [event["usage"]["completion_tokens"] for event in events]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1] == last["usage"]["completion_tokens"] == 5
    assert json.dumps(last["usage"]) == json.dumps(events[-1]["usage"])
