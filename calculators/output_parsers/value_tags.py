"""The tags around names, keys and values of a family that writes no JSON."""

from dataclasses import dataclass

from calculators.output_parsers.output_parser import ArgumentFrame, CallFrame

__all__ = ["ValueTags"]


@dataclass(frozen=True, slots=True)
class ValueTags:
    """The tags of a family.

    A call is `call_begin`, the name, `name_end`, the arguments and `call_end`; the first argument
    ends the name, too. Calls may stand between `begin` and `end`. An argument is `key_begin`, the
    key, `key_end`, `value_begin`, the value and `value_end`. With `has_lines` a line break on
    either side of the value does not belong to it. In the text between `key_begin` and `key_end`,
    `string_mark` and `other_mark` behind the key say whether the value is a string. With
    `has_cdata` a value may be in a section `<![CDATA[...]]>` of XML, and then is a string.
    """

    call_begin: str
    name_end: str
    call_end: str
    key_begin: str
    key_end: str
    value_end: str
    value_begin: str = ""
    begin: str = ""
    end: str = ""
    has_lines: bool = False
    string_mark: str = ""
    other_mark: str = ""
    has_cdata: bool = False

    def frame(self, *, is_pair: bool = False) -> CallFrame:
        """The frame of calls; with `is_pair` each has `begin` and `end` of its own."""
        begin = f"{self.begin}\n" if self.begin else ""
        end = f"\n{self.end}" if self.end else ""
        margin = "\n" if self.has_lines else ""
        between = f"\n{self.value_begin}" if self.value_begin else margin
        after_value = f"{margin}{self.value_end}\n"
        return CallFrame(
            begin="" if is_pair else begin,
            before_name=f"{begin if is_pair else ''}{self.call_begin}",
            before_arguments=self.name_end.rstrip() + "\n",
            after_arguments=f"{self.call_end}{end if is_pair else ''}",
            between="\n",
            end="" if is_pair else end,
            argument=ArgumentFrame(
                before_key=self.key_begin,
                before_value=f"{self.other_mark}{self.key_end}{between}",
                after_value=after_value,
                before_string=f"{self.string_mark}{self.key_end}{between}",
                after_string=after_value,
            ),
        )

    @property
    def all(self) -> tuple[str, ...]:
        """Every tag behind which a value may end."""
        tags = (self.key_begin, self.call_end, self.end, self.call_begin, self.begin)
        return tuple(dict.fromkeys(filter(None, tags)))
