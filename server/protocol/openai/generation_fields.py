"""The request fields that chat/completions, completions and responses share."""

import re
from typing import Annotated, Any, TypedDict, cast

from pydantic import BaseModel, ConfigDict, Field

from server.errors import InvalidRequestError
from server.payloads import AnswerFormat
from server.protocol.openai.field_schemas import (
    EarlyStopping,
    SchemaOrText,
    StopStrings,
    StructuredOutputs,
)
from server.protocol.openai.structured_outputs import (
    GUIDED_FIELDS,
    choose_format,
    parse_guided,
    parse_structured_outputs,
)
from server.protocol.refusal import expect, refuse_value
from server.protocol.text_fields import Salt
from server.sampling_params import MAX_CHOICES, SAMPLING_RANGES, SamplingFields

__all__ = [
    "Count",
    "GenerationFields",
    "SharedRequestFields",
    "ranged",
]

MAX_STOP_STRINGS = 16
# Of all strings together: the search for them needs a few hundred bytes for each character.
MAX_STOP_CHARACTERS = 4000
MAX_BAD_WORDS = 500
MAX_BAD_WORD_CHARACTERS = 100

# An integer of 32 bits, signed or not: one of thousands of digits would trip up later code.
MAX_COUNT = 2**32 - 1
Count = Annotated[int, Field(ge=-(2**31), le=MAX_COUNT)]

Priority = Annotated[int, Field(ge=-(2**31), le=2**31 - 1)]

TOKEN_ID = re.compile("0|[1-9][0-9]{0,9}")


def ranged(name: str) -> Any:
    """An optional field with the range that SamplingParams has for this name."""
    low, high = SAMPLING_RANGES[name]
    return Field(None, ge=low, le=MAX_COUNT if high is None else high)


class StreamOptions(BaseModel):
    """The `stream_options` object."""

    model_config = ConfigDict(strict=True, extra="allow")

    include_usage: bool | None = None
    include_obfuscation: bool | None = None
    continuous_usage_stats: bool | None = None


class SharedRequestFields(TypedDict):
    """The members of GenerationRequest, except `sampling`, that all endpoints fill alike."""

    stop: tuple[str, ...]
    bad_words: tuple[str, ...]
    include_stop_str_in_output: bool
    skip_special_tokens: bool
    truncate_prompt_tokens: int | None
    best_of: int | None
    priority: int
    cache_salt: str


