"""What an operator may type to harm the code that is made for them."""

from __future__ import annotations

from hypothesis import strategies as st

HOSTILE = [
    '"""\nimport os; os.system("id")\n"""',
    "'''); __import__('os').system('id') #",
    "\\",
    '\\"""',
    'ends with a quote"',
    "{{ 7 * 7 }} {% raw %} {# x #} ${HOME} $(id) `id` %s {0}",
    "</script><script>alert(1)</script><img src=x onerror=alert(1)>",
    "``` \n# heading\n| a | b |\n- [x](javascript:alert(1))",
    "\u202eevil\u2066 \u200b zero \ufeff bom",
    "😀👩‍👩‍👧‍👦 日本語 é",
    "# type: ignore  # noqa  # nosec  # fmt: off",
    "-- coding: utf-7",
    "a" * 190,
    "\n\n\n",
    "0.0.0.0 /tmp/x password='secret'",
    "1. list\n2. list",
    "=====",
    "http://evil.example/ www.evil.example me@evil.example",
]
NASTY_NAMES = [
    "class", "import", "async", "await", "lambda", "none", "true", "match", "case", "type",
    "json", "capabilities", "tools", "tests", "main", "agent_runtime", "typing", "any", "context",
    "payload", "run", "print", "dict", "str", "list", "object", "os", "sys", "asyncio", "unittest",
    "inspect", "pathlib", "init", "a__b", "x1", "self", "id", "test_capabilities", "jsonschema",
    "global", "nonlocal", "with", "yield", "del", "return", "pass",
]  # fmt: skip

text = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=150))
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(text, children, max_size=3),
    max_leaves=8,
)
json_objects = st.dictionaries(text, json_values, max_size=4)
names = st.sampled_from(NASTY_NAMES) | st.from_regex(r"\A[a-z][a-z0-9_]{0,20}[a-z0-9]\Z")
