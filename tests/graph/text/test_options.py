import dataclasses
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, ClassVar

import pytest
from support.graph_fakes import Eviction, LlmOptions, Mode

from server.graph import UInt64, parse_graph_config
from server.graph.text.options import OptionsError, make_options, proto_name


def parse(cls: type, text: str, name: str | None = None) -> Any:
    graph = parse_graph_config(
        f'node {{ calculator: "X"\n'
        f"node_options: {{ [type.googleapis.com/{name or proto_name(cls)}] {{\n{text}\n}} }} }}",
        "g",
    )
    return make_options(cls, graph.nodes[0].options)


def problems(cls: type, text: str, name: str | None = None) -> list[str]:
    with pytest.raises(OptionsError) as caught:
        parse(cls, text, name)
    return [f"{position}: {message}" for position, message in caught.value.problems]


def test_every_kind_of_field() -> None:
    options = parse(
        LlmOptions,
        """
        models_path: "./" 'model',  # two strings make one
        plugin_config: '{ "KV_CACHE_PRECISION": "u8" }';
        enable_prefix_caching: True, dynamic_split_fuse: f
        cache_size: 0x10
        pipeline_type: LM_CB
        cache_eviction_config: { start_size: 1, recent_size: -2 max_cache_size: 3 }
        stop: ["a", "b"] stop: "\\u00e9\\n"
        """,
    )
    assert options == LlmOptions(
        models_path="./model",
        plugin_config='{ "KV_CACHE_PRECISION": "u8" }',
        enable_prefix_caching=True,
        dynamic_split_fuse=False,
        cache_size=16,
        pipeline_type=Mode.LM_CB,
        cache_eviction_config=Eviction(1, -2, 3),
        stop=("a", "b", "é\n"),
    )


def test_unset_fields_have_the_defaults_of_the_dataclass() -> None:
    assert parse(LlmOptions, 'models_path: ""') == LlmOptions(models_path="")


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("t", True), ("1", True), ("False", False), ("0", False)]
)
def test_spellings_of_booleans(text: str, value: bool) -> None:
    options = parse(LlmOptions, f'models_path: "x" enable_prefix_caching: {text}')
    assert options.enable_prefix_caching is value


@dataclass(frozen=True)
class Floats:
    scale: float = 1.0
    many: list[float] = dataclasses.field(default_factory=list)
    modes: tuple[Mode, ...] = ()
    nested: tuple[Eviction, ...] = ()


def test_floats_and_repeated_fields() -> None:
    text = (
        "scale: 1.5e-3 many: [1, 2.5] many: .5 modes: [LM, LM_CB] nested: [ "
        "{start_size: 1 recent_size: 2 max_cache_size: 3}, "
        "<start_size: 4 recent_size: 5 max_cache_size: 6> ]"
    )
    assert parse(Floats, text) == Floats(
        0.0015, [1.0, 2.5, 0.5], (Mode.LM, Mode.LM_CB), (Eviction(1, 2, 3), Eviction(4, 5, 6))
    )


def test_a_misspelt_field_has_its_place_and_close_names() -> None:
    assert problems(LlmOptions, 'models_path: "x"\n  cache_siz: 3') == [
        "4:3: unknown field 'cache_siz'; did you mean 'cache_size'?"
    ]


def test_a_field_like_no_other_lists_them() -> None:
    (problem,) = problems(LlmOptions, 'zzz: 3 models_path: "x"')
    assert "3:1: unknown field 'zzz'; possible: 'cache_eviction_config', 'cache_size'" in problem


def test_every_mistake_of_a_block_is_reported() -> None:
    found = problems(LlmOptions, 'model_path: "x"\ncache_size: -1\nenable_prefix_caching: yes')
    assert [problem.split(":")[0] for problem in found] == ["3", "4", "5"]
    assert found[1] == "4:13: cache_size: Value out of range: -1"
    assert found[2].endswith('Expected "true" or "false"; found \'yes\'')


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('models_path: "x" pipeline_type: LMCB', "unknown value 'LMCB'; did you mean 'LM_CB'"),
        ('models_path: "x" pipeline_type: 7', "no value with number 7"),
        ('models_path: "x" models_path: "y"', "field 'models_path' is given twice"),
        ("models_path: 3", "models_path: Expected string but found: '3'"),
        ('models_path: "x" cache_size: 1.5', "Couldn't parse integer: 1.5"),
        ('models_path: "x" cache_size: 99999999999999999999', "out of range"),
        ("", "mediapipe.LLMCalculatorOptions.models_path must be set"),
        (
            'models_path: "x" cache_eviction_config { start_size: 1 max_cache_size: 1 }',
            "cache_eviction_config.recent_size must be set",
        ),
        ('models_path: "x" cache_eviction_config { strt_size: 1 }', "unknown field 'strt_size'"),
    ],
)
def test_bad_values(text: str, problem: str) -> None:
    assert problem in " ".join(problems(LlmOptions, text))


