"""The library's own templates, and loading them."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from ledger.errors import NotFound
from ledger.models import Transition
from registry.spec import TemplateRef
from templates_lib.enums import VersionStatus
from templates_lib.library_loading import LIBRARY, Outcome, load_library
from templates_lib.models import AgentTemplate, TemplateVersion
from templates_lib.services import (
    definition_of,
    deprecate_version,
    publish_version,
    published_templates,
    render_and_check,
    template_for,
    version_of,
)
from templates_lib.sources import SourceError, read_template

pytestmark = pytest.mark.django_db


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A copy of the library that a test may break."""
    return Path(shutil.copytree(LIBRARY, tmp_path / "library"))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def outcomes(folder: Path) -> list[tuple[str, str]]:
    return [(entry.slug, str(entry.outcome)) for entry in load_library(folder=folder).entries]


def test_loading_publishes_every_template_once() -> None:
    assert outcomes(LIBRARY) == [("blank", "created"), ("memory-agent", "created")]
    with CaptureQueriesContext(connection) as queries:
        assert outcomes(LIBRARY) == [("blank", "unchanged"), ("memory-agent", "unchanged")]
    assert not [q["sql"] for q in queries if q["sql"].startswith(("INSERT", "UPDATE"))]
    assert [version.template.slug for version in published_templates()] == ["memory-agent", "blank"]
    assert set(Transition.objects.values_list("from_status", "to_status")) == {
        ("draft", "published")
    }


def test_the_memory_agent_is_what_the_documents_describe() -> None:
    load_library()
    template, version = template_for("memory-agent")
    definition = definition_of(version)
    spec = definition.sample_spec()
    assert (template.name, template.description) == (
        "Memory Agent",
        "Store and retrieve context with semantic search",
    )
    assert [c.name for c in spec.capabilities] == [
        "store_context",
        "retrieve_context",
        "search_context",
        "summarize_context",
    ]
    assert [t.tool for t in spec.tools] == ["redis", "vectordb", "embeddings-api"]
    assert [t.name for t in definition.defaults.tools] == ["Redis", "VectorDB", "Embeddings API"]
    assert spec.resources.model_dump() == {"cpu_cores": 1, "memory_mb": 2048, "storage_gb": 10}
    assert spec.memory.kind == "hybrid"
    assert spec.config == {
        "memory_type": "hybrid",
        "retention_days": 30,
        "max_context_size": 10000,
    }
    assert [s.name for s in definition.scenarios[:3]] == [
        "Store Context",
        "Retrieve Context",
        "Search Context",
    ]
    assert definition.capability("health_check") is not None


@pytest.mark.parametrize("slug", ["memory-agent", "blank"])
def test_every_template_renders_and_passes_the_gate(slug: str) -> None:
    load_library()
    definition = definition_of(template_for(slug)[1])
    project = render_and_check(definition.sample_spec())
    assert project.files["spec.json"] == definition.sample_spec().canonical_json()
    assert "README.md" in project.files


def test_a_changed_file_of_the_same_version_is_refused(library: Path) -> None:
    load_library(folder=library)
    edit(library / "blank/template.yaml", "Custom requirements", "Anything at all")
    report = load_library(folder=library)
    assert [(e.slug, e.outcome) for e in report.entries] == [
        ("blank", Outcome.REFUSED),
        ("memory-agent", Outcome.UNCHANGED),
    ]
    assert "Raise the version" in report.refused[0].problem
    assert definition_of(template_for("blank")[1]).use_case == "Custom requirements"


def test_a_changed_skeleton_counts_as_a_change(library: Path) -> None:
    load_library(folder=library)
    edit(library / "blank/skeleton/README.md.jinja", "from scratch", "from nothing")
    assert outcomes(library)[0] == ("blank", "refused")


def test_a_new_version_is_a_new_row_and_the_newest_wins(library: Path) -> None:
    load_library(folder=library)
    for number in ("1.9.0", "1.10.0"):
        old = definition_of(template_for("blank")[1]).version
        edit(library / "blank/template.yaml", f"version: {old}", f"version: {number}")
        edit(library / "blank/template.yaml", "summary: Start", "summary: Start afresh -")
        edit(library / "blank/CHANGELOG.md", f"## {old}", f"## {number}\n\n- More.\n\n## {old}")
        assert outcomes(library)[0] == ("blank", "new version")
    template, version = template_for("blank")
    assert (version.version, version.changelog) == ("1.10.0", "- More.")
    assert template.description == "Start afresh - afresh - from scratch"
    first = version_of(TemplateRef(slug="blank", version="1.0.0"))
    assert first.status == VersionStatus.PUBLISHED

    deprecate_version(actor=None, version=version, reason="not good")
    template, version = template_for("blank")
    assert (version.version, template.description) == (
        "1.9.0",
        "Start afresh - from scratch",
    )
    newest = version_of(TemplateRef(slug="blank", version="1.10.0"))
    publish_version(actor=None, version=newest)
    assert template_for("blank")[1].version == "1.10.0"


