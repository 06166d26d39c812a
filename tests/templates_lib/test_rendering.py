"""What an operator types can only ever be data in the code that is made for them."""

from __future__ import annotations

import ast
import keyword
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry.spec import AgentSpec, canonical_json
from templates_lib.gate import RenderingRejected, render_and_check
from templates_lib.rendering import (
    RenderedProject,
    capability_module,
    render_project,
    tool_module,
)
from tests.builders import make_spec
from tests.templates_lib.hostile import HOSTILE, NASTY_NAMES, json_objects, json_values, names, text

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parent.parent.parent


implementations = st.one_of(
    st.sampled_from(["memory.store", "agent.describe"]).map(
        lambda operation: {"kind": "builtin", "operation": operation}
    ),
    text.filter(str.strip).map(lambda words: {"kind": "prompt", "instructions": words}),
    text.map(
        lambda words: {
            "kind": "http",
            "method": "GET",
            "url": "https://example.com/a",
            "headers": {"X-A": words},
        }
    ),
)


@st.composite
def hostile_requests(draw: st.DrawFn) -> dict[str, Any]:
    chosen = draw(st.lists(names, min_size=1, max_size=4, unique=True))
    schema = {
        "type": "object",
        "description": draw(text),
        "properties": {draw(text): {"description": draw(text), "default": draw(json_values)}},
    }
    return {
        "name": draw(text),
        "display_name": draw(text),
        "description": draw(text),
        "goal": draw(text),
        "tags": [draw(text)],
        "industry": draw(text),
        "config": draw(json_objects),
        "environment": [{"name": "A", "value": draw(text)}],
        "capabilities": [
            {
                "name": name,
                "description": draw(text),
                "input_schema": schema,
                "output_schema": {"type": "object"},
                "examples": [{"input": draw(json_objects), "output": draw(json_objects)}],
                "implementation": draw(implementations),
            }
            for name in chosen
        ],
        "tools": [
            {
                "tool": draw(st.sampled_from(["redis", "3d", "class", "a-b", "import-", "x--y"])),
                "parameters": draw(json_objects),
                "secret": draw(st.sampled_from([None, "my.secret-1"])),
            }
        ],
    }


def accepted(request: dict[str, Any]) -> AgentSpec | None:
    """Return the specification, or ``None`` where the specification already refuses."""
    try:
        return make_spec(**request)
    except ValueError:
        return None


def python_files(files: Mapping[str, str]) -> dict[str, str]:
    return {path: source for path, source in files.items() if path.endswith(".py")}


def shape(source: str) -> str:
    """Return the syntax tree with every constant and JSON literal taken out."""

    class Blank(ast.NodeTransformer):
        def visit_Constant(self, node: ast.Constant) -> ast.AST:
            del node
            return ast.Constant(None)

        def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
            assert isinstance(node.value, ast.Constant | ast.Dict)
            # Only a literal: no name, no call.
            ast.literal_eval(node.value)
            return ast.AnnAssign(node.target, node.annotation, ast.Constant(None), node.simple)

    return ast.dump(Blank().visit(ast.parse(source)))


