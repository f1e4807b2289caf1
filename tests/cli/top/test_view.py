"""What `server top` shows of a status."""

from typing import Any

import pytest

from server.cli.top.view import View
from server.terminal.text_width import fit, text_width

FIELDS = ["time", "requests_per_s", "prompt_tokens_per_s", "generated_tokens_per_s"]


def model(name: str = "m", **members: Any) -> dict[str, Any]:
    """A model without an engine; with `generated` one with an engine."""
    found: dict[str, Any] = {
        "name": name,
        "version": "1",
        "state": "AVAILABLE",
        "reason": None,
        "loaded": True,
        "requests": {"total": 0, "running": 0},
        "engine": None,
        "history": {"fields": FIELDS, "points": []},
    }
    return {**found, **members}


def engine(**members: Any) -> dict[str, Any]:
    found = {
        "running": 3,
        "waiting": 12,
        "kv_cache": {"usage": 0.426},
        "prefix_cache": {"query_tokens": 200, "hit_tokens": 150},
        "prompt_tokens": 1000,
        "generated_tokens": 500,
        "last_minute": {"first_token_s": {"p50": 0.32}, "inter_token_s": {"p50": 1.25}},
    }
    return {**found, **members}


def status(*models: dict[str, Any], time: float = 100.0, **server: Any) -> dict[str, Any]:
    return {
        "time": time,
        "server": {
            "name": "server",
            "version": "1",
            "uptime_s": 4000.0,
            "ready": True,
            "draining": False,
            "reason": None,
            **server,
        },
        "cpu": {"cores": 2, "amx": True, "avx512": False, "bf16": True, "used_s": time / 2},
        "memory": {"used_bytes": 1_500_000_000, "available_bytes": None},
        "models": list(models),
    }


def cells(lines: list[str], name: str) -> dict[str, str]:
    """The numbers of a model, by the titles of their columns."""
    titles = next(line for line in lines if line.startswith("MODEL")).split()
    (row,) = (line for line in lines if line.startswith(f"{name} "))
    return dict(zip(titles, row.split(), strict=True))


def test_numbers() -> None:
    view = View("http://s")
    view.lines(status(model(engine=engine())))
    now = engine(prompt_tokens=1100, generated_tokens=525)
    later = model(engine=now, requests={"total": 4, "running": 3})
    lines = view.lines(status(later, time=102.0))
    assert lines[:2] == [
        "server 1  http://s  up 1 h 6 min  ready",
        "cpu 0.5 of 2 cores  amx bf16  memory 1.5 GB  - free",
    ]
    assert cells(lines, "m") == {
        "MODEL": "m",
        "STATE": "available",
        "RUN": "3",
        "WAIT": "12",
        "OUT/S": "12.5",
        "IN/S": "50.0",
        "REQ/S": "2.0",
        "TTFT": "320ms",
        "ITL": "1.2s",
        "KV": "43%",
        "HIT": "75%",
    }


def test_rates_of_a_single_status() -> None:
    history = {"fields": FIELDS, "points": [[1, 9, 9, 9], [2, 0.5, 20, 7.25]]}
    found = cells(View("u").lines(status(model(engine=engine(), history=history))), "m")
    assert (found["REQ/S"], found["IN/S"], found["OUT/S"]) == ("0.5", "20.0", "7.2")


def test_an_engine_that_was_replaced() -> None:
    view = View("u")
    view.lines(status(model(engine=engine())))
    lines = view.lines(status(model(engine=engine(generated_tokens=3)), time=101.0))
    assert cells(lines, "m")["OUT/S"] == "0"


def test_models_without_an_engine() -> None:
    states = [
        model("a", requests={"total": 7, "running": 2}),
        model("b", state="LOADING", loaded=False),
        model("c", loaded=False),
        model("d", version="3"),
    ]
    lines = View("u").lines(status(*states))
    assert cells(lines, "a")["RUN"] == "2"
    assert cells(lines, "a")["KV"] == "-"
    assert cells(lines, "b")["STATE"] == "loading"
    assert cells(lines, "c")["STATE"] == "unloaded"
    assert cells(lines, "d:3")["STATE"] == "available"


