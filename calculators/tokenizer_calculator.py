"""The node that turns a request into a prompt of token ids."""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import ClassVar, TypeVar

from calculators.chat_template.render_process import DEFAULT_TIME_LIMIT_S
from calculators.inference.openvino_ir import read_tokenizer_ir
from calculators.tags import GENERATION_REQUEST, PROMPT
from calculators.text.tokenizer import TOKENIZER, Tokenizer
from server.errors import InvalidRequestError
from server.graph import (
    Calculator,
    Contract,
    OpenContext,
    ProcessContext,
    TurnGate,
    UInt64,
)
from server.host.model_files import DETOKENIZER_FILE, TOKENIZER_FILE
from server.payloads import GenerationRequest, LoadOptions, TokenizedPrompt

__all__ = ["TokenizerCalculator", "TokenizerCalculatorOptions"]

T = TypeVar("T")

MAX_TOKEN_ID = 2**31 - 1
# Encoding this much blocks the event loop for about half a millisecond.
MAX_CHARACTERS_ON_EVENT_LOOP = 2_000
# Those of one model, so that a slow template or long texts delay its own requests only.
NUM_THREADS = 2
# Further ones wait, and clients take turns; the queue of the threads does not know them.
NUM_IN_THREADS = 8


@dataclass(frozen=True)
class TokenizerCalculatorOptions:
    """`models_path` is the folder with the tokenizer, detokenizer and chat template.

    `chat_template` is a file with another template, which is taken instead. A template that takes
    longer than `chat_template_time_limit_ms` is stopped. With `split_special_tokens`, names of
    special tokens that a client writes into a conversation are plain text.
    """

    PROTO_NAME: ClassVar[str] = "mediapipe.TokenizerCalculatorOptions"

    models_path: str
    chat_template: str = ""
    chat_template_time_limit_ms: UInt64 = 1000 * int(DEFAULT_TIME_LIMIT_S)
    split_special_tokens: bool = False

    def __post_init__(self) -> None:
        if self.chat_template_time_limit_ms < 1:
            raise ValueError("chat_template_time_limit_ms is 0; it must be at least 1")


class TokenizerCalculator(Calculator[TokenizerCalculatorOptions]):
    """Turns GENERATION_REQUEST into PROMPT: chat template, then token ids.

    A chat is rendered by the model's chat template, which writes the special tokens itself; a
    prompt that is a text gets those that the tokenizer adds; token ids are taken as they are.
    """

    contract = Contract(
        inputs=(GENERATION_REQUEST,),
        outputs=(PROMPT,),
        output_side_packets=(TOKENIZER,),
        model_files=(TOKENIZER_FILE, DETOKENIZER_FILE),
    )

    def check(self, cc: OpenContext) -> None:
        """Read the files; raises ModelLoadError."""
        for name in self.contract.model_files:
            read_tokenizer_ir(cc.resolve(self.options.models_path) / name, "the tokenizer")

    def open(self, cc: OpenContext) -> None:
        """Load tokenizer and chat template; without a template, completions still work."""
        self._threads = ThreadPoolExecutor(NUM_THREADS, f"{cc.node_name}-text")
        self._gate = TurnGate(NUM_IN_THREADS)
        of_server, options = cc.service(LoadOptions), self.options
        template = of_server.chat_template or options.chat_template
        limit_ms = of_server.chat_template_time_limit_ms or options.chat_template_time_limit_ms
        self._tokenizer = Tokenizer(
            cc.resolve(options.models_path),
            cc.resolve(str(template)) if template else None,
            limit_ms / 1000,
            split_special_tokens=of_server.split_special_tokens or options.split_special_tokens,
        )
        cc.set_side_packet(TOKENIZER, self._tokenizer)

    async def process(self, cc: ProcessContext) -> None:
        """Make the prompt of one request."""
        request = await cc.receive(GENERATION_REQUEST)
        if request.bad_words:
            request = await self._in_thread(self._encode_bad_words, request)
        if _is_small(request):
            prompt = self._make_prompt(request)
        else:
            prompt = await self._in_thread(self._make_prompt, request)
        await cc.send(PROMPT, prompt)

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False)

    def status(self) -> Mapping[str, object]:
        """What the chat templates know."""
        templates = self._tokenizer.describe_template()
        return {"chat_template": templates} if templates else {}

    async def _in_thread(
        self, work: Callable[[GenerationRequest], T], request: GenerationRequest
    ) -> T:
        await self._gate.enter(request.client)
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, work, request)
        finally:
            self._gate.leave()

    def _make_prompt(self, request: GenerationRequest) -> TokenizedPrompt:
        budget = None
        if request.messages is not None:
            text = self._tokenizer.render_chat(
                request.messages, request.tools, request.chat_template_kwargs, request.chat_options
            )
            budget = self._tokenizer.thinking_budget(request.tools, request.chat_options)
            param, is_text = "messages", False
        elif isinstance(request.prompt, str):
            text = request.prompt
            param, is_text = "prompt", True
        else:
            assert request.prompt is not None
            if request.truncate_prompt_tokens is None:
                self._tokenizer.check_length(request.prompt)
            return TokenizedPrompt(request, _check_token_ids(request.prompt))
        token_ids = self._tokenizer.encode_prompt(
            text, add_special_tokens=is_text, truncates_to=request.truncate_prompt_tokens
        )
        if not token_ids:
            raise InvalidRequestError(f"{param} gives no tokens; it must not be empty", param)
        return TokenizedPrompt(request, token_ids, self._tokenizer.shown(text), budget)

    def _encode_bad_words(self, request: GenerationRequest) -> GenerationRequest:
        """Put the tokens of the bad words into `sampling`, as vLLM has them: with a space before
        the word too, where that gives as many tokens and another first one.
        """
        found: list[tuple[int, ...]] = []
        for word in request.bad_words:
            plain = self._tokenizer.encode(word.lstrip() or word, add_special_tokens=False)
            spaced = self._tokenizer.encode(f" {word.lstrip()}", add_special_tokens=False)
            found.append(plain)
            if len(spaced) == len(plain) and spaced[0] != plain[0]:
                found.append(spaced)
        bad_word_ids = tuple(dict.fromkeys(ids for ids in found if ids))
        return replace(request, sampling={**request.sampling, "bad_word_ids": bad_word_ids})


def _check_token_ids(token_ids: tuple[int, ...]) -> tuple[int, ...]:
    if not token_ids:
        raise InvalidRequestError("prompt has no tokens; it must not be empty", "prompt")
    for token_id in (min(token_ids), max(token_ids)):
        if not 0 <= token_id <= MAX_TOKEN_ID:
            raise InvalidRequestError(
                f"prompt has the token id {token_id}; ids go from 0 to {MAX_TOKEN_ID}", "prompt"
            )
    return token_ids


def _is_small(request: GenerationRequest) -> bool:
    """Whether the prompt can be made on the event loop without delaying other requests."""
    # A chat template is code of others, which may take long for any message.
    return request.messages is None and (
        not isinstance(request.prompt, str) or len(request.prompt) <= MAX_CHARACTERS_ON_EVENT_LOOP
    )
