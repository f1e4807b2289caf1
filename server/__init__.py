"""A graph-configured model server: graphs of calculators, an LLM engine, an HTTP front.

`LLM` and the classes of other tasks are the door for Python code that needs no server.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from server.llm import (
        LLM,
        ChatOptions,
        Classification,
        CompletionOutput,
        DeploymentClient,
        EmbeddingModel,
        ImageModel,
        RankedDocument,
        RequestOutput,
        RerankModel,
        SamplingParams,
        SpeechModel,
        Transcript,
        VoiceModel,
        client,
        serve,
    )

__all__ = [
    "LLM",
    "ChatOptions",
    "Classification",
    "CompletionOutput",
    "DeploymentClient",
    "EmbeddingModel",
    "ImageModel",
    "RankedDocument",
    "RequestOutput",
    "RerankModel",
    "SamplingParams",
    "SpeechModel",
    "Transcript",
    "VoiceModel",
    "client",
    "serve",
]


def __getattr__(name: str) -> Any:
    # On demand: a calculator that imports server.payloads must not get the whole graph with it.
    if name in __all__:
        from server import llm

        return getattr(llm, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
