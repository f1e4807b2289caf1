"""The LLM engine: continuous batching over OpenVINO's PagedAttention. Knows no text and no HTTP.

Outside it only the LLM executor calculator imports it.
"""

from server.engine.adapters.settings import AdapterSettings, AdapterSource
from server.engine.async_engine import AsyncLLMEngine
from server.engine.config import DraftConfig, EngineConfig
from server.engine.engine import LLMEngine
from server.engine.model.loading.graph_form import NotCausalError
from server.engine.model.model_loader import check_loadable
from server.engine.pooling import PooledOutput
from server.engine.replaceable_engine import ReplaceableEngine
from server.engine.requests.generation import ChoiceOutput
from server.engine.requests.outputs import SequenceOutput

__all__ = [
    "AdapterSettings",
    "AdapterSource",
    "AsyncLLMEngine",
    "ChoiceOutput",
    "DraftConfig",
    "EngineConfig",
    "LLMEngine",
    "NotCausalError",
    "PooledOutput",
    "ReplaceableEngine",
    "SequenceOutput",
    "check_loadable",
]
