"""The exported model is compared with what its source has said in torch."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server.engine.config import EngineConfig
from server.engine.engine import LLMEngine
from server.engine.model.verification_record import read_record, write_record
from server.engine.verification import __main__ as command
from server.engine.verification.compare import TOLERANCE
from server.engine.verification.source import ANSWERS_FILE, PROMPTS_FILE, compare_with_source
from server.engine.verification.stateful import StatefulModel
from server.engine.verification.verify import prepare
from server.host.model_files import RECORD_FILE


@pytest.fixture
def log_level() -> Iterator[None]:
    """`main` turns the log off, as it has its process for itself."""
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def exchange(folder: Path, tmp_path: Path) -> Path:
    """Answers that are those of the exported model itself."""
    to = tmp_path / "exchange"
    to.mkdir()
    prepare(folder, to)
    answers: dict[str, Any] = {}
    with np.load(to / PROMPTS_FILE) as prompts, StatefulModel(folder) as model:
        for index in range(2):
            said = model.predict(prompts[f"prompt.{index}"])
            for name in ("logprobs", "best_ids", "best_logprobs", "margins"):
                answers[f"{name}.{index}"] = getattr(said, name)
    np.savez(to / ANSWERS_FILE, **answers)
    return to


def change_answers(exchange: Path, name: str, begin: int, by: float) -> None:
    with np.load(exchange / ANSWERS_FILE) as arrays:
        answers: dict[str, Any] = dict(arrays)
    answers[name][begin:] += by
    np.savez(exchange / ANSWERS_FILE, **answers)


def set_precision(exchange: Path, precision: str) -> None:
    with np.load(exchange / PROMPTS_FILE) as arrays:
        prompts: dict[str, Any] = {**arrays, "precision": precision}
    np.savez(exchange / PROMPTS_FILE, **prompts)


def compare(folder: Path, exchange: Path) -> Any:
    with StatefulModel(folder) as model:
        return compare_with_source(exchange, model, TOLERANCE)


def test_equal_answers(folder: Path, exchange: Path) -> None:
    found = compare(folder, exchange)
    assert found.precision == "f32"
    assert found.num_tokens == 6 + 60
    assert (found.max_difference, found.fault) == (0, None)


def test_what_torch_is_told(folder: Path, exchange: Path) -> None:
    with np.load(exchange / PROMPTS_FILE) as prompts:
        lengths = [len(prompts[f"prompt.{index}"]) for index in range(4)]
        num_bytes = 4 * int(prompts["num_weights"])
    assert lengths == [7, 61, 150, 300]
    size = (folder / "openvino_model.bin").stat().st_size
    assert 0.9 * size < num_bytes <= size


def test_a_difference_is_found_where_it_begins(folder: Path, exchange: Path) -> None:
    change_answers(exchange, "logprobs.1", 40, 0.3)
    found = compare(folder, exchange)
    assert (found.fault.position, found.fault.num_tokens) == (41, 61)
    assert "compared with its source in torch: from token 41 of 61 on" in str(found.fault)


@pytest.mark.parametrize("by", [30.0, np.nan])
def test_compressed_weights_may_differ_but_not_absurdly(
    folder: Path, exchange: Path, by: float
) -> None:
    set_precision(exchange, "compressed")
    change_answers(exchange, "logprobs.1", 40, 0.3)
    found = compare(folder, exchange)
    assert found.fault is None
    assert found.mean_difference == pytest.approx(0.3 * 20 / 66)
    change_answers(exchange, "logprobs.1", 0, by)
    assert compare(folder, exchange).fault.position == 1


def test_without_answers(folder: Path, exchange: Path) -> None:
    (exchange / ANSWERS_FILE).unlink()
    assert compare(folder, exchange) is None


def test_a_fault_of_the_export_is_not_forgotten(
    folder: Path, exchange: Path, log_level: None
) -> None:
    """Who verifies the model again has no source to compare it with."""
    change_answers(exchange, "logprobs.0", 3, 0.3)
    (exchange / "tokenizer.json").write_text(json.dumps({"differences": ["'a' gives 1"]}))
    for arguments in ([str(folder), str(exchange)], [str(folder)]):
        assert command.main(arguments) == command.EXIT_DIFFERS
        record = read_record(folder)
        assert record is not None
        assert record["passed"] is False
        assert len(record["differences"]) == 1
        assert "from token 4 of 7 on" in record["differences"][0]
        assert record["tokenizer"]["differences"] == ["'a' gives 1"]
        assert record["source"]["num_tokens"] == 66


def test_want_of_memory_is_no_proof(
    folder: Path, log_level: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(command, "available_bytes", lambda: 1000)
    assert command.main([str(folder)]) == command.EXIT_PASSED
    logging.disable(logging.NOTSET)
    monkeypatch.undo()
    engine = LLMEngine(EngineConfig(folder, num_kv_blocks=10))
    engine.close()
    assert engine.status["verified"]["passed"] is None
    assert "memory does not suffice" in engine.status["verified"]["skipped"]
    assert "was not verified (memory does not suffice" in caplog.text
    # With memory it is made up for.
    assert command.main([str(folder)]) == command.EXIT_PASSED
    record = read_record(folder)
    assert record is not None
    assert record["passed"] is True


def test_a_tokenizer_that_differs_is_warned_of(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tokenizer = {"differences": ["'a  b' should give 1; gives 2"]}
    write_record(folder, {"passed": True, "differences": [], "tokenizer": tokenizer}, "1.0")
    engine = LLMEngine(EngineConfig(folder, num_kv_blocks=10))
    engine.close()
    assert engine.status["verified"]["tokenizer"] == tokenizer
    assert "not quite that of the source model: 'a  b' should give 1" in caplog.text
    assert (folder / RECORD_FILE).exists()
