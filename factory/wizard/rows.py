"""Rows of a formset as they were posted: added, removed and moved without validating anything.

Buttons for these work without scripts, so they act on what was typed, valid or not.
"""

import re
from collections.abc import Mapping
from typing import Final

from django.utils.datastructures import MultiValueDict

MAX_ROWS: Final = 50

Row = dict[str, list[str]]


def read_rows(data: MultiValueDict[str, str], prefix: str) -> list[Row]:
    """Return the posted rows of the formset ``prefix``, in order, without their prefix."""
    pattern = re.compile(rf"^{re.escape(prefix)}-(\d{{1,3}})-(.+)$")
    found: dict[int, Row] = {}
    for key, values in data.lists():
        if match := pattern.match(key):
            found.setdefault(int(match[1]), {})[match[2]] = list(values)
    text = data.get(f"{prefix}-TOTAL_FORMS", "") or ""
    total = int(text) if text.isascii() and text.isdigit() else len(found)
    return [found.get(number, {}) for number in range(min(total, MAX_ROWS))]


def write_rows(data: MultiValueDict[str, str], prefix: str, rows: list[Row]) -> None:
    """Replace the rows of the formset ``prefix`` in ``data`` by ``rows``."""
    pattern = re.compile(rf"^{re.escape(prefix)}-\d{{1,3}}-")
    for key in [key for key in data if pattern.match(key)]:
        del data[key]
    for number, row in enumerate(rows):
        for name, values in row.items():
            data.setlist(f"{prefix}-{number}-{name}", values)
    data[f"{prefix}-TOTAL_FORMS"] = str(len(rows))
    data.setdefault(f"{prefix}-INITIAL_FORMS", "0")


def change_rows(
    data: MultiValueDict[str, str],
    prefix: str,
    *,
    verb: str,
    argument: str = "",
    new_row: Mapping[str, str] | None = None,
) -> None:
    """Do ``verb`` (``add``, ``remove``, ``up``, ``down``) to the rows; nonsense changes nothing."""
    rows = read_rows(data, prefix)
    if verb == "add":
        if len(rows) < MAX_ROWS:
            rows.append({name: [value] for name, value in (new_row or {}).items()})
    elif argument.isascii() and argument.isdigit() and int(argument) < len(rows):
        place = int(argument)
        if verb == "remove":
            rows.pop(place)
        elif verb == "up" and place > 0:
            rows.insert(place - 1, rows.pop(place))
        elif verb == "down":
            rows.insert(place + 1, rows.pop(place))
    write_rows(data, prefix, rows)
