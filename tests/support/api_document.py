"""What /openapi.json says about an answer, compared with the answer."""

import re
from typing import Any

from jsonschema import Draft202012Validator

Document = dict[str, Any]


def check_answer(
    document: Document, method: str, path: str, status: int, media_type: str, body: Any
) -> None:
    """Assert that the status is documented for the path, and the body as the schema has it."""
    answers = find_answers(document, method, path)
    if answers is None:
        assert status in (404, 405), f"{method} {path} is not documented"
        return
    answer = answers.get(str(status), answers.get("default"))
    assert answer is not None, f"{method} {path} has an undocumented status {status}"
    content = answer.get("content", {})
    if media_type in content:
        root = {**content[media_type]["schema"], "components": document["components"]}
        Draft202012Validator(root).validate(body)
    else:
        assert "*/*" in content, f"{method} {path} has undocumented content {media_type}"


def find_answers(document: Document, method: str, path: str) -> dict[str, Any] | None:
    """The documented answers of a path; None where it is none of the documented ones."""
    path = path.partition("?")[0]
    # Paths without parameters first, as the routes are.
    for template, operations in sorted(document["paths"].items(), key=lambda item: "{" in item[0]):
        pattern = re.sub(r"\\\{\w+\\\}", ".+", re.escape(template))
        if method.lower() in operations and re.fullmatch(pattern, path):
            found: dict[str, Any] = operations[method.lower()]["responses"]
            return found
    return None
