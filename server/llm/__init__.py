"""An LLM without a server, for offline work: see server.llm.llm."""

from server.llm.llm import LLM
from server.llm.outputs import CompletionOutput, RequestOutput
from server.payloads import ChatOptions, SamplingParams

__all__ = ["LLM", "ChatOptions", "CompletionOutput", "RequestOutput", "SamplingParams"]
