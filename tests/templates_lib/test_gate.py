"""The gate: no code that is wrong, unsafe or out of its place comes through."""

from __future__ import annotations

import pytest

from templates_lib.gate import RenderingRejected, check_project
from templates_lib.rendering import (
    RenderedProject,
)

GOOD = '"""Nothing."""\n'
REJECTED = {
    "layout": ("x = {'a':1}\n", "format", 1),
    "syntax": ("x = 1\ndef (\n", "syntax", 2),
    "null": ("x = '\x00'\n", "syntax", 1),
    "undefined name": ("x = 1\n\nprint(y)\n", "F821", 3),
    "unused import": ('"""X."""\n\nimport os\n', "F401", 3),
    "unused import, excused": ('"""X."""\n\nimport os  # noqa\n', "F401", 3),
    "import order": ('"""X."""\n\nimport sys\nimport os\n\nprint(os, sys)\n', "I001", 3),
    "exec": ("x = 1\nexec(str(x))\n", "S102", 2),
    "eval": ("x = eval(str(1))\n", "S307", 1),
    "eval, excused": ("x = eval(str(1))  # nosec\n", "B307", 1),
    "shell": ('"""X."""\n\nimport os\n\nos.system("id")\n', "S605", 5),
    "pickle": ('"""X."""\n\nimport pickle\n\nX = pickle.loads(b"")\n', "B301", 5),
    "no timeout": (
        '"""X."""\n\nimport requests\n\nX = requests.get("https://example.com", verify=False)\n',
        "B501",
        5,
    ),
    "mutable default": ("def f(x=[]):\n    return x\n", "B006", 1),
    "blocking sleep": (
        '"""X."""\n\nimport time\n\n\nasync def f():\n    time.sleep(1)\n',
        "ASYNC251",
        7,
    ),
    "bidirectional text": ('x = "\u202e"\n', "PLE2502", 1),
}


@pytest.mark.parametrize("case", REJECTED, ids=str)
def test_the_gate_names_file_line_and_rule(case: str) -> None:
    source, rule, line = REJECTED[case]
    with pytest.raises(RenderingRejected) as caught:
        check_project(RenderedProject({"a.py": GOOD, "pkg/b.py": source}))
    found = {(item.path, item.line, item.rule) for item in caught.value.findings}
    assert ("pkg/b.py", line, rule) in found
    assert {path for path, _, _ in found} == {"pkg/b.py"}
    assert caught.value.code == "rendering_rejected"
    assert all(problem.attr.startswith("pkg/b.py:") for problem in caught.value.problems)


@pytest.mark.parametrize(
    "path", ["../a.py", "/a.py", "a/../b.py", "a\nb.py", "a/b/c/d.py", "", ".env", "a\\b.py", "-x"]
)
def test_the_gate_refuses_paths_that_leave_the_project(path: str) -> None:
    with pytest.raises(RenderingRejected) as caught:
        check_project(RenderedProject({path: GOOD}))
    assert caught.value.findings[0].rule == "path"


def test_the_gate_refuses_too_many_files() -> None:
    with pytest.raises(RenderingRejected):
        check_project(RenderedProject({f"a{n}.py": GOOD for n in range(201)}))


def test_constants_are_not_judged() -> None:
    check_project(
        RenderedProject({"a.py": 'HOST = "0.0.0.0"\nPASSWORD = "hunter2"\nFOLDER = "/tmp/x"\n'})
    )