def test_replicas() -> None:
    view = View("u")
    replicas = [model(engine=engine(), replica=number) for number in (0, 1)]
    view.lines(status(*replicas))
    later = [
        model(engine=engine(generated_tokens=500 + 10 * number), replica=number)
        for number in (0, 1)
    ]
    lines = view.lines(status(*later, time=101.0))
    rows = [line.split() for line in lines if line.startswith("m #")]
    assert [(row[1], row[5]) for row in rows] == [("#0", "0"), ("#1", "10.0")]


def test_a_replica_that_does_not_answer() -> None:
    replicas = [{"replica": 1}, {"replica": 0, "problem": "ended by SIGKILL"}]
    told = {**status(model(replica=1)), "replicas": replicas}
    assert View("u").lines(told)[-2:] == ["", "replica 0: ended by SIGKILL"]


def test_no_models() -> None:
    assert View("u").lines(status())[-1] == "There are no models."


def test_reasons() -> None:
    bad = [model(f"bad{i}", state="LOADING", reason="no\nweights") for i in range(7)]
    lines = View("u").lines(status(*bad, ready=False, reason="7 of 7 models cannot serve"))
    assert "not ready: 7 of 7 models cannot serve" in lines[0]
    assert lines[-6] == "bad0: no weights"
    assert lines[-1] == "and 2 more models that cannot serve"


@pytest.mark.parametrize("columns", [1, 20, 40, 60, 80, 200])
def test_narrow_terminals(columns: int) -> None:
    models = [
        model("meta-llama/" + "x" * 80, engine=engine()),
        model("日本語のモデル" * 5, engine=engine(), reason="r" * 300),
        model("e\u0301\u0301", engine=engine()),
    ]
    lines = View("http://" + "h" * 100).lines(status(*models), columns, 24)
    assert max(map(text_width, lines)) <= columns
    assert len(lines) <= 24
    if columns == 40:
        titles = next(line for line in lines if line.startswith("MODEL")).split()
        assert titles == ["MODEL", "STATE", "RUN", "WAIT", "OUT/S"]
        row = next(line for line in lines if line.startswith("meta-"))
        assert row.split()[1:4] == ["available", "3", "12"]


def test_columns_stand_below_each_other() -> None:
    models = [model(name, engine=engine()) for name in ("plain", "日本", "e\u0301", "🦀")]
    lines = View("u").lines(status(*models), 80)
    table = lines[lines.index("") + 1 :]
    assert len({text_width(line) for line in table}) == 1


def test_thirty_models() -> None:
    models = [model(f"m{i:02}", requests={"total": 0, "running": i % 3}) for i in range(30)]
    lines = View("u").lines(status(*models), 80, 24)
    names = [line.split()[0] for line in lines if line.startswith("m")]
    assert len(lines) <= 24
    # Those with work to do are there, in the order of the configuration.
    assert names == sorted(names)
    assert {f"m{i:02}" for i in range(2, 30, 3)} <= set(names)
    assert lines[-1] == f"and {30 - len(names)} more models, with less to do"
    assert len(View("u").lines(status(*models))) == 3 + 1 + 30


def test_names_that_would_control_the_terminal() -> None:
    lines = View("u").lines(status(model("a\x1b[2J\nb", reason="\x1b]0;title\x07")))
    assert all(line.isprintable() for line in lines)
    assert "a?[2J?b" in lines[4]


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("abc", 5, "abc  "),
        ("abcdef", 5, "abc.."),
        ("abcdef", 3, "abc"),
        ("日本語", 6, "日本語"),
        ("日本語", 5, "日.. "),
        ("日本", 3, "日 "),
        ("e\u0301f", 3, "e\u0301f "),
    ],
)
def test_fitting(text: str, width: int, expected: str) -> None:
    assert fit(text, width) == expected
    assert text_width(expected) == width
