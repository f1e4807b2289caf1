"""Flags in two spellings, switches, and help in parts."""

import pytest

from server.terminal.flag_parser import FlagParser, HelpFlag, Switch


def make_parser(*basics: str) -> FlagParser:
    parser = FlagParser(
        prog="tool", usage="tool [FLAGS]", description="It does.", usage_status=9, basics=basics
    )
    add = parser.add_section("first", "The first part")
    add("--some_size", metavar="N", help="How large. More about it.")
    add("--other-size", choices=["a", "b"], help="The other.")
    add = parser.add_section("second", "The second part")
    add("--on", action=Switch, help="Turn it on.")
    add("-h", "--help", action=HelpFlag, help="Show help.")
    return parser


@pytest.mark.parametrize(
    "arguments",
    [
        ["--some_size", "1", "--other_size", "a", "--on"],
        ["--some-size=1", "--other-size=a", "--on=true"],
        ["--on", "t", "--some-size", "1", "--other_size=a"],
    ],
)
def test_two_spellings(arguments: list[str]) -> None:
    values, leftovers = make_parser().parse_known_args(arguments)
    assert (values.some_size, values.other_size, values.on, leftovers) == ("1", "a", True, [])


@pytest.mark.parametrize(
    ("arguments", "is_on", "leftovers"),
    [
        (["--on", "x"], True, ["x"]),
        (["--on", "false", "x"], False, ["x"]),
        (["x", "--on"], True, ["x"]),
        (["--", "--on"], False, ["--", "--on"]),
    ],
)
def test_a_switch_takes_only_its_own_words(
    arguments: list[str], is_on: bool, leftovers: list[str]
) -> None:
    values, found = make_parser().parse_known_args(arguments)
    assert (values.on, found) == (is_on, leftovers)


def test_a_value_is_never_respelled() -> None:
    values, _ = make_parser().parse_known_args(["--some-size=--other-size"])
    assert values.some_size == "--other-size"


@pytest.mark.parametrize(
    ("leftovers", "problem"),
    [
        (["--some_sise", "2"], "unknown flag --some_sise; did you mean '--some_size'"),
        (["--some-sise"], "unknown flag --some-sise; did you mean '--some_size'"),
        (["x"], "unexpected argument 'x'"),
    ],
)
def test_what_is_unknown(
    leftovers: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        make_parser().refuse_unknown(leftovers)
    assert exit_.value.code == 9
    assert problem in capsys.readouterr().err


def help_of(capsys: pytest.CaptureFixture[str], parser: FlagParser, *arguments: str) -> str:
    with pytest.raises(SystemExit) as exit_:
        parser.parse_known_args(arguments)
    assert exit_.value.code == 0
    return capsys.readouterr().out


def test_help_shows_the_basics_in_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of(capsys, make_parser("--some_size", "--help"), "--help")
    assert "\n  --some_size N                 How large\n" in text
    assert "\n  --help second                 The second part\n" in text
    assert "--other-size" not in text
    assert "More about it" not in text


@pytest.mark.parametrize("basics", [("--some_size",), ()])
def test_help_of_everything(basics: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of(capsys, make_parser(*basics), "--help", "all")
    for words in ("The first part:", "More about it.", "--other-size {a,b}", "--on", "It does."):
        assert words in text
    if not basics:
        assert help_of(capsys, make_parser(), "-h") == text


def test_help_of_a_section(capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of(capsys, make_parser("--on"), "--help", "second")
    assert "--on" in text
    assert "--some_size" not in text


def test_help_of_no_section(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        make_parser().parse_known_args(["--help", "frist"])
    assert exit_.value.code == 9
    assert "possible: first, second, all; did you mean 'first'?" in capsys.readouterr().err
