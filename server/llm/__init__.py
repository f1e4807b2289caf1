"""Models without a server, for offline work: one class for each task, on LoadedModel.

`deployments` start servers instead.
"""

from server.llm.deployments import DeploymentClient, client, serve
from server.llm.embedding_model import EmbeddingModel
from server.llm.image_model import ImageModel
from server.llm.llm import LLM
from server.llm.outputs import CompletionOutput, RequestOutput
from server.llm.rerank_model import Classification, RankedDocument, RerankModel
from server.llm.speech_model import SpeechModel
from server.llm.voice_model import VoiceModel
from server.payloads import ChatOptions, SamplingParams, Transcript

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