def test_a_template_is_found_by_slug_and_id() -> None:
    load_library()
    template = AgentTemplate.objects.get(slug="blank")
    assert template_for(template.id)[0] == template
    assert template_for(str(template.id))[0] == template
    for wrong in ("nothing", "", "a\x00b", "../etc", "9" * 5000):
        with pytest.raises(NotFound) as caught:
            template_for(wrong)
        assert caught.value.code == "template_not_found"
    with pytest.raises(NotFound):
        version_of(TemplateRef(slug="blank", version="9.9.9"))


def test_a_template_without_a_published_version_is_not_offered() -> None:
    load_library()
    deprecate_version(actor=None, version=template_for("blank")[1])
    with pytest.raises(NotFound):
        template_for("blank")
    assert [version.template.slug for version in published_templates()] == ["memory-agent"]


BROKEN = {
    "yaml": ("blank/template.yaml", "slug: blank", "slug: [blank", "template.yaml:3: "),
    "tab": ("blank/template.yaml", "name: Blank Template", "\tname: x", "template.yaml:3: "),
    "alias": ("blank/template.yaml", "category: custom", "category: *x", "template.yaml:7: "),
    "twice": (
        "blank/template.yaml",
        "icon: note_add",
        "icon: note_add\nicon: other",
        "template.yaml:10: 'icon' is there twice",
    ),
    "number name": ("blank/template.yaml", "icon: note_add", "1: x", "template.yaml:9: "),
    "bad number": ("blank/template.yaml", "position: 90", "position: 0b9", "template.yaml:11: "),
    "custom tag": ("blank/template.yaml", "position: 90", "position: !!x 1", "template.yaml:11: "),
    "unknown field": (
        "blank/template.yaml",
        "icon: note_add",
        "icon: note_add\nicons: x",
        "template.yaml:10: icons: ",
    ),
    "wrong category": (
        "blank/template.yaml",
        "category: custom",
        "category: anything",
        "template.yaml:7: category: ",
    ),
    "date": ("blank/template.yaml", "icon: note_add", "icon: 2025-12-01", "template.yaml:9: icon"),
    "deep inside": (
        "blank/template.yaml",
        "cpu_cores: 0.5",
        "cpu_cores: 99",
        "template.yaml:44: defaults.resources.cpu_cores: ",
    ),
    "slug": ("blank/template.yaml", "slug: blank", "slug: blink", "template.yaml:2: "),
    "no such file": (
        "blank/template.yaml",
        "schemas/describe_agent.input.json",
        "schemas/missing.json",
        "There is no file 'schemas/missing.json'",
    ),
    "outside": (
        "blank/template.yaml",
        "schemas/describe_agent.input.json",
        "../memory-agent/schemas/config.json",
        "There is no file",
    ),
    "json": (
        "blank/schemas/describe_agent.output.json",
        '"type": "object",',
        '"type": "object"',
        "describe_agent.output.json:3: This is not JSON",
    ),
    "schema": (
        "blank/schemas/describe_agent.output.json",
        '"type": "string"',
        '"type": "text"',
        "describe_agent.output.json:1: defaults.capabilities.0.output_schema: ",
    ),
    "scenario's capability": (
        "blank/template.yaml",
        "    capability: describe_agent\n    input: {}\n    expected_output",
        "    capability: fly\n    input: {}\n    expected_output",
        "scenarios.0.capability: The template has no capability 'fly'",
    ),
    "scenario's input": (
        "memory-agent/template.yaml",
        "    input: {customer_id: cust-nobody-knows}",
        "    input: {customer: cust-nobody-knows}",
        "scenarios.4.input: ",
    ),
    "scenario's answer": (
        "memory-agent/template.yaml",
        "expected_output: {status: stored}",
        "expected_output: {state: stored}",
        "scenarios.0.expected_output.state: ",
    ),
    "config": (
        "memory-agent/template.yaml",
        "    memory_type: hybrid",
        "    memory_type: elephant",
        "defaults.config.memory_type: ",
    ),
    "config contradiction": (
        "memory-agent/template.yaml",
        "    memory_type: hybrid",
        "    memory_type: long_term",
        "defaults.config.memory_type: memory_type is 'long_term' here and 'hybrid'",
    ),
    "x-spec": (
        "memory-agent/schemas/config.json",
        "memory.kind",
        "environment.kind",
        "config.json:1: config_schema: ",
    ),
    "x-spec unknown": (
        "memory-agent/schemas/config.json",
        "memory.kind",
        "memory.kinds",
        "config_schema.properties.memory_type.x-spec: The specification has no field",
    ),
    "jinja": (
        "blank/skeleton/README.md.jinja",
        "{% endblock %}",
        "{% endblok %}",
        "README.md.jinja:5: ",
    ),
    "jinja name": (
        "blank/skeleton/README.md.jinja",
        "This agent was",
        "{{ spec.nothing }}",
        "README.md.jinja:3: ",
    ),
    "no changelog": ("blank/CHANGELOG.md", "## 1.0.0", "## 0.9.0", "CHANGELOG.md:1: Add a section"),
}


