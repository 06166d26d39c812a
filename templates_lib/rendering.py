"""AgentSpec → a readable Python project.

Code is built from syntax trees, in which what an operator typed can only be a constant; module
names come from validated capability and tool names. Prose goes through ``templates_lib.prose``.
The same specification and skeleton always give the same files.
"""

import ast
import hashlib
import keyword
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from registry.spec import AgentSpec, Capability, ToolBinding, canonical_json
from templates_lib.prose import Prose, render_prose
from templates_lib.ruff import format_files
from templates_lib.skeleton import is_prose

# Python that is the same for every agent, copied as it stands.
_STATIC_FOLDER: Final = Path(__file__).parent / "static_code"
_DOCSTRING_WIDTH: Final = 88
_BLANKS: Final = re.compile(r"\s+")
_NO_FILES: Final[Mapping[str, str]] = {}


@dataclass(frozen=True)
class RenderedProject:
    """The project's files: path → text."""

    files: Mapping[str, str]

    @cached_property
    def files_digest(self) -> str:
        """SHA-256 of all paths and texts."""
        return hashlib.sha256(canonical_json(dict(self.files)).encode()).hexdigest()


def render_project(spec: AgentSpec, *, skeleton: Mapping[str, str] = _NO_FILES) -> RenderedProject:
    """Return the project of ``spec``; ``skeleton`` is what its template's version adds.

    Raises:
        DomainError: ``rendering_failed``; a page of the skeleton can't be rendered.

    """
    python = {
        "main.py": _static("main.py"),
        "capabilities/__init__.py": _source(_capability_table(spec)),
        "tools/__init__.py": _source(_module("The tools that this agent is bound to.")),
        "tests/__init__.py": _source(_module("Tests of this agent.")),
        "tests/test_capabilities.py": _static("test_capabilities.py"),
    }
    for capability in spec.capabilities:
        path = f"capabilities/{capability_module(capability.name)}.py"
        python[path] = _source(_capability(capability))
    for tool in spec.tools:
        python[f"tools/{tool_module(tool.tool)}.py"] = _source(_tool(tool))
    support = {path: text for path, text in skeleton.items() if not is_prose(path)}
    if support:
        python["support/__init__.py"] = _source(_module("Code of this agent's template."))
    python = format_files(python | support)
    files = python | _prose(spec, skeleton) | {"spec.json": spec.canonical_json()}
    return RenderedProject(files=dict(sorted(files.items())))


def capability_module(name: str) -> str:
    """Return the module name of a capability.

    Names that Python reserves get a trailing underscore, which no capability's name can have.
    """
    return f"{name}_" if keyword.iskeyword(name) else name


def tool_module(slug: str) -> str:
    """Return the module name of a tool.

    Slugs that are no name in Python get a leading underscore, which no other slug gives.
    """
    name = slug.replace("-", "_")
    return name if name.isidentifier() and not keyword.iskeyword(name) else f"_{name}"


# --- Code -------------------------------------------------------------------------------------


def _static(name: str) -> str:
    return (_STATIC_FOLDER / f"{name}.txt").read_text(encoding="utf-8")


def _source(module: ast.Module) -> str:
    # Each statement as a module of its own, for only a module's first string is a docstring, and
    # apart from the next, as import groups have to be.
    ast.fix_missing_locations(module)
    return "\n\n".join(ast.unparse(ast.Module([item], [])) for item in module.body) + "\n"


def _module(docstring: str, *body: ast.stmt) -> ast.Module:
    return ast.Module(body=[_docstring(docstring), *body], type_ignores=[])


def _docstring(*paragraphs: str) -> ast.stmt:
    return ast.Expr(ast.Constant("\n\n".join(paragraphs)))


def _readable(text: str, fallback: str) -> str:
    """Return ``text`` as a paragraph of plain printable characters that ends as a sentence does.

    The exact text stands in spec.json; this is for whoever reads the code.
    """
    # Quotes and backslashes would be escaped in a docstring, which is hard to read.
    plain = text.replace("\\", "/").replace('"""', "'''")
    words = "".join(c if c.isprintable() else " " for c in _BLANKS.sub(" ", plain)).strip()
    words = words.rstrip('"') or fallback
    sentence = words if words.endswith((".", "!", "?")) else f"{words}."
    return "\n".join(textwrap.wrap(sentence, _DOCSTRING_WIDTH)) or fallback


