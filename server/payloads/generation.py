"""What a text model is asked: a conversation or a prompt, and how to answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from server.payloads.client_request import ClientRequest
from server.sampling_params import SamplingFields

__all__ = [
    "REASONING_EFFORTS",
    "AnswerFormat",
    "AnswerKind",
    "ChatOptions",
    "GenerationRequest",
    "ReasoningEffort",
]

AnswerKind = Literal["json", "regex", "choice", "grammar", "structural_tag"]
ReasoningEffort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
REASONING_EFFORTS: tuple[ReasoningEffort, ...] = get_args(ReasoningEffort)


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """How a conversation becomes a prompt, beside its messages, tools and template variables.

    `reasoning_effort` is told to the template in its own words; "none" turns thinking off.
    `thinking_token_budget` is the most tokens of thinking before the answer; -1 is no limit, and
    None leaves it to the effort. With `add_generation_prompt` the prompt ends with the beginning
    of an answer; with `continue_final_message` it ends inside the last message. `documents` are for
    templates that show documents.
    """

    reasoning_effort: ReasoningEffort | None = None
    thinking_token_budget: int | None = None
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    documents: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class AnswerFormat:
    """What an answer must look like; errors about it name `field` of the request.

    `kind` says what `value` is: "json" a JSON schema, "regex" a regular expression for the whole
    answer, "choice" a list of the possible answers. A "grammar" is in Lark's form or in llama.cpp's
    GBNF, and a "structural_tag" in the form of vLLM and xgrammar. Without `has_white_space`, JSON
    has none between its values.
    """

    kind: AnswerKind
    value: Any
    field: str = "response_format"
    has_white_space: bool = True

    def without_white_space(self) -> "AnswerFormat":
        """The same format, with no white space between the values of JSON."""
        return replace(self, has_white_space=False)


@dataclass(frozen=True, slots=True)
class GenerationRequest(ClientRequest):
    """One conversation or one prompt to continue. Exactly one of `messages` and `prompt` is set.

    `chat_options` say how messages become a prompt; `chat_template_kwargs` are variables for the
    model's chat template and win over them.
    `prompt` is text, or token ids, which are used unchanged. `sampling` holds only what the client
    set; the model's generation_config.json has the defaults. `default_max_tokens` is the limit if
    the client sets no `max_tokens`: it is reduced to what is possible, and None is no limit. So is
    `max_tokens` itself with `reduce_max_tokens`; else more than is possible is an error. Prompt and
    answer together have at most `max_total_tokens`.
    Requests with a lower `priority` go first. A prompt is cut to its last `truncate_prompt_tokens`;
    -1 keeps as many as there is room for. `best_of` answers are generated and the `n` best
    returned; None generates `n`.
    With an `answer_format` the answer has this form, or is calls of `tools`. With
    `is_tool_required` it must be tool calls; without `parallel_tool_calls` there is at most one.
    It is one of `num_prompts` whose answers are sent together.
    `bad_words` are texts that must not be written in the tokens that the tokenizer gives for them.
    """

    request_id: str
    messages: tuple[Mapping[str, Any], ...] | None = None
    prompt: str | tuple[int, ...] | None = None
    tools: tuple[Mapping[str, Any], ...] = ()
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    chat_options: ChatOptions = field(default_factory=ChatOptions)
    sampling: SamplingFields = field(default_factory=SamplingFields)
    stop: tuple[str, ...] = ()
    bad_words: tuple[str, ...] = ()
    include_stop_str_in_output: bool = False
    skip_special_tokens: bool = True
    truncate_prompt_tokens: int | None = None
    best_of: int | None = None
    echo: bool = False
    default_max_tokens: int | None = None
    reduce_max_tokens: bool = False
    max_total_tokens: int | None = None
    priority: int = 0
    answer_format: AnswerFormat | None = None
    is_tool_required: bool = False
    parallel_tool_calls: bool = True
    num_prompts: int = 1

    @property
    def num_requests(self) -> int:
        """Each answer that is generated for it counts, and each beam."""
        counts = (self.sampling.get("n"), self.sampling.get("num_beams"), self.best_of)
        return max(count or 1 for count in counts)