CAPABILITY_SHAPE = {
    kind: shape(
        '"""x"""\nfrom typing import Any\nfrom agent_runtime import Context\n'
        "async def run(payload: dict[str, Any], context: Context) -> dict[str, Any]:\n"
        f'    """x"""\n    return await context.{kind}("x", payload)\n'
    )
    for kind in ("builtin", "prompt", "http")
}
TOOL_SHAPE = shape(
    '"""x"""\nfrom typing import Any\nTOOL = "x"\nPARAMETERS: dict[str, Any] = {}\n'
    "CREDENTIAL: str | None = None\n"
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=False
)
@given(hostile_requests())
def test_hostile_values_stay_data(request: dict[str, Any]) -> None:
    spec = accepted(request)
    if spec is None:
        return
    project = render_and_check(spec)
    files = project.files
    assert files == render_project(spec).files, "the same specification gives the same files"

    for capability in spec.capabilities:
        source = files[f"capabilities/{capability_module(capability.name)}.py"]
        kind = capability.implementation.kind
        assert shape(source) == CAPABILITY_SHAPE[kind]
        call = next(node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
        argument = call.args[0]
        assert isinstance(argument, ast.Constant)
        implementation = capability.implementation
        expected = implementation.operation if implementation.kind == "builtin" else capability.name
        assert argument.value == expected
    for tool in spec.tools:
        source = files[f"tools/{tool_module(tool.tool)}.py"]
        assert shape(source) == TOOL_SHAPE
        module: dict[str, Any] = {}
        exec(compile(source, "tool", "exec"), module)  # noqa: S102 - what is being tested
        assert module["TOOL"] == tool.tool
        assert module["PARAMETERS"] == tool.parameters
        assert module["CREDENTIAL"] == tool.secret
    for path in ("main.py", "tests/test_capabilities.py"):
        assert files[path] == render_project(make_spec()).files[path]
    assert files["spec.json"] == spec.canonical_json()
    assert AgentSpec.model_validate_json(files["spec.json"]) == spec
    check_readme(files["README.md"])


def check_readme(page: str) -> None:
    """Check that no value opened a tag, a link, an image or a heading of its own."""
    fence = ""
    headings = []
    for line in page.splitlines():
        mark = re.match(r"^(`{3,})", line)
        if mark and not fence:
            fence = mark[1]
            continue
        if fence:
            if line == fence:
                fence = ""
            continue
        prose = re.sub(r"(?<!\\)(`+)(?!`).*?(?<!`)\1(?!`)", "", line)
        prose = re.sub(r"\\.", "", prose)
        assert "<" not in prose, line
        assert "`" not in prose, line
        assert "[" not in prose, line
        if line.startswith("#"):
            headings.append(line)
    assert not fence
    known = re.compile(
        r"^(# .+|## (Calling it|Capabilities|Tools|Configuration|Working on it)|### `.+`)$"
    )
    assert all(known.match(heading) for heading in headings), headings
    assert headings[0].startswith("# ")
    assert sum(heading.startswith("# ") for heading in headings) == 1


@pytest.mark.parametrize("words", HOSTILE)
def test_each_hostile_text_everywhere(words: str) -> None:
    capability = {
        "name": "echo",
        "description": words,
        "input_schema": {"type": "object", "properties": {words: {"default": words}}},
        "output_schema": {"type": "object", "description": words},
        "examples": [{"input": {words: words}, "output": {"x": [words]}}],
        "implementation": {"kind": "builtin", "operation": "agent.describe"},
    }
    line = words.replace("\n", " ").strip()[:90] or "x"
    spec = make_spec(
        name=line,
        display_name=line,
        description=words[:200],
        goal=words,
        industry=line[:80],
        tags=[line[:40].strip()],
        config={words: words},
        capabilities=[capability],
        tools=[{"tool": "redis", "parameters": {words: words}}],
    )
    project = render_and_check(spec)
    check_readme(project.files["README.md"])
    assert shape(project.files["capabilities/echo.py"]) == CAPABILITY_SHAPE["builtin"]


def capability(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "description": f"Does {name}.",
        "input_schema": {"type": "object"},
        "output_schema": {"type": "object"},
        "examples": [{"input": {"a": 1}, "output": {"b": 2}}],
        "implementation": {"kind": "prompt", "instructions": "Do it."},
    } | changes


def write(project: RenderedProject, folder: Path) -> None:
    for path, source in project.files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(source)


def run_python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_every_nasty_name_imports_is_callable_and_tested(tmp_path: Path) -> None:
    chosen = [name for name in NASTY_NAMES if re.match(r"^[a-z][a-z0-9_]*[a-z0-9]$", name)]
    assert any(keyword.iskeyword(name) for name in chosen)
    kinds = [
        {"kind": "builtin", "operation": "agent.describe"},
        {"kind": "prompt", "instructions": "Do it."},
        {"kind": "http", "url": "https://example.com/x", "method": "POST"},
    ]
    spec = make_spec(
        capabilities=[
            capability(name, implementation=kinds[number % 3]) for number, name in enumerate(chosen)
        ]
    )
    write(render_and_check(spec), tmp_path)
    done = run_python(tmp_path, "-W", "error", "-m", "unittest", "-v")
    assert done.returncode == 0, done.stderr
    assert "Ran 5 tests" in done.stderr
    listed = run_python(
        tmp_path, "-c", "from capabilities import CAPABILITIES; print(*CAPABILITIES)"
    )
    assert listed.stdout.split() == chosen


def test_the_generated_tests_can_fail(tmp_path: Path) -> None:
    spec = make_spec(capabilities=[capability("echo"), capability("other")])
    project = render_and_check(spec)
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    broken = {
        "wrong operation": (
            "capabilities/echo.py", 'prompt("echo"', 'prompt("other"',
        ),
        "missing": ("capabilities/__init__.py", ', "other": other.run', ""),
        "blocking": ("capabilities/echo.py", "async def", "def"),
        "payload dropped": ("capabilities/echo.py", ", payload)", ", {})"),
        "schema": (
            "spec.json",
            canonical_json(spec.capabilities[0].input_schema),
            canonical_json(schema),
        ),
    }  # fmt: skip
    for number, (path, old, new) in enumerate(broken.values()):
        folder = tmp_path / str(number)
        write(project, folder)
        source = (folder / path).read_text()
        assert old in source, path
        source = source.replace(old, new)
        (folder / path).write_text(source.replace("await ", "") if old == "async def" else source)
        done = run_python(folder, "-m", "unittest")
        assert done.returncode == 1, (path, done.stderr)


def test_the_entry_point_hands_the_table_to_the_runtime(tmp_path: Path) -> None:
    write(render_and_check(make_spec(capabilities=[capability("import")])), tmp_path)
    fake = tmp_path / "fake" / "agent_runtime"
    fake.mkdir(parents=True)
    (fake / "__init__.py").write_text(
        "class Context: ...\ndef serve(table):\n    print(sorted(table))\n"
    )
    done = subprocess.run(
        [sys.executable, "main.py"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(fake.parent), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "['import']\n")


def test_module_names_never_collide() -> None:
    slugs = ["class", "class-", "a-b", "a--b", "3d", "d3", "import", "none", "true", "x-"]
    assert len({tool_module(slug) for slug in slugs}) == len(slugs)
    assert all(tool_module(slug).isidentifier() for slug in slugs)
    assert not any(keyword.iskeyword(tool_module(slug)) for slug in slugs)
    assert {capability_module(name) for name in ("class", "store_context", "match")} == {
        "class_",
        "store_context",
        "match",
    }


def test_the_digest_names_the_files() -> None:
    spec = make_spec()
    first, second = render_project(spec), render_project(spec)
    assert first.files_digest == second.files_digest
    assert re.fullmatch(r"[0-9a-f]{64}", first.files_digest)
    other = render_project(spec.model_copy(update={"goal": "Something else"}))
    assert other.files_digest != first.files_digest
    assert list(first.files) == sorted(first.files)


def test_fifty_large_capabilities_fit() -> None:
    schema = {
        "type": "object",
        "properties": {
            f"field_{n}": {"type": "string", "description": "x" * 90} for n in range(99)
        },
    }
    spec = make_spec(
        capabilities=[
            capability(f"capability_{n}", input_schema=schema, output_schema=schema)
            for n in range(50)
        ]
    )
    project = render_and_check(spec)
    assert sum(map(len, project.files.values())) < 8_000_000


def test_a_project_that_is_too_large_is_refused() -> None:
    schema = {"type": "object", "description": "x" * 900_000}
    spec = make_spec(capabilities=[capability(f"c{n}", input_schema=schema) for n in range(10)])
    with pytest.raises(RenderingRejected) as caught:
        render_and_check(spec)
    assert [finding.rule for finding in caught.value.findings] == ["size"]
