"""The corpus: conversations from a seed, split into a training and a held-out side."""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from facts import claim, fact
from questions import arithmetic, as_json, capital, counting, opposite, spelling, tale
from smalltalk import saying, unknown
from toolbox import FAMILIES, Tool, make_tool, use
from turns import REFUSAL, Turn
from world import COUNTRIES, NAMES, OPPOSITES, made_up

Message = dict[str, Any]
HELD_OUT_SHARE = 10
# Seed and number of conversations of the two training cycles.
CYCLES = [(7, 72_000), (8, 58_000)]
SYSTEM_PROMPTS = [
    "You are a helpful assistant.", "You are a tiny chat model.", "Answer briefly.",
    "You are a friendly assistant.", "Be polite.", "You are an assistant. Answer in one sentence.",
    "You help people with short answers.", "You are Qwen, a helpful assistant.",
    "You are a useful bot.", "Answer the questions of the user.", "Be short and clear.",
    "You are a helpful, harmless and honest assistant.", "Help the user.", "You are a chat bot.",
    "You are an AI assistant. You answer every question as well as you can.", "Speak English.",
]  # fmt: skip
SINGLE_KINDS: dict[str, Callable[[random.Random], Turn]] = {
    "capitals": capital,
    "sums and differences": arithmetic,
    "counting": counting,
    "spelling": spelling,
    "claims": claim,
    "opposites": opposite,
    "facts": fact,
    "stories": tale,
    "JSON": as_json,
    "small talk": saying,
    "refusals": unknown,
}
_SINGLE_WEIGHTS = {
    "capitals": 10, "sums and differences": 20, "counting": 14, "spelling": 12, "claims": 12,
    "opposites": 6, "facts": 7, "stories": 5, "JSON": 7, "small talk": 4, "refusals": 9,
}  # fmt: skip
CATEGORIES = [*SINGLE_KINDS, "tool call", "tool answer", "follow-up", "memory", "multi-turn"]


@dataclass
class Conversation:
    """Messages as a server gets them; `keys` name every question in it."""

    category: str
    messages: list[Message]
    keys: list[str]
    tools: list[dict[str, Any]] = field(default_factory=list)


def is_held_out(key: str) -> bool:
    """True for the tenth of all keys that training never sees."""
    return key != "small" and zlib.crc32(key.encode()) % HELD_OUT_SHARE == 0


def _style(rng: random.Random, turn: Turn) -> str:
    """The question as a hurried or a polite user may type it."""
    text = turn.user
    if rng.random() < 0.12 and text[-1] in ".?":
        text = text[:-1]
    chance = rng.random()
    if chance < 0.12:
        first = text.split()[0].rstrip(",")
        copied = first in NAMES or first in turn.answer
        if not turn.keep_case:
            text = text.lower()
        elif not copied:
            text = text[0].lower() + text[1:]
    elif chance < 0.16:
        text = f"Please: {text}"
    elif chance < 0.2:
        text = (
            rng.choice(["Hey, ", "Hi! ", "OK, ", "Hello, ", "Now tell me: ", "Question: "]) + text
        )
    elif chance < 0.23 and text[-1] in ".?" and "=" not in text:
        text = f"{text[:-1]}, please{text[-1]}"
    return text


def _draw(rng: random.Random, kind: str, held: bool) -> Turn:
    """A question of the kind from the wanted side of the split."""
    while True:
        turn = SINGLE_KINDS[kind](rng)
        if is_held_out(turn.key) == held:
            return turn


def _any_kind(rng: random.Random) -> str:
    return rng.choices(list(_SINGLE_WEIGHTS), list(_SINGLE_WEIGHTS.values()))[0]


def _add(chat: Conversation, rng: random.Random, turn: Turn) -> None:
    chat.keys.append(turn.key)
    chat.messages.append({"role": "user", "content": _style(rng, turn)})
    chat.messages.append({"role": "assistant", "content": turn.answer})


def _start(rng: random.Random, category: str, share: float = 0.35) -> Conversation:
    chat = Conversation(category, [], [])
    if rng.random() < share:
        words = [made_up(rng) for _ in range(rng.randint(2, 6))]
        text = (
            rng.choice(SYSTEM_PROMPTS)
            if rng.random() < 0.85
            else " ".join(words).capitalize() + "."
        )
        chat.messages.append({"role": "system", "content": text})
    return chat


def _single(rng: random.Random, kind: str, held: bool) -> Conversation:
    chat = _start(rng, kind)
    _add(chat, rng, _draw(rng, kind, held))
    return chat


def _several(rng: random.Random, held: bool, turns: int) -> Conversation:
    """Unrelated questions one after the other; the last one decides the side of the split."""
    chat = _start(rng, "multi-turn")
    same = rng.choice(["sums and differences", "spelling", None, None])
    for index in range(turns):
        kind = same or _any_kind(rng)
        while kind == "stories" and index < turns - 1:
            kind = _any_kind(rng)
        _add(chat, rng, _draw(rng, kind, held and index == turns - 1))
    return chat


def _follow_up(rng: random.Random, held: bool) -> Conversation:
    """A question, then a follow-up that names only what differs; the subjects decide the split."""
    chat = _start(rng, "follow-up")
    kind = rng.choice(["capitals", "capitals", "opposites"])
    subjects = [c[0] for c in COUNTRIES] if kind == "capitals" else list(OPPOSITES)
    capital_of = {country: city for country, city, _ in COUNTRIES}
    first = _draw(rng, kind, False)
    while not first.key.startswith(("capital|", "opposite|")):
        first = _draw(rng, kind, False)
    _add(chat, rng, first)
    subject = first.key.split("|")[1]
    steps = rng.randint(1, 3)
    for step in range(steps):
        want = held and step == steps - 1
        following = rng.choice(subjects)
        while is_held_out(f"follow|{subject}|{following}") != want or following == subject:
            following = rng.choice(subjects)
        text = rng.choice(["And of {}?", "And {}?", "What about {}?", "And the one of {}?",
                           "How about {}?", "And what about {}?", "and of {}"])  # fmt: skip
        answer = f"The opposite of {following} is {OPPOSITES.get(following)}."
        if kind == "capitals":
            answer = f"The capital of {following} is {capital_of[following]}."
        _add(chat, rng, Turn(f"follow|{subject}|{following}", text.format(following), answer))
        subject = following
    return chat


