"""POST chat/completions: JSON -> GenerationRequest, TextChunks -> JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import ConfigDict, Field

from server.errors import InvalidRequestError
from server.payloads import (
    ChatOptions,
    GenerationRequest,
    SamplingFields,
    TextChunk,
    ToolCallDelta,
)
from server.protocol.field_table import CHAT
from server.protocol.generation_call import Choice, GenerationCall, LogprobLists, ToolCall
from server.protocol.json_text import JsonItems, json_string, json_text
from server.protocol.openai.choices_renderer import AnswerHead, AnswerStyle, ChoicesRenderer
from server.protocol.openai.field_schemas import ChatMessages, ResponseFormat, ToolChoice, Tools
from server.protocol.openai.generation_fields import Count, ranged
from server.protocol.openai.logprobs import describe_logprobs, describe_prompt_logprobs
from server.protocol.openai.messages import adds_generation_prompt, parse_messages
from server.protocol.openai.response_format import parse_response_format
from server.protocol.openai.thinking_fields import ThinkingFields
from server.protocol.openai.tool_choice import parse_tool_fields
from server.protocol.validation import validate_fields

__all__ = ["ChatCompletionFields", "parse_chat_completion"]


class ChatCompletionFields(ThinkingFields):
    """The fields of a chat completion."""

    model_config = ConfigDict(json_schema_extra=CHAT.describe)

    messages: ChatMessages
    max_completion_tokens: Count | None = Field(None, ge=1)
    logprobs: bool = False
    top_logprobs: int | None = ranged("logprobs")
    tools: Tools = Field(default_factory=list)
    tool_choice: ToolChoice = None
    parallel_tool_calls: bool = True
    response_format: ResponseFormat = None
    chat_template_kwargs: dict[str, Any] = Field(default_factory=dict)
    add_generation_prompt: bool | None = None
    continue_final_message: bool = False
    documents: list[dict[str, Any]] = Field(default_factory=list)

    def chat_options(self) -> ChatOptions:
        """How the conversation becomes a prompt."""
        return ChatOptions(
            reasoning_effort=self.effort(),
            thinking_token_budget=self.budget(),
            add_generation_prompt=adds_generation_prompt(
                self.add_generation_prompt, self.continue_final_message
            ),
            continue_final_message=self.continue_final_message,
            documents=tuple(self.documents),
        )

    def own_names(self) -> dict[str, str]:
        """The names that this request has for fields of the graph."""
        names = {"prompt": "messages"}
        if self.max_completion_tokens is not None:
            names["max_tokens"] = "max_completion_tokens"
        return names

    def chat_sampling(self) -> SamplingFields:
        """The sampling fields, some of which have other names here."""
        if self.top_logprobs and not self.logprobs:
            raise InvalidRequestError("top_logprobs needs logprobs: true", "top_logprobs")
        return self.sampling(
            max_tokens=self.max_completion_tokens,
            logprobs=(self.top_logprobs or 0) if self.logprobs else None,
            prompt_logprobs=self.prompt_logprobs,
        )


def parse_chat_completion(body: Mapping[str, Any]) -> GenerationCall:
    """Parse a request body. Raises InvalidRequestError."""
    fields = validate_fields(ChatCompletionFields, body, CHAT)
    head = AnswerHead.make("chatcmpl", fields.model)
    sampling = fields.chat_sampling()
    unknown: list[str] = []
    response_format = parse_response_format(fields.response_format, unknown)
    request = GenerationRequest(
        request_id=head.id,
        messages=parse_messages(fields.messages),
        chat_template_kwargs={**fields.switch_kwargs(), **fields.chat_template_kwargs},
        chat_options=fields.chat_options(),
        sampling=sampling,
        answer_format=fields.answer_format(response_format, unknown),
        **parse_tool_fields(fields.tools, fields.tool_choice, fields.parallel_tool_calls),
        **fields.shared(),
    )
    return GenerationCall(
        model=fields.model,
        prompts=(request,),
        num_choices=sampling.get("n", 1),
        stream=fields.stream,
        renderer=_ChatRenderer(head, fields.style(), shows_reasoning=fields.shows_reasoning()),
        unknown_fields=CHAT.unknown_fields(fields, unknown),
        field_names=fields.own_names(),
    )


class _ChatRenderer(ChoicesRenderer):
    """Writes the answer to one chat completion."""

    whole_object = "chat.completion"
    chunk_object = "chat.completion.chunk"

    def __init__(self, head: AnswerHead, style: AnswerStyle, *, shows_reasoning: bool) -> None:
        super().__init__(head, style)
        self._shows_reasoning = shows_reasoning
        self._started: set[int] = set()

    def chunk(self, chunk: TextChunk) -> bytes | None:
        """The role is sent with the first token: clients measure the time to the first chunk."""
        if chunk.reasoning and not self._shows_reasoning:
            chunk = replace(chunk, reasoning="")
        is_parsed = bool(chunk.reasoning or chunk.tool_calls)
        token_ids = self.shown_token_ids(chunk)
        if not (chunk.text or is_parsed or chunk.finish_reason or chunk.logprobs or token_ids):
            return None
        members = []
        is_first = chunk.index not in self._started
        if is_first:
            self._started.add(chunk.index)
            members.append('"role":"assistant"')
        if chunk.text or (is_first and not is_parsed):
            members.append(f'"content":{json_string(chunk.text)}')
        if is_parsed:
            members += _parsed_members(chunk, is_first=is_first and not chunk.text)
        delta = f'"delta":{{{",".join(members)}}}'
        if token_ids is not None:
            delta += f',"token_ids":{json.dumps(token_ids)}'
        lists: LogprobLists = {}
        self.keep_logprobs(chunk, lists)
        logprobs = json_text(_logprobs(lists))
        return self.event(chunk, delta, logprobs)

    def whole_members(self, choices: Sequence[Choice]) -> dict[str, Any]:
        """The prompt's log probabilities, where vLLM has them: all choices have the same prompt."""
        num_top, found = self._style.num_prompt_logprobs, choices[0].prompt_logprobs
        if num_top is None or found is None:
            return {}
        return {"prompt_logprobs": describe_prompt_logprobs(found, num_top)}

    def choice(self, index: int, choice: Choice) -> dict[str, Any]:
        members = {
            "index": index,
            "message": _message(choice, shows_reasoning=self._shows_reasoning),
            "logprobs": _logprobs(choice.logprobs),
            "finish_reason": choice.finish_reason,
        }
        return {**members, **self.token_id_members(choice)}

    def keep_logprobs(self, chunk: TextChunk, lists: LogprobLists) -> None:
        if chunk.logprobs is not None:
            shown = self.shown_tokens(chunk.logprobs)
            lists.setdefault("content", JsonItems()).add(describe_logprobs(shown))


