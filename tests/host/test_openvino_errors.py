"""What is shown of an error of OpenVINO."""

import pytest

from server.host.openvino_errors import error_summary


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Exception from src/a.cpp:9:\nException from src/b.cpp:7:\nno such op\n", "no such op"),
        ("Check 'a < b' failed at src/a.cpp:9:\nnode X:\n  shapes differ", "node X: shapes differ"),
        ("plain", "plain"),
        ("", "RuntimeError"),
    ],
)
def test_the_places_in_the_source_are_left_out(text: str, shown: str) -> None:
    assert error_summary(RuntimeError(text)) == shown


def test_a_check_without_a_text_is_shown_itself() -> None:
    assert error_summary(RuntimeError("Check 'a' failed at b.cpp:1:")).startswith("Check 'a'")
