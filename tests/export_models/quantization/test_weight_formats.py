import pytest

from export_models.quantization.weight_formats import (
    resolve_weight_format,
    weight_flags,
)


@pytest.mark.parametrize(
    ("device", "has_amx", "extra_params", "resolved"),
    [
        ("CPU", True, (), "int8_sym"),
        ("CPU", False, (), "int8_asym"),
        ("GPU", True, (), "int8_asym"),
        ("CPU", True, ("--num-samples", "1"), "int8"),
    ],
)
def test_int8_is_the_form_for_this_machine(
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    has_amx: bool,
    extra_params: tuple[str, ...],
    resolved: str,
) -> None:
    monkeypatch.setattr("export_models.quantization.weight_formats.has_int8_amx", lambda: has_amx)
    assert resolve_weight_format("int8", device, extra_params) == resolved


@pytest.mark.parametrize(
    ("device", "extra_params", "resolved"),
    [("CPU", (), "int4_sym"), ("GPU", (), "int4_asym"), ("CPU", ("--ratio", "0.8"), "int4")],
)
def test_int4_has_no_zero_points_on_a_cpu(
    device: str, extra_params: tuple[str, ...], resolved: str
) -> None:
    assert resolve_weight_format("int4", device, extra_params) == resolved


@pytest.mark.parametrize("weight_format", ["fp16", "int8_sym", "int8_asym"])
def test_a_form_that_is_named_holds_on_every_machine(weight_format: str) -> None:
    assert resolve_weight_format(weight_format, "GPU", ("--sym",)) == weight_format


def test_flags_of_optimum() -> None:
    assert weight_flags("int8_sym") == ("--weight-format", "int8", "--sym")
    assert weight_flags("int4") == ("--weight-format", "int4")
    assert set(weight_flags("int4_sym")) - set(weight_flags("int4_asym")) == {"--sym"}
    assert weight_flags("int8_asym") == weight_flags("int8") == ("--weight-format", "int8")
    assert weight_flags("fp16") == weight_flags("fp32") == ("--weight-format", "fp32")
