"""The tables in docs/ that are made from the code.

`python tests/support/reference_tables.py` writes them anew; a test compares. What people wrote
into the last column of a table of fields stays.
"""

import argparse
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from export_models.arguments import make_parser as make_export_parser
from export_models.export_model import TASKS as EXPORT_TASKS
from server.api.monitoring.http_requests import HttpNumbers
from server.api.monitoring.node_names import node_families
from server.api.monitoring.ovms_names import OVMS_METRICS
from server.api.monitoring.vllm_metrics import VLLM_METRICS
from server.cli.chat.chat_command import make_parser as make_chat_parser
from server.cli.command_line import make_parser as make_server_parser
from server.cli.ovms_flags import REFUSED
from server.cli.top.top_command import make_parser as make_top_parser
from server.host.metrics.ovms_metrics import DEFAULT_METRICS
from server.protocol.field_rules import EMPTY, Alias, FieldRules, Hint, Refused, Rule
from server.protocol.field_table import CHAT, COMPLETIONS, REPEATED, RESPONSES, TOKENIZE
from server.protocol.openai.chat_completions import ChatCompletionFields
from server.protocol.openai.completions import CompletionFields
from server.protocol.responses.responses import ResponseFields
from server.protocol.tokenization import DetokenizeFields, TokenizeFields
from server.terminal.flag_parser import FlagParser

