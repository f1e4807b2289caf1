"""The packets that graphs take and give, and that travel between nodes.

Standard library only: anything may import it.
"""

from server.payloads.adapters import AdapterLoader, LateAdapters
from server.payloads.chunks import (
    FinishReason,
    TextChunk,
    TokenChunk,
    TokenIdLogprobs,
    TokenizedPrompt,
    TokenLogprobs,
    ToolCallDelta,
)
from server.payloads.client_request import ClientRequest
from server.payloads.embeddings import Embedding, EmbeddingRequest, EmbeddingResponse
from server.payloads.generation import (
    REASONING_EFFORTS,
    AnswerFormat,
    AnswerKind,
    ChatOptions,
    GenerationRequest,
    ReasoningEffort,
)
from server.payloads.images import ImageRequest, ImageResponse, ImageSize
from server.payloads.inference import InferRequest, InferResponse
from server.payloads.raw_http import HttpRequestPayload, HttpResponsePayload
from server.payloads.scoring import (
    ClassifyRequest,
    RerankRequest,
    ScoringRequest,
    ScoringResponse,
)
from server.payloads.services import LoadOptions, ModelLimits, TextTokenizer, TokenizerInfo
from server.payloads.speech import (
    AUDIO_FORMATS,
    AudioFormat,
    SpeechAudio,
    SpeechRequest,
    Transcript,
    TranscriptChunk,
    TranscriptionRequest,
    TranscriptSegment,
    TranscriptWord,
)
from server.sampling_params import SamplingFields, SamplingParams

__all__ = [
    "AUDIO_FORMATS",
    "REASONING_EFFORTS",
    "AdapterLoader",
    "AnswerFormat",
    "AnswerKind",
    "AudioFormat",
    "ChatOptions",
    "ClassifyRequest",
    "ClientRequest",
    "Embedding",
    "EmbeddingRequest",
    "EmbeddingResponse",
    "FinishReason",
    "GenerationRequest",
    "HttpRequestPayload",
    "HttpResponsePayload",
    "ImageRequest",
    "ImageResponse",
    "ImageSize",
    "InferRequest",
    "InferResponse",
    "LateAdapters",
    "LoadOptions",
    "ModelLimits",
    "ReasoningEffort",
    "RerankRequest",
    "SamplingFields",
    "SamplingParams",
    "ScoringRequest",
    "ScoringResponse",
    "SpeechAudio",
    "SpeechRequest",
    "TextChunk",
    "TextTokenizer",
    "TokenChunk",
    "TokenIdLogprobs",
    "TokenLogprobs",
    "TokenizedPrompt",
    "TokenizerInfo",
    "ToolCallDelta",
    "Transcript",
    "TranscriptChunk",
    "TranscriptSegment",
    "TranscriptWord",
    "TranscriptionRequest",
]
