"""What the client programs share: the questions, and how a program reports."""

import json
import sys
import traceback
from collections.abc import Callable

URL = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000"
OPENAI_URL = f"{URL}/v3"
MODEL = "tiny_chat"
QUESTION = "What is the capital of France?"
WEATHER_QUESTION = "What is the weather in Paris?"
SCHEMA_QUESTION = "Give me France as JSON."
WEATHER = '{"temperature": 21, "condition": "sunny"}'
WEATHER_SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}
COUNTRY_SCHEMA = {
    "type": "object",
    "properties": {"country": {"type": "string"}, "capital": {"type": "string"}},
    "required": ["country", "capital"],
    "additionalProperties": False,
}


def expect(text: object, *parts: str) -> None:
    """Fail unless every part is in the text."""
    missing = [part for part in parts if part not in str(text)]
    assert not missing, f"no {missing} in {text!r}"


def report(*checks: Callable[[], None]) -> None:
    """Run the checks; print a JSON object of each one's name and "works", or its error."""
    results = {}
    for check in checks:
        try:
            check()
            results[check.__name__] = "works"
        except Exception as error:
            traceback.print_exc()
            results[check.__name__] = f"{type(error).__name__}: {error}"[:500]
    print(json.dumps(results))
