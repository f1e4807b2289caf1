"""The reference: a model as it was exported, without the PagedAttention transformation."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov

from server.engine.config import PluginValue
from server.engine.model.model_info import config_layers, read_config
from server.engine.model.stateful.encoder import Encoder, EncoderRequest, read_prefix
from server.engine.model.stateful.state_form import read_state_form
from server.errors import ModelLoadError
from server.host.model_files import ENCODER_FILE, has_encoder, text_model_file
from server.host.openvino_core import shared_core
from server.host.openvino_errors import error_summary

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

EXACT: dict[str, PluginValue] = {
    "INFERENCE_PRECISION_HINT": "f32",
    "KV_CACHE_PRECISION": "f32",
    "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
}
"""Properties with which nothing but the weights is rounded."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model says of each next token of a text of n tokens; all arrays have n - 1 items.

    `logprobs` f64 are of the tokens themselves, `best_ids` i64 and `best_logprobs` f64 of the
    likeliest ones; `margins` f64 tell how much likelier these are than the second.
    """

    logprobs: Doubles
    best_ids: Ints
    best_logprobs: Doubles
    margins: Doubles

    def after(self, begin: int) -> "Prediction":
        """Without the first `begin` tokens."""
        return Prediction(
            self.logprobs[begin:],
            self.best_ids[begin:],
            self.best_logprobs[begin:],
            self.margins[begin:],
        )

    def followed_by(self, other: "Prediction") -> "Prediction":
        """This one, then the other."""
        return Prediction(
            np.concatenate([self.logprobs, other.logprobs]),
            np.concatenate([self.best_ids, other.best_ids]),
            np.concatenate([self.best_logprobs, other.best_logprobs]),
            np.concatenate([self.margins, other.margins]),
        )


def read_stateful(models_path: Path) -> ov.Model:
    """The model as it was exported. Raises ModelLoadError."""
    xml = text_model_file(models_path)
    try:
        return shared_core().read_model(xml)
    except RuntimeError as error:
        raise ModelLoadError(f"{xml}: OpenVINO cannot read it: {error_summary(error)}") from error


def vocab_size_of(models_path: Path) -> int:
    """The tokens that a model has logits for, as its graph says. Raises ModelLoadError."""
    xml = text_model_file(models_path)
    try:
        size = read_stateful(models_path).output("logits").get_partial_shape()[-1]
    except RuntimeError as error:
        raise ModelLoadError(f"{xml}: {error_summary(error)}") from error
    if size.is_dynamic:
        raise ModelLoadError(f"{xml}: the vocabulary has no fixed size")
    return int(size.get_length())


class StatefulModel:
    """A model that reads a text in one piece, or token by token where pieces are not exact.

    A context manager: leaving it frees the model. Raises ModelLoadError.
    """

    def __init__(self, models_path: Path) -> None:
        xml = text_model_file(models_path)
        model = read_stateful(models_path)
        try:
            config = config_layers(read_config(models_path / "config.json"))[-1]
            self._form = read_state_form(model, config, has_encoder(models_path))
            self._encoder = _load_encoder(models_path) if has_encoder(models_path) else None
            compiled = shared_core().compile_model(model, "CPU", EXACT)
            self._request: Any = compiled.create_infer_request()
        except RuntimeError as error:
            raise ModelLoadError(
                f"{xml}: OpenVINO cannot load it: {error_summary(error)}"
            ) from error

    def __enter__(self) -> "StatefulModel":
        return self

    def __exit__(self, *_: object) -> None:
        self._request = None

    @property
    def has_encoder(self) -> bool:
        """Whether an encoder reads the prompt."""
        return self._encoder is not None

    def predict(self, tokens: Ints, num_prompt_tokens: int = 1) -> Prediction:
        """Read a text, and say what is predicted at each of its tokens.

        The predictions of a prompt that an encoder reads are meaningless.
        """
        self._request.reset_state()
        if self._encoder is None:
            logits = np.concatenate(list(self._read(tokens[:-1], {})))
        else:
            encoder, prefix = self._encoder
            encoded = encoder.read(tokens[:num_prompt_tokens])
            text = np.concatenate([prefix, tokens[num_prompt_tokens:-1]])
            answer = np.concatenate(list(self._read(text, encoded)))[len(prefix) - 1 :]
            logits = np.pad(answer, ((num_prompt_tokens - 1, 0), (0, 0)))
        rows = [_predict(row, int(token)) for row, token in zip(logits, tokens[1:], strict=True)]
        columns = (np.array(column) for column in zip(*rows, strict=True))
        return Prediction(*columns)

    def _read(
        self, tokens: Ints, encoded: dict[str, npt.NDArray[Any]]
    ) -> Iterator[npt.NDArray[np.float32]]:
        """The logits f32[tokens, vocabulary] of each piece."""
        size = 1 if self._form.takes_single_tokens else len(tokens)
        for begin in range(0, len(tokens), size):
            piece = tokens[begin : begin + size]
            self._request.infer(self._form.arrays(piece, begin, encoded))
            yield np.array(self._request.get_tensor("logits").data[0])


def _load_encoder(models_path: Path) -> tuple[EncoderRequest, Ints]:
    """The encoder, and what the decoder begins with."""
    prefix = read_prefix(models_path)
    compiled = shared_core().compile_model(models_path / ENCODER_FILE, "CPU", EXACT)
    return EncoderRequest(Encoder(compiled, prefix, None)), np.array(prefix, np.int64)


def _predict(row: npt.NDArray[np.float32], token: int) -> tuple[float, int, float, float]:
    second, best = np.argpartition(row, -2)[-2:]
    highest = float(row[best])
    norm = highest + float(np.log(np.exp(row - highest, dtype=np.float64).sum()))
    return float(row[token]) - norm, int(best), highest - norm, highest - float(row[second])
