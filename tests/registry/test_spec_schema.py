"""The specification's JSON Schema, as the agents' program gets it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from jsonschema import Draft202012Validator

from registry import spec_schema
from registry.management.commands import export_spec_schema
from registry.spec_schema import spec_json_schema, spec_schema_text
from tests.builders import make_spec

if TYPE_CHECKING:
    from pathlib import Path


def test_a_specification_fits_its_schema_and_a_broken_one_does_not() -> None:
    schema = spec_json_schema()
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    spec = make_spec().to_json_dict()

    assert validator.is_valid(spec)
    assert not validator.is_valid({**spec, "tier": 6})
    assert not validator.is_valid({**spec, "more": 1})


def test_the_file_in_the_agents_program_is_up_to_date() -> None:
    assert json.loads(spec_schema.SCHEMA_FILE.read_text()) == spec_json_schema()
    call_command("export_spec_schema", "--check")


def test_the_command_writes_and_compares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "spec.schema.json"
    monkeypatch.setattr(export_spec_schema, "SCHEMA_FILE", file)

    with pytest.raises(CommandError, match="export_spec_schema"):
        call_command("export_spec_schema", "--check")
    call_command("export_spec_schema")
    call_command("export_spec_schema", "--check")

    assert file.read_text() == spec_schema_text()
