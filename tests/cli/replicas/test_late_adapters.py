"""Adapters that were loaded while replicas served, after one of them has ended."""

import os
import signal
from pathlib import Path

import httpx
import pytest
from support.adapters.peft_files import modules_of, write_adapter
from support.replicas.replicated import replicated

from server.models.bundled import find_bundled_model

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores"),
]


def test_a_replica_that_is_started_again_has_them(tmp_path: Path) -> None:
    model = find_bundled_model("tiny_chat")
    assert model is not None
    write_adapter(tmp_path / "a0", modules_of(model), 0)
    with replicated("tiny_chat", "--no_auto_tune", "--lora_folder", tmp_path) as server:
        server.until_all_serve()
        load = {"lora_name": "late", "lora_path": "a0"}
        answer = httpx.post(f"{server.url}/v1/load_lora_adapter", json=load, timeout=60)
        assert answer.status_code == 200, answer.text
        victim = server.children()[0]
        os.kill(victim, signal.SIGKILL)
        server.until(lambda: server.children().get(0, victim) != victim, "it is not started again")
        server.until_all_serve()
        # With nothing to do in either replica, requests go to each of them in turn.
        answers = [server.ask(f"Hello {n}", model="late", max_tokens=4) for n in range(4)]
        assert {replica for replica, _ in answers} == {0, 1}
