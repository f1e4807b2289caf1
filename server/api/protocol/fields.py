"""The request fields that chat/completions and completions share."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypedDict, cast

from pydantic import BaseModel, ConfigDict, Field

from server.errors import InvalidRequestError, describe_value
from server.payloads import SamplingFields, SamplingParams

__all__ = [
    "SHARED_LABELS",
    "SHARED_NEUTRAL",
    "Count",
    "GenerationFields",
    "Mixed",
    "SharedRequestFields",
]

MAX_STOP_STRINGS = 16
# Of all strings together: what looks for them holds a few hundred bytes for each.
MAX_STOP_CHARACTERS = 4000
MAX_SALT_CHARACTERS = 256

# Names and notes of the caller; nothing in an answer depends on them.
SHARED_LABELS: Mapping[str, type] = {
    "metadata": dict,
    "prompt_cache_key": str,
    "safety_identifier": str,
    "user": str,
}
# Fields of OpenAI's and Model Server's API for what is not here, with the values that ask for
# nothing. Any other value is refused by name: a client must not believe that it had an effect.
SHARED_NEUTRAL: Mapping[str, Sequence[object]] = {
    "assistant_confidence_threshold": (),
    "include_stop_str_in_output": (False,),
    "length_penalty": (1, 1.0),
    "max_ngram_size": (),
    "num_assistant_tokens": (),
    "response_format": ({"type": "text"},),
    "service_tier": ("auto", "default"),
    "skip_special_tokens": (True,),
    "store": (False,),
}

# An integer field. The exact range is SamplingParams' business; these ends, which no field goes
# beyond, keep integers of thousands of digits out of everything behind.
Count = Annotated[int, Field(ge=-(2**31), le=2**32 - 1)]

Priority = Annotated[int, Field(ge=-(2**31), le=2**31 - 1)]
Salt = Annotated[str, Field(min_length=1, max_length=MAX_SALT_CHARACTERS)]

TOKEN_ID = re.compile("0|[1-9][0-9]{0,9}")

# For fields of several types; the endpoint checks them itself to be able to say what is wrong.
Mixed = Any


class StreamOptions(BaseModel):
    """The `stream_options` object."""

    model_config = ConfigDict(strict=True, extra="forbid")

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class SharedRequestFields(TypedDict):
    """The members of GenerationRequest, beside sampling, that every endpoint fills alike."""

    stop: tuple[str, ...]
    priority: int
    cache_salt: str


class GenerationFields(BaseModel):
    """The shared fields; null and missing are the same. Ranges are SamplingParams' business."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    model: str
    stream: bool = False
    stream_options: StreamOptions | None = None
    stop: Mixed = None
    max_tokens: Count | None = None
    n: Count | None = None
    best_of: Count | None = None
    temperature: float | None = None
    top_k: Count | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    seed: Count | None = None
    ignore_eos: bool | None = None
    min_tokens: Count | None = None
    stop_token_ids: list[Count] | None = None
    logit_bias: dict[str, float] | None = None
    priority: Priority = 0
    cache_salt: Salt | None = None

    def shared(self) -> SharedRequestFields:
        """What GenerationRequest takes from every endpoint."""
        return {
            "stop": self.stop_strings(),
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
        if self.stream_options.include_obfuscation:
            where = "stream_options.include_obfuscation"
            raise InvalidRequestError(
                f"{where} is not supported with other values than false", where
            )
        return bool(self.stream_options.include_usage)

    def sampling(
        self, *, may_be_empty: bool = False, **renamed: tuple[str, int | None]
    ) -> SamplingFields:
        """What the client set, in the ranges of SamplingParams; an answer has at least one token.

        `renamed` are fields that this endpoint calls otherwise: SamplingParams' name = (the
        endpoint's name, value); a value that is not None wins over a field of the same name.
        """
        shared = SamplingFields.__annotations__.keys() & GenerationFields.model_fields.keys()
        values: dict[str, Any] = {name: getattr(self, name) for name in shared}
        values["logit_bias"] = self._logit_bias()
        values["stop_token_ids"] = None if self.stop_token_ids is None else (*self.stop_token_ids,)
        values |= {name: value for name, (_, value) in renamed.items() if value is not None}
        set_values = {name: value for name, value in values.items() if value is not None}
        sampling = cast(SamplingFields, set_values)
        try:
            params = SamplingParams(**sampling)
            if params.max_tokens == 0 and not may_be_empty:
                raise InvalidRequestError("max_tokens is 0; it must be at least 1", "max_tokens")
        except InvalidRequestError as error:
            theirs, value = renamed.get(error.param or "", ("", None))
            if error.param is None or value is None:
                raise
            raise InvalidRequestError(str(error).replace(error.param, theirs, 1), theirs) from None
        if self.best_of not in (None, params.n):
            problem = f"best_of is {self.best_of}; only the value of n, {params.n}, is supported"
            raise InvalidRequestError(problem, "best_of")
        return sampling

    def _logit_bias(self) -> dict[int, float] | None:
        """JSON's keys are strings; these hold token ids."""
        if self.logit_bias is None:
            return None
        for key in self.logit_bias:
            if TOKEN_ID.fullmatch(key) is None:
                found = describe_value(key)
                problem = f"logit_bias must have token ids as its keys, found {found}"
                raise InvalidRequestError(problem, "logit_bias")
        return {int(key): bias for key, bias in self.logit_bias.items()}

    def stop_strings(self) -> tuple[str, ...]:
        """`stop` as a list of strings that are not empty."""
        strings = [] if self.stop is None else self.stop
        strings = [strings] if isinstance(strings, str) else strings
        if not isinstance(strings, list):
            found = describe_value(self.stop)
            problem = f"stop must be a string or a list of strings, found {found}"
            raise InvalidRequestError(problem, "stop")
        if len(strings) > MAX_STOP_STRINGS:
            problem = f"stop has {len(strings)} strings; at most {MAX_STOP_STRINGS} are possible"
            raise InvalidRequestError(problem, "stop")
        for i, string in enumerate(strings):
            if not (isinstance(string, str) and string):
                found = describe_value(string)
                problem = f"stop[{i}] must be a string that is not empty, found {found}"
                raise InvalidRequestError(problem, "stop")
        num_characters = sum(map(len, strings))
        if num_characters > MAX_STOP_CHARACTERS:
            problem = f"stop has {num_characters} characters; at most {MAX_STOP_CHARACTERS} are"
            raise InvalidRequestError(f"{problem} possible", "stop")
        return tuple(strings)
