"""demos/benchmark/encoders.py: real rounds on tiny models, and the table."""

from pathlib import Path

import encoder_contenders
import encoders
import pytest
from support.made_models import make_once


@pytest.fixture(scope="session")
def build_folder(exporters: None) -> Path:
    """A tiny decoder, made and exported as the script does it."""

    def make(to: Path) -> None:
        source = encoders.make_source(encoders.SHAPES["tiny-qwen3"], to / "tiny-qwen3")
        encoders.export(source, "LAST", "int8", to / "models")

    sources = [Path(module.__file__) for module in (encoders, encoder_contenders)]
    return make_once("encoders", sources, make)


async def test_rounds_of_a_decoder(build_folder: Path) -> None:
    flags = ["--shape", "tiny-qwen3", "--shared_tokens", "64", "--num_streams", "[2]"]
    sizes = ["--rounds", "1", "--requests", "6", "--clients", "3"]
    args = encoders.parse_arguments([*flags, *sizes, "--build_folder", str(build_folder)])
    contenders = encoders.find_contenders(args)
    assert [one.name for one in contenders] == ["server", "openvino-genai, 2 streams"]
    measured = await encoders.measure(contenders, args)
    assert all(rounds[0]["requests_per_s"] > 0 for rounds in measured.values())
    lines = encoders.render(measured).splitlines()
    assert lines[2].endswith("| 1.00 (1.00 - 1.00) |")
    assert len(lines) == 4


def test_texts_begin_alike_and_go_on_differently() -> None:
    texts = encoders.make_texts(128, 64, 5, seed=1)
    assert {len(text.split()) for text in texts} == {126}
    assert len({text[:127] for text in texts}) == 1
    assert len(set(texts)) == 5