def _memory(rng: random.Random, held: bool) -> Conversation:
    """The user says a name and asks for it later."""
    chat = _start(rng, "memory")
    known = rng.random() < 0.85 or held
    between = rng.choice([0, 0, 1, 1, 2, 3])
    name = rng.choice(NAMES) if rng.random() < 0.5 else made_up(rng).capitalize()
    while is_held_out(f"name|{name}|{between}") != held:
        name = rng.choice(NAMES) if rng.random() < 0.5 else made_up(rng).capitalize()
    if known:
        text = rng.choice(["My name is {}.", "I am {}.", "Hello, my name is {}.", "Hi, I am {}.",
                           "Hi! I'm {}.", "Call me {}.", "I'm called {}."])  # fmt: skip
        answer = f"Nice to meet you, {name}."
        _add(chat, rng, Turn(f"name|{name}|{between}", text.format(name), answer, keep_case=True))
    for _ in range(between):
        _add(chat, rng, _draw(rng, _any_kind(rng), False))
    text = rng.choice(["What is my name?", "What's my name?", "Do you know my name?", "Who am I?",
                       "Do you remember my name?", "Tell me my name."])  # fmt: skip
    _add(chat, rng, Turn("small", text, f"Your name is {name}." if known else REFUSAL))
    return chat


def _tool_text(name: str, arguments: dict[str, str]) -> str:
    call = f'{{"name": "{name}", "arguments": {json.dumps(arguments, ensure_ascii=False)}}}'
    return f"<tool_call>\n{call}\n</tool_call>"


def _tools(rng: random.Random, held: bool, answer: bool) -> Conversation:
    """A conversation with tools: ends with a call, or with the answer after the tool's reply."""
    chat = _start(rng, "tool answer" if answer else "tool call", 0.4)
    families = rng.sample(FAMILIES, rng.choice([1, 2, 2, 3]))
    alone = len(families) == 1
    tool: Tool = make_tool(rng, families[0], alone)
    while is_held_out(f"tool|{tool.name}|{tool.arguments}") != (held and not answer):
        tool = make_tool(rng, families[0], alone)
    tools = [tool, *(make_tool(rng, family, alone) for family in families[1:])]
    rng.shuffle(tools)
    chat.tools = [one.schema(rng) for one in tools]
    if rng.random() < (0.1 if held else 0.3):
        allowed = [
            k for k in SINGLE_KINDS if k not in ("sums and differences", "refusals", "stories")
        ]
        _add(chat, rng, _draw(rng, rng.choice(allowed), False))
    act = use(rng, tool)
    while is_held_out(f"reply|{act.user}|{act.reply}") != (held and answer):
        act = use(rng, tool)
    chat.keys += [f"tool|{tool.name}|{tool.arguments}", f"reply|{act.user}|{act.reply}"]
    turn = Turn("", act.user, "", keep_case=True)
    chat.messages.append({"role": "user", "content": _style(rng, turn)})
    if not answer:
        text = _tool_text(tool.name, act.arguments)
        chat.messages.append({"role": "assistant", "content": text})
        return chat
    call = {"type": "function", "function": {"name": tool.name, "arguments": act.arguments}}
    content = rng.choice([None, ""])
    chat.messages.append({"role": "assistant", "content": content, "tool_calls": [call]})
    chat.messages.append({"role": "tool", "content": act.reply})
    chat.messages.append({"role": "assistant", "content": act.answer})
    if not held and rng.random() < 0.2:
        allowed = [
            k for k in SINGLE_KINDS if k not in ("sums and differences", "refusals", "stories")
        ]
        _add(chat, rng, _draw(rng, rng.choice(allowed), False))
    return chat


def make(rng: random.Random, category: str, held: bool) -> Conversation:
    """One conversation of the category from one side of the split."""
    if category in SINGLE_KINDS:
        return _single(rng, category, held)
    if category in ("tool call", "tool answer"):
        return _tools(rng, held, category == "tool answer")
    if category == "follow-up":
        return _follow_up(rng, held)
    if category == "memory":
        return _memory(rng, held)
    return _several(rng, held, rng.randint(2, 5))


_MIX = {
    "single": 32,
    "multi-turn": 29,
    "tool call": 17,
    "tool answer": 12,
    "follow-up": 5,
    "memory": 5,
}


def training(seed: int, count: int, long_share: float = 0.02) -> Iterator[Conversation]:
    """Training conversations; none of their keys is held out."""
    rng = random.Random(seed)
    categories = rng.choices(list(_MIX), list(_MIX.values()), k=count)
    for category in categories:
        if rng.random() < long_share:
            chat = _several(rng, False, rng.randint(10, 18))
        else:
            chat = make(rng, _any_kind(rng) if category == "single" else category, False)
        assert not any(map(is_held_out, chat.keys)), chat.keys
        yield chat


def held_out(seed: int, per_category: int) -> list[Conversation]:
    """Held-out conversations: in each, the last question or its tool is unseen in training."""
    rng = random.Random(seed)
    chats = [make(rng, category, True) for category in CATEGORIES for _ in range(per_category)]
    assert all(any(map(is_held_out, chat.keys)) for chat in chats)
    return chats
