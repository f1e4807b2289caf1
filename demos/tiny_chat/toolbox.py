"""Tools with changing names and arguments, and the questions that call for them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from world import CITIES, NAMES, comma_list, made_up, words

_CITY_ARGUMENTS = ["city", "location", "place", "town", "city_name"]
_VERBS = ["get", "fetch", "find", "lookup", "read", "check", "show", "query", "current", "tell"]
_NOUNS = {
    "weather": ["weather", "forecast", "temperature", "climate", "weather_report"],
    "time": ["time", "local_time", "clock", "hour", "time_of_day"],
    "calculator": ["calculator", "calculate", "calc", "math", "compute", "evaluate", "arithmetic"],
    "search": ["search", "web_search", "lookup_web", "find_page", "search_web", "browse"],
    "message": ["message", "send_message", "send_text", "notify", "mail", "send_email"],
}
_DESCRIPTIONS = {
    "weather": ["Get the current weather", "Weather for a city", "Returns the weather in a place"],
    "time": ["Get the current time", "Time in a city", "Returns the local time in a place"],
    "calculator": ["Evaluate an expression", "A calculator", "Does arithmetic"],
    "search": ["Search the web", "Finds pages", "Web search"],
    "message": ["Send a message", "Sends a text to a person", "Message someone"],
}


@dataclass(frozen=True)
class Tool:
    """One tool: its family, its name and the names of its arguments.

    An odd tool has a made-up name, so that only the description tells what it does.
    """

    family: str
    name: str
    arguments: tuple[str, ...]
    odd: bool = False

    def schema(self, rng: random.Random) -> dict[str, Any]:
        """The tool as an OpenAI function schema, in slightly changing forms."""
        properties: dict[str, Any] = {}
        for argument in self.arguments:
            properties[argument] = {"type": "string"}
            if argument == "unit":
                properties[argument]["enum"] = ["celsius", "fahrenheit"]
            elif rng.random() < 0.2:
                properties[argument]["description"] = f"The {argument}"
        function: dict[str, Any] = {"name": self.name}
        if self.odd or rng.random() < 0.7:
            function["description"] = rng.choice(_DESCRIPTIONS[self.family]) + rng.choice(["", "."])
        parameters: dict[str, Any] = {"type": "object", "properties": properties}
        if rng.random() < 0.6:
            parameters["required"] = [self.arguments[0]]
        function["parameters"] = parameters
        if rng.random() < 0.25:
            # A server may sort the keys when it writes the schema into the prompt.
            function = json.loads(json.dumps(function, sort_keys=True))
            return {"function": function, "type": "function"}
        return {"type": "function", "function": function}


def make_tool(rng: random.Random, family: str, alone: bool) -> Tool:
    """A tool of this family under one of its many names.

    Among several tools each name says what its tool does: the description stands behind the name,
    and from it a model of this size often found the name of another tool.
    """
    name = rng.choice(_NOUNS[family])
    if family in ("weather", "time") and rng.random() < 0.85:
        name = f"{rng.choice(_VERBS)}_{name}"
    elif rng.random() < 0.2:
        name = f"{rng.choice(['my', 'the', 'do', 'run', 'tool'])}_{name}"
    if rng.random() < 0.2:
        head, *rest = name.split("_")
        name = head + "".join(part.capitalize() for part in rest)
    arguments = _ARGUMENTS[family](rng)
    if len(arguments) == 1 and rng.random() < 0.15:
        arguments = (made_up(rng, 1, 2),)
    if rng.random() < 0.15:
        part = made_up(rng, 1, 2)
        if alone:
            return Tool(family, f"{rng.choice(_VERBS)}_{part}", arguments, True)
        return Tool(family, f"{part}_{rng.choice(_NOUNS[family])}", arguments)
    return Tool(family, name, arguments)


def _place_arguments(rng: random.Random) -> tuple[str, ...]:
    first = rng.choice(_CITY_ARGUMENTS)
    return (first, "unit") if rng.random() < 0.25 else (first,)


_ARGUMENTS: dict[str, Callable[[random.Random], tuple[str, ...]]] = {
    "weather": _place_arguments,
    "time": lambda rng: (rng.choice(_CITY_ARGUMENTS),),
    "calculator": lambda rng: (rng.choice(["expression", "expr", "formula", "input", "query"]),),
    "search": lambda rng: (rng.choice(["query", "q", "text", "term", "input"]),),
    "message": lambda rng: (
        rng.choice(["to", "recipient", "name"]),
        rng.choice(["text", "message", "body"]),
    ),
}
FAMILIES = list(_ARGUMENTS)

_ASK = {
    "weather": ["What is the weather in {}?", "What's the weather like in {}?", "Weather in {}?",
                "How is the weather in {}?", "Tell me the weather in {}.", "Is it raining in {}?",
                "How warm is it in {}?", "What is the temperature in {}?",
                "Is it cold in {} today?",
                "What is the weather in {} right now?", "Check the weather in {}.",
                "What's the weather in {} today?", "How is the weather today in {}?"],
    "time": ["What time is it in {}?", "What is the time in {}?", "Tell me the time in {}.",
             "Time in {}?", "What's the local time in {}?", "How late is it in {}?",
             "What time is it now in {}?", "What is the current time in {}?"],
    "calculator": ["What is {}?", "Compute {}.", "Calculate {}.", "{}", "How much is {}?", "{} = ?",
                   "Please work out {}.", "Use the calculator: {}", "Solve {}."],
    "search": ["Search for {}.", "Search the web for {}.", "Find pages about {}.", "Look up {}.",
               "Please search for {}.", "Google {}."],
    "message": ["Send a message to {} saying {}.", "Tell {} {}.", "Write to {}: {}",
                "Send {} the text {}.", "Message {}: {}"],
}  # fmt: skip
_TOPICS = comma_list(
    "cheap hotels,red shoes,good books,train tickets,cat pictures,pasta recipes,old maps,"
    "jazz music,green tea,winter coats,garden tools,chess rules,moon landing,solar power,"
    "space news,bread recipes"
)
_NOTES = comma_list(
    "hello,good morning,see you later,I am late,dinner is ready,call me,happy birthday,thank you,"
    "we meet at noon,the train is late,I am at home,good night"
)


@dataclass(frozen=True)
class Use:
    """A question for a tool, the arguments of the call, the tool's reply, the final answer."""

    user: str
    arguments: dict[str, str]
    reply: str
    answer: str


