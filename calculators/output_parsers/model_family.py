"""What a plug-in registers under the name of a family of models."""

from typing import ClassVar

from calculators.output_parsers.output_parser import ReasoningParser, ToolParser

__all__ = ["ModelFamily"]


class ModelFamily:
    """How a family of models writes tool calls and reasoning. Subclass it and state the fields.

    The name of its entry point, in the group `server.output_parsers`, is the value of the options
    `tool_parser` and `reasoning_parser` that chooses the family. The first line of the class
    docstring is what `server --list_calculators` shows.

    Where the options are not set, the chat template decides. The family is taken for tool calls
    if the template has all the texts of one of the `template_marks`; if several families match,
    the one with more texts wins. Its reasoning parser is taken as well, if the template has one of
    the `reasoning_marks` or there are none. A family without `template_marks` is taken for
    reasoning by its `reasoning_marks` alone.
    """

    tool_parser: ClassVar[type[ToolParser] | None] = None
    reasoning_parser: ClassVar[type[ReasoningParser] | None] = None
    template_marks: ClassVar[tuple[tuple[str, ...], ...]] = ()
    reasoning_marks: ClassVar[tuple[str, ...]] = ()
    is_generic: ClassVar[bool] = False
    """Templates of other families have the same marks: this one is taken after all others."""
    is_inseparable: ClassVar[bool] = False
    """The two parsers work only together, so the options must choose both or neither."""
    aliases: ClassVar[tuple[str, ...]] = ()
    """Other names that the options may have, as other servers call the family."""

    @classmethod
    def count_marks(cls, template: str) -> int:
        """How many texts of the best match are in a chat template; 0 if none matches."""
        matches = (m for m in cls.template_marks if all(text in template for text in m))
        return max(map(len, matches), default=0)

    @classmethod
    def has_reasoning(cls, template: str) -> bool:
        """Whether models with this chat template, of this family, reason."""
        if cls.reasoning_parser is None:
            return False
        return not cls.reasoning_marks or any(mark in template for mark in cls.reasoning_marks)
