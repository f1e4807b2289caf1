"""What the files of a model folder say about what the model does."""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from server.host.model_files import MODEL_FILE, text_model_file
from server.host.regular_files import MAX_TEXT_BYTES, open_regular

__all__ = ["ModelSigns"]

MAX_CONFIG_BYTES = 2**20
SPEECH_RECOGNISERS = {"whisper"}
SPEAKERS = {"speecht5", "kokoro"}
SENTENCE_TRANSFORMERS_FILE = "config_sentence_transformers.json"
HIDDEN_STATES = (b'"last_hidden_state"', b'"token_embeddings"', b'"sentence_embedding"')


class ModelSigns:
    """A folder with a Hugging Face or OpenVINO model; each file is read once, when it is asked for.

    A file that cannot be read says nothing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @cached_property
    def names(self) -> frozenset[str]:
        """The names of the files and folders in the folder."""
        try:
            return frozenset(path.name for path in self._folder.iterdir())
        except OSError:
            return frozenset()

    def has_model_type(self) -> bool:
        """Whether config.json is one of transformers."""
        return "model_type" in self._config

    def hears(self) -> bool:
        """Whether the model writes down speech."""
        return self._model_type in SPEECH_RECOGNISERS

    def speaks(self) -> bool:
        """Whether the model reads texts aloud. The config.json of Kokoro has no model_type."""
        return self._model_type in SPEAKERS or {"istftnet", "plbert"} <= self._config.keys()

    def classifies_text(self) -> bool:
        """Whether the model scores texts or pairs of texts, with one label or several."""
        architectures = self._config.get("architectures")
        names = architectures if isinstance(architectures, list) else []
        is_classifier = any(str(name).endswith("ForSequenceClassification") for name in names)
        return is_classifier or self._is_cross_encoder()

    def scores_text(self) -> bool:
        """Whether an exported model is a reranker: it has one label, or is marked as one.

        One with more labels may be a classifier that somebody asks with tensors.
        """
        return self._is_cross_encoder() or (self.classifies_text() and self._num_labels == 1)

    def is_diffusion_pipeline(self) -> bool:
        """Whether the folder holds an image pipeline of diffusers."""
        return "_class_name" in self._read("model_index.json")

    def is_encoder(self) -> bool:
        """Whether a Hugging Face model turns texts into vectors."""
        architectures = self._config.get("architectures")
        names = architectures if isinstance(architectures, list) else []
        return self._is_sentence_transformer() or any(
            str(name).endswith(("Model", "ForMaskedLM")) for name in names
        )

    def embeds_text(self) -> bool:
        """Whether an exported model turns texts into vectors."""
        if b'"input_ids"' not in self._model_text:
            return False
        has_states = any(name in self._model_text for name in HIDDEN_STATES)
        return self._is_sentence_transformer() or (has_states and not self.generates_text())

    def generates_text(self) -> bool:
        """Whether an exported model generates tokens: it has a KV cache of its own."""
        return b'"beam_idx"' in self._model_text

    def has_ir(self) -> bool:
        """Whether there is an OpenVINO model in the folder itself."""
        return any(name.endswith(".xml") for name in self.names)

    def has_ir_parts(self) -> bool:
        """Whether there are OpenVINO models in folders below."""
        return next(self._folder.glob(f"*/{MODEL_FILE}"), None) is not None

    def _is_sentence_transformer(self) -> bool:
        """Whether sentence-transformers wrote it as a model of dense vectors."""
        if SENTENCE_TRANSFORMERS_FILE in self.names:
            return self._kind_of_transformer == "SentenceTransformer"
        return "1_Pooling" in self.names or self._has_module(".Pooling")

    def _is_cross_encoder(self) -> bool:
        """Whether sentence-transformers wrote it as one, in its older or its newer form."""
        is_marked = isinstance(self._config.get("sentence_transformers"), dict)
        return (
            is_marked
            or self._has_module(".LogitScore")
            or (self._kind_of_transformer == "CrossEncoder")
        )

    def _has_module(self, suffix: str) -> bool:
        return any(str(module.get("type")).endswith(suffix) for module in self._modules)

    @property
    def _kind_of_transformer(self) -> object:
        """The class of sentence-transformers that loads it; older files do not say it."""
        return self._read(SENTENCE_TRANSFORMERS_FILE).get("model_type", "SentenceTransformer")

    @property
    def _model_type(self) -> object:
        return self._config.get("model_type")

    @property
    def _num_labels(self) -> int:
        """As transformers has it: two where config.json does not say."""
        labels, number = self._config.get("id2label"), self._config.get("num_labels")
        if isinstance(labels, dict):
            return len(labels)
        return number if type(number) is int else 2

    @cached_property
    def _config(self) -> Mapping[str, Any]:
        return self._read("config.json")

    @cached_property
    def _modules(self) -> Sequence[Mapping[str, Any]]:
        found = self._read_json("modules.json")
        modules = found if isinstance(found, list) else []
        return [module for module in modules if isinstance(module, dict)]

    @cached_property
    def _model_text(self) -> bytes:
        try:
            with open_regular(text_model_file(self._folder)) as file:
                return file.read(MAX_TEXT_BYTES)
        except OSError:
            return b""

    def _read(self, name: str) -> Mapping[str, Any]:
        found = self._read_json(name)
        return found if isinstance(found, dict) else {}

    def _read_json(self, name: str) -> object:
        try:
            with open_regular(self._folder / name) as file:
                return json.loads(file.read(MAX_CONFIG_BYTES).decode(errors="replace"))
        except (OSError, ValueError, RecursionError):
            return None
