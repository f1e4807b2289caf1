"""JSON schemas of fields that take several forms.

Pydantic does not check them: the endpoints do, with better messages.
"""

from typing import Annotated, Any

from pydantic import WithJsonSchema

__all__ = [
    "ChatMessages",
    "EarlyStopping",
    "Prompt",
    "ResponseFormat",
    "ResponseInput",
    "SchemaOrText",
    "StopStrings",
    "StructuredOutputs",
    "TextFormat",
    "ToolChoice",
    "Tools",
]

Json = dict[str, Any]

STRING: Json = {"type": "string"}
OBJECT: Json = {"type": "object"}
TEXT: Json = {"type": "string", "minLength": 1}
TOKEN_IDS: Json = {
    "type": "array",
    "items": {"type": "integer", "minimum": 0, "maximum": 2**31 - 1},
    "minItems": 1,
}


def _list_of(item: Json, min_items: int = 0) -> Json:
    return {"type": "array", "items": item, "minItems": min_items}


def _object(required: list[str], **properties: Json) -> Json:
    return {"type": "object", "required": required, "properties": properties}


def _any_of(*schemas: Json) -> Json:
    return {"anyOf": [*schemas]}


def _text_part(*kinds: str) -> Json:
    return _object(["type", "text"], type={"enum": [*kinds]}, text=STRING)


CHAT_MESSAGE = _object(
    ["role"],
    role=STRING,
    content=_any_of(
        STRING,
        _list_of(
            _any_of(
                _text_part("text"),
                _object(["type", "refusal"], type={"const": "refusal"}, refusal=STRING),
            )
        ),
        {"type": "null"},
    ),
)
RESPONSE_CONTENT = _any_of(STRING, _list_of(_text_part("input_text", "output_text")))
RESPONSE_MESSAGE = _object(
    ["role", "content"],
    type={"const": "message"},
    role={"enum": ["user", "assistant", "system", "developer"]},
    content=RESPONSE_CONTENT,
)
FUNCTION_CALL = _object(
    ["type", "call_id", "name", "arguments"],
    type={"const": "function_call"},
    call_id=STRING,
    name=STRING,
    arguments=STRING,
)
FUNCTION_CALL_OUTPUT = _object(
    ["type", "call_id", "output"],
    type={"const": "function_call_output"},
    call_id=STRING,
    output=RESPONSE_CONTENT,
)
REASONING = _object(
    ["type"],
    type={"const": "reasoning"},
    content=_list_of(_text_part("reasoning_text")),
    summary=_list_of(_text_part("summary_text")),
)
FUNCTION: dict[str, Json] = {"name": TEXT, "parameters": OBJECT}
TOOL = _any_of(
    _object(
        ["type", "function"], type={"const": "function"}, function=_object(["name"], **FUNCTION)
    ),
    _object(["type", "name"], type={"const": "function"}, **FUNCTION),
)
PLAIN_FORMAT = _object(["type"], type={"enum": ["text", "json_object"]})
STRUCTURAL_TAG = _object(["type"], type={"const": "structural_tag"}, format=OBJECT)
JSON_SCHEMA = _object(["schema"], schema=OBJECT, name=STRING)

ChatMessages = Annotated[list[Any], WithJsonSchema(_list_of(CHAT_MESSAGE, min_items=1))]
EarlyStopping = Annotated[Any, WithJsonSchema({"enum": [True, False, "never"]})]
Prompt = Annotated[
    Any,
    WithJsonSchema(
        _any_of(TEXT, TOKEN_IDS, _list_of(TEXT, min_items=1), _list_of(TOKEN_IDS, min_items=1))
    ),
]
ResponseInput = Annotated[
    Any,
    WithJsonSchema(
        _any_of(
            TEXT,
            _list_of(
                _any_of(RESPONSE_MESSAGE, FUNCTION_CALL, FUNCTION_CALL_OUTPUT, REASONING),
                min_items=1,
            ),
        )
    ),
]
SchemaOrText = Annotated[Any, WithJsonSchema(_any_of(OBJECT, STRING))]
StopStrings = Annotated[Any, WithJsonSchema(_any_of(STRING, _list_of(STRING)))]
StructuredOutputs = Annotated[
    Any,
    WithJsonSchema(
        _any_of(
            _object(["json"], json=_any_of(OBJECT, STRING)),
            _object(["regex"], regex=STRING),
            _object(["choice"], choice=_list_of(TEXT, min_items=1)),
            _object(["grammar"], grammar=STRING),
            _object(["json_object"], json_object={"const": True}),
            _object(["structural_tag"], structural_tag=_any_of(OBJECT, STRING)),
        )
    ),
]
Tools = Annotated[list[Any], WithJsonSchema(_list_of(TOOL))]
ToolChoice = Annotated[Any, WithJsonSchema(_any_of({"enum": ["auto", "none", "required"]}, OBJECT))]
ResponseFormat = Annotated[
    Any,
    WithJsonSchema(
        _any_of(
            PLAIN_FORMAT,
            STRUCTURAL_TAG,
            _object(
                ["type", "json_schema"], type={"const": "json_schema"}, json_schema=JSON_SCHEMA
            ),
        )
    ),
]
TextFormat = Annotated[
    Any,
    WithJsonSchema(
        _any_of(
            PLAIN_FORMAT,
            _object(["type", "schema"], type={"const": "json_schema"}, schema=OBJECT, name=STRING),
            {"type": "null"},
        )
    ),
]
