import pytest

from server.errors import InvalidRequestError, OverloadedError, copy_error, did_you_mean


def test_close_names() -> None:
    assert did_you_mean("ecko", ["echo", "other"]) == "; did you mean 'echo'?"
    assert did_you_mean("far", ["echo"]) == ""


def test_a_huge_name_is_compared_with_nothing() -> None:
    assert did_you_mean("x" * 1001, ["x" * 1000]) == ""


@pytest.mark.parametrize(
    "error",
    [
        InvalidRequestError("too long", "prompt"),
        OverloadedError("full", "queue", 5),
        OSError(5, "io"),
    ],
    ids=repr,
)
def test_a_copy_of_an_error_says_the_same_and_has_a_traceback_of_its_own(error: Exception) -> None:
    error.__cause__ = ValueError("why")
    copied = copy_error(error)
    assert (type(copied), str(copied), vars(copied)) == (type(error), str(error), vars(error))
    assert copied.__cause__ is error.__cause__
    with pytest.raises(type(error)):
        raise copied
    assert (error.__traceback__, copied.__traceback__ is None) == (None, False)
