"""The client programs: which there are, how one is run, and the table of what works."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = Path(__file__).parent / "programs"
TIMEOUT_S = 180
CHECKS = ("chat", "stream", "tools", "schema", "guided")


@dataclass(frozen=True)
class Client:
    """One row of the table: a program of programs/, and what its package is called.

    `is_light` programs need nothing that the tests do not install anyway.
    """

    name: str
    package: str
    program: str
    arguments: tuple[str, ...] = ()
    is_light: bool = False


CLIENTS = (
    Client("OpenAI, chat completions", "openai", "openai_chat.py", is_light=True),
    Client("OpenAI, responses", "openai", "openai_responses.py", is_light=True),
    Client("Anthropic", "anthropic", "anthropic_messages.py", is_light=True),
    Client("LangChain", "langchain-openai", "langchain_openai_chat.py", is_light=True),
    Client("LiteLLM, as OpenAI", "litellm", "litellm_openai.py"),
    Client("LiteLLM, as Anthropic", "litellm", "litellm_anthropic.py"),
    Client("LiteLLM's proxy", "litellm[proxy]", "litellm_proxy.py"),
    Client("LlamaIndex", "llama-index-llms-openai-like", "llama_index_llm.py"),
    Client("Instructor", "instructor", "instructor_modes.py"),
    Client("PydanticAI", "pydantic-ai-slim", "pydantic_ai_agent.py"),
    Client("OpenAI Agents SDK", "openai-agents", "openai_agents.py"),
    Client("Haystack", "haystack-ai", "haystack_generator.py"),
    Client("AutoGen", "autogen-ext", "autogen_agent.py"),
    Client("smolagents", "smolagents", "smolagents_model.py"),
    Client("Outlines", "outlines", "outlines_model.py"),
    Client("DSPy", "dspy", "dspy_predict.py"),
    Client("llm", "llm", "llm_tool.py"),
    Client("OpenAI (JavaScript)", "npm: openai", "openai_npm.mjs"),
    Client("AI SDK, compatible", "npm: @ai-sdk/openai-compatible", "ai_sdk.mjs", ("compatible",)),
    Client("AI SDK, OpenAI chat", "npm: @ai-sdk/openai", "ai_sdk.mjs", ("chat",)),
    Client("AI SDK, OpenAI responses", "npm: @ai-sdk/openai", "ai_sdk.mjs", ("responses",)),
    Client("AI SDK, Anthropic", "npm: @ai-sdk/anthropic", "ai_sdk.mjs", ("anthropic",)),
)


def run_client(client: Client, url: str) -> dict[str, str]:
    """Run a program against a server; returns "works" or an error for each of its checks."""
    program = PROGRAMS / client.program
    interpreter = "node" if program.suffix == ".mjs" else sys.executable
    command = [interpreter, str(program), url, *client.arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, cwd=PROGRAMS
    )
    lines = done.stdout.splitlines()
    if not lines:
        return {"chat": f"did not run: {done.stderr.strip()[-300:]}"}
    results: dict[str, str] = json.loads(lines[-1])
    return results


def table_lines(versions: dict[str, str], rows: dict[str, dict[str, str]]) -> Iterator[str]:
    """The table, then the errors, with those of checks that have no column."""
    yield f"| client | version | {' | '.join(CHECKS)} |"
    yield "|---" * (len(CHECKS) + 2) + "|"
    problems = []
    for client in CLIENTS:
        results = rows[client.name]
        found = {name: text for name, text in results.items() if text != "works"}
        problems += [f"- {client.name}, {name}: {text}" for name, text in found.items()]
        shown = {**results, **dict.fromkeys(found, "does not")}
        cells = [shown.get(check, "-") for check in CHECKS]
        version = versions.get(client.package, "?")
        yield f"| {client.name} | `{client.package}` {version} | {' | '.join(cells)} |"
    if problems:
        yield ""
        yield from problems