DOCS = Path(__file__).parents[2] / "docs"
SECTION = re.compile(r"(<!-- begin: ([\w ]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
MISSING = "(not written yet)"
# Of flags that every task of the export has.
NUM_COMMON_SECTIONS = 3
KINDS = {bool: "boolean", dict: "object", str: "string"}

GENERATION: Mapping[str, tuple[type[BaseModel], FieldRules]] = {
    "chat": (ChatCompletionFields, CHAT),
    "completions": (CompletionFields, COMPLETIONS),
    "responses": (ResponseFields, RESPONSES),
}
# Fields of a response that come back in the answer and do nothing else.
ONLY_REPEATED = {*REPEATED, "max_tool_calls"}
# What the code checks outside the JSON schema.
NARROWER = {
    ("responses", "n"): "only `1`",
    ("responses", "reasoning.summary"): "no effect",
    ("responses", "reasoning.generate_summary"): "no effect",
    ("responses", "text.verbosity"): "repeated",
    ("responses", "stream_options.continuous_usage_stats"): "only `false`",
    **{(name, "stream_options.include_obfuscation"): "no effect" for name in GENERATION},
}


def server_flags() -> set[str]:
    """Every flag of `server`."""
    return _flags_of(make_server_parser())


def chat_flags() -> set[str]:
    """Every flag of `server chat`."""
    return _flags_of(make_chat_parser())


def top_flags() -> set[str]:
    """Every flag of `server top`."""
    return _flags_of(make_top_parser())


def export_flags() -> set[str]:
    """Every flag of `export_model`, of any task."""
    return {flag for task in EXPORT_TASKS for flag in _flags_of(_export_parser(task))}


def _flags_of(parser: FlagParser) -> set[str]:
    return {flag for action in parser._actions for flag in action.option_strings}


def _export_parser(task: str) -> FlagParser:
    parser = make_export_parser(f"export_model {task}", "", "")
    import_module(f"export_models.{task}").add_flags(parser)
    return parser


def server_flag_tables() -> Iterator[str]:
    for name, section in make_server_parser().sections.items():
        if name != "ovms":
            yield f"### {section.title}\n"
            yield f"`server --help {name}`\n"
            yield from _flag_table(section._group_actions)
            yield ""


def chat_flag_table() -> Iterator[str]:
    yield from _flag_table(make_chat_parser().flags)


def top_flag_table() -> Iterator[str]:
    yield from _flag_table(make_top_parser().flags)


def export_flag_tables() -> Iterator[str]:
    known: set[str] = set()
    for task in EXPORT_TASKS:
        for name, section in _export_parser(task).sections.items():
            if name in known:  # the sections of all tasks come first
                continue
            if len(known) >= NUM_COMMON_SECTIONS:
                yield f"### {task}: {section.title}\n"
            else:
                known.add(name)
                yield f"### {section.title}\n"
            yield from _flag_table(section._group_actions)
            yield ""


def ovms_flag_tables() -> Iterator[str]:
    yield "| flag | why it has no effect |"
    yield "|---|---|"
    for action in make_server_parser().sections["ovms"]._group_actions:
        if action.help != argparse.SUPPRESS:
            reason = (action.help or "").removeprefix("No effect: ").rstrip(".")
            yield f"| `{action.option_strings[0]}` | {_escape(reason)} |"
    yield ""
    yield "| flag | why it is refused |"
    yield "|---|---|"
    yield from (f"| `{flag}` | {reason} |" for flag, reason in REFUSED.items())


def _flag_table(actions: Sequence[argparse.Action]) -> Iterator[str]:
    yield "| flag | meaning |"
    yield "|---|---|"
    for action in actions:
        if action.help == argparse.SUPPRESS:
            continue
        value = f" {action.metavar}" if action.metavar and action.nargs != 0 else ""
        flags = ", ".join(f"`{flag}{value}`" for flag in action.option_strings)
        text = _escape(action.help or "")
        choices = [str(choice) for choice in action.choices or ()]
        if not {*choices} <= {*re.findall(r"\w+", text)}:
            possible = ", ".join(f"`{choice}`" for choice in choices)
            text = f"{text.rstrip('.')}. Possible: {possible}."
        yield f"| {flags} | {text} |"


def _escape(text: str) -> str:
    """Asterisks and bars mean something in Markdown."""
    return text.replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;")


def generation_fields(meanings: Mapping[str, str]) -> Iterator[str]:
    """The matrix of request fields."""
    yield "| field | chat | completions | responses | values | meaning |"
    yield "|---|---|---|---|---|---|"
    cells = {name: _cells(name, *found) for name, found in GENERATION.items()}
    names = {field for found in cells.values() for field in found}
    for field in sorted(names):
        classes = [cells[name].get(field, ("-", ""))[0] for name in GENERATION]
        values = _join({name: cells[name][field][1] for name in cells if field in cells[name]})
        row = [f"`{field}`", *classes, values, _meaning(field, meanings)]
        yield f"| {' | '.join(row)} |"


def _meaning(field: str, meanings: Mapping[str, str]) -> str:
    """What the code says of a field that has no effect anywhere, else what people wrote."""
    found = [rules.rules[field] for _, rules in GENERATION.values() if field in rules.rules]
    if any(field in model.model_fields for model, _ in GENERATION.values()):
        return meanings.get(field, MISSING)
    return next(map(_words, found), meanings.get(field, MISSING))


def _words(rule: Rule) -> str:
    match rule:
        case Hint(meaning=meaning):
            return meaning
        case Refused(reason=reason):
            return reason
        case Alias(name=name):
            return f"another server's name of `{name}`"


def tokenize_fields(meanings: Mapping[str, str]) -> Iterator[str]:
    yield "| field | tokenize | detokenize | values | meaning |"
    yield "|---|---|---|---|---|"
    tokenize = _cells("tokenize", TokenizeFields, TOKENIZE)
    detokenize = _cells("detokenize", DetokenizeFields, FieldRules({}))
    for field in sorted({*tokenize, *detokenize}):
        classes = [cells.get(field, ("-", ""))[0] for cells in (tokenize, detokenize)]
        values = (tokenize.get(field) or detokenize[field])[1]
        rule = TOKENIZE.rules.get(field)
        meaning = meanings.get(field, MISSING) if rule is None else _words(rule)
        row = [f"`{field}`", *classes, values, meaning]
        yield f"| {' | '.join(row)} |"


def _cells(endpoint: str, model: type[BaseModel], rules: FieldRules) -> dict[str, tuple[str, str]]:
    """Field -> what the endpoint does with it, and which values it takes."""
    schema = model.model_json_schema()
    definitions = schema.get("$defs", {})
    cells: dict[str, tuple[str, str]] = {}
    for name, info in model.model_fields.items():
        values = _values(schema["properties"][name], definitions)
        kind = "required" if info.is_required() else "yes"
        if endpoint == "responses" and name in ONLY_REPEATED:
            kind = "repeated"
        kind = NARROWER.get((endpoint, name), kind)
        cells[name] = kind, values
        inner = _inner_model(schema["properties"][name], definitions)
        for part, part_schema in inner.get("properties", {}).items():
            kind = NARROWER.get((endpoint, f"{name}.{part}"), "yes")
            cells[f"{name}.{part}"] = kind, _values(part_schema, definitions)
    for name, rule in rules.rules.items():
        match rule:
            case Hint(kind=kind):
                cells[name] = "no effect", "" if kind is None else KINDS[kind]
            case Alias(name=other):
                cells[name] = f"as `{other}`", ""
            case Refused(neutral=neutral):
                only = " or ".join(f"`{_json(value)}`" for value in neutral)
                is_narrow = only and neutral is not EMPTY
                cells[name] = (f"only {only}" if is_narrow else "refused"), ""
    return cells


def _join(values: Mapping[str, str]) -> str:
    """What all endpoints take; by endpoint where they differ."""
    found = {name: text for name, text in values.items() if text}
    if len(set(found.values())) <= 1:
        return next(iter(found.values()), "")
    return "; ".join(f"{name}: {text}" for name, text in found.items())


def _json(value: object) -> str:
    text = json.dumps(value)
    return text.strip('"') if len(text) > 2 else text


def _inner_model(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    for option in (schema, *schema.get("anyOf", ())):
        if "$ref" in option:
            found: Mapping[str, Any] = definitions[option["$ref"].rpartition("/")[2]]
            return found
    return {}


def _values(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """A JSON schema in a few words; null is possible everywhere and not said."""
    if "$ref" in schema:
        return "object"
    if "anyOf" in schema:
        # A range beside the options is the narrower one.
        outer = {key: value for key, value in schema.items() if key != "anyOf"}
        words = (_values({**option, **outer}, definitions) for option in schema["anyOf"])
        return " or ".join(dict.fromkeys(word for word in words if word))
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        return " or ".join(f"`{_json(value)}`" for value in values if value is not None)
    kind = schema.get("type")
    if kind == "array":
        inner = _values(schema.get("items", {}), definitions)
        return f"list of {inner}" if inner else "list"
    if kind in {"integer", "number"}:
        return f"{kind}{_range(schema)}"
    return kind or "" if kind != "null" else ""


def _range(schema: Mapping[str, Any]) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if "exclusiveMinimum" in schema:
        return f" above {schema['exclusiveMinimum']:g}"
    # Ends that only keep huge numbers out say nothing to a reader.
    if low in (None, -(2**31)):
        return ""
    return f" from {low}" if high is None or high >= 2**31 - 1 else f" {low} to {high}"


def generate(name: str, old: str) -> str:
    """The text of a section; `old` has the meanings that people wrote."""
    makers = {
        "server flags": lambda _: server_flag_tables(),
        "chat flags": lambda _: chat_flag_table(),
        "top flags": lambda _: top_flag_table(),
        "export flags": lambda _: export_flag_tables(),
        "flags of OVMS": lambda _: ovms_flag_tables(),
        "request fields": generation_fields,
        "tokenizer fields": tokenize_fields,
        "metrics of engines": lambda _: engine_metrics_table(),
        "metrics of graphs and HTTP": lambda _: graph_metrics_table(),
        "metrics of OVMS": lambda _: ovms_metrics_table(),
    }
    return "\n" + "\n".join(makers[name](_meanings(old))).rstrip() + "\n\n"


def engine_metrics_table() -> Iterator[str]:
    """The metrics of models with an engine."""
    yield "| metric | kind | meaning |"
    yield "|---|---|---|"
    yield (
        "| `vllm:cache_config_info` | gauge | always 1; its labels have `block_size`, "
        "`num_gpu_blocks` and `enable_prefix_caching` |"
    )
    yield (
        "| `vllm:lora_requests_info` | gauge | the time; its labels have `running_lora_adapters` "
        "and `waiting_lora_adapters`, names separated by commas, and `max_lora`, how many are "
        "loaded |"
    )
    for metric in VLLM_METRICS:
        label = f"; label `{metric.label}`" if metric.label else ""
        yield f"| `{metric.name}` | {metric.kind} | {_sentence(metric.description)}{label} |"


def graph_metrics_table() -> Iterator[str]:
    """The metrics of graphs, nodes and HTTP requests."""
    yield "| metric | kind | meaning |"
    yield "|---|---|---|"
    for family in (*node_families(()), *HttpNumbers().families()):
        yield f"| `{family.name}` | {family.kind} | {_sentence(family.description)} |"


def ovms_metrics_table() -> Iterator[str]:
    """Model Server's metrics."""
    yield "| metric | kind | by default | meaning |"
    yield "|---|---|---|---|"
    for name, (kind, description) in OVMS_METRICS.items():
        is_default = "yes" if name in DEFAULT_METRICS else "no"
        yield f"| `{name}` | {kind} | {is_default} | {_sentence(description)} |"


def _sentence(text: str) -> str:
    return text if text[1].isupper() else text[0].lower() + text[1:]


def _meanings(table: str) -> dict[str, str]:
    rows = (re.split(r"(?<!\\)\|", line) for line in table.splitlines() if line.startswith("| `"))
    return {cells[1].strip(" `"): cells[-2].strip() for cells in rows}


def rewrite(page: Path) -> str:
    """The text of a page with its sections made anew."""
    return SECTION.sub(
        lambda found: found[1] + generate(found[2], found[3]) + found[4],
        page.read_text(encoding="utf-8"),
    )


if __name__ == "__main__":
    for path in sorted(DOCS.glob("*.md")):
        path.write_text(rewrite(path), encoding="utf-8")
