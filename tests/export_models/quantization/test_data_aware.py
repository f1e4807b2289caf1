import pytest

from export_models.quantization import data_aware
from export_models.quantization.data_aware import check_data_flags
from server.errors import ExportError


@pytest.mark.parametrize("flag", ["--scale-estimation", "--gptq", "--lora-correction"])
def test_what_needs_texts_is_refused_without_any(flag: str) -> None:
    with pytest.raises(ExportError, match=f"{flag} compares .* needs --dataset: auto"):
        check_data_flags(["--ratio", "1.0", flag])
    check_data_flags([flag, "--dataset", "auto"])
    check_data_flags([flag, "--dataset=auto"])


def test_what_needs_no_texts() -> None:
    check_data_flags([])
    check_data_flags(["--awq", "--ratio", "0.8"])


@pytest.mark.parametrize("words", [("--dataset", "wikitext2"), ("--awq", "--dataset=wikitext2")])
def test_a_data_set_needs_its_package(
    monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.setattr(data_aware.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ExportError, match="--dataset wikitext2 is downloaded .* pip install data"):
        check_data_flags(words)
