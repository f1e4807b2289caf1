import os
import subprocess
import sys
from pathlib import Path

import pytest

from export_models.conversion.converter import Converter
from export_models.conversion.progress_bars import BAR_ENVIRONMENT, Bar, find_bars
from export_models.progress import Progress
from export_models.source import Source, SourceKind
from export_models.staging import stage

NNCF = """
from nncf.common.logging.track_progress import track
for _ in track(range(4), total=4, description="Applying Smooth Quant"):
    pass
"""


def test_bars_of_nncf_in_a_file(tmp_path: Path) -> None:
    """The real ones: a later rich or NNCF may draw them otherwise."""
    log = tmp_path / "log"
    with log.open("w") as output:
        environment = {**os.environ, **BAR_ENVIRONMENT, "CI": "true"}
        subprocess.run([sys.executable, "-c", NNCF], stdout=output, env=environment, check=True)
    bars = find_bars(log.read_text())
    assert {bar.step for bar in bars} == {"smoothing the activations"}
    assert bars[-1].fraction == 1
    assert bars[-1].detail.startswith("4/4")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "\x1b[2KStatistics collection \x1b[91m━━╸\x1b[0m━━ 45% 58/128 • 0:00:30 • 0:00:40\n",
            [Bar("measuring the activations", 0.45, "58/128, 0:00:40 left")],
        ),
        ("Applying AWQ ━━ 3% 1/2 • 0:00:01 • -:--:--\n", [Bar("Applying AWQ", 0.03, "1/2")]),
        ("writing texts ━━━ 0% \n", [Bar("writing texts", 0.0, "")]),
        ("writing texts ━━━ 1%", []),
        ("INFO:nncf:3 of 5\nLoading weights:  45%|███| 3/4\n", []),
    ],
)
def test_bars_in_output(line: str, expected: list[Bar]) -> None:
    assert find_bars(line) == expected


def test_bars_of_a_tool_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("export_models.progress.HEARTBEAT_S", 0.0)
    code = "print('Applying AWQ ━━ 50% 1/2 • 0:00:01 • 0:00:07', flush=True)"
    with stage(tmp_path / "model") as staging:
        source = Source("model", SourceKind.CHECKPOINT_HUB)
        Converter(Progress()).run(["-c", code], source, staging)
    printed = capsys.readouterr().out
    assert "s] Applying AWQ\n" in printed
    assert "still running: Applying AWQ: 1/2, 0:00:07 left" in printed
