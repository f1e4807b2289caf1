"""Thinking that is cut off after a number of tokens, token by token."""

from pathlib import Path
from typing import Any

import pytest
from support.guiding import allowed, compile_answer

from calculators.guided import GrammarCompiler, ThinkingLimiter
from calculators.output_parsers import ModelFamily, OutputFormat, ThinkingForm, output_format
from calculators.output_parsers.families.qwen3 import Qwen3ReasoningParser
from calculators.text.tokenizer import Tokenizer
from server.errors import InvalidRequestError
from server.payloads import AnswerFormat, ChatOptions, GenerationRequest, TokenizedPrompt

VOCAB_SIZE = 2048
QWEN = OutputFormat.choose("none", "qwen3", "")


@pytest.fixture(scope="module")
def tokenizer(model_f32: Path) -> Tokenizer:
    return Tokenizer(model_f32)


def prompt(budget: int | None, text: str = "<think>", **fields: Any) -> TokenizedPrompt:
    return TokenizedPrompt(GenerationRequest("r", messages=(), **fields), (1,), text, budget)


class Writer:
    """Writes texts where they are allowed, and what is forced."""

    def __init__(self, tokenizer: Tokenizer, constraint: Any) -> None:
        self._tokenizer = tokenizer
        self.constraint = constraint

    def write(self, text: str) -> int:
        """Write tokens until one is forced; returns how many there were."""
        for count, token in enumerate(self._tokenizer.encode(text, add_special_tokens=False)):
            if self.is_forced:
                return count
            self.constraint.accept(token)
        return len(self._tokenizer.encode(text, add_special_tokens=False))

    @property
    def is_forced(self) -> bool:
        forbidden = self.constraint.forbidden_tokens()
        return forbidden is not None and int((~forbidden).sum()) == 1

    def forced(self) -> str:
        """The text that is forced from here on."""
        tokens = []
        while self.is_forced:
            (token,) = allowed(self.constraint)
            self.constraint.accept(token)
            tokens.append(token)
        return self._tokenizer.decode(tokens, skip_special_tokens=False)


def writer(
    tokenizer: Tokenizer, given: TokenizedPrompt, output_format: OutputFormat = QWEN
) -> Writer:
    limiter = ThinkingLimiter(tokenizer, output_format, VOCAB_SIZE)
    return Writer(tokenizer, limiter.limit(given, None))


@pytest.mark.parametrize("budget", [0, 1, 5])
def test_the_closing_tag_is_forced_after_the_budget(tokenizer: Tokenizer, budget: int) -> None:
    found = writer(tokenizer, prompt(budget))
    assert found.write("one two three four five six seven") == budget
    assert found.forced() == "</think>"
    assert found.constraint.forbidden_tokens() is None
    found.write("the answer is as long as it likes, <think> and all that")
    assert not found.is_forced


@pytest.mark.parametrize("begin", ["<think>", "\n<think>\n"])
def test_thinking_that_the_model_begins_counts_from_its_tag(
    tokenizer: Tokenizer, begin: str
) -> None:
    found = writer(tokenizer, prompt(2, text=""))
    found.write(begin)
    found.write("one two three four")
    assert found.forced() == "</think>"


def test_thinking_that_ends_in_time_is_left_alone(tokenizer: Tokenizer) -> None:
    found = writer(tokenizer, prompt(20))
    found.write("yes</think>" + "word " * 30)
    assert not found.is_forced


def test_an_answer_without_thinking_is_left_alone(tokenizer: Tokenizer) -> None:
    found = writer(tokenizer, prompt(0, text=""))
    found.write("plain " * 30)
    assert found.constraint.forbidden_tokens() is None
    assert not found.constraint.can_complete


def test_choices_count_on_their_own(tokenizer: Tokenizer) -> None:
    found = writer(tokenizer, prompt(3))
    found.write("one")
    other = Writer(tokenizer, found.constraint.fork())
    found.write(" two three four five")
    assert found.forced() == "</think>"
    assert not other.is_forced


@pytest.mark.parametrize(
    ("family", "begun", "closing"),
    [("mistral", "[THINK]", "[/THINK]"), ("gemma4", "<|channel>thought\n", "<channel|>")],
)
def test_each_family_has_its_own_tag(
    tokenizer: Tokenizer, family: str, begun: str, closing: str
) -> None:
    output_format = OutputFormat.choose(family, family, "")
    found = writer(tokenizer, prompt(1, text=begun), output_format)
    found.write("one two three")
    assert found.forced() == closing


def test_gpt_oss_goes_on_in_another_channel(tokenizer: Tokenizer) -> None:
    harmony = OutputFormat.choose("gptoss", "gptoss", "")
    found = writer(tokenizer, prompt(4, text="<|start|>assistant"), harmony)
    for thought in ("one two ", "three four five six"):
        found.write(f"<|channel|>analysis<|message|>{thought}")
        if not found.is_forced:
            found.write("<|end|><|start|>assistant")
    assert found.forced() == "<|end|><|start|>assistant<|channel|>"
    (a,) = tokenizer.encode("a", add_special_tokens=False)[:1]
    assert a not in allowed(found.constraint)
    found.write("final<|message|>The answer is as long as it likes.")
    assert not found.is_forced
    found.write("<|end|><|start|>assistant<|channel|>analysis<|message|>")
    assert found.is_forced


async def test_the_grammar_of_the_answer_begins_behind_the_thinking(tokenizer: Tokenizer) -> None:
    given = prompt(3, answer_format=AnswerFormat("json", {"const": 5}))
    compiler = GrammarCompiler(tokenizer.byte_table, VOCAB_SIZE, (0, 2))
    grammar = await compile_answer(compiler, given.request, QWEN, given.text or "")
    found = Writer(tokenizer, ThinkingLimiter(tokenizer, QWEN, VOCAB_SIZE).limit(given, grammar))
    assert found.constraint.can_complete
    found.write("one two three four five six")
    assert found.forced().startswith("</think>")
    (five,) = tokenizer.encode("5", add_special_tokens=False)
    assert five in allowed(found.constraint)
    found.constraint.accept(five)
    assert set(allowed(found.constraint)) <= {0, 2}
    compiler.close()


def test_a_model_that_does_not_think_needs_no_limit(tokenizer: Tokenizer) -> None:
    limiter = ThinkingLimiter(tokenizer, OutputFormat(), VOCAB_SIZE)
    assert limiter.limit(prompt(5), None) is None
    assert ThinkingLimiter(tokenizer, QWEN, VOCAB_SIZE).limit(prompt(None), None) is None


class Endless(ModelFamily):
    """A family whose thinking nothing ends."""

    class Parser(Qwen3ReasoningParser):
        @classmethod
        def thinking_forms(cls) -> tuple[ThinkingForm, ...]:
            return ()

    reasoning_parser = Parser


def test_a_budget_that_cannot_be_kept_is_refused_but_not_one_of_an_effort(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output_format, "families", lambda: {"endless": Endless})
    limiter = ThinkingLimiter(tokenizer, OutputFormat("none", "endless"), VOCAB_SIZE)
    asked = prompt(5, chat_options=ChatOptions(thinking_token_budget=5))
    with pytest.raises(
        InvalidRequestError, match="does not know how this model ends .* parser is endless"
    ):
        limiter.limit(asked, None)
    assert limiter.limit(prompt(5), None) is None
