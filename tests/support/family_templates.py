"""How the chat template of each family writes tool calls, reduced to that."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2.sandbox import ImmutableSandboxedEnvironment

__all__ = ["REASONING", "TOOL_CALLS", "write_calls"]

_LIST = '[{% for c in calls %}{"name": "{{ c.name }}", "arguments": {{ c.arguments | tojson }}}'
_LIST += '{{ ", " if not loop.last }}{% endfor %}]'
_HERMES = "{% for c in calls %}{{ '\n' if not loop.first }}<tool_call>\n"
_HERMES += '{"name": "{{ c.name }}", "arguments": {{ c.arguments | tojson }}}\n</tool_call>'
_HERMES += "{% endfor %}"
_XML = "{% for k, v in c.arguments.items() %}<parameter={{ k }}>{{ nl }}"
_XML += "{{ v | tojson if v is mapping or v is sequence and v is not string else v }}"
_XML += "{{ nl }}</parameter>\n{% endfor %}</function>\n"
_DSML = "{% for k, v in c.arguments.items() %}"
_DSML += '<｜DSML｜parameter name="{{ k }}" string="{{ "true" if v is string else "false" }}">'
_DSML += "{{ v if v is string else v | tojson }}</｜DSML｜parameter>\n{% endfor %}"
_DSML = '{% for c in calls %}<｜DSML｜invoke name="{{ c.name }}">\n' + _DSML
_DSML += "</｜DSML｜invoke>\n{% endfor %}"
_GEMMA = """{%- macro write(v, top) -%}
{%- if v is string %}<|"|>{{ v }}<|"|>{% elif v is boolean or v is none %}{{ v | tojson }}
{%- elif v is mapping %}{{ '{' }}{% for k, i in v | dictsort %}{{ ',' if not loop.first }}
{{- k if top else '<|"|>' ~ k ~ '<|"|>' }}:{{ write(i, False) }}{% endfor %}{{ '}' }}
{%- elif v is sequence %}[{% for i in v %}{{ ',' if not loop.first }}{{ write(i, False) }}
{%- endfor %}]{% else %}{{ v }}{% endif %}{%- endmacro -%}
{%- for c in calls %}<|tool_call>call:{{ c.name }}{{ write(c.arguments, True) }}<tool_call|>
{%- endfor %}"""
_PYTHON = "{% for c in calls %}{{ between if not loop.first }}{{ c.name }}("
_PYTHON += "{% for k, v in c.arguments.items() %}{{ ', ' if not loop.first }}{{ k }}="
_PYTHON += "{{ quote ~ v ~ quote if quote and v is string else v | tojson if v is mapping"
_PYTHON += " or v is string else v }}{% endfor %}){% endfor %}"

TOOL_CALLS = {
    "cohere": "<|START_ACTION|>[\n{% for c in calls %}"
    '    {"tool_call_id": "{{ loop.index0 }}", "tool_name": "{{ c.name }}", '
    '"parameters": {{ c.arguments | tojson }}}{{ "," if not loop.last }}\n{% endfor %}'
    "]<|END_ACTION|>",
    "deepseek_v3": "<｜tool▁calls▁begin｜>{% for c in calls %}{{ '\n' if not loop.first }}"
    "<｜tool▁call▁begin｜>function<｜tool▁sep｜>{{ c.name }}\n```json\n{{ c.arguments | tojson }}"
    "\n```<｜tool▁call▁end｜>{% endfor %}<｜tool▁calls▁end｜>",
    "deepseek_v31": "<｜tool▁calls▁begin｜>{% for c in calls %}<｜tool▁call▁begin｜>{{ c.name }}"
    "<｜tool▁sep｜>{{ c.arguments | tojson }}<｜tool▁call▁end｜>{% endfor %}<｜tool▁calls▁end｜>",
    "deepseek_v32": f"\n\n<｜DSML｜function_calls>\n{_DSML}</｜DSML｜function_calls>",
    "deepseek_v4": f"\n\n<｜DSML｜tool_calls>\n{_DSML}</｜DSML｜tool_calls>",
    "devstral": "{% for c in calls %}[TOOL_CALLS]{{ c.name }}[ARGS]{{ c.arguments | tojson }}"
    "{% endfor %}",
    "ernie45": _HERMES,
    "functionary_v31": "{% for c in calls %}<function={{ c.name }}>{{ c.arguments | tojson }}"
    "</function>{% endfor %}",
    "functionary_v32": "{% for c in calls %}>>>{{ c.name }}\n{{ c.arguments | tojson }}"
    "{% endfor %}",
    "gemma4": _GEMMA,
    "glm45": "{% for c in calls %}\n<tool_call>{{ c.name }}\n"
    "{% for k, v in c.arguments.items() %}<arg_key>{{ k }}</arg_key>\n"
    "<arg_value>{{ v if v is string else v | tojson }}</arg_value>\n{% endfor %}</tool_call>"
    "{% endfor %}",
    "gptoss": "{% for c in calls %}<|start|>assistant to=functions.{{ c.name }}"
    "<|channel|>commentary json<|message|>{{ c.arguments | tojson }}<|call|>{% endfor %}",
    "granite": f"<|tool_call|>{_LIST}",
    "granite4": _HERMES,
    "hermes3": _HERMES,
    "hunyuan_a13b": f"<tool_calls>{_LIST}</tool_calls>",
    "internlm": "{% for c in calls %}<|action_start|><|plugin|>\n"
    '{"name": "{{ c.name }}", "parameters": {{ c.arguments | tojson }}}<|action_end|>\n'
    "{% endfor %}",
    "kimi_k2": "<|tool_calls_section_begin|>{% for c in calls %}<|tool_call_begin|>functions."
    "{{ c.name }}:{{ loop.index0 }}<|tool_call_argument_begin|>{{ c.arguments | tojson }}"
    "<|tool_call_end|>{% endfor %}<|tool_calls_section_end|>",
    "lfm2": "<|tool_call_start|>[{% set quote, between = \"'\", ', ' %}"
    f"{_PYTHON}]<|tool_call_end|>",
    "llama3": '{% for c in calls %}{{ "; " if not loop.first }}{"name": "{{ c.name }}", '
    '"parameters": {{ c.arguments | tojson }}}{% endfor %}',
    "minicpm5": "{% for c in calls %}{{ '\n' if not loop.first }}"
    '<function name="{{ c.name }}">{% for k, v in c.arguments.items() %}'
    '<param name="{{ k }}">{% if v is string and ("<" in v or "&" in v or "\n" in v) %}'
    "<![CDATA[{{ v }}]]>{% else %}{{ v if v is string else v | tojson }}{% endif %}</param>"
    "{% endfor %}</function>{% endfor %}",
    "minimax_m2": "\n<minimax:tool_call>\n{% for c in calls %}"
    '<invoke name="{{ c.name }}">\n{% for k, v in c.arguments.items() %}'
    '<parameter name="{{ k }}">{{ v if v is string else v | tojson }}</parameter>\n{% endfor %}'
    "</invoke>\n{% endfor %}</minimax:tool_call>",
    "mistral": "[TOOL_CALLS][{% for c in calls %}"
    '{"name": "{{ c.name }}", "arguments": {{ c.arguments | tojson }}, "id": "abcdefghi"}'
    '{{ ", " if not loop.last }}{% endfor %}]',
    "nemotron": f"<TOOLCALL>{_LIST}</TOOLCALL>",
    "olmo3": f"<function_calls>\n{{% set quote, between = '', '\n' %}}{_PYTHON}\n</function_calls>",
    "phi4": f"functools{_LIST}",
    "pythonic": f"[{{% set quote, between = '', ', ' %}}{_PYTHON}]",
    "qwen3coder": "{% set nl = '\n' %}{% for c in calls %}\n<tool_call>\n"
    f"<function={{{{ c.name }}}}>\n{_XML}</tool_call>{{% endfor %}}",
    "seed_oss": "{% set nl = '' %}{% for c in calls %}\n<seed:tool_call>\n"
    f"<function={{{{ c.name }}}}>\n{_XML}</seed:tool_call>{{% endfor %}}",
    "xlam": _LIST,
}

REASONING = {
    "cohere": ("<|START_THINKING|>", "<|END_THINKING|>"),
    "gemma4": ("<|channel>thought\n", "\n<channel|>"),
    "gptoss": ("<|channel|>analysis<|message|>", "<|end|>"),
    "seed_oss": ("<seed:think>", "</seed:think>\n"),
    "mistral": ("[THINK]", "[/THINK]"),
    "devstral": ("[THINK]", "[/THINK]"),
}


def write_calls(family: str, calls: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """Tool calls as the template of the family writes them."""
    environment = ImmutableSandboxedEnvironment(keep_trailing_newline=True)
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    template = environment.from_string(TOOL_CALLS[family])
    return template.render(calls=[{"name": n, "arguments": a} for n, a in calls])
