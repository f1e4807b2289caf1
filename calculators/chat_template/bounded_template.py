"""Templates that the server renders itself: those whose cost a small conversation bounds.

A template is code of others, and most of what Jinja can do may take for ever; such templates are
left to render_process.py. Admitted are only operations whose time and result are in proportion to
their operands, in combinations that let no value grow further. What repeats them is loops alone,
and these are counted while they run.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.runtime import Context

from calculators.chat_template.sandbox import NOW, Sandbox

__all__ = ["BoundedTemplate", "find_bounded"]

MAX_SOURCE_CHARACTERS = 2**16
MAX_TEXT_CHARACTERS = 2**16
# How deep statements and expressions are nested. Each level may copy the texts within it.
MAX_DEPTH = 30
# A simple operation costs 1: a microsecond at most. Others take as much longer with a text, a list
# or an object of 2,000 characters.
MAX_COST = 20_000
JOINING_COST, SEARCHING_COST, WRITING_COST, INDENTING_COST = 10, 50, 50, 500
MAX_CONSTANT_CHARACTERS = 2000
MAX_PATTERN_CHARACTERS = 64
MAX_INDENT = 8

PLAIN = (
    *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.If, nodes.Break, nodes.Continue),
    *(nodes.Assign, nodes.NSRef, nodes.Name, nodes.Const, nodes.Getattr, nodes.Getitem),
    *(nodes.Slice, nodes.And, nodes.Or, nodes.Not, nodes.CondExpr, nodes.Operand, nodes.Sub),
    *(nodes.Neg, nodes.Mod, nodes.Keyword),
)
JOINING = (nodes.Add, nodes.Concat)
TESTS = frozenset(
    [
        *("defined", "undefined", "none", "true", "false", "boolean", "integer", "number"),
        *("string", "mapping", "sequence", "iterable"),
    ]
)
FILTERS = frozenset(
    ["trim", "length", "count", "first", "last", "list", "items", "default", "tojson"]
)
METHODS = frozenset(
    [
        *("strip", "lstrip", "rstrip", "split", "startswith", "endswith"),
        *("get", "items", "keys", "values"),
    ]
)
# Templates and clients cannot write these names.
COUNTED, METER = "counted items", "the meter"


class _UnboundedError(Exception):
    """The template has something that is not admitted, or does too much."""


def find_bounded(source: str, special_tokens: Mapping[str, str]) -> "BoundedTemplate | None":
    """The template, if it is known to be bounded, which many are not."""
    try:
        _require(len(source) <= MAX_SOURCE_CHARACTERS)
        _require(sum(map(len, special_tokens.values())) <= MAX_CONSTANT_CHARACTERS)
        return BoundedTemplate(source)
    # Parser and compiler raise many kinds, for what is nested too deeply, say.
    except Exception:
        return None


class BoundedTemplate:
    """A template that takes a few milliseconds at most for variables of 2,000 characters."""

    def __init__(self, source: str) -> None:
        environment = _Environment()
        tree = environment.parse(source)
        self._cost = _cost_of(tree)
        _check_namespaces(tree)
        tree.set_environment(environment)
        code = environment.compile(tree)
        self._template = jinja2.Template.from_code(environment, code, environment.make_globals({}))

    def render(self, variables: Mapping[str, Any], now: datetime) -> str | None:
        """The text; None where only a process can make it, or can tell what is wrong."""
        pieces = []
        try:
            meter = _Meter(MAX_COST)
            meter.spend(self._cost)
            num_left = MAX_TEXT_CHARACTERS
            for piece in self._template.generate(variables, **{NOW: now, METER: meter}):
                num_left -= len(piece)
                if num_left < 0:
                    return None
                pieces.append(piece)
        # A template is code: what it makes of unexpected messages can raise anything.
        except Exception:
            return None
        return "".join(pieces)


class _Meter:
    def __init__(self, cost: int) -> None:
        self._left = cost

    def spend(self, cost: int) -> None:
        self._left -= cost
        if self._left < 0:
            raise _UnboundedError


class _Environment(Sandbox):
    intercepted_binops = Sandbox.intercepted_binops | {"%"}

    def __init__(self) -> None:
        super().__init__()
        self.filters[COUNTED] = _count_items

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        # With a text it is a format, which may ask for any width.
        if operator == "%" and not isinstance(left, int):
            raise _UnboundedError
        return super().call_binop(context, operator, left, right)


@jinja2.pass_context
def _count_items(context: Context, value: Any, cost: int) -> list[Any]:
    items = list(value)
    meter: _Meter = context[METER]
    meter.spend(cost * len(items))
    return items


def _cost_of(node: nodes.Node, depth: int = 0) -> int:
    """The cost of all in a node, each loop counted once. Lets the loops count their turns.

    Raises _UnboundedError for what is not admitted.
    """
    _require(depth <= MAX_DEPTH)
    _check(node)
    cost = _own_cost(node)
    cost += sum(_cost_of(child, depth + 1) for child in node.iter_child_nodes())
    if isinstance(node, nodes.For):
        counting = [nodes.Const(cost)]
        node.iter = nodes.Filter(node.iter, COUNTED, counting, [], None, None, lineno=node.lineno)
    return cost


def _own_cost(node: nodes.Node) -> int:
    match node:
        case nodes.Filter(kwargs=[_, *_]):
            return INDENTING_COST
        case nodes.Filter() | nodes.Call():
            return WRITING_COST
        case nodes.Concat(nodes=values):
            return WRITING_COST * len(values)
        case nodes.Add():
            return JOINING_COST
        case nodes.Compare() if _is_search(node):
            return SEARCHING_COST
    return 1


def _check(node: nodes.Node) -> None:
    match node:
        case nodes.For():
            _require(not node.recursive and _keeps_size(node.iter))
        case nodes.Assign():
            _require(_keeps_size(node.node))
        case nodes.Const(value=str(value)):
            _require(len(value) <= MAX_CONSTANT_CHARACTERS)
        case nodes.Getattr():
            _require(not node.attr.startswith("_"))
        case nodes.Tuple() | nodes.List():
            is_target = isinstance(node, nodes.Tuple) and node.ctx == "store"
            _require(is_target or all(isinstance(item, nodes.Const) for item in node.items))
        case nodes.Test():
            _require(node.name in TESTS and not node.args and not node.kwargs)
        case nodes.Compare():
            _require(not _is_search(node) or _is_short_search(node))
        case nodes.Filter():
            _check_filter(node)
        case nodes.Call():
            _check_call(node)
        case _:
            _require(isinstance(node, (*PLAIN, *JOINING)))


def _is_search(node: nodes.Compare) -> bool:
    return any(operand.op in ("in", "notin") for operand in node.ops)


def _is_short_search(node: nodes.Compare) -> bool:
    """Whether a value is searched for a short constant, or a few constants for a value."""
    values = [operand.expr for operand in node.ops]
    is_in_constants = isinstance(values[0], nodes.List | nodes.Tuple)
    is_pattern = _is_pattern(node.expr) and _keeps_size(values[0])
    return len(values) == 1 and (is_in_constants or is_pattern)


def _check_filter(node: nodes.Filter) -> None:
    _require(node.name in FILTERS and node.node is not None and _keeps_size(node.node))
    _require(node.dyn_args is None and node.dyn_kwargs is None)
    if node.name == "tojson":
        _require(not node.args and all(map(_is_admitted_option, node.kwargs)))
    else:
        _require(node.name == "default" or not node.args)
        _require(all(map(_keeps_size, node.args)) and not node.kwargs)


def _check_call(node: nodes.Call) -> None:
    _require(node.dyn_args is None and node.dyn_kwargs is None)
    match node.node:
        case nodes.Name(name="namespace"):
            _require(not node.args and all(map(_keeps_size, node.kwargs)))
        case nodes.Name(name="strftime_now"):
            _require(not node.kwargs and all(map(_is_pattern, node.args)))
        case nodes.Name(name="raise_exception"):
            pass
        case nodes.Getattr(node=value, attr=name):
            _require(name in METHODS and not node.kwargs and _keeps_size(value))
            _require(all(map(_is_pattern, node.args)))
        case _:
            raise _UnboundedError


def _check_namespaces(tree: nodes.Template) -> None:
    """Let namespaces hold values only, and nothing hold a namespace: they would be a tree."""
    made = [each for each in tree.find_all(nodes.Assign) if _makes_namespace(each.node)]
    num_calls = sum(map(_makes_namespace, tree.find_all(nodes.Call)))
    names = {each.target.name for each in made if isinstance(each.target, nodes.Name)}
    _require(len(made) == num_calls and not any(isinstance(m.target, nodes.NSRef) for m in made))
    members = [each for each in tree.find_all(nodes.Getattr) if _is_name(each.node, names)]
    loads = [each for each in tree.find_all(nodes.Name) if each.ctx == "load"]
    _require(len(members) == sum(_is_name(each, names) for each in loads))


def _makes_namespace(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Call) and _is_name(node.node, {"namespace"})


def _is_name(node: nodes.Node, names: set[str]) -> bool:
    return isinstance(node, nodes.Name) and node.name in names


def _keeps_size(node: nodes.Node) -> bool:
    """Whether the value is not larger than a variable or a constant."""
    return not any(
        not isinstance(inner, nodes.Filter) or inner.name == "tojson"
        for inner in _with_inner(node, (*JOINING, nodes.Filter))
    )


def _with_inner(node: nodes.Node, kinds: tuple[type[nodes.Node], ...]) -> Iterator[nodes.Node]:
    if isinstance(node, kinds):
        yield node
    yield from node.find_all(kinds)


def _is_pattern(node: nodes.Node) -> bool:
    value = node.value if isinstance(node, nodes.Const) else None
    return isinstance(node, nodes.Const) and len(str(value)) <= MAX_PATTERN_CHARACTERS


def _is_admitted_option(keyword: nodes.Node) -> bool:
    assert isinstance(keyword, nodes.Keyword)
    value = keyword.value.value if isinstance(keyword.value, nodes.Const) else None
    if keyword.key == "indent":
        return isinstance(value, int) and value <= MAX_INDENT
    return keyword.key in ("ensure_ascii", "sort_keys") and isinstance(value, bool)


def _require(is_admitted: bool) -> None:
    if not is_admitted:
        raise _UnboundedError
