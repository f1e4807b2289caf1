"""Questions about facts: claims to check, and what a thing is like."""

from __future__ import annotations

import random

from turns import Turn, pick
from world import COLOUR_OF, COUNTRIES, KIND_OF, KINDS, SOUND_OF, a_noun


def claim(rng: random.Random) -> Turn:
    """Claims to check: kinds of things, capitals, comparisons of numbers.

    Only comparisons get a verdict, after the fact: models of this size did not learn to tell
    whether two words are the same, so the other answers state the fact alone. A key covers right
    and wrong claims alike.
    """
    which = rng.random()
    if which < 0.4:
        return _is_a(rng)
    if which < 0.7:
        return _is_capital(rng)
    word, more = rng.choice(
        [("bigger", 1), ("larger", 1), ("greater", 1), ("smaller", 0), ("less", 0)]
    )
    a, b = rng.sample(range(100), 2)
    text = rng.choice(
        ["Is {} {} than {}?", "Would you say {} is {} than {}?", "Is the number {} {} than {}?"]
    )
    relation = "bigger" if a > b else "smaller"
    verdict = "yes" if (a > b) == bool(more) else "no"
    answer = f"{a} is {relation} than {b}, so {verdict}."
    return Turn(f"compare|{a}|{b}", text.format(a, word, b), answer)


def _is_a(rng: random.Random) -> Turn:
    thing = rng.choice(list(KIND_OF))
    kind = KIND_OF[thing]
    asked = kind if rng.random() < 0.5 else rng.choice([k for k in KINDS if k != kind])
    index, text = pick(
        rng, ["Is {} {}?", "Is {} {}, yes or no?", "Tell me, is {} {}?", "Would you say {} is {}?"]
    )
    answer = f"{a_noun(thing).capitalize()} is {a_noun(kind)}."
    return Turn(f"isa|{thing}|{index}", text.format(a_noun(thing), a_noun(asked)), answer)


def _is_capital(rng: random.Random) -> Turn:
    country, city, _ = rng.choice(COUNTRIES)
    asked = city if rng.random() < 0.5 else rng.choice(COUNTRIES)[1]
    index, text = pick(
        rng,
        [
            "Is {} the capital of {}?",
            "Is the capital of {1} {0}?",
            "{} is the capital of {}, right?",
        ],
    )
    answer = f"The capital of {country} is {city}."
    return Turn(f"iscapital|{country}|{index}", text.format(asked, country), answer)


_CONTINENT = [
    "On which continent is {}?", "Where is {}?", "Which continent is {} in?",
    "What continent is {} on?", "Tell me the continent of {}.", "In which part of the world is {}?",
]  # fmt: skip
_WHAT_IS = ["What is {}?", "What kind of thing is {}?", "Tell me what {} is.", "What's {}?"]
_COLOUR = [
    "What colour is {}?", "What color is {}?", "Which colour does {} have?",
    "Tell me the colour of {}.", "What is the color of {}?",
]  # fmt: skip
_SOUND = [
    "What does {} say?", "What sound does {} make?", "Which sound does {} make?",
    "Tell me the sound of {}.",
]  # fmt: skip


def fact(rng: random.Random) -> Turn:
    """What a thing is, its colour, its sound, the continent of a country."""
    which = rng.randrange(4)
    if which == 0:
        thing = rng.choice(list(KIND_OF))
        index, text = pick(rng, _WHAT_IS)
        answer = f"{a_noun(thing).capitalize()} is {a_noun(KIND_OF[thing])}."
        return Turn(f"whatis|{thing}|{index}", text.format(a_noun(thing)), answer)
    if which == 1:
        thing = rng.choice(list(COLOUR_OF))
        index, text = pick(rng, _COLOUR)
        answer = f"{thing[0].upper()}{thing[1:]} is {COLOUR_OF[thing]}."
        return Turn(f"colour|{thing}|{index}", text.format(thing), answer)
    if which == 2:
        thing = rng.choice(list(SOUND_OF))
        index, text = pick(rng, _SOUND)
        answer = f"{a_noun(thing).capitalize()} says {SOUND_OF[thing]}."
        return Turn(f"sound|{thing}|{index}", text.format(a_noun(thing)), answer)
    country, _, continent = rng.choice(COUNTRIES)
    index, text = pick(rng, _CONTINENT)
    answer = f"{country} is in {continent}."
    return Turn(f"continent|{country}|{index}", text.format(country), answer)