def _capability_table(spec: AgentSpec) -> ast.Module:
    modules = {c.name: capability_module(c.name) for c in spec.capabilities}
    imports = ast.ImportFrom(
        module="capabilities",
        names=[ast.alias(name=name) for name in sorted(modules.values())],
        level=0,
    )
    table = ast.Assign(
        targets=[ast.Name("CAPABILITIES", ast.Store())],
        value=ast.Dict(
            keys=[ast.Constant(name) for name in modules],
            values=[
                ast.Attribute(ast.Name(module, ast.Load()), "run", ast.Load())
                for module in modules.values()
            ],
        ),
    )
    return _module(
        "What this agent can do: capability → the function that does it.", imports, table
    )


def _capability(capability: Capability) -> ast.Module:
    how = capability.implementation
    if how.kind == "builtin":
        done_by, argument = "builtin", str(how.operation.value)
        told = f"Done by the agent's runtime: {argument}."
    elif how.kind == "prompt":
        done_by, argument = "prompt", capability.name
        told = "Done by the connected model, with the instructions in spec.json."
    else:
        done_by, argument = "http", capability.name
        told = f"Done by an HTTP service ({how.method}), called through the platform."
    call = ast.Call(
        ast.Attribute(ast.Name("context", ast.Load()), done_by, ast.Load()),
        [ast.Constant(argument), ast.Name("payload", ast.Load())],
        [],
    )
    run = ast.AsyncFunctionDef(
        name="run",
        args=ast.arguments(
            posonlyargs=[],
            args=[
                ast.arg("payload", _json_object_type()),
                ast.arg("context", ast.Name("Context", ast.Load())),
            ],
            kwonlyargs=[],
            kw_defaults=[],
            defaults=[],
        ),
        body=[
            _docstring(
                "Answer one call; ``payload`` fits the input schema and the answer is checked."
            ),
            ast.Return(ast.Await(call)),
        ],
        decorator_list=[],
        returns=_json_object_type(),
    )
    docstring = f"{_readable(capability.description, f'{capability.name}.')}\n\n{told}\n"
    return _module(
        docstring,
        ast.ImportFrom("typing", [ast.alias("Any")], 0),
        ast.ImportFrom("agent_runtime", [ast.alias("Context")], 0),
        run,
    )


def _tool(tool: ToolBinding) -> ast.Module:
    body: list[ast.stmt] = [
        ast.ImportFrom("typing", [ast.alias("Any")], 0),
        ast.Assign([ast.Name("TOOL", ast.Store())], ast.Constant(tool.tool)),
        ast.AnnAssign(
            target=ast.Name("PARAMETERS", ast.Store()),
            annotation=_json_object_type(),
            value=_literal(tool.parameters),
            simple=1,
        ),
        ast.AnnAssign(
            target=ast.Name("CREDENTIAL", ast.Store()),
            annotation=ast.BinOp(ast.Name("str", ast.Load()), ast.BitOr(), ast.Constant(None)),
            value=ast.Constant(tool.secret),
            simple=1,
        ),
    ]
    return _module(
        "How this agent is bound to a tool.\n\n"
        "CREDENTIAL is the name of a secret. The platform keeps its value and adds it on the way\n"
        "out; no agent ever sees it.\n",
        *body,
    )


def _json_object_type() -> ast.expr:
    return ast.Subscript(
        ast.Name("dict", ast.Load()),
        ast.Tuple([ast.Name("str", ast.Load()), ast.Name("Any", ast.Load())], ast.Load()),
        ast.Load(),
    )


def _literal(value: Any) -> ast.expr:
    """Return the literal of a JSON value, keys sorted."""
    if isinstance(value, Mapping):
        keys = sorted(value)
        return ast.Dict([ast.Constant(key) for key in keys], [_literal(value[key]) for key in keys])
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ast.List([_literal(item) for item in value], ast.Load())
    return ast.Constant(value)


# --- Prose ------------------------------------------------------------------------------------


def _prose(spec: AgentSpec, skeleton: Mapping[str, str]) -> dict[str, str]:
    pages = {path: f"skeleton/{path}" for path in skeleton if is_prose(path)}
    pages.setdefault("README.md.jinja", "base/page.md.jinja")
    values = {
        "spec": spec.to_json_dict(),
        "digest": Prose(spec.digest),
        "modules": {c.name: Prose(capability_module(c.name)) for c in spec.capabilities},
    }
    return {
        path.removesuffix(".jinja"): render_prose(source, skeleton, values)
        for path, source in sorted(pages.items())
    }
