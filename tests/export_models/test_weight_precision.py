from pathlib import Path

import pytest

from export_models.weight_precision import weight_precision


def write_model(folder: Path, *matrices: str) -> Path:
    layers = "".join(
        f'<layer type="Const"><data element_type="{kind}" shape="{shape}"/></layer>'
        for kind, shape in (matrix.split(" ", 1) for matrix in matrices)
    )
    other = '<layer type="Convert"><data element_type="i4" shape="64, 64"/></layer>'
    path = folder / "openvino_model.xml"
    path.write_text(f"<net><layers>{layers}{other}</layers></net>")
    return path


@pytest.mark.parametrize(
    ("matrices", "bits"),
    [
        (("i8 64, 64", "f16 64, 1"), 8),
        (("u8 64, 64", "f16 64, 64"), 8),
        (("f16 64, 64",), 16),
        (("i8 64, 1", "i8 1, 64", "i8 "), 32),
        (("i8 64, 64", "i4 64, 2, 32"), 4),
    ],
)
def test_the_coarsest_matrices_count(tmp_path: Path, matrices: tuple[str, ...], bits: int) -> None:
    assert weight_precision(write_model(tmp_path, *matrices)) == bits