def test_no_options_at_all() -> None:
    with pytest.raises(OptionsError, match="models_path must be set"):
        make_options(LlmOptions, None)
    assert make_options(Floats, None) == Floats()


def test_options_of_another_type() -> None:
    assert problems(LlmOptions, "", name="mediapipe.T2sCalculatorOptions") == [
        "2:17: options of type mediapipe.T2sCalculatorOptions; it takes "
        "mediapipe.LLMCalculatorOptions"
    ]


def test_the_same_type_name_of_two_plugins() -> None:
    def make(kind: type) -> type:
        @dataclass(frozen=True)
        class SameOptions:
            value: kind  # type: ignore[valid-type]  # differs on purpose

        SameOptions.__annotations__["value"] = kind
        return dataclasses.make_dataclass("SameOptions", [("value", kind)], frozen=True)

    first, second = make(int), make(str)
    assert proto_name(first) == proto_name(second) == "SameOptions"
    assert parse(first, "value: 1").value == 1
    assert parse(second, 'value: "1"').value == "1"


def test_a_value_that_the_dataclass_refuses() -> None:
    @dataclass(frozen=True)
    class Checked:
        size: int = 0

        def __post_init__(self) -> None:
            if self.size < 0:
                raise ValueError(f"size is {self.size}; it must be at least 0")

    assert parse(Checked, "size: 3").size == 3
    assert problems(Checked, "size: -3") == ["2:17: Checked: size is -3; it must be at least 0"]


def test_two_enums_with_the_same_member() -> None:
    class First(Enum):
        NONE = "nothing"
        SOME = "something"

    class Second(Enum):
        OTHER = 1
        NONE = 2

    cls = dataclasses.make_dataclass("Both", [("a", First), ("b", Second)])
    options = parse(cls, "a: NONE b: NONE")
    assert (options.a, options.b) == (First.NONE, Second.NONE)


@dataclass(frozen=True)
class Recursive:
    inner: "Recursive | None" = None


def test_fields_that_protobuf_cannot_have() -> None:
    @dataclass(frozen=True)
    class Fine:
        not_a_field: ClassVar[dict[str, str]] = {}
        limit: Annotated[int, "uint64"] | None = None
        size: UInt64 = 0

    assert parse(Fine, "limit: 3") == Fine(limit=3)
    for hint in (dict, bytes, int | str, tuple[int, int], list[list[int]], Any):
        cls = dataclasses.make_dataclass("Bad", [("x", hint)])
        with pytest.raises(OptionsError, match="Bad cannot be options: field 'x' is a"):
            make_options(cls, None)
    with pytest.raises(OptionsError, match="Recursive contains itself"):
        make_options(Recursive, None)


def test_overrides_come_before_what_is_written() -> None:
    graph = parse_graph_config(
        'node { calculator: "X" node_options: { [type.googleapis.com/'
        + proto_name(LlmOptions)
        + '] { models_path: "a" cache_size: 1 stop: "b" } } }',
        "g",
    )
    overrides = {
        "cache_size": 2,
        "stop": ["c", "d"],
        "pipeline_type": "LM_CB",
        "cache_eviction_config": {"start_size": 1, "recent_size": 2, "max_cache_size": 3},
        "not_here": 1,
    }
    assert make_options(LlmOptions, graph.nodes[0].options, overrides) == LlmOptions(
        models_path="a",
        cache_size=2,
        stop=("c", "d"),
        pipeline_type=Mode.LM_CB,
        cache_eviction_config=Eviction(1, 2, 3),
    )
    assert make_options(LlmOptions, None, {"models_path": "b"}).models_path == "b"


@pytest.mark.parametrize(
    "overrides",
    [{"cache_size": "x"}, {"models_path": 3}, {"stop": 5}, {"pipeline_type": "NO"}],
)
def test_an_override_of_the_wrong_type_is_named(overrides: dict[str, Any]) -> None:
    (name,) = overrides
    with pytest.raises(OptionsError, match=f"{name} cannot be set to"):
        make_options(LlmOptions, None, {"models_path": "a", **overrides})


def test_an_override_of_a_choice_says_what_is_possible() -> None:
    with pytest.raises(OptionsError, match="set to 'NO': .*; possible: 'LM', 'LM_CB'"):
        make_options(LlmOptions, None, {"models_path": "a", "pipeline_type": "NO"})
