from pathlib import Path

import pytest

from export_models.tunings import find_tunings


def write_model(folder: Path, *matrices: str) -> Path:
    layers = "".join(
        f'<layer type="Const"><data element_type="{kind}" shape="{shape}"/></layer>'
        for kind, shape in (matrix.split(" ", 1) for matrix in matrices)
    )
    other = '<layer type="Convert"><data element_type="i8" shape="64, 64"/></layer>'
    (folder / "openvino_model.xml").write_text(f"<net><layers>{layers}{other}</layers></net>")
    return folder


@pytest.mark.parametrize(
    ("matrices", "names"),
    [
        (("i8 64, 64", "f16 64, 1"), ["DYNAMIC_QUANTIZATION_GROUP_SIZE"]),
        (("u8 64, 64", "u8 64, 1"), []),
        (("f16 64, 64",), []),
        (("i8 64, 1", "i8 1, 64", "i8 "), []),
        (("i8 64, 64", "i4 64, 2, 32"), []),
    ],
)
def test_int8_weights_with_a_scale_for_each_channel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, matrices: tuple[str, ...], names: list[str]
) -> None:
    monkeypatch.setattr("export_models.tunings.has_int8_amx", lambda: True)
    model = write_model(tmp_path, *matrices)
    assert [tuning.name for tuning in find_tunings(model, "CPU")] == names
    assert not find_tunings(model, "GPU")
    monkeypatch.setattr("export_models.tunings.has_int8_amx", lambda: False)
    assert not find_tunings(model, "CPU")
