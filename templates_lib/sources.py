"""Reading a template from its folder: every fault is named with its file and line.

A folder holds ``template.yaml``, ``CHANGELOG.md``, JSON files that the YAML refers to by their path
where a JSON Schema belongs (``input_schema: schemas/store.input.json``), and ``skeleton/``.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from ledger.errors import FieldProblem, InvalidInput
from registry.spec import canonical_json
from templates_lib.definition import TemplateDefinition, parse_definition
from templates_lib.skeleton import skeleton_problems

MAX_FILE_BYTES: Final = 500_000
_SCHEMA_KEYS: Final = frozenset({"input_schema", "output_schema", "config_schema"})
_SCHEMA_FILE: Final = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*$")


class SourceError(Exception):
    """A file of the library that can't be used."""

    def __init__(self, path: Path, line: int, detail: str) -> None:
        """``line`` counts from 1."""
        super().__init__(f"{path}:{line}: {detail}")
        self.path = path
        self.line = line
        self.detail = detail


@dataclass(frozen=True)
class TemplateSource:
    """A template as its folder has it."""

    definition: TemplateDefinition
    files: dict[str, str]

    @property
    def digest(self) -> str:
        """SHA-256 of definition and skeleton."""
        return version_digest(self.definition.model_dump(mode="json"), self.files)


def version_digest(definition: Mapping[str, Any], files: Mapping[str, str]) -> str:
    """Return the SHA-256 that names a definition (plain JSON values) with its skeleton."""
    text = canonical_json({"definition": dict(definition), "files": dict(files)})
    return hashlib.sha256(text.encode()).hexdigest()


def read_template(folder: Path) -> TemplateSource:
    """Return the template in ``folder``.

    Raises:
        SourceError: naming the file and line of the first fault.

    """
    path = folder / "template.yaml"
    document = _read_yaml(path)
    lines = _Lines(path)
    value = lines.convert(document, folder)
    if not isinstance(value, dict):
        raise SourceError(path, 1, "Write the template as `name: value` lines.")
    if "changelog" not in value:
        value["changelog"] = _changelog(folder / "CHANGELOG.md", value.get("version"))
    try:
        definition = parse_definition(value)
    except InvalidInput as error:
        raise lines.locate(error.problems[0], others=len(error.problems) - 1) from None
    if definition.slug != folder.name:
        place = lines.place_of("slug")
        raise SourceError(*place, f"Name it {folder.name!r} like its folder.")
    return TemplateSource(definition=definition, files=_skeleton(folder / "skeleton"))


