"""Rerank as OpenVINO Model Server, Cohere, Jina and vLLM have it; vLLM's score and classify."""
