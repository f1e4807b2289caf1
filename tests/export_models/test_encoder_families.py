"""Text encoders that optimum-intel does not export by itself, or exports wrongly."""

import json
from pathlib import Path

import pytest
from support.made_models import make_once, run_python

ROOT = Path(__file__).resolve().parents[2]
MAKER = ROOT / "tests" / "support" / "encoder_families.py"
CODE = ROOT / "export_models" / "conversion"


@pytest.fixture(scope="module")
def families(exporters: None) -> dict[str, dict[str, float]]:
    """What support/encoder_families.py found."""
    sources = [MAKER, *CODE.glob("*architectures.py"), CODE / "nomic_bert.py"]
    folder = make_once("families", sources, lambda to: run_python(MAKER, to))
    found = json.loads((folder / "families.json").read_text())
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("family", ["modernbert", "gemma3", "nomic"])
def test_an_export_answers_as_its_source(families, family: str) -> None:
    assert families["differences"][family] < 1e-4


def test_nomic_bert_is_that_of_transformers(families) -> None:
    # transformers 5.24, NomicBertModel with the same weights; 4.57 has none.
    expected = [
        [0.113214, 1.039636, -0.958156, -0.968086],
        [0.138094, 1.022775, -0.981914, -1.034767],
        [0.138955, 1.203877, -1.270669, -1.206562],
    ]
    for found, row in zip(families["nomic"], expected, strict=True):
        assert found == pytest.approx(row, abs=1e-5)
