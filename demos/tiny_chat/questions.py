"""Single questions with their one right answer, kind by kind."""

from __future__ import annotations

import json
import random

from stories import HEROES, story
from turns import Turn, pick
from world import COUNTRIES, NAMES, OPPOSITES, SPELL_WORDS, a_noun, made_up

_CAPITAL = [
    "What is the capital of {}?", "What's the capital of {}?", "Capital of {}?",
    "Tell me the capital of {}.", "Which city is the capital of {}?", "Name the capital of {}.",
    "Do you know the capital of {}?", "What is the capital city of {}?", "{} capital?",
    "What city is the capital of {}?", "Can you tell me the capital of {}?",
    "I would like to know the capital of {}.", "Give me the capital of {}.", "{}'s capital?",
    "Which is the capital of {}?", "What is {}'s capital?", "The capital of {} is?",
    "Could you tell me what the capital of {} is?", "the capital of {}", "What is the capital "
    "of the country {}?",
]  # fmt: skip
_COUNTRY = [
    "{} is the capital of which country?", "Which country has {} as its capital?",
    "What country is {} the capital of?", "Of which country is {} the capital?",
    "{} is the capital of what?",
]  # fmt: skip


def capital(rng: random.Random) -> Turn:
    """Capitals, and the way back."""
    country, city, _ = rng.choice(COUNTRIES)
    if rng.random() < 0.15:
        index, text = pick(rng, _COUNTRY)
        return Turn(
            f"country|{city}|{index}", text.format(city), f"{city} is the capital of {country}."
        )
    index, text = pick(rng, _CAPITAL)
    answer = f"The capital of {country} is {city}."
    return Turn(f"capital|{country}|{index}", text.format(country), answer)


_SUM = [
    "What is {} + {}?", "{} + {}", "{}+{}", "{} + {} =", "{}+{}=?", "How much is {} plus {}?",
    "What's {} + {}?", "Add {} and {}.", "What is {} plus {}?", "Compute {} + {}.", "{} + {}?",
    "Calculate {} + {}.", "What is the sum of {} and {}?", "Tell me what {} plus {} is.",
    "How much is {} + {}?", "{} plus {}", "Solve {} + {}.", "What do you get if you add {} and {}?",
]  # fmt: skip
_DIFFERENCE = [
    "What is {} - {}?", "{} - {}", "{}-{}", "{} - {} =", "{}-{}=?", "How much is {} minus {}?",
    "What's {} - {}?", "What is {} minus {}?", "Compute {} - {}.", "Calculate {} - {}.",
    "What is the difference between {} and {}?", "How much is {} - {}?", "{} minus {}",
    "Subtract {1} from {0}.", "Take {1} away from {0}.", "Solve {} - {}.",
]  # fmt: skip


def arithmetic(rng: random.Random) -> Turn:
    """Sums and differences of numbers below 100; the pair decides the split."""
    top = 10 if rng.random() < 0.15 else 100
    a, b = rng.randrange(top), rng.randrange(top)
    if rng.random() < 0.55:
        key = f"sum|{min(a, b)}|{max(a, b)}" if top == 100 else "small"
        return Turn(key, pick(rng, _SUM)[1].format(a, b), f"{a} + {b} = {a + b}.")
    a, b = max(a, b), min(a, b)
    key = f"difference|{a}|{b}" if top == 100 else "small"
    return Turn(key, pick(rng, _DIFFERENCE)[1].format(a, b), f"{a} - {b} = {a - b}.")


_COUNT = [
    "Count from {} to {}.", "Can you count from {} to {}?", "Please count from {} to {}.",
    "List the numbers from {} to {}.", "Count {} to {}.", "Write the numbers from {} to {}.",
    "Numbers from {} to {}?", "Start at {} and count to {}.", "Count up from {} to {}.",
]  # fmt: skip


def counting(rng: random.Random) -> Turn:
    """Counting upwards, ten numbers at most; the range decides the split.

    Among ten numbers in a row the last digit alone says where to stop. Longer ranges need both
    digits, and trained with them a model of this size stopped at the wrong ten.
    """
    if rng.random() < 0.1:
        b = rng.randint(2, 10)
        text = rng.choice(["Count to {}.", "Can you count to {}?", "Count up to {}."])
        return Turn("small", text.format(b), ", ".join(map(str, range(1, b + 1))) + ".")
    a = 1 if rng.random() < 0.15 else rng.randrange(91)
    b = a + rng.randint(1, 9)
    answer = ", ".join(map(str, range(a, b + 1))) + "."
    return Turn(f"count|{a}|{b}" if a > 1 else "small", pick(rng, _COUNT)[1].format(a, b), answer)


