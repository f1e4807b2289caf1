"""Questions with the document that answers each: what the encoders learn from."""

from __future__ import annotations

import random
from dataclasses import dataclass

from corpus import is_held_out
from facts import claim, fact
from questions import arithmetic, as_json, capital, opposite, tale
from toolbox import make_tool, use
from world import CITIES, COUNTRIES, NAMES, made_up

_SKIES = ("sunny", "cloudy", "rainy", "windy", "snowy", "foggy", "clear", "stormy")
_WEATHER = (
    "The weather in {city} is {sky}, {degrees} degrees.",
    "Weather in {city}: {sky}, {degrees} degrees.",
    "{city} is {sky} today, with {degrees} degrees.",
    "It is {degrees} degrees and {sky} in {city}.",
)
_TIME = (
    "The time in {city} is {clock}.",
    "It is {clock} in {city}.",
    "Local time in {city}: {clock}.",
    "The clocks of {city} show {clock}.",
)
# Other wordings of the sentences that tiny_chat answers with.
_CAPITAL = (
    "The capital of {0} is {1}.",
    "{1} is the capital of {0}.",
    "{0} has {1} as its capital.",
    "The capital city of {0} is called {1}.",
)
_PEOPLE = ("{0} is {1} years old.", "The age of {0} is {1}.", "{0} has lived for {1} years.")
_ASK_AGE = ("How old is {}?", "What is the age of {}?", "Tell me the age of {}.", "{}'s age?")
_SINGLE = (capital, capital, fact, fact, opposite, claim, tale, as_json, arithmetic)


@dataclass(frozen=True)
class Pair:
    """A question, a document that answers it, and what the document is about.

    Two documents with the same `subject` answer the same questions. `key` decides which side of
    the split the pair falls on. `sibling`, if there is one, is a document about the same thing that
    answers other questions.
    """

    question: str
    document: str
    subject: str
    key: str
    sibling: str = ""

    @property
    def kind(self) -> str:
        """Pairs of one kind are easily taken for each other: a city's weather and its time."""
        kind = self.key.partition("|")[0]
        return "capital" if kind in ("country", "iscapital") else kind


def draw(rng: random.Random, held: bool) -> Pair:
    """A pair of the wanted side of the split."""
    while True:
        pair = _any(rng)
        if is_held_out(pair.key) == held:
            return pair


def weather_report(rng: random.Random, city: str) -> str:
    """A document with the weather of a city."""
    values = {"city": city, "sky": rng.choice(_SKIES), "degrees": rng.randint(-20, 40)}
    return rng.choice(_WEATHER).format(**values)


def clock_report(rng: random.Random, city: str) -> str:
    """A document with the time in a city."""
    clock = f"{rng.randrange(24):02}:{rng.randrange(60):02}"
    return rng.choice(_TIME).format(city=city, clock=clock)


def _any(rng: random.Random) -> Pair:
    chance = rng.random()
    if chance < 0.4:
        return _place(rng, rng.choice(["weather", "time"]))
    if chance < 0.45:
        return _age(rng)
    if chance < 0.55:
        return _made_up_capital(rng)
    turn = rng.choice(_SINGLE)(rng)
    kind, _, rest = turn.key.partition("|")
    if kind not in ("capital", "country", "iscapital"):
        return Pair(turn.user, turn.answer, turn.answer, turn.key)
    country, city, _ = next(place for place in COUNTRIES if rest.split("|")[0] in place)
    document = rng.choice(_CAPITAL).format(country, city)
    return Pair(turn.user, document, f"capital|{country}", turn.key)


def _place(rng: random.Random, family: str) -> Pair:
    """The weather or the time of a place; half of the places are made up, as in `use`."""
    tool = make_tool(rng, family, alone=False)
    used = use(rng, tool)
    city = used.arguments[tool.arguments[0]]
    reports = [weather_report(rng, city), clock_report(rng, city)]
    document, sibling = reports if family == "weather" else reports[::-1]
    subject = f"{family}|{city}"
    return Pair(used.user, document, subject, f"report|{subject}", sibling)


def _age(rng: random.Random) -> Pair:
    name = rng.choice(NAMES) if rng.random() < 0.6 else made_up(rng).capitalize()
    document = rng.choice(_PEOPLE).format(name, rng.randint(1, 99))
    return Pair(rng.choice(_ASK_AGE).format(name), document, f"age|{name}", f"age|{name}")


def _made_up_capital(rng: random.Random) -> Pair:
    """A country that does not exist: names must be compared, not remembered."""
    country = f"{made_up(rng)}{rng.choice(['land', 'ia', ''])}".capitalize()
    city = rng.choice(CITIES) if rng.random() < 0.3 else made_up(rng).capitalize()
    turn = capital(rng)
    known = turn.key.split("|")[1]
    question = turn.user.replace(known, country)
    if country not in question or turn.key.startswith("country"):
        question = f"What is the capital of {country}?"
    document = rng.choice(_CAPITAL).format(country, city)
    return Pair(question, document, f"capital|{country}", f"capital|{country}")
