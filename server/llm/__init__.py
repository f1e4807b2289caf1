"""Models without a server, for offline work: one class for each task, on LoadedModel."""

from server.llm.llm import LLM
from server.llm.outputs import CompletionOutput, RequestOutput
from server.payloads import ChatOptions, SamplingParams

__all__ = ["LLM", "ChatOptions", "CompletionOutput", "RequestOutput", "SamplingParams"]
