"""A browser without scripts: reads a page's form as it stands and presses one of its buttons."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.test import Client


class FormReader(HTMLParser):
    """Reads a page's ``forms``: each with its ``attrs``, ``fields`` as they stand, ``buttons``."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[dict[str, Any]] = []
        self._form: dict[str, Any] | None = None
        self._select: str | None = None
        self._first_option = False
        self._textarea: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {key: value or "" for key, value in attrs}
        if tag == "form":
            self._form = {"attrs": given, "fields": {}, "buttons": []}
            self.forms.append(self._form)
            return
        if self._form is None:
            return
        fields, name = self._form["fields"], given.get("name", "")
        if tag == "input" and name:
            kind = given.get("type", "text")
            if kind not in ("radio", "checkbox") or "checked" in given:
                fields[name] = given.get("value", "")
        elif tag == "textarea":
            self._textarea = name
            fields[name] = ""
        elif tag == "select":
            self._select, self._first_option = name, True
        elif tag == "option" and self._select:
            if self._first_option or "selected" in given:
                fields[self._select] = given.get("value", "")
            self._first_option = False
        elif tag == "button" and name and "disabled" not in given:
            self._form["buttons"].append((name, given.get("value", "")))

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None
        elif tag == "select":
            self._select = None
        elif tag == "textarea":
            self._textarea = None

    def handle_data(self, data: str) -> None:
        if self._textarea and self._form is not None:
            self._form["fields"][self._textarea] += data


class Visitor:
    """A signed-in person who has scripts switched off."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.path = ""
        self.status = 0
        self.html = ""
        self.context: Any = None

    def open(self, path: str) -> Visitor:
        """Go to a page, following redirects."""
        self._took(self.client.get(path, follow=True))
        return self

    def form(
        self, selector: str = "wizard", button: tuple[str, str] | None = None
    ) -> dict[str, Any]:
        """Return the form of this id or with ``selector`` in its action, that has the button."""
        reader = FormReader()
        reader.feed(self.html)
        for form in reader.forms:
            attrs = form["attrs"]
            fits = attrs.get("id") == selector or selector in attrs.get("action", "")
            if fits and (button is None or button in form["buttons"]):
                return form
        raise AssertionError(f"no form {selector!r} with the button {button} at {self.path}")

    def press(
        self,
        button: str,
        typed: Mapping[str, str] | None = None,
        *,
        form: str = "wizard",
        name: str = "do",
    ) -> Visitor:
        """Fill in ``typed`` and press the button of this value, which has to be there."""
        found = self.form(form, (name, button))
        unknown = set(typed or {}) - set(found["fields"])
        radios = {key for key in unknown if f'name="{key}"' in self.html}
        assert unknown <= radios, f"the page has no field {unknown - radios}"
        data = {**found["fields"], **(typed or {}), name: button}
        action = found["attrs"].get("action") or self.path
        self._took(self.client.post(action.split("#")[0], data, follow=True))
        return self

    def _took(self, response: Any) -> None:
        # Only the client's own failures raise; what a person sees is looked at.
        self.status = response.status_code
        self.html = response.content.decode()
        self.context = response.context
        if response.redirect_chain:
            self.path = urlsplit(response.redirect_chain[-1][0]).path
        else:
            self.path = response.request["PATH_INFO"]
