"""The error for a request value that cannot be used."""

import re
from typing import NoReturn

from server.errors import InvalidRequestError, describe_value

__all__ = ["refuse_value"]


def refuse_value(where: str, expected: str, found: object, param: str | None = None) -> NoReturn:
    """Raise InvalidRequestError for the value at `where`, as in "messages[0].role must be …".

    `param` is the request field that the error names, if it is not the first name of `where`.
    """
    field = param or re.split(r"[.\[]", where, maxsplit=1)[0]
    raise InvalidRequestError(f"{where} {expected}, found {describe_value(found)}", field)
