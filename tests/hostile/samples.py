"""A valid request for each endpoint; what the fuzzers start from."""

from typing import Any

__all__ = ["NAME_PATHS", "SAMPLES"]

_MESSAGES = [{"role": "user", "content": "Hello"}]
_TENSOR = {"name": "x", "shape": [2], "datatype": "FP32", "data": [1.0, 2.0]}

SAMPLES: dict[str, dict[str, Any]] = {
    "/v3/chat/completions": {
        "model": "tiny_chat",
        "messages": _MESSAGES,
        "max_tokens": 4,
        "temperature": 0.5,
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
        "response_format": {"type": "text"},
    },
    "/v3/completions": {"model": "tiny_chat", "prompt": "Once", "max_tokens": 4, "logprobs": 1},
    "/v3/responses": {"model": "tiny_chat", "input": "Hello", "max_output_tokens": 4},
    "/v3/messages": {"model": "tiny_chat", "messages": _MESSAGES, "max_tokens": 4},
    "/v3/messages/count_tokens": {"model": "tiny_chat", "messages": _MESSAGES},
    "/v3/chat/completions/render": {"model": "tiny_chat", "messages": _MESSAGES},
    "/v3/completions/render": {"model": "tiny_chat", "prompt": "Hi"},
    "/v3/embeddings": {"model": "embedder", "input": ["a cow"], "encoding_format": "float"},
    "/v2/embed": {"model": "embedder", "texts": ["a cow"], "input_type": "search_query"},
    "/pooling": {"model": "embedder", "input": "a cow"},
    "/v3/rerank": {"model": "reranker", "query": "a cow", "documents": ["moo"], "top_n": 1},
    "/score": {"model": "reranker", "text_1": "a cow", "text_2": ["moo"]},
    "/classify": {"model": "reranker", "input": "a cow"},
    "/tokenize": {"model": "tiny_chat", "prompt": "a cow"},
    "/detokenize": {"model": "tiny_chat", "tokens": [5, 6]},
    "/v2/models/half/infer": {"id": "1", "inputs": [_TENSOR], "outputs": [{"name": "y"}]},
    "/v1/models/half:predict": {"instances": [1.0, 2.0]},
    "/v2/models/uppercase/infer": {
        "inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a"]}]
    },
    "/v3/audio/speech": {"model": "whisper", "input": "a cow", "voice": "anna"},
    "/v3/images/generations": {"model": "painter", "prompt": "a cow", "size": "64x64"},
}

NAME_PATHS = (
    "/v1/models/{}",
    "/v1/models/{}:predict",
    "/v1/models/{}/metadata",
    "/v1/models/half/versions/{}",
    "/v1/models/half/versions/{}:predict",
    "/v2/models/{}",
    "/v2/models/{}/ready",
    "/v2/models/{}/infer",
    "/v2/models/half/versions/{}/infer",
    "/v3/models/{}",
    "/v3/responses/{}",
    "/v3/responses/{}/cancel",
    "/v3/responses/{}/input_items",
    "/v3/{}",
    "/{}",
)
