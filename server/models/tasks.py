"""The tasks that models are for: the node that serves each, and how its model is recognised.

A task here is a value of `--task`, as in OpenVINO Model Server. TASKS is in the order of its
recognition: the first task whose signs a folder shows is the model's.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from server.errors import did_you_mean
from server.host.model_files import DETOKENIZER_FILE, MODEL_FILE, TOKENIZER_FILE
from server.models.model_signs import ModelSigns

__all__ = [
    "EMBEDDINGS",
    "IMAGE_GENERATION",
    "RERANK",
    "SPEECH_TO_TEXT",
    "TASKS",
    "TEXT_GENERATION",
    "TEXT_TO_SPEECH",
    "Task",
    "find_source_task",
    "find_task",
    "task_named",
]

HTTP_TAGS = ("HTTP_REQUEST_PAYLOAD", "HTTP_RESPONSE_PAYLOAD")
TAGS = ("REQUEST_PAYLOAD", "RESPONSE_PAYLOAD")


@dataclass(frozen=True, slots=True)
class Task:
    """A task: `export` makes its model, `calculator` serves it.

    `is_source` recognises a Hugging Face model, `is_model` a folder that can be served. The latter
    needs clear evidence: a folder without it takes tensors. `files` must be in the folder.
    """

    name: str
    export: str
    calculator: str
    node_name: str
    is_source: Callable[[ModelSigns], bool]
    is_model: Callable[[ModelSigns], bool]
    tags: tuple[str, str] = HTTP_TAGS
    device_option: str = "target_device"
    files: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


def _is_model(kind: Callable[[ModelSigns], bool], *files: str) -> Callable[[ModelSigns], bool]:
    """Whether the folder is of the kind and holds all these files."""
    return lambda signs: kind(signs) and signs.names.issuperset(files)


SPEECH_TO_TEXT = Task(
    "speech2text",
    "speech2text",
    "S2tCalculator",
    "S2tExecutor",
    is_source=ModelSigns.hears,
    is_model=lambda signs: signs.hears() and signs.has_ir(),
)
TEXT_TO_SPEECH = Task(
    "text2speech",
    "text2speech",
    "T2sCalculator",
    "T2sExecutor",
    is_source=ModelSigns.speaks,
    is_model=lambda signs: signs.speaks() and signs.has_ir(),
)
RERANK = Task(
    "rerank",
    "rerank_ov",
    "RerankCalculatorOV",
    "RerankExecutor",
    is_source=ModelSigns.classifies_text,
    is_model=_is_model(ModelSigns.scores_text, MODEL_FILE, TOKENIZER_FILE),
    tags=TAGS,
    files=(MODEL_FILE, TOKENIZER_FILE),
)
IMAGE_GENERATION = Task(
    "image_generation",
    "image_generation",
    "ImageGenCalculator",
    "ImageGenExecutor",
    is_source=ModelSigns.is_diffusion_pipeline,
    is_model=lambda signs: signs.is_diffusion_pipeline() and signs.has_ir_parts(),
    device_option="device",
)
EMBEDDINGS = Task(
    "embeddings",
    "embeddings_ov",
    "EmbeddingsCalculatorOV",
    "EmbeddingsExecutor",
    is_source=ModelSigns.is_encoder,
    is_model=_is_model(ModelSigns.embeds_text, MODEL_FILE, TOKENIZER_FILE),
    tags=TAGS,
    files=(MODEL_FILE, TOKENIZER_FILE),
)
TEXT_GENERATION = Task(
    "text_generation",
    "text_generation",
    "HttpLLMCalculator",
    "LLMExecutor",
    is_source=lambda _: True,
    is_model=ModelSigns.generates_text,
    device_option="device",
    files=(MODEL_FILE, TOKENIZER_FILE, DETOKENIZER_FILE),
    options={"enable_prefix_caching": True},
)
TASKS = {
    task.name: task
    for task in (
        SPEECH_TO_TEXT,
        TEXT_TO_SPEECH,
        RERANK,
        IMAGE_GENERATION,
        EMBEDDINGS,
        TEXT_GENERATION,
    )
}


def task_named(name: str) -> Task:
    """The task of this name. Raises ValueError."""
    if name not in TASKS:
        hint = did_you_mean(name, list(TASKS)) or f"; possible: {', '.join(TASKS)}"
        raise ValueError(f"{name!r} is unknown{hint}")
    return TASKS[name]


def find_task(folder: Path) -> Task | None:
    """What the OpenVINO model in a folder is for; None for a model that takes tensors."""
    signs = ModelSigns(folder)
    return next((task for task in TASKS.values() if task.is_model(signs)), None)


def find_source_task(folder: Path) -> Task:
    """What the Hugging Face model in a folder is for; text generation where nothing says more."""
    signs = ModelSigns(folder)
    return next(task for task in TASKS.values() if task.is_source(signs))
