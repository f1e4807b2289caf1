import pytest

from export_models.quantization.quantization_flags import QuantizationFlags
from server.errors import ExportError


def test_flags() -> None:
    assert QuantizationFlags.parse([]) == QuantizationFlags(False, None, 0.5)
    words = ["--sym", "--num-samples", "7", "--smooth-quant-alpha=-1"]
    assert QuantizationFlags.parse(words) == QuantizationFlags(True, 7, -1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--ratio", "1.0"), "unrecognized arguments: --ratio 1.0"),
        (("--num-samples", "0"), "argument --num-samples: must be a number from 1"),
        (("--num-samples",), "argument --num-samples: expected one argument"),
        (("--smooth-quant-alpha", "1.5"), "must be above 0, at most 1, or -1 (off), found '1.5'"),
        (("--smooth-quant-alpha", "nan"), "must be above 0"),
    ],
)
def test_flags_that_mean_nothing_here(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(ExportError) as caught:
        QuantizationFlags.parse(words)
    assert message in str(caught.value)
