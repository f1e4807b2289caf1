import json

import pytest
from support.parsing import Parsed, parse, parse_all_ways

BEGIN, END = "<|tool_call>", "<tool_call|>"


@pytest.mark.parametrize(
    ("arguments", "read"),
    [
        ("{}", {}),
        ('{city:<|"|>Paris<|"|>}', {"city": "Paris"}),
        ('{ a:42 , b:-1.5,c:true,d:null }', {"a": 42, "b": -1.5, "c": True, "d": None}),
        ('{o:{i:<|"|>{x},:]<|"|>},l:[<|"|>a "b" \\<|"|>,1,[]]}',
         {"o": {"i": "{x},:]"}, "l": ['a "b" \\', 1, []]}),
        ('{"a key":"x, y",\'b\':\'it\\\'s\',c:\'it\'s\'}',
         {"a key": "x, y", "b": "it's", "c": "it's"}),
        ("{url:https://example.com/?a=b&c=d,time:10:30}",
         {"url": "https://example.com/?a=b&c=d", "time": "10:30"}),
        ("{city:Paris, France,days:3,x:1 < 2}", {"city": "Paris, France", "days": 3, "x": "1 < 2"}),
        ("{l:[a b,'c, d',-1,None],o:{p:q,r:{}},t:'tis so}",
         {"l": ["a b", "c, d", -1, None], "o": {"p": "q", "r": {}}, "t": "'tis so"}),
        ('{<|"|>a key<|"|>:<|"|>日本\n<|"|>,1:bare word}', {"a key": "日本\n", "1": "bare word"}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("end", [END, ""])
def test_a_call(arguments, read, end):
    parsed = parse_all_ways(f"Look:\n{BEGIN}call:get-it.now{arguments}{end}", "gemma4")
    assert parsed.content == "Look:"
    ((name, text),) = parsed.calls
    assert (name, json.loads(text)) == ("get-it.now", read)


def test_several_calls():
    text = f"{BEGIN}call:f{{}}{END}{BEGIN}call:g{{a:1}}{END}"
    assert parse_all_ways(text, "gemma4") == Parsed(calls=[("f", "{}"), ("g", '{"a":1}')])


@pytest.mark.parametrize(
    "inside",
    ["", "call:f", "f{}", "call:{}", "call:f{a}", "call:f{a:}", "call:f{a:1", "call:f{a:1}x",
     'call:f{a:<|"|>x}', "call:f{}}", "call:f{a:[1}"],
)  # fmt: skip
def test_what_is_no_call_is_content(inside):
    text = f"{BEGIN}{inside}{END}"
    assert parse_all_ways(text, "gemma4") == Parsed(text)


def test_objects_nested_without_end():
    text = f"{BEGIN}call:f{{a:{'[' * 100_000}}}{END}"
    assert parse([text], "gemma4") == Parsed(text)


def test_reasoning():
    text = f"<|channel>thought\nHm.\n<channel|>{BEGIN}call:f{{}}{END}"
    assert parse_all_ways(text, "gemma4", "gemma4") == Parsed("", "Hm.", [("f", "{}")])
    assert parse_all_ways("<|channel>thought\n<channel|>Hi", "none", "gemma4") == Parsed("Hi")
    parsed = parse_all_ways("Hm.<channel|>Hi", "none", "gemma4", prompt="<|channel>thought\n")
    assert parsed == Parsed("Hi", "Hm.")
