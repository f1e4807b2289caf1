from pathlib import Path

import pytest

from server.host.cpu_features import has_int8_amx, has_vnni, model_name


@pytest.mark.parametrize(
    ("flags", "features"),
    [
        ("fpu avx512_vnni amx_bf16 amx_tile amx_int8", (True, True)),
        ("fpu avx512_vnni amx_bf16 amx_tile", (False, True)),
        ("fpu avx2 avx_vnni", (False, True)),
        ("fpu avx2 avx512f", (False, False)),
        ("amx_int8_ish", (False, False)),
    ],
)
def test_features_are_read_from_the_flags(
    tmp_path: Path, flags: str, features: tuple[bool, bool]
) -> None:
    cpu_info = tmp_path / "cpuinfo"
    cpu_info.write_text(f"processor\t: 0\nbugs\t: amx_int8\nflags\t\t: {flags}\n\n")
    assert (has_int8_amx(cpu_info), has_vnni(cpu_info)) == features


def test_the_name_is_that_of_the_first_processor(tmp_path: Path) -> None:
    cpu_info = tmp_path / "cpuinfo"
    cpu_info.write_text("model\t\t: 85\nmodel name\t: A  CPU @ 2 GHz\nmodel name\t: B\n")
    assert model_name(cpu_info) == "A CPU @ 2 GHz"


def test_a_system_without_cpu_info_has_no_features_and_no_name(tmp_path: Path) -> None:
    assert not has_int8_amx(tmp_path / "cpuinfo")
    assert not has_vnni(tmp_path / "cpuinfo")
    assert model_name(tmp_path / "cpuinfo") == ""
