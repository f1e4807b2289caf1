"""An LLM without a server: the same graph and engine, called from Python."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, cast

from tqdm import tqdm

from server.graph import Graph, GraphRun
from server.llm.batch import Batch, OnError
from server.llm.graph_source import GraphKind
from server.llm.loaded_model import LoadedModel
from server.llm.outputs import Conversation, Prompt, RequestOutput
from server.llm.prompts import (
    chat_fields,
    checked_prompt,
    is_token_ids,
    params_for_each,
    sampling_fields,
    stop_strings,
)
from server.models.tasks import TEXT_GENERATION
from server.payloads import ChatOptions, GenerationRequest, SamplingParams, TextChunk

__all__ = ["LLM"]


class LLM(LoadedModel):
    """A loaded model. Use it from any thread; `with LLM(...) as llm` or `close` frees the model.

    `model_path` is the folder that export_model wrote, or "tiny_chat", the model that comes with
    the package. Its graph.pbtxt is used; a folder that has none gets the default graph. `options`
    replace what the graph says: every option of its nodes can be given, for example `cache_size=4`
    or `max_num_seqs=16`; `plugin_config` may be a mapping.

    Raises ModelLoadError, or the GraphError or ConfigError that tells what is wrong.
    """

    kind = GraphKind("LLM", TEXT_GENERATION, GenerationRequest, TextChunk)

    def __init__(self, model_path: str | Path, **options: Any) -> None:
        self._numbers = count()
        super().__init__(model_path, **options)

    def generate(
        self,
        prompts: str | Sequence[int] | Sequence[str | Sequence[int]],
        sampling_params: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        stop: str | Sequence[str] = (),
        adapter: str = "",
        progress: bool | None = None,
        on_error: OnError = "raise",
    ) -> list[RequestOutput]:
        """Continue one prompt or many, which run as one continuous batch.

        A prompt is text or token ids. `sampling_params` are for all prompts or one for each; None
        takes the model's own defaults. `stop` ends an answer before any of these strings. `adapter`
        is the alias of one of `lora_adapters`; without it the model itself answers.
        `progress` draws a bar on standard error; None does so on a terminal only. The results are
        in the order of the prompts. The first error stops everything and is raised; with
        `on_error="return"` the others go on, and the error is in the result of its prompt.
        """
        is_single = isinstance(prompts, str) or is_token_ids(prompts)
        items = cast(Sequence[Any], [prompts] if is_single else prompts)
        params = params_for_each(sampling_params, len(items))
        requests = [
            self._request(i, p, stop, adapter=adapter, prompt=checked_prompt(item, i))
            for i, (item, p) in enumerate(zip(items, params, strict=True))
        ]
        return self._run(items, requests, progress, on_error)

    def chat(
        self,
        messages: Conversation | Sequence[Conversation],
        sampling_params: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        chat_template_kwargs: Mapping[str, Any] | None = None,
        chat_options: ChatOptions | None = None,
        stop: str | Sequence[str] = (),
        adapter: str = "",
        progress: bool | None = None,
        on_error: OnError = "raise",
    ) -> list[RequestOutput]:
        """Answer one conversation or many; as `generate`, through the model's chat template.

        Messages and `tools` are those of OpenAI's chat completions.
        """
        is_single = bool(messages) and isinstance(messages[0], Mapping)
        items = cast(Sequence[Conversation], [messages] if is_single else messages)
        params = params_for_each(sampling_params, len(items))
        requests = [
            self._request(
                i,
                p,
                stop,
                adapter=adapter,
                **chat_fields(item, tools, chat_template_kwargs, chat_options),
            )
            for i, (item, p) in enumerate(zip(items, params, strict=True))
        ]
        return self._run(items, requests, progress, on_error)

    def stream(
        self,
        prompt: str | Sequence[int],
        sampling_params: SamplingParams | None = None,
        *,
        stop: str | Sequence[str] = (),
        adapter: str = "",
    ) -> Iterator[TextChunk]:
        """Continue one prompt; yields text as it comes. Leaving the loop ends the generation."""
        fields = {"adapter": adapter, "prompt": checked_prompt(prompt, 0)}
        return self._chunks(self._request(0, sampling_params, stop, **fields))

    def stream_chat(
        self,
        messages: Conversation,
        sampling_params: SamplingParams | None = None,
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        chat_template_kwargs: Mapping[str, Any] | None = None,
        chat_options: ChatOptions | None = None,
        stop: str | Sequence[str] = (),
        adapter: str = "",
    ) -> Iterator[TextChunk]:
        """Answer one conversation; yields text as it comes. Leaving the loop ends it."""
        conversation = chat_fields(messages, tools, chat_template_kwargs, chat_options)
        request = self._request(0, sampling_params, stop, adapter=adapter, **conversation)
        return self._chunks(request)

    def _request(
        self, number: int, params: SamplingParams | None, stop: str | Sequence[str], **rest: Any
    ) -> GenerationRequest:
        return GenerationRequest(
            request_id=f"llm-{next(self._numbers)}-{number}",
            sampling=sampling_fields(params),
            stop=stop_strings(stop),
            **rest,
        )

    def _run(
        self,
        prompts: Sequence[Prompt],
        requests: Sequence[GenerationRequest],
        progress: bool | None,
        on_error: OnError,
    ) -> list[RequestOutput]:
        if on_error not in ("raise", "return"):
            raise ValueError(f"on_error is {on_error!r}; possible: 'raise', 'return'")
        # For tqdm None means: show the bar if standard error is a terminal.
        disable = None if progress is None else not progress
        with tqdm(total=len(requests), unit=" prompts", disable=disable) as bar:
            batch = Batch(self._graph, prompts, requests, bar, on_error)
            return self._loop.run(batch.run())

    def _chunks(self, request: GenerationRequest) -> Iterator[TextChunk]:
        run = self._loop.run(_enter(self._graph, request))
        try:
            while (chunk := self._loop.run(_next(run))) is not None:
                yield chunk
        finally:
            if self._loop.is_open:
                self._loop.run(run.__aexit__(None, None, None))


async def _enter(graph: Graph, request: GenerationRequest) -> GraphRun:
    return await graph.start_run(request).__aenter__()


async def _next(run: GraphRun) -> TextChunk | None:
    return cast(TextChunk | None, await anext(run, None))