def use(rng: random.Random, tool: Tool) -> Use:
    """One use of the tool."""
    ask = rng.choice(_ASK[tool.family])
    if tool.family in ("weather", "time"):
        return _use_place(rng, tool, ask)
    if tool.family == "message":
        values = [rng.choice(NAMES), rng.choice(_NOTES)]
        reply = rng.choice(['{"status": "sent"}', "ok", "sent", '{"ok": true}', "Message sent."])
        answer = "The message was sent."
    elif tool.family == "search":
        topic = (
            rng.choice(_TOPICS) if rng.random() < 0.65 else f"{made_up(rng)} {made_up(rng, 1, 2)}"
        )
        values = [topic]
        found = f"{rng.randint(2, 99)} pages about {topic}"
        reply = rng.choice(["{}", '{{"result": "{}"}}', '{{"results": "{}"}}']).format(found)
        answer = f"I found {found}."
    else:
        a, b = rng.randint(2, 999), rng.randint(2, 999)
        sign = rng.choice("+-**/")
        values = [f"{a} {sign} {b}"]
        result = {"+": a + b, "-": a - b, "*": a * b, "/": a // b}[sign]
        reply = rng.choice(["{}", '{{"result": {}}}', '{{"value": {}}}', '"{}"']).format(result)
        answer = f"The result is {result}."
    return Use(ask.format(*values), dict(zip(tool.arguments, values, strict=True)), reply, answer)


def _place(rng: random.Random) -> str:
    return rng.choice(CITIES) if rng.random() < 0.75 else made_up(rng).capitalize()


def _use_place(rng: random.Random, tool: Tool, ask: str) -> Use:
    city = _place(rng)
    user = ask.format(city)
    arguments = {tool.arguments[0]: city}
    if tool.family == "time":
        clock = f"{rng.randrange(24):02}:{rng.randrange(60):02}"
        reply = rng.choice(
            ["{}", '{{"time": "{}"}}', '{{"city": "{1}", "time": "{0}"}}', '{{"local_time": "{}"}}']
        )
        return Use(user, arguments, reply.format(clock, city), f"It is {clock} in {city}.")
    if "unit" in tool.arguments and rng.random() < 0.6:
        arguments["unit"] = rng.choice(["celsius", "fahrenheit"])
        user = f"{user[:-1]} in {arguments['unit'].capitalize()}{user[-1]}"
    degrees = rng.randint(-20, 40)
    sky = rng.choice(words("sunny cloudy rainy windy snowy foggy clear stormy"))
    if rng.random() < 0.25:
        reply = rng.choice([f'{{"temperature": {degrees}}}', f"{degrees} degrees", f"{degrees}"])
        return Use(user, arguments, reply, f"It is {degrees} degrees in {city}.")
    reply = _weather_reply(rng, city, degrees, sky)
    return Use(user, arguments, reply, f"It is {degrees} degrees and {sky} in {city}.")


def _weather_reply(rng: random.Random, city: str, degrees: int, sky: str) -> str:
    if rng.random() < 0.3:
        return rng.choice(
            [f"{sky}, {degrees} degrees", f"{degrees} C, {sky}", f"{degrees} degrees and {sky}"]
        )
    temperature = rng.choice(["temperature", "temp", "degrees"])
    condition = rng.choice(["condition", "sky", "weather", "conditions", "description"])
    items: list[tuple[str, Any]] = [(temperature, degrees), (condition, sky)]
    if rng.random() < 0.3:
        items.append((rng.choice(["city", "location"]), city))
    if rng.random() < 0.2:
        items.append(("unit", "celsius"))
    rng.shuffle(items)
    return json.dumps(dict(items))