class GenerationFields(BaseModel):
    """The shared fields; null and missing are the same."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True, allow_inf_nan=False)

    model: str
    stream: bool = False
    stream_options: StreamOptions | None = None
    stop: StopStrings = None
    max_tokens: Count | None = Field(None, ge=1)
    n: int | None = ranged("n")
    best_of: int | None = ranged("n")
    num_beams: int | None = ranged("num_beams")
    use_beam_search: bool | None = None
    length_penalty: float | None = ranged("length_penalty")
    early_stopping: EarlyStopping = None
    temperature: float | None = ranged("temperature")
    top_k: Count | None = Field(None, ge=-1)
    top_p: float | None = ranged("top_p")
    min_p: float | None = ranged("min_p")
    repetition_penalty: float | None = Field(None, gt=0)
    frequency_penalty: float | None = ranged("frequency_penalty")
    presence_penalty: float | None = ranged("presence_penalty")
    seed: int | None = ranged("seed")
    ignore_eos: bool | None = None
    min_tokens: int | None = ranged("min_tokens")
    stop_token_ids: list[Count] | None = None
    logit_bias: dict[str, float] | None = None
    allowed_token_ids: list[Count] | None = None
    bad_words: list[str] = Field(default_factory=list, max_length=MAX_BAD_WORDS)
    structured_outputs: StructuredOutputs = None
    guided_json: SchemaOrText = None
    guided_regex: str | None = None
    guided_choice: list[str] | None = None
    guided_grammar: str | None = None
    structural_tag: SchemaOrText = None
    json_schema: SchemaOrText = None
    regex: str | None = None
    ebnf: str | None = None
    grammar: str | None = None
    include_stop_str_in_output: bool = False
    skip_special_tokens: bool = True
    truncate_prompt_tokens: Count | None = None
    priority: Priority = 0
    cache_salt: Salt | None = None
    num_assistant_tokens: int | None = ranged("num_assistant_tokens")
    max_ngram_size: int | None = ranged("max_ngram_size")
    assistant_confidence_threshold: float | None = ranged("assistant_confidence_threshold")

    def answer_format(
        self, response_format: AnswerFormat | None, unknown: list[str]
    ) -> AnswerFormat | None:
        """What the answer must look like, by `response_format` or any other field.

        Names that are not known are added to `unknown`. Raises InvalidRequestError.
        """
        formats = [response_format, parse_structured_outputs(self.structured_outputs, unknown)]
        formats += (parse_guided(name, getattr(self, name)) for name in GUIDED_FIELDS)
        return choose_format(formats)

    def shared(self) -> SharedRequestFields:
        """The members of GenerationRequest that do not depend on the endpoint."""
        return {
            "stop": self.stop_strings(),
            "bad_words": self._checked_bad_words(),
            "include_stop_str_in_output": self.include_stop_str_in_output,
            "skip_special_tokens": self.skip_special_tokens,
            "truncate_prompt_tokens": self._num_kept_tokens(),
            "best_of": self._checked_best_of(),
            "priority": self.priority,
            "cache_salt": self.cache_salt or "",
        }

    def has_usage_chunk(self) -> bool:
        """Whether the stream ends with a chunk of the token counts."""
        if self.stream_options is None:
            return False
        if not self.stream:
            problem = "stream_options can only be used together with stream: true"
            raise InvalidRequestError(problem, "stream_options")
        return bool(self.stream_options.include_usage)

    def has_continuous_usage(self) -> bool:
        """Whether every chunk of the stream has the token counts so far."""
        return self.stream_options is not None and bool(self.stream_options.continuous_usage_stats)

    def sampling(self, **renamed: int | None) -> SamplingFields:
        """What the client set. The ranges were checked; SamplingParams checks how fields agree.

        `renamed` are fields with another name at this endpoint, by SamplingParams' name; a value
        that is not None replaces that of a field with the same name.
        """
        shared = SamplingFields.__annotations__.keys() & GenerationFields.model_fields.keys()
        values: dict[str, Any] = {name: getattr(self, name) for name in shared}
        values["logit_bias"] = self._logit_bias()
        for name in ("stop_token_ids", "allowed_token_ids"):
            values[name] = None if values[name] is None else tuple(values[name])
        num_beams = self._num_beams()
        if num_beams is not None:
            values["num_beams"] = num_beams
            values["temperature"] = self.temperature or 0.0
        values |= {name: value for name, value in renamed.items() if value is not None}
        set_values = {name: value for name, value in values.items() if value is not None}
        return cast(SamplingFields, set_values)

    def _num_beams(self) -> int | None:
        """How many beams a beam search has; None for no beam search.

        transformers asks for it with num_beams, vLLM with use_beam_search and n or best_of beams,
        OVMS with best_of. Here best_of means a beam search only at temperature 0, else the best of
        several samples.
        """
        is_best_of = (self.best_of or 1) > 1 and self.temperature == 0
        if not (self.use_beam_search or (self.num_beams or 1) > 1 or is_best_of):
            return None
        names = [name for name in ("num_beams", "best_of", "n") if getattr(self, name) is not None]
        name, num_beams = (names[0], getattr(self, names[0])) if names else ("n", 1)
        if self.best_of not in (None, num_beams):
            problem = f"best_of is {self.best_of} and num_beams {num_beams}; in a beam search both"
            raise InvalidRequestError(f"{problem} are the number of beams", "best_of")
        if self.use_beam_search is False:
            problem = f"use_beam_search is false, but {name} {num_beams} asks for a beam search"
            raise InvalidRequestError(problem, "use_beam_search")
        if num_beams == 1:
            problem = "use_beam_search needs several beams; set num_beams, best_of or n"
            raise InvalidRequestError(problem, "use_beam_search")
        if self.stream:
            problem = f"stream is not possible with a beam search ({name} {num_beams}), which has"
            raise InvalidRequestError(f"{problem} its answers only at the end", "stream")
        return num_beams

    def _checked_best_of(self) -> int | None:
        num_wanted = 1 if self.n is None else self.n
        if self.best_of is None:
            return None
        if not num_wanted <= self.best_of <= MAX_CHOICES:
            problem = f"it must be from n, which is {num_wanted}, to {MAX_CHOICES}"
            raise InvalidRequestError(f"best_of is {self.best_of}; {problem}", "best_of")
        if self.stream and self.best_of > num_wanted:
            problem = f"best_of is {self.best_of}; a stream cannot wait for the best of them"
            raise InvalidRequestError(f"{problem}: only the value of n is possible", "best_of")
        return self.best_of

    def _num_kept_tokens(self) -> int | None:
        kept = self.truncate_prompt_tokens
        if kept is None or kept == -1 or kept >= 1:
            return kept
        problem = f"truncate_prompt_tokens is {kept}; it must be at least 1, or -1 for what fits"
        raise InvalidRequestError(problem, "truncate_prompt_tokens")

    def _logit_bias(self) -> dict[int, float] | None:
        """`logit_bias` by token id; in JSON its keys are strings."""
        if self.logit_bias is None:
            return None
        for key in self.logit_bias:
            if TOKEN_ID.fullmatch(key) is None:
                refuse_value("logit_bias", "must have token ids as its keys", key)
        return {int(key): bias for key, bias in self.logit_bias.items()}

    def _checked_bad_words(self) -> tuple[str, ...]:
        for i, word in enumerate(self.bad_words):
            if len(word) > MAX_BAD_WORD_CHARACTERS:
                problem = f"bad_words[{i}] has {len(word)} characters; at most "
                problem += f"{MAX_BAD_WORD_CHARACTERS} are possible"
                raise InvalidRequestError(problem, "bad_words")
        return tuple(word for word in self.bad_words if word)

    def stop_strings(self) -> tuple[str, ...]:
        """`stop` as a list of strings; empty ones ask for nothing."""
        strings = [] if self.stop is None else self.stop
        strings = [strings] if isinstance(strings, str) else strings
        if not isinstance(strings, list):
            refuse_value("stop", "must be a string or a list of strings", self.stop)
        if len(strings) > MAX_STOP_STRINGS:
            problem = f"stop has {len(strings)} strings; at most {MAX_STOP_STRINGS} are possible"
            raise InvalidRequestError(problem, "stop")
        for i, string in enumerate(strings):
            expect(str, string, f"stop[{i}]")
        num_characters = sum(map(len, strings))
        if num_characters > MAX_STOP_CHARACTERS:
            problem = f"stop has {num_characters} characters; at most {MAX_STOP_CHARACTERS} are"
            raise InvalidRequestError(f"{problem} possible", "stop")
        return tuple(string for string in strings if string)
