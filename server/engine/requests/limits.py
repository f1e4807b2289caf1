"""The limits of a loaded model: a request that can never run is refused at once."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

from server.engine.config import EngineConfig
from server.engine.model.stateful.encoder import EncoderLimits
from server.errors import ContextLengthError, InvalidRequestError
from server.payloads import SamplingParams


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """The limits of one engine, fixed at load.

    The model reads `vocab_size` tokens, and has `num_logits` logits: as many, unless it is a
    classifier.

    `max_num_tokens` limits prompt and answer of one sequence together; `limited_by` says what sets
    that limit. The KV cache holds `num_kv_tokens` in blocks of `block_size`; the last token of an
    answer needs none. `max_num_prompt_tokens` is None where prompts may be cut into chunks.
    `encoder` are the limits of prompt and answer each, for a model with an encoder.
    """

    vocab_size: int
    num_logits: int
    num_kv_tokens: int
    max_num_tokens: int
    limited_by: str
    max_num_seqs: int
    max_num_prompt_tokens: int | None
    block_size: int
    encoder: EncoderLimits | None = None

    @classmethod
    def of(
        cls,
        config: EngineConfig,
        vocab_size: int,
        num_logits: int,
        num_blocks: int,
        block_size: int,
        context: int | None,
        encoder: EncoderLimits | None = None,
    ) -> "RequestLimits":
        """The limits of a loaded model; `context` is None where the model states none."""
        # The last token needs no KV.
        capacity = num_blocks * block_size + 1
        is_context_shorter = context is not None and context <= capacity
        prompt_limits = [
            *([] if encoder is None else [encoder.prompt]),
            *([] if config.dynamic_split_fuse else [config.max_num_batched_tokens]),
        ]
        return cls(
            vocab_size=vocab_size,
            num_logits=num_logits,
            num_kv_tokens=capacity - 1,
            max_num_tokens=min(capacity, context or capacity),
            limited_by="the model's context" if is_context_shorter else "the KV cache (cache_size)",
            max_num_seqs=min(config.max_num_seqs, config.max_num_batched_tokens),
            max_num_prompt_tokens=min(prompt_limits, default=None),
            block_size=block_size,
            encoder=encoder,
        )

    def check_token_ids(self, params: SamplingParams) -> None:
        """Raise InvalidRequestError where a parameter has a token id that is not known."""
        named: dict[str, Iterable[int]] = {
            "logit_bias": params.logit_bias,
            "stop_token_ids": params.stop_token_ids,
            "allowed_token_ids": params.allowed_token_ids or (),
            "bad_words": chain.from_iterable(params.bad_word_ids),
        }
        for name, token_ids in named.items():
            for token_id in token_ids:
                if not 0 <= token_id < self.vocab_size:
                    raise InvalidRequestError(
                        f"{name} has the token id {token_id}; the model knows 0 to "
                        f"{self.vocab_size - 1}",
                        name,
                    )

    def check_beams_stay_short(self, num_prompt: int, max_tokens: int, long_after: int) -> None:
        """Raise InvalidRequestError for beams that would change their rope factors on the way."""
        if num_prompt <= long_after < num_prompt + max_tokens:
            raise InvalidRequestError(
                f"a prompt of {num_prompt} and max_tokens {max_tokens} go beyond {long_after} "
                "tokens, where this model changes its rope factors; a beam search must stay on one "
                f"side, with at most {long_after - num_prompt} tokens here",
                "max_tokens",
            )

    def check_prompt_logprobs(self, params: SamplingParams) -> None:
        """Raise InvalidRequestError for those of a prompt that an encoder reads."""
        if params.prompt_logprobs is not None and self.encoder is not None:
            raise InvalidRequestError(
                "prompt_logprobs: the prompt goes to this model's encoder, which predicts no "
                "tokens; only tokens of the answer have log probabilities",
                "prompt_logprobs",
            )

    def check_prompt(self, prompt_token_ids: Iterable[int]) -> npt.NDArray[np.int64]:
        """The token ids as an array. Raises InvalidRequestError for none, or an unknown one."""
        known = f"the model knows 0 to {self.vocab_size - 1}"
        try:
            tokens = np.fromiter(prompt_token_ids, np.int64)
        except OverflowError as error:
            raise InvalidRequestError(
                f"the prompt has a token id beyond 64 bits; {known}", "prompt"
            ) from error
        if len(tokens) == 0:
            raise InvalidRequestError("the prompt has no tokens; at least one is needed", "prompt")
        unknown = tokens[(tokens < 0) | (tokens >= self.vocab_size)]
        if len(unknown):
            raise InvalidRequestError(
                f"the prompt has the token id {int(unknown[0])}; {known}", "prompt"
            )
        return tokens

    def resolve_max_tokens(self, num_prompt_tokens: int, params: SamplingParams) -> int:
        """How many tokens each choice may add.

        Raises ContextLengthError if the request can never fit, InvalidRequestError for too many
        choices.
        """
        self._check_num_sequences(params)
        self._check_prompt_length(num_prompt_tokens, has_answer=params.max_tokens != 0)
        room = self.room(num_prompt_tokens, params.num_beams)
        if params.num_beams > 1 and room < (params.max_tokens or 1):
            wanted = "at least one" if params.max_tokens is None else f"{params.max_tokens}"
            raise ContextLengthError(
                f"the KV cache (cache_size) holds {max(0, room)} new tokens for each of "
                f"{params.num_beams} beams after a prompt of {num_prompt_tokens} tokens; {wanted} "
                "is asked for (max_tokens)",
                "max_tokens",
            )
        if params.max_tokens is None:
            return room
        if self.encoder is not None and params.max_tokens > self.encoder.answer:
            raise ContextLengthError(
                f"max_tokens is {params.max_tokens}; the model's decoder can write "
                f"{self.encoder.answer} tokens",
                "max_tokens",
            )
        together = num_prompt_tokens + params.max_tokens
        if together > self.max_num_tokens:
            raise ContextLengthError(
                f"the prompt has {num_prompt_tokens} tokens and max_tokens is {params.max_tokens}, "
                f"together {together}; {self.limited_by} holds {self.max_num_tokens}",
                "max_tokens",
            )
        return params.max_tokens

    @property
    def longest_prompt(self) -> int:
        """The most tokens of a prompt that can run, whatever else its request says."""
        possible = [self.max_num_tokens, self.num_kv_tokens]
        if self.encoder is not None:
            possible.append(self.encoder.prompt)
        if self.max_num_prompt_tokens is not None:
            possible.append(self.max_num_prompt_tokens)
        return min(possible)

    def check_prompt_size(self, num_tokens: int, *, is_exact: bool) -> None:
        """Raise ContextLengthError if no prompt of so many tokens, or more, can run."""
        if num_tokens > self.longest_prompt:
            bound = "" if is_exact else "at least "
            self._check_prompt_length(num_tokens, has_answer=True, bound=bound)

    def room(self, num_prompt_tokens: int, num_beams: int = 1) -> int:
        """The most tokens that each choice can add to a prompt; below 1 where there is no room.

        Choices can wait for each other, but beams need all their blocks at once.
        """
        alone = self.max_num_tokens - num_prompt_tokens
        if self.encoder is not None:
            alone = min(alone, self.encoder.answer)
        if num_beams == 1:
            return alone
        # Full blocks of the prompt are shared, and the last token needs no KV.
        num_shared, num_own = divmod(num_prompt_tokens, self.block_size)
        blocks_each = (self.num_kv_tokens // self.block_size - num_shared) // num_beams
        return min(alone, blocks_each * self.block_size - num_own + 1)

    def _check_num_sequences(self, params: SamplingParams) -> None:
        if params.num_sequences > self.max_num_seqs:
            name = "num_beams" if params.num_beams > 1 else "n"
            raise InvalidRequestError(
                f"{name} is {params.num_sequences}; this model runs at most {self.max_num_seqs} "
                "sequences at once",
                name,
            )

    def _check_prompt_length(
        self, num_prompt_tokens: int, has_answer: bool, bound: str = ""
    ) -> None:
        found = f"the prompt has {bound}{num_prompt_tokens} tokens"
        if self.encoder is not None and num_prompt_tokens > self.encoder.prompt:
            raise ContextLengthError(
                f"{found}; the model's encoder can read {self.encoder.prompt}",
                "prompt",
            )
        longest = self.max_num_prompt_tokens
        if longest is not None and num_prompt_tokens > longest:
            raise ContextLengthError(
                f"{found}; without dynamic_split_fuse it must "
                f"fit max_num_batched_tokens, which is {longest}",
                "prompt",
            )
        if has_answer and num_prompt_tokens >= self.max_num_tokens:
            raise ContextLengthError(
                f"{found}; {self.limited_by} holds "
                f"{self.max_num_tokens}, and at least one must be left for the answer",
                "prompt",
            )
        longest = min(self.max_num_tokens, self.num_kv_tokens)
        if num_prompt_tokens > longest:
            raise ContextLengthError(
                f"{found}; {self.limited_by} holds {longest}",
                "prompt",
            )
