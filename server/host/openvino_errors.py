"""What an error of OpenVINO says."""

import re

__all__ = ["error_summary"]

_PLACE = re.compile(r"(Caught exception: )?Exception from \S+:\d+:|Check '.*' failed at \S+:\d+:")


def error_summary(error: BaseException | str) -> str:
    """The message of an error or a log in one line, without the places in OpenVINO's source."""
    lines = (_PLACE.sub("", line).strip() for line in str(error).splitlines())
    return " ".join(line for line in lines if line) or str(error).strip() or type(error).__name__
