"""Small chat templates, each with a peculiarity that is common among published ones."""

# Copies any role; knows tool calls with arguments as an object.
GENERIC = """\
{%- for m in messages -%}
<{{ m.role }}>{{ m.content or '' }}
{%- for call in m.tool_calls or [] -%}
[{{ call.function.name }}({{ call.function.arguments | tojson }})]
{%- endfor -%}
{%- endfor -%}
{%- if add_generation_prompt %}<assistant>{% endif -%}
"""

# Shows three roles and drops all others without a word.
THREE_ROLES = """\
{%- for m in messages -%}
{%- if m.role in ('system', 'user', 'assistant') -%}<{{ m.role }}>{{ m.content }}{%- endif -%}
{%- endfor -%}
"""

# Refuses roles that do not alternate, and knows no system message, as Gemma 2.
ALTERNATING = """\
{%- if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif -%}
{%- for m in messages -%}
{%- if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('alternate') }}{% endif -%}
<{{ m.role }}>{{ m.content }}
{%- endfor -%}
"""

# One system message, at the beginning.
FIRST_SYSTEM = """\
{%- for m in messages -%}
{%- if m.role == 'system' and not loop.first %}{{ raise_exception('system first') }}{% endif -%}
<{{ m.role }}>{{ m.content }}
{%- endfor -%}
"""

# Takes the last system message for the only one, as DeepSeek R1; tests content for none.
LAST_SYSTEM = """\
{%- set ns = namespace(system='') -%}
{%- for m in messages -%}
{%- if m.role == 'system' %}{% set ns.system = m.content %}{% endif -%}
{%- endfor -%}
{{ ns.system }}
{%- for m in messages -%}
{%- if m.role == 'assistant' and m.content is none -%}
{%- for call in m.tool_calls -%}
<call>{{ call.function.name + ' ' + call.function.arguments }}
{%- endfor -%}
{%- elif m.role != 'system' -%}
<{{ m.role }}>{{ m.content }}
{%- endif -%}
{%- endfor -%}
"""

# Needs a text beside tool calls, refuses a second call and ids of other lengths than nine.
STRICT_CALLS = """\
{%- for m in messages -%}
<{{ m.role }}>{{ m.content + '' }}
{%- if 'tool_calls' in m -%}
{%- if m.tool_calls | length != 1 %}{{ raise_exception('one call') }}{% endif -%}
{%- set call = m.tool_calls[0] -%}
{%- if call.id | length != 9 %}{{ raise_exception('id') }}{% endif -%}
[{{ call.id }} {{ call.function.name }}
{%- for name, value in call.function.arguments | items %} {{ name }}={{ value }}{% endfor %}]
{%- endif -%}
{%- if m.role == 'tool' and m.tool_call_id | length != 9 %}{{ raise_exception('id') }}{% endif -%}
{%- endfor -%}
"""

# Takes content only as a list of parts.
PARTS = """\
{%- for m in messages -%}
<{{ m.role }}>{% for part in m.content %}{{ part.text }}{% endfor -%}
{%- endfor -%}
"""

# Reads earlier reasoning from `thinking`, and has a form of its own for developer messages.
THINKING = """\
{%- for m in messages -%}
<{{ 'instructions' if m.role == 'developer' else m.role }}>
{%- if m.thinking is defined %}({{ m.thinking }}){% endif %}{{ m.content }}
{%- endfor -%}
"""

# Counts users and answers, which must alternate, but not calls and their results, as Mistral's.
ALTERNATING_CALLS = """\
{%- set ns = namespace(num=0) -%}
{%- for m in messages -%}
{%- if m.role == 'user' or (m.role == 'assistant' and not m.tool_calls) -%}
{%- if (m.role == 'user') != (ns.num % 2 == 0) %}{{ raise_exception('alternate') }}{% endif -%}
{%- set ns.num = ns.num + 1 -%}
{%- endif -%}
<{{ m.role }}>{{ m.content or '' }}
{%- for call in m.tool_calls or [] %}[{{ call.function.arguments | tojson }}]{% endfor -%}
{%- endfor -%}
"""

# Writes the system message into the last message, if that is the user's; wants answers with text.
SYSTEM_LAST = """\
{%- set system = messages[0].content if messages[0].role == 'system' else '' -%}
{%- for m in messages -%}
{%- if m.role == 'user' -%}
<user>{{ system + '; ' if loop.last and system }}{{ m.content }}
{%- elif m.role != 'system' -%}
{%- if not (m.content or m.tool_calls) %}{{ raise_exception('text or calls') }}{% endif -%}
<{{ m.role }}>{{ m.content or '' }}
{%- for call in m.tool_calls or [] %}[{{ call.function.arguments | items | list }}]{% endfor -%}
{%- endif -%}
{%- endfor -%}
"""

# Takes tools only with a description and parameters.
FULL_TOOLS = """\
{%- for tool in tools or [] -%}
{{ tool.function.name + ': ' + tool.function.description }}
{%- for name, schema in tool.function.parameters.properties | items %} {{ name }}{% endfor %};
{%- endfor -%}
{%- for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}
"""

# Fails without a list of tools.
NEEDS_TOOLS = """\
{%- for tool in tools %}{{ tool.function.name }} {% endfor -%}
{%- for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor -%}
"""

# Drops the text of a message with tool calls; cannot print the type null, or a parameter without
# a description; refuses a result of no call, and an assistant that begins.
DEMANDING = """\
{%- macro type_of(name) -%}
{%- if name is string and name in ('string', 'object') -%}{{ name }}
{%- else -%}{% for part in name %}{{ type_of(part) }}{% endfor %}{%- endif -%}
{%- endmacro -%}
{%- if tools %}{{ tools | map(attribute='type') | tojson }}{% endif -%}
{%- for tool in tools or [] -%}
{%- for name, key in tool.function.parameters.properties | items -%}
[{{ name }} {{ type_of(key.type) }} {{ key.description + '' }}]
{%- endfor -%}
{%- endfor -%}
{%- set ns = namespace(calls=false) -%}
{%- for m in messages -%}
{%- if loop.first and m.role == 'assistant' %}{{ raise_exception('user first') }}{% endif -%}
{%- if m.role == 'tool' and not ns.calls %}{{ raise_exception('no call') }}{% endif -%}
{%- if m.tool_calls -%}
{%- set ns.calls = true -%}
{%- for call in m.tool_calls %}[{{ call.function.arguments | tojson }}]{% endfor -%}
{%- else -%}
{%- if m.role != 'tool' %}{% set ns.calls = false %}{% endif -%}
<{{ m.role }}>{{ m.content }}
{%- endif -%}
{%- endfor -%}
"""