@pytest.mark.parametrize("case", BROKEN, ids=str)
def test_a_broken_file_is_named_with_its_line_and_the_others_load(library: Path, case: str) -> None:
    path, old, new, expected = BROKEN[case]
    edit(library / path, old, new)
    report = load_library(folder=library)
    assert [entry.slug for entry in report.refused] == [path.split("/", maxsplit=1)[0]]
    assert expected in report.refused[0].problem
    assert len(report.entries) == 2
    assert AgentTemplate.objects.count() == 1


def test_files_that_are_no_text_or_too_large_are_refused(library: Path) -> None:
    (library / "blank/template.yaml").write_bytes(b"slug: blank\nname: \xff\n")
    (library / "memory-agent/template.yaml").write_text("a" * 600_000)
    assert [entry.problem.rpartition("/")[2] for entry in load_library(folder=library).entries] == [
        "template.yaml:2: Write the file in UTF-8.",
        "template.yaml:1: Keep the file to 500000 bytes.",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "The file is empty."),
        ("- a\n- b\n", "Write the template as `name: value` lines."),
        ("a: " + "[" * 900 + "]" * 900, "The values are nested too deep."),
    ],
)
def test_other_shapes_are_refused(library: Path, text: str, problem: str) -> None:
    (library / "blank/template.yaml").write_text(text)
    with pytest.raises(SourceError) as caught:
        read_template(library / "blank")
    assert caught.value.detail == problem


def test_a_missing_file_is_named(library: Path) -> None:
    (library / "blank/template.yaml").unlink()
    (library / "memory-agent/CHANGELOG.md").unlink()
    problems = [entry.problem for entry in load_library(folder=library).refused]
    assert "template.yaml:1: The file can't be read" in problems[0]
    assert "CHANGELOG.md:1: Add this file" in problems[1]


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("support/helpers.py", "def f(:\n", "helpers.py:1: "),
        ("support/helpers.py", "x = 1\n\ny = (\n", "helpers.py:3: "),
        ("capabilities/evil.py", "x = 1\n", "evil.py:1: A skeleton holds"),
        ("support/helpers.py", "\x00", "helpers.py:1: "),
        ("docs/a.md.jinja", "a\n{{ x", "a.md.jinja:2: "),
    ],
)
def test_skeleton_files_are_checked(library: Path, path: str, text: str, expected: str) -> None:
    target = library / "blank/skeleton" / path
    target.parent.mkdir(exist_ok=True)
    target.write_text(text)
    assert expected in load_library(folder=library).refused[0].problem


def test_unsafe_support_code_does_not_pass_the_gate(library: Path) -> None:
    target = library / "blank/skeleton/support/helpers.py"
    target.parent.mkdir()
    target.write_text('"""Helpers."""\n\nimport pickle\n\nX = pickle.loads(b"")  # nosec # noqa\n')
    problem = load_library(folder=library).refused[0].problem
    assert "support/helpers.py:5" in problem
    assert "pickle" in problem


def test_good_support_code_is_part_of_the_project(library: Path) -> None:
    target = library / "blank/skeleton/support/helpers.py"
    target.parent.mkdir()
    target.write_text('"""Helpers."""\n\n\ndef twice(n: int) -> int:\n    return n * 2\n')
    (library / "blank/skeleton/docs").mkdir()
    (library / "blank/skeleton/docs/more.md.jinja").write_text("# {{ spec.name }}\n")
    load_library(folder=library)
    project = render_and_check(definition_of(template_for("blank")[1]).sample_spec())
    assert project.files["docs/more.md"] == "# Blank Template\n"
    assert "support/__init__.py" in project.files
    assert "def twice" in project.files["support/helpers.py"]


def test_the_command_reports_and_fails_only_when_asked_to(library: Path) -> None:
    edit(library / "blank/template.yaml", "slug: blank", "slug: [")
    out, err = io.StringIO(), io.StringIO()
    call_command("load_templates", folder=library, stdout=out, stderr=err)
    assert out.getvalue() == "memory-agent 1.0.0: created\n"
    assert "blank: " in err.getvalue()
    assert "template.yaml:" in err.getvalue()
    with pytest.raises(CommandError, match="1 of 2 were not loaded"):
        call_command("load_templates", folder=library, strict=True, stdout=out, stderr=err)
    with pytest.raises(CommandError, match="There is no folder"):
        call_command("load_templates", folder=library / "missing")


def test_the_command_is_quiet_when_nothing_changed() -> None:
    load_library()
    out = io.StringIO()
    call_command("load_templates", stdout=out)
    assert out.getvalue() == ""
    call_command("load_templates", stdout=out, verbosity=2)
    assert out.getvalue() == "blank 1.0.0: unchanged\nmemory-agent 1.0.0: unchanged\n"


def test_a_version_that_is_a_draft_by_that_number_is_named(library: Path) -> None:
    load_library(folder=library)
    TemplateVersion.objects.filter(template__slug="blank").update(status=VersionStatus.DRAFT)
    edit(library / "blank/template.yaml", "Custom requirements", "Anything at all")
    assert "Version 1.0.0 exists (Draft)" in load_library(folder=library).refused[0].problem