def _skeleton(folder: Path) -> dict[str, str]:
    files = {
        path.relative_to(folder).as_posix(): _read_text(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
    for problem in skeleton_problems(files):
        name, _, line = problem.attr.rpartition(":")
        raise SourceError(folder / name, int(line or 1), problem.detail)
    return files


def _changelog(path: Path, version: object) -> str:
    if not path.exists():
        raise SourceError(path, 1, "Add this file; it says what each version changed.")
    section: list[str] | None = None
    for line in _read_text(path).splitlines():
        if line.startswith("## "):
            if section is not None:
                break
            section = [] if line[3:].strip() == str(version) else None
        elif section is not None:
            section.append(line)
    if section is None:
        raise SourceError(path, 1, f"Add a section `## {version}` that says what changed.")
    return "\n".join(section).strip()


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise SourceError(path, 1, f"The file can't be read: {error.strerror}.") from None
    if len(data) > MAX_FILE_BYTES:
        raise SourceError(path, 1, f"Keep the file to {MAX_FILE_BYTES} bytes.")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise SourceError(path, line, "Write the file in UTF-8.") from None


class _Loader(yaml.SafeLoader):
    """YAML as JSON: dates stay text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _read_yaml(path: Path) -> yaml.Node:
    text = _read_text(path)
    try:
        for event in yaml.parse(text, Loader=_Loader):
            if isinstance(event, yaml.AliasEvent):
                line = event.start_mark.line + 1 if event.start_mark else 1
                raise SourceError(path, line, "Write the value out instead of an alias (*name).")
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise SourceError(path, line, f"This is not YAML: {error.problem}.") from None
    except yaml.YAMLError as error:
        raise SourceError(path, 1, f"This is not YAML: {error}.") from None
    except RecursionError:
        raise SourceError(path, 1, "The values are nested too deep.") from None
    if node is None:
        raise SourceError(path, 1, "The file is empty.")
    return node


def _read_json(path: Path) -> tuple[Any, yaml.Node]:
    text = _read_text(path)
    try:
        value = json.loads(text)
        # Any JSON is YAML too, and YAML's parser remembers lines.
        node = yaml.compose(text.replace("\t", "  "), Loader=_Loader)
    except json.JSONDecodeError as error:
        raise SourceError(path, error.lineno, f"This is not JSON: {error.msg}.") from None
    except yaml.YAMLError:
        raise SourceError(path, 1, "This is not JSON as YAML reads it.") from None
    except RecursionError:
        raise SourceError(path, 1, "The values are nested too deep.") from None
    if not isinstance(value, dict) or node is None:
        raise SourceError(path, 1, "Write a JSON Schema, an object in braces.")
    return value, node


@dataclass
class _Lines:
    """Where each value of a definition stands."""

    root: Path
    places: dict[str, tuple[Path, int]] = field(default_factory=dict)

    def convert(self, node: yaml.Node, folder: Path) -> Any:
        """Return ``node`` as plain values, schema files read in, and remember each place."""
        try:
            return self._convert(node, "", self.root, folder)
        except RecursionError:
            raise SourceError(self.root, 1, "The values are nested too deep.") from None

    def _convert(self, node: yaml.Node, where: str, path: Path, folder: Path | None) -> Any:
        line = node.start_mark.line + 1
        self.places[where] = (path, line)
        if isinstance(node, yaml.SequenceNode):
            return [
                self._convert(item, _join(where, str(index)), path, folder)
                for index, item in enumerate(node.value)
            ]
        if isinstance(node, yaml.MappingNode):
            return self._convert_mapping(node, where, path, folder)
        return self._scalar(node, path, line)

    def _convert_mapping(
        self, node: yaml.MappingNode, where: str, path: Path, folder: Path | None
    ) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, item in node.value:
            line = key_node.start_mark.line + 1
            key = self._scalar(key_node, path, line)
            if not isinstance(key, str):
                raise SourceError(path, line, f"Put the name {key!r} in quotes.")
            if key in result:
                raise SourceError(path, line, f"{key!r} is there twice. Keep one of them.")
            place = _join(where, key)
            result[key] = self._convert(item, place, path, folder)
            # The line of the name says more than that of a value that starts below it.
            self.places[place] = (path, line)
            if folder is not None and key in _SCHEMA_KEYS and isinstance(result[key], str):
                result[key] = self._schema(result[key], place, line, folder)
        return result

    def _schema(self, name: str, where: str, line: int, folder: Path) -> dict[str, Any]:
        if not _SCHEMA_FILE.match(name) or not (folder / name).is_file():
            raise SourceError(self.root, line, f"There is no file {name!r} beside this one.")
        file = folder / name
        value, node = _read_json(file)
        self._convert(node, where, file, None)
        return dict(value)

    @staticmethod
    def _scalar(node: yaml.Node, path: Path, line: int) -> Any:
        try:
            return _Loader("").construct_object(node, deep=True)
        except (yaml.YAMLError, ValueError):
            raise SourceError(path, line, "Write a text, a number, true, false or null.") from None

    def place_of(self, attr: str) -> tuple[Path, int]:
        """Return file and line of the value at ``attr`` or of what it belongs to."""
        while attr and attr not in self.places:
            attr = attr.rpartition(".")[0]
        return self.places.get(attr, (self.root, 1))

    def locate(self, problem: FieldProblem, *, others: int) -> SourceError:
        """Return the error that names the place of ``problem``."""
        more = f" ({others} more after this one)" if others else ""
        return SourceError(*self.place_of(problem.attr), f"{problem.attr}: {problem.detail}{more}")


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key