def _logprobs(lists: LogprobLists) -> dict[str, Any] | None:
    return {**lists, "refusal": None} if lists else None


def _parsed_members(chunk: TextChunk, is_first: bool) -> list[str]:
    """Reasoning and tool calls as members of a delta."""
    members = ['"content":null'] if is_first else []
    if chunk.reasoning:
        members.append(f'"reasoning_content":{json_string(chunk.reasoning)}')
    if chunk.tool_calls:
        members.append(f'"tool_calls":[{",".join(map(_tool_call_delta, chunk.tool_calls))}]')
    return members


def _tool_call_delta(delta: ToolCallDelta) -> str:
    head = ""
    name = ""
    if delta.id is not None:
        head = f'"id":{json_string(delta.id)},"type":"function",'
        name = f'"name":{json_string(delta.name or "")},'
    arguments = f'"arguments":{json_string(delta.arguments)}'
    return f'{{"index":{delta.index},{head}"function":{{{name}{arguments}}}}}'


def _message(choice: Choice, *, shows_reasoning: bool) -> dict[str, Any]:
    """The content is null if the model wrote only tool calls."""
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if choice.tool_calls and not choice.text else choice.text,
        "refusal": None,
    }
    if choice.reasoning and shows_reasoning:
        message["reasoning_content"] = choice.reasoning
    if choice.tool_calls:
        message["tool_calls"] = [_tool_call(call) for call in choice.tool_calls]
    return message


def _tool_call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}
