from server.errors import did_you_mean


def test_close_names() -> None:
    assert did_you_mean("ecko", ["echo", "other"]) == "; did you mean 'echo'?"
    assert did_you_mean("far", ["echo"]) == ""


def test_a_huge_name_is_compared_with_nothing() -> None:
    assert did_you_mean("x" * 1001, ["x" * 1000]) == ""
