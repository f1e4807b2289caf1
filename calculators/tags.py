"""The ports that calculators of different authors share: name and type of what travels there."""

from server.graph import ServedNames, Tag
from server.payloads import (
    AdapterLoader,
    EmbeddingRequest,
    EmbeddingResponse,
    GenerationRequest,
    HttpRequestPayload,
    HttpResponsePayload,
    InferRequest,
    InferResponse,
    ModelLimits,
    ScoringRequest,
    ScoringResponse,
    TextChunk,
    TextTokenizer,
    TokenChunk,
    TokenizedPrompt,
)
from server.tensors import ModelSignature

__all__ = [
    "ADAPTERS",
    "EMBEDDING_REQUEST",
    "EMBEDDING_RESPONSE",
    "GENERATION_REQUEST",
    "HTTP_REQUEST_PAYLOAD",
    "HTTP_RESPONSE_PAYLOAD",
    "INFER_REQUEST",
    "INFER_RESPONSE",
    "MODEL_LIMITS",
    "PROMPT",
    "SCORING_REQUEST",
    "SCORING_RESPONSE",
    "SERVED_NAMES",
    "SIGNATURE",
    "TEXT",
    "TEXT_TOKENIZER",
    "TOKENS",
]

# Text generation: request -> prompt -> tokens -> text.
GENERATION_REQUEST = Tag("GENERATION_REQUEST", GenerationRequest)
PROMPT = Tag("PROMPT", TokenizedPrompt)
TOKENS = Tag("TOKENS", TokenChunk)
TEXT = Tag("TEXT", TextChunk)
MODEL_LIMITS = Tag("MODEL_LIMITS", ModelLimits, optional=True)
# Adapters, and their names as models.
ADAPTERS = Tag[AdapterLoader]("ADAPTERS", AdapterLoader, optional=True)  # type: ignore[type-abstract]
SERVED_NAMES = Tag("SERVED_NAMES", ServedNames, optional=True)

# Texts to score or to classify; the names are Model Server's.
SCORING_REQUEST = Tag("REQUEST_PAYLOAD", ScoringRequest)
SCORING_RESPONSE = Tag("RESPONSE_PAYLOAD", ScoringResponse)
# Texts in, vectors out; the names are Model Server's.
EMBEDDING_REQUEST = Tag("REQUEST_PAYLOAD", EmbeddingRequest)
EMBEDDING_RESPONSE = Tag("RESPONSE_PAYLOAD", EmbeddingResponse)
TEXT_TOKENIZER = Tag[TextTokenizer]("TOKENIZER", TextTokenizer, optional=True)  # type: ignore[type-abstract]

# Tensors in, tensors out.
INFER_REQUEST = Tag("INFER_REQUEST", InferRequest)
INFER_RESPONSE = Tag("INFER_RESPONSE", InferResponse)
SIGNATURE = Tag("SIGNATURE", ModelSignature, optional=True)

# A graph that answers HTTP requests of its own.
HTTP_REQUEST_PAYLOAD = Tag("HTTP_REQUEST_PAYLOAD", HttpRequestPayload)
HTTP_RESPONSE_PAYLOAD = Tag("HTTP_RESPONSE_PAYLOAD", HttpResponsePayload)
