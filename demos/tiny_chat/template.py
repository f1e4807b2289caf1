"""The prompt format in Python, equal to chat_template.jinja but fast enough for the corpus."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

IM_START, IM_END, END_OF_TEXT = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
TOOL_CALL, END_TOOL_CALL = "<tool_call>", "</tool_call>"
TEMPLATE = Path(__file__).with_name("chat_template.jinja")
_TOOLS_HEAD = "# Tools\n\nYou may call one or more functions.\n\n<tools>"
_TOOLS_TAIL = (
    "\n</tools>\n\nTo call a function, answer with:\n<tool_call>\n"
    '{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>'
)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _call_text(call: dict[str, Any]) -> str:
    function = call["function"]
    body = f'{{"name": "{function["name"]}", "arguments": {_json(function["arguments"])}}}'
    return f"{TOOL_CALL}\n{body}\n{END_TOOL_CALL}"


def render(
    messages: list[dict[str, Any]], tools: list[dict[str, Any]], prompt: bool = False
) -> str:
    """The conversation as the model reads it; `prompt` opens the assistant's turn at the end."""
    parts: list[str] = []
    system = messages[0]["content"] if messages[0]["role"] == "system" else ""
    if tools:
        text = _TOOLS_HEAD + "".join("\n" + _json(tool) for tool in tools) + _TOOLS_TAIL
        system = f"{system}\n\n{text}" if system else text
    if system:
        parts.append(f"{IM_START}system\n{system}{IM_END}\n")
    previous = ""
    for message in messages:
        role, content = message["role"], message.get("content") or ""
        if role == "system":
            continue
        if role == "tool":
            # Replies in a row share one user turn.
            if previous == "tool":
                parts[-1] = parts[-1].removesuffix(f"{IM_END}\n")
            else:
                parts.append(f"{IM_START}user")
            parts.append(f"\n<tool_response>\n{content}\n</tool_response>{IM_END}\n")
        else:
            calls = [_call_text(call) for call in message.get("tool_calls") or []]
            text = "\n".join([content, *calls] if content else calls)
            parts.append(f"{IM_START}{role}\n{text}{IM_END}\n")
        previous = role
    return "".join(parts) + (f"{IM_START}assistant\n" if prompt else "")
