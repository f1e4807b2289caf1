import pytest

from export_models.quantization import calibration_tokens
from export_models.quantization.calibration_chats import SEED_PROMPTS, render_seeds


class Tokenizer:
    """Takes words, and messages where it has a template."""

    def __init__(self, problem: str = "") -> None:
        self.problem = problem

    def apply_chat_template(self, messages: list[dict[str, str]], **_: object) -> str:
        if self.problem:
            raise ValueError(self.problem)
        return " ".join(f"{message['role']}: {message['content']}" for message in messages)

    def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
        return {"input_ids": [0] * add_special_tokens + [len(word) for word in text.split()]}


def test_samples_of_the_user() -> None:
    chat = {"line": 1, "content": [{"role": "user", "content": "Good day"}]}
    assert calibration_tokens.encode(Tokenizer(), chat) == [5, 4, 3]
    assert calibration_tokens.encode(Tokenizer(), {"line": 2, "content": "a bc"}) == [0, 1, 2]
    long = {"line": 3, "content": "a " * 10_000}
    assert len(calibration_tokens.encode(Tokenizer(), long)) == calibration_tokens.MAX_SAMPLE_TOKENS


def test_a_template_that_refuses_a_sample() -> None:
    chat = {"line": 4, "content": [{"role": "cat", "content": "Meow"}]}
    with pytest.raises(SystemExit, match="calibration: line 4: ValueError: no role 'cat'"):
        calibration_tokens.encode(Tokenizer("no role\n 'cat'"), chat)


def test_seed_prompts_without_a_template() -> None:
    prompts, is_chat = render_seeds(Tokenizer("no template"))
    assert (tuple(prompts), is_chat) == (SEED_PROMPTS, False)


def test_seeds_are_questions_chats_and_calls_of_tools() -> None:
    prompts, is_chat = render_seeds(Tokenizer())
    assert is_chat
    assert prompts[0] == f"user: {SEED_PROMPTS[0]}"
    assert max(prompt.count("user: ") for prompt in prompts) == 5
    assert sum("tool: " in prompt for prompt in prompts) == 1
    # This template shows no tools: what differs by these alone is there once.
    assert len(set(prompts)) == len(prompts) == 16 + 4 + 4 + 1


def test_seeds_of_a_template_that_refuses_some(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = Tokenizer()
    render = tokenizer.apply_chat_template

    def render_without_tools(messages: list[dict[str, str]], tools: object, **_: object) -> str:
        if tools or len(messages) > 1:
            raise ValueError("one question, no tools")
        return render(messages)

    monkeypatch.setattr(tokenizer, "apply_chat_template", render_without_tools)
    prompts, is_chat = render_seeds(tokenizer)
    assert is_chat
    assert prompts == [f"user: {prompt}" for prompt in SEED_PROMPTS]


def test_each_prompt_is_there_once_or_as_often_as_is_wanted() -> None:
    prompts = calibration_tokens.make_prompts(Tokenizer(), None)
    assert len(prompts) == 25
    assert calibration_tokens.make_prompts(Tokenizer(), 27) == [*prompts, *prompts[:2]]
    assert calibration_tokens.make_prompts(Tokenizer(), 3) == prompts[:3]
