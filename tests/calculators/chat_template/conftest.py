from typing import Any

import pytest

from calculators.chat_template.chat_template import ChatTemplate
from server.payloads import ChatOptions


@pytest.fixture
def render() -> Any:
    """Renders messages with a template; keyword arguments are members of ChatOptions."""

    def run(
        source: str, messages: Any, tools: Any = (), template_kwargs: Any = None, **options: Any
    ) -> str:
        template = ChatTemplate({"default": source}, {}, "test")
        return template.render(messages, tools, template_kwargs, ChatOptions(**options))

    return run


@pytest.fixture
def traits_of() -> Any:
    """What the probe finds out about a template."""

    def run(source: str) -> Any:
        return ChatTemplate({"default": source}, {}, "test").traits["default"]

    return run
