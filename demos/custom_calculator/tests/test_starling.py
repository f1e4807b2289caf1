from calculators.output_parsers import OutputFormat, ParsedOutput
from server.payloads import GenerationRequest, TokenizedPrompt

TOOLS = ({"type": "function", "function": {"name": "look_up"}},)
ANSWER = '<plan>Look.</plan>One moment. <call>{"name": "look_up", "arguments": {"a": 1}}</call>'


def test_an_answer_is_split_however_it_is_cut() -> None:
    chosen = OutputFormat.choose("starling", "starling", template="")
    request = GenerationRequest("1", messages=({"role": "user", "content": "?"},), tools=TOOLS)
    for place in range(len(ANSWER)):
        output = ParsedOutput()
        parser = chosen.start(TokenizedPrompt(request, (1,), ""), output)
        assert parser is not None
        for piece in (ANSWER[:place], ANSWER[place:]):
            parser.feed(piece)
        parser.finish()
        output.finish()
        found = output.take()
        assert (found.content, found.reasoning) == ("One moment.", "Look.")
        (call,) = found.tool_calls
        assert (call.name, call.arguments) == ("look_up", '{"a": 1}')


def test_a_chat_template_with_its_marks_chooses_it() -> None:
    chosen = OutputFormat.choose("", "", template="... <call> ...")
    assert str(chosen) == "tool_parser starling, reasoning_parser starling"