_SPELL = [
    "Spell {}.", "How do you spell {}?", "Spell the word {}.", "Please spell {}.",
    'Spell "{}".', "Can you spell {}?", "Spell {} letter by letter.", "How is {} spelled?",
    "What are the letters of {}?", "Spell the word '{}' for me.", "Letters of {}?",
]  # fmt: skip


def spelling(rng: random.Random) -> Turn:
    """Spelling; made-up words are held out whole, real words by phrasing."""
    index, text = pick(rng, _SPELL)
    if rng.random() < 0.5:
        word = made_up(rng, 1, 3)
        return Turn(f"madeup|{word}", text.format(word), "-".join(word) + ".")
    word = rng.choice(SPELL_WORDS)
    return Turn(f"spell|{word}|{index}", text.format(word), "-".join(word) + ".")


_OPPOSITE = [
    "What is the opposite of {}?", "Opposite of {}?", "Tell me the opposite of {}.",
    "What's the opposite of {}?", "Give me the opposite of {}.",
    "Which word is the opposite of {}?",
    "What word means the opposite of {}?",
    "The opposite of {} is?", "Name the opposite of the word {}.",
    "Do you know the opposite of {}?",
]  # fmt: skip


def opposite(rng: random.Random) -> Turn:
    """Opposite words."""
    word = rng.choice(list(OPPOSITES))
    index, text = pick(rng, _OPPOSITE)
    answer = f"The opposite of {word} is {OPPOSITES[word]}."
    return Turn(f"opposite|{word}|{index}", text.format(word), answer)


_STORY = [
    "Tell me a story about {}.", "Tell a short story about {}.", "Write a story about {}.",
    "Can you tell me a story about {}?", "I want a story about {}.", "A story about {}, please.",
    "Please tell me a short story about {}.", "Write a short story about {}.", "story about {}",
    "Once upon a time, about {}?", "Do you know a story about {}?", "Tell us a tale about {}.",
]  # fmt: skip


def tale(rng: random.Random) -> Turn:
    """A short story; the pair of hero and name decides the split."""
    if rng.random() < 0.08:
        text = rng.choice(
            ["Tell me a story.", "Tell me a short story.", "Write a story.", "A story!"]
        )
        return Turn("small", text, story("fox"))
    hero = rng.choice(HEROES)
    index, text = pick(rng, _STORY)
    if rng.random() < 0.4:
        return Turn(f"tale|{hero}|{index}", text.format(a_noun(hero)), story(hero))
    name = rng.choice(NAMES)
    about = f"{a_noun(hero)} {rng.choice(['named', 'called'])} {name}"
    return Turn(f"named|{hero}|{name}", text.format(about), story(hero, name), keep_case=True)


_JSON = [
    "Give me {} as JSON.", "Return {} as JSON.", "{} as JSON", "Write {} in JSON.",
    "Describe {} as a JSON object.", "Answer in JSON: {}.", "Give me a JSON object for {}.",
    "Show {} as JSON, please.", "I need {} as JSON.", "JSON for {}?", "Output JSON for {}.",
]  # fmt: skip


def as_json(rng: random.Random) -> Turn:
    """JSON objects: a country, or a person whose data stands in the question."""
    index, text = pick(rng, _JSON)
    if rng.random() < 0.5:
        country, city, _ = rng.choice(COUNTRIES)
        answer = json.dumps({"country": country, "capital": city})
        return Turn(f"json|{country}|{index}", text.format(country), answer)
    name, age = rng.choice(NAMES), rng.randint(1, 99)
    person: dict[str, object] = {"name": name, "age": age}
    about = rng.choice(["{}, age {}", "{}, {} years old", "{} who is {}", "{}, aged {}"]).format(
        name, age
    )
    if rng.random() < 0.4:
        person["city"] = rng.choice(COUNTRIES)[1]
        about += f", from {person['city']}"
    return Turn(f"person|{name}|{age}", text.format(about), json.dumps(person), keep_case=True)
