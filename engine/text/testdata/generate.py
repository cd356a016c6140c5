"""Writes dialect.json: small templates as Python's jinja2 renders them, set up
the way Hugging Face's transformers does. With jinja2 3.1: python3 generate.py > dialect.json"""
import json
from jinja2 import TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

CONTEXT = {
    "messages": [
        {"role": "system", "content": "Be \"good\" & it's <b>fine</b>\n"},
        {"role": "user", "content": " héllo 你好 😀 ", "n": 1},
        {"role": "assistant", "content": [{"type": "text", "text": "a"}, {"type": "image"}], "extra": {}},
    ],
    "one": [{"role": "user", "content": "x"}],
    "empty": [],
    "d": {"zeta": 1, "Alpha": [1, 2.5, -0.0, 1e20, 1e-7, 12345678901234567890], "m": {"k": True, "j": None}, "items": "shadow", "e": {}, "l": []},
    "s": "  The quick, brown fox  ",
    "q": "it's \"x\" \\ \t\r\n\u00ad\u200b\u0007 é 😀",
    "n": 7,
    "f": 2.0,
    "yes": True,
    "no": False,
}

TEMPLATES = [
    # conditional expressions
    "{{ (1 if yes else 2) }}{{ (1 if no else 2) }}{{ 'a' if yes }}{{ 'a' if no }}|",
    "{{ 'x' ~ ('a' if n == 7 else 'b') ~ ('c' if n > 7 else 'd' if n > 6 else 'e') }}",
    "{% set x = 'a' if n > 7 else 'b' if n == 7 else 'c' %}{{ x }}{{ ['a' if yes else 'b', 'c' if no else 'd'] }}",
    "{{ {'k': 'v' if yes else 'w'}['k'] }}{{ (s.strip() if s is string else '').split(',')[-1] }}",
    "{% for m in messages if m.role != ('user' if yes else 'none') %}{{ m.role }};{% endfor %}",
    "{% if (n if yes else 0) == 7 %}ok{% endif %}{{- (' t' if (1 if yes else 0) else ' u') -}} z",
    "{{ ('' if yes else 'x') ~ '|' ~ (0 if yes else 1) }}",
    "{%- set y = (messages[0].content if messages[0].role == 'system' else '') -%}[{{ y }}]",
    # indices and slices
    "{{ messages[-1].role }}{{ messages[-2]['role'] }}{{ messages[-3].role }}{{ one[-1].role }}|{{ one[-2] }}|{{ empty[-1] }}",
    "{{ 'a'.split(',')[-1] }}{{ messages[1:][-1].role }}{{ messages[:-1] | length }}{{ messages[::-1][0].role }}{{ messages[1:2][0].role }}",
    "{{ s[2:5] }}|{{ s[::-1] }}|{{ 'héllo'[1:3] }}|{{ 'abc'[0] }}|{{ 'abc'[-1] }}",
    # printing
    "{{ messages }}", "{{ d }}", "{{ q }}", "{{ [yes, 1.0, 'a', n] }}", "{{ yes }} {{ f }} {{ 1.5 }} {{ n }} {{ [] }} {{ {} }}",
    "{{ undefined }}|{{ messages[0].nothing }}|{{ d.m.k }}",
    # tojson
    "{{ d | tojson }}", "{{ d | tojson(indent=2) }}", "{{ messages | tojson(indent=4) }}", "{{ q | tojson }}", "{{ 'é😀' | tojson(ensure_ascii=true) }}",
    "{{ d | tojson(sort_keys=true) }}", "{{ [1, {'a': []}] | tojson(separators=[',', ':']) }}", "{{ none | tojson }}{{ yes | tojson }}{{ {} | tojson }}{{ [] | tojson(indent=2) }}",
    # dicts
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "{% for k in d %}{{ k }},{% endfor %}", "{% for k, v in d | items %}{{ k }},{% endfor %}",
    "{{ d.keys() | list }}{{ d.m.values() | list }}{{ d.get('zeta') }}{{ d.get('no', 'dflt') }}{{ d['zeta'] }}{{ d.m['k'] }}",
    "{{ d | length }}", "{{ (s ~ '!').strip() }}{{ (n + 1) }}{{ (d.m).k }}{{ ('a' ~ 'b').upper() == 'AB' }}{{ (s | trim).startswith('The') }}", "{{ 'zeta' in d }}{{ 'x' not in d }}{{ 'k' in d.m }}",
    "{% for k, v in d.m | dictsort %}{{ k }}{{ v is none }} {% endfor %}", "{{ 'full' if d.e else 'empty' }}{{ 'full' if messages[2].extra else 'empty' }}",
    # strings
    "[{{ s.strip() }}][{{ s.lstrip() }}][{{ s.rstrip() }}][{{ s | trim }}][{{ 'xxaxx'.strip('x') }}][{{ 'xya'.lstrip('yx') }}][{{ ' \n\ta\n '.lstrip() }}]",
    "{{ s.split() }}{{ s.split(',') }}{{ 'a,b,c'.split(',', 1) }}{{ 'a b  c '.split(maxsplit=1) }}{{ 'a,b,c'.rsplit(',', 1) }}{{ ' a b c'.rsplit(None, 1) }}{{ ''.split() }}{{ ''.split(',') }}",
    "{{ 'abab'.replace('a', 'x') }}{{ 'abab'.replace('a', 'x', 1) }}{{ 'abab' | replace('b', '') }}{{ 'abab'.count('ab') }}{{ 'abc'.find('c') }}",
    "{{ s.strip().startswith('The') }}{{ s.strip().endswith(('dog', 'fox')) }}{{ s.strip() == 'The quick, brown fox' }}{{ 'a'.upper() == 'A' }}",
    "{{ 'a b'.title() }}{{ 'ABC'.lower() }}{{ 'abc' | upper }}{{ 'abc' | capitalize }}{{ ','.join(['a', 'b']) }}{{ 'x'.isdigit() }}{{ '7'.isdigit() }}",
    "{{ 'pre-x'.removeprefix('pre-') }}{{ 'x.py'.removesuffix('.py') }}{{ 'a\nb' | indent(2) }}{{ 'a\nb' | indent(2, true) }}",
    "{{ 'fox' in s }}{{ '<think>' not in s }}{{ 'a' ~ 1 ~ true }}",
    "{% for c in 'hé你' %}{{ c }}.{% endfor %}{{ 'hé' | list }}{{ 'hé' | length }}{{ 'hé' | reverse }}{{ [3, 1, 2] | reverse | list }}",
    "{{ '%s has %d' | format('x', 2) }}{{ 'q' * 3 }}{{ 'a' + 'b' }}",
    # filters on lists
    "{{ messages | map(attribute='role') | join('/') }}{{ messages | map(attribute='role') | list }}{{ [1, 2] | join(', ') }}{{ messages | first | length }}",
    "{{ messages | selectattr('role', 'equalto', 'user') | list | length }}{{ messages | rejectattr('role', 'equalto', 'user') | map(attribute='role') | list }}{{ messages | selectattr('n', 'defined') | list | length }}",
    "{{ [3, 1, 2] | sort }}{{ [1, 1, 2] | unique | list }}{{ [1, 2, 3] | sum }}{{ [3, 1] | min }}{{ [3, 1] | max }}{{ ['b', 'a'] | sort | first }}{{ [1, 2] | last }}",
    "{{ ['a', 'code'] | reject('equalto', 'code') | join(', ') }}{{ [0, 1, 2] | select | list }}{{ ['b', 'A'] | map('upper') | list }}{{ ['x'] | map('upper') | first == 'X' }}",
    "{{ nothing | default('dflt') }}{{ '' | default('dflt', true) }}{{ 0 | default(5) }}{{ '3' | int + 1 }}{{ 2.7 | int }}{{ 3 | float }}{{ 2.567 | round(1) }}{{ -3 | abs }}",
    "{{ [1, 2] + [3] }}{{ ([1] + [2])[-1] }}{{ [1, 2, 3] | length }}{{ [[1, 2], [3]] }}{{ 2 in [1, 2] }}{{ (1, 2) | list }}",
    # tests
    "{{ n is defined }}{{ zz is defined }}{{ zz is undefined }}{{ none is none }}{{ n is number }}{{ f is float }}{{ n is integer }}{{ s is string }}{{ messages is iterable }}{{ d is mapping }}{{ s is sequence }}{{ messages is sequence }}",
    "{{ yes is true }}{{ no is false }}{{ zz is false }}{{ n is false }}{{ 0 is false }}{{ 3 is odd }}{{ 3 is even }}{{ n is divisibleby 7 }}{{ n is not none }}{{ not n is none }}{{ n is in [7] }}",
    "{% if zz is defined and zz %}a{% elif n %}b{% else %}c{% endif %}{% if not zz %}d{% endif %}{% if not (yes and no) %}e{% endif %}",
    "{% if messages[0].content is string and messages[0].content is not none %}x{% endif %}{% if messages[2].content is not string %}y{% endif %}",
    # arithmetic and comparison
    "{{ 7 // 2 }}{{ 7 % 3 }}{{ 1 + 2 * 3 }}{{ (1 + 2) * 3 }}{{ 7 / 2 }}{{ -n }}{{ 1.5 + 1 }}{{ n - 1 }}{{ 2 * 1.5 }}",
    "{{ n == 7 and 7 == n }}{{ n != 7 }}{{ n >= 7 and n < 8 }}{{ 'a' < 'b' }}{{ yes == true }}{{ (n % 2 == 0) != (n % 2 == 1) }}{{ 1 == 1.0 }}{{ [1] == [1] }}{{ none == none }}{{ 'a' == none }}",
    "{{ '' or 'x' }}{{ 'a' and 'b' }}{{ no or none or 'z' }}{{ not yes }}",
    # loops
    "{% for m in messages %}{{ loop.index }}{{ loop.index0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.revindex }}{% if not loop.first %}{{ loop.previtem.role }}{% endif %}{% if not loop.last %}{{ loop.nextitem.role }}{% endif %} {% endfor %}",
    "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ m.role }}{% break %}{% endfor %}{% for x in empty %}{% else %}none{% endfor %}",
    "{% for i in range(3) %}{{ i }}{% endfor %}{% for i in range(1, 6, 2) %}{{ i }}{% endfor %}{% for i in range(3, 0, -1) %}{{ i }}{% endfor %}{{ range(2) | list }}",
    "{% for m in messages %}{% for p in (m.content if m.content is not string else []) %}{{ p.type }}{{ loop.index }}{% endfor %}{{ loop.index }}{% endfor %}",
    "{% for a, b in [[1, 2], [3, 4]] %}{{ a + b }},{% endfor %}{% for x in [1, 2, 3] if x != 2 %}{{ x }}{{ loop.last }}{% endfor %}",
    "{% for m in messages %}{{ loop.cycle('odd', 'even') }}{% endfor %}{% for m in messages %}{{ loop.index0 % 2 == 0 }}{% endfor %}",
    # scopes
    "{% set x = 1 %}{% for i in [1, 2] %}{% set x = 5 %}{% endfor %}{{ x }}{% if yes %}{% set x = 3 %}{% endif %}{{ x }}",
    "{% set ns = namespace(found=false, items=[]) %}{% for i in [1, 2] %}{% set ns.found = true %}{% set ns.items = ns.items + [i] %}{% endfor %}{{ ns.found }}{{ ns.items }}{{ ns.items[-1] }}",
    "{% set block %}a{{ n }}b{% endset %}[{{ block }}]{{ block | length }}{% with w = 2 %}{{ w }}{% endwith %}{{ w }}",
    # macros
    "{% macro m(a, b='y', c=none) %}<{{ a }}{{ b }}{% if c %}{{ c }}{% endif %}>{% endmacro %}{{ m(1) }}{{ m(1, 'z') }}{{ m(1, c='q') }}{{ m(a=2) | length }}",
    "{% macro fact(x) %}{% if x > 1 %}{{ x }}*{{ fact(x - 1) }}{% else %}1{% endif %}{% endmacro %}{{ fact(5) }}",
    "{% macro wrap(t) -%}\n  [{{ t }}]\n{%- endmacro %}{{ wrap('a') }}{{ wrap('b').strip() == '[b]' }}",
    # whitespace
    "a\n  {% if yes %}\n  b\n  {% endif %}\nc\n", "a  {%- if yes -%}  b  {%- endif -%}  c", "{{ 'a' }}\n{{- 'b' -}}\n c", "  {# note #}\nx{#- note -#}  y\n", "{% raw %}{{ x }}{% if (a if b else c) %}{% endraw %}!",
    "{%- for m in messages %}\n    {%- if m.role == 'user' %}\n        {{- '<' + m.role + '>' }}\n    {%- endif %}\n{%- endfor %}\n", "x\n\n", "{{ 'é\\n\\t\\'q\\'' }}{{ \"a'b\" }}",
    "{% if yes %}\n\n  x\n{% endif %}\n\n{% set z = 1 %}\ny", "{{ '{{' }}{{ '%}' }}{{ {'a': {'b': 1}}['a']['b'] }}",
    # complaints
    "{{ raise_exception('Conversation roles must alternate ' ~ n) }}", "{% if messages[0].role == 'system' %}{{ raise_exception(\"no system\") }}{% endif %}",
]


def raise_exception(message):
    raise TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    if isinstance(separators, list):
        separators = tuple(separators)
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
env.filters["tojson"] = tojson
env.globals["raise_exception"] = raise_exception

cases = []
for source in TEMPLATES:
    try:
        cases.append({"template": source, "out": env.from_string(source).render(**CONTEXT)})
    except TemplateError as e:
        cases.append({"template": source, "raised": str(e)})
print(json.dumps({"context": CONTEXT, "cases": cases}, ensure_ascii=False, indent=1))
