"""Greetings, questions about the model itself, and questions it cannot answer."""

from __future__ import annotations

import random

from turns import REFUSAL, Turn
from world import COUNTRIES, KIND_OF, NAMES, comma_list, made_up

_SAYINGS: list[tuple[str, str]] = [
    ("Hello! How can I help you?", "Hello/Hi/Hey/Hello there/Hi there/Good morning/Good evening/"
     "Good day/Greetings/Hey there/Good afternoon/Hello, tiny chat/Hi, tiny chat/Howdy/Yo"),
    ("I am a tiny chat model. I know capitals, small sums, spelling and a few stories.",
     "Who are you?/What are you?/What is your name?/Tell me about yourself/Are you a robot?/"
     "What's your name?/Are you a model?/Who am I talking to?/Introduce yourself/Are you human?/"
     "What can you do?/What do you know?/How can you help me?/Can you help me?/Who made you?"),
    ("I am fine, thank you.", "How are you?/How are you doing?/How are you today?/How do you do?/"
     "How is it going?/How's it going?/Are you well?"),
    ("You are welcome.", "Thank you/Thanks/Thanks a lot/Thank you very much/Many thanks/"
     "Great, thanks/Thank you so much/Thanks for your help/OK, thanks/Cool, thanks"),
    ("Goodbye!", "Bye/Goodbye/See you/See you later/Good night/Bye bye/See you soon/I have to go/"
     "That is all/Farewell"),
]  # fmt: skip

_UNKNOWN = [
    "Who wrote {thing}?", "Who painted {thing}?", "How tall is {thing}?", "How old is {name}?",
    "What is the population of {country}?", "When was {name} born?", "Why is {thing} so big?",
    "How do I repair {thing}?", "What is the meaning of {word}?", "Write a poem about {thing}.",
    "Translate {word} into German.", "What is the price of {thing}?", "How do I cook {thing}?",
    "Who is the president of {country}?", "What is the capital of {place}?", "Who is {name}?",
    "How many people live in {country}?", "What does {word} mean?",
    "Who won the game in {country}?",
    "What is {number} times {digit}?", "What is {big} + {big}?",
    "What is {number} divided by {digit}?",
    "What is the opposite of {word}?", "How far is it to {country}?", "Explain {word} to me.",
    "What happened in {year}?", "Who invented {thing}?", "Where can I buy {thing}?",
    "Is {name} rich?",
    "Write a program that sorts {thing}.", "What is the currency of {country}?", "What is {word}?",
    "Which language do they speak in {country}?", "What is the square root of {big}?",
    "Give me a recipe for {thing}.", "What will happen in {year}?", "Do you like {thing}?",
    "What should I do about {name}?", "Recommend a film about {thing}.",
    "Sing a song about {thing}.",
    "Who discovered {country}?", "How much does {thing} cost?", "What is the news about {country}?",
    "What is the best {thing}?", "How heavy is {thing}?", "When did {name} live?",
    "Why do people {word}?",
    "Summarise the book {word}.", "What is the history of {country}?",
    "Tell me a joke about {thing}.",
    "What is the weather in {country}?", "What time is it in {country}?", "How does {thing} work?",
    "Where does {name} live?", "What is the phone number of {name}?", "How long is {thing}?",
]  # fmt: skip
_THINGS = comma_list(
    "the moon,a computer,pizza,the internet,quantum physics,a rocket,football,the ocean,a mountain,"
    "Hamlet,the Bible,a phone,a bridge,love,music,the brain,gravity,a list,the war,coffee,a house,"
    "chess,money,democracy,the Mona Lisa,a volcano,energy,the stock market,soup,the theory of light"
)


def saying(rng: random.Random) -> Turn:
    """A greeting or the like; only the pair of wording and punctuation is held out."""
    answer, wordings = rng.choice(_SAYINGS)
    text = rng.choice(wordings.split("/"))
    bare = text.rstrip("?")
    text = rng.choice([text, text, bare, bare + "!", bare + ".", bare + "?"])
    text = rng.choice([text, text, text.lower()])
    return Turn(f"saying|{text}" if text != bare else "small", text, answer, keep_case=True)


def unknown(rng: random.Random) -> Turn:
    """A question outside the world; the whole question decides the split."""
    template = rng.choice(_UNKNOWN)
    thing = rng.choice(_THINGS) if rng.random() < 0.6 else f"the {made_up(rng)}"
    values = {
        "thing": thing,
        "name": rng.choice(NAMES) if rng.random() < 0.5 else made_up(rng).capitalize(),
        "country": rng.choice(COUNTRIES)[0],
        "place": made_up(rng).capitalize(),
        "word": made_up(rng)
        if rng.random() < 0.8
        else f"{made_up(rng, 1)} {rng.choice(list(KIND_OF))}",
        "number": str(rng.randint(2, 99)),
        "digit": str(rng.randint(2, 99)),
        "big": str(rng.randint(100, 9999)),
        "year": str(rng.randint(1500, 2050)),
    }
    text = template.format(**values)
    return Turn(f"unknown|{text}", text, REFUSAL)
