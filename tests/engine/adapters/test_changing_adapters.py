"""Adapters that come and go while their model serves, and those of an engine that is replaced."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from time import monotonic, sleep

import pytest
from support.adapters.answers import PARAMS, Answers, Open, answer
from support.adapters.reference import prompts
from support.engine_helpers import run_to_end, start, tokens_of

from server.engine import AdapterSettings, AdapterSource, EngineConfig
from server.engine.adapters.peft_adapter import LowRank, PeftAdapter
from server.engine.model.model_loader import load_model
from server.engine.model.tuning import tuned_model
from server.engine.replaceable_engine import ReplaceableEngine
from server.errors import InvalidRequestError, ModelLoadError, ModelNotFoundError


def test_adapters_come_and_go_while_requests_run(
    open_adapted: Open, answers: Answers, adapted_models: Path
) -> None:
    """A request ends with the adapter that it began with, whatever has its name now."""
    engine = open_adapted("llama", ("a0",))
    store = engine.adapters
    assert store is not None
    folder = adapted_models / "llama"
    (running,) = start(engine, [prompts()[0]], PARAMS, adapter="a0")
    outputs = engine.step()
    store.load(AdapterSource("a3", folder / "a3"))
    store.unload("a0")
    with pytest.raises(ModelNotFoundError, match="there is no adapter 'a0'; adapters: a3"):
        engine.make_request(prompts()[0], PARAMS, adapter="a0")
    store.load(AdapterSource("a0", folder / "a1"))
    (other,) = start(engine, [prompts()[1]], PARAMS, adapter="a3")
    (again,) = start(engine, [prompts()[0]], PARAMS, adapter="a0")
    outputs += run_to_end(engine)
    assert tokens_of(outputs, running) == answers("llama", "a0")[0][0]
    assert tokens_of(outputs, other) == answers("llama", "a3")[1][0]
    assert tokens_of(outputs, again) == answers("llama", "a1")[0][0]


def test_a_request_that_is_made_just_before_its_adapter_is_unloaded(
    open_adapted: Open, answers: Answers
) -> None:
    engine = open_adapted("llama", ("a0",))
    assert engine.adapters is not None
    request = engine.make_request(prompts()[0], PARAMS, adapter="a0")
    engine.adapters.unload("a0")
    engine.add(request)
    assert tokens_of(run_to_end(engine), request) == answers("llama", "a0")[0][0]


def test_requests_go_on_while_an_adapter_is_loaded(
    open_adapted: Open, answers: Answers, adapted_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files are read in another thread; here that ends after the requests have."""
    engine = open_adapted("llama", ("a0",))
    store = engine.adapters
    assert store is not None
    reading, have_ended = Event(), Event()

    def read_late(adapter: PeftAdapter, weight: float) -> dict[str, LowRank]:
        reading.set()
        assert have_ended.wait(60)
        return read(adapter, weight)

    read = PeftAdapter.read
    monkeypatch.setattr(PeftAdapter, "read", read_late)
    with ThreadPoolExecutor(1) as thread:
        loading = thread.submit(store.load, AdapterSource("a1", adapted_models / "llama" / "a1"))
        assert reading.wait(60)
        try:
            assert answer(engine, ["a0"])[0][0] == answers("llama", "a0")[0][0]
            assert not loading.done()
        finally:
            have_ended.set()
        loading.result()
    assert answer(engine, ["a1"])[0][0] == answers("llama", "a1")[0][0]


def test_a_name_that_is_taken(open_adapted: Open, adapted_models: Path) -> None:
    store = open_adapted("llama", ("a0",)).adapters
    assert store is not None
    source = AdapterSource("a0", adapted_models / "llama" / "a1")
    with pytest.raises(InvalidRequestError, match="'a0' is loaded already"):
        store.load(source)
    store.load(source, replaces=True)
    assert store.find("a0").source == source


def test_an_adapter_without_memory(
    open_adapted: Open, adapted_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_adapted("llama", ("a0",)).adapters
    assert store is not None
    monkeypatch.setattr("server.engine.adapters.adapter_store.available_bytes", lambda: 0)
    with pytest.raises(
        ModelLoadError,
        match=r"with 2 of rank \d+, take 0\.\d MB, and 0 MB are free",
    ):
        store.load(AdapterSource("a3", adapted_models / "llama" / "a3"))
    assert [adapter.name for adapter in store.adapters] == ["a0"]


def test_the_metrics_name_what_runs_and_what_waits(open_adapted: Open) -> None:
    engine = open_adapted("llama", ("a0", "a1"), max_num_seqs=1)
    start(engine, [prompts()[0]], PARAMS, adapter="a1")
    start(engine, [prompts()[1]], PARAMS, adapter="a0")
    engine.step()
    found = engine.load().adapters
    assert found is not None
    assert (found.num_loaded, found.running, found.waiting) == (2, ("a1",), ("a0",))
    run_to_end(engine)
    found = engine.load().adapters
    assert found is not None
    assert (found.running, found.waiting) == ((), ())


def test_a_failed_engine_has_its_adapters_again_even_if_their_files_have_gone(
    open_adapted: Open,
    answers: Answers,
    adapted_models: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = Path(shutil.copytree(adapted_models / "llama" / "a3", tmp_path / "a3"))
    engine = open_adapted("llama", (), adapters=AdapterSettings((AdapterSource("a3", folder),)))
    shutil.rmtree(folder)
    # Not the compiled model that tests share.
    monkeypatch.setattr(tuned_model, "load_model", load_model)
    engine.revive()
    assert answer(engine, ["a3"])[0][0] == answers("llama", "a3")[0][0]


def test_a_file_that_goes_away_after_the_load(
    open_adapted: Open, adapted_models: Path, tmp_path: Path, answers: Answers
) -> None:
    folder = Path(shutil.copytree(adapted_models / "llama" / "a3", tmp_path / "a3"))
    engine = open_adapted("llama", ())
    assert engine.adapters is not None
    engine.adapters.load(AdapterSource("a3", folder))
    shutil.rmtree(folder)
    assert answer(engine, ["a3"])[0][0] == answers("llama", "a3")[0][0]


def test_an_engine_that_takes_over_does_without_adapters_that_have_gone(
    adapted_models: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = adapted_models / "llama"
    config = EngineConfig(folder / "f32", num_kv_blocks=100, adapters=AdapterSettings(is_open=True))
    engine = ReplaceableEngine(config)
    first = engine.current
    gone = Path(shutil.copytree(folder / "a0", tmp_path / "a0"))
    for name, path in (("gone", gone), ("kept", folder / "a1")):
        engine.load_adapter(AdapterSource(name, path))
    shutil.rmtree(gone)
    first.give_up("tried out")
    deadline = monotonic() + 60
    while engine.failure is not None:
        assert monotonic() < deadline, engine.failure
        sleep(0.01)
    assert engine.current.adapters is not None
    assert [adapter.name for adapter in engine.current.adapters.adapters] == ["kept"]
    assert "the adapter 'gone' is lost" in caplog.text
    engine.close()
    first.close()
