"""An agent's structured log lines, told as people read them, free of credentials."""

import json
import re
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

MAX_LINES: Final = 200
"""Lines kept of one scenario."""
MAX_LINE: Final = 400

_HIDDEN: Final = "[hidden]"
_MAX_RAW: Final = 20_000
_MAX_KEPT: Final = 20_000
_OWN_KEYS: Final = frozenset(
    {"event", "level", "timestamp", "request_id", "capability", "logger", "agent_id", "digest"}
)
_URL_PASSWORD: Final = re.compile(r"(?<=://)[^/\s@]+@")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\u2028\u2029\ud800-\udfff]+")
_TIME: Final = re.compile(r"T(\d\d:\d\d:\d\d)")


@dataclass(frozen=True)
class LogLine:
    """One line of the agent's output."""

    text: str
    """As in ``[12:00:00] Connected to Redis``."""
    request_id: str = ""
    """The call that it belongs to; empty for the agent's own."""
    ends_call: bool = False
    """Whether it is the last line of that call."""


class Masker:
    """Takes credentials out of text: those it was told, and passwords in addresses."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = sorted((secret for secret in secrets if secret), key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """Return ``text`` without credentials."""
        for secret in self._secrets:
            text = text.replace(secret, _HIDDEN)
        return _URL_PASSWORD.sub(f"{_HIDDEN}@", text)


def read_line(raw: str, mask: Masker) -> LogLine | None:
    """Return a line of the agent's output as people read it; ``None`` for an empty one."""
    raw = raw[:_MAX_RAW].strip()
    if not raw:
        return None
    try:
        entry = json.loads(raw) if raw.startswith("{") else None
    except (ValueError, RecursionError):
        entry = None
    if not isinstance(entry, dict) or not isinstance(entry.get("event"), str):
        return LogLine(text=_tidy(mask(raw)))
    event = entry["event"]
    return LogLine(
        text=_tidy(mask(_sentence(entry, event))),
        request_id=str(entry.get("request_id", "")),
        ends_call=event in ("capability completed", "capability failed"),
    )


def _sentence(entry: dict[str, Any], event: str) -> str:
    time = _TIME.search(str(entry.get("timestamp", "")))
    stamp = f"[{time[1]}] " if time else ""
    level = str(entry.get("level", "info"))
    mark = f"{level.capitalize()}: " if level in ("warning", "error", "critical") else ""
    said = event[:1].upper() + event[1:]
    if entry.get("capability"):
        said = f"{said}: {entry['capability']}"
    details = ", ".join(
        f"{key.replace('_', ' ')} {_value(value)}"
        for key, value in entry.items()
        if key not in _OWN_KEYS and value is not None and value != ""
    )
    return f"{stamp}{mark}{said}{f' ({details})' if details else ''}"


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _tidy(text: str) -> str:
    text = _CONTROL.sub(" ", text)
    return text if len(text) <= MAX_LINE else text[: MAX_LINE - 1] + "…"


class LogTail:
    """Collects an instance's lines as they are written, in a thread of its own.

    Each line is put down to a scenario: by its request id (``{prefix}-{position}``, see
    ``request_id``), or, when it has none, to the one that is being played when it arrives.
    """

    def __init__(self, source: Iterable[str], mask: Masker, prefix: str) -> None:
        self._source = source
        self._mask = mask
        self._id = re.compile(rf"{re.escape(prefix)}-(\d+)(?:-setup\d+)?")
        self._prefix = prefix
        self._playing: int | None = None
        self._lines: list[tuple[int | None, LogLine]] = []
        self._ended: set[str] = set()
        self._changed = threading.Condition()
        # A daemon: following may end only when the instance is removed.
        self._thread = threading.Thread(target=self._follow, name="sandbox-log", daemon=True)

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def stop(self, timeout: float = 2.0) -> None:
        """Wait for the end of what is followed, which removing the instance brings about."""
        self._thread.join(timeout)

    def request_id(self, position: int, setup: int = 0) -> str:
        """Return the id under which the scenario's call, or one beforehand, is made."""
        return f"{self._prefix}-{position}" + (f"-setup{setup}" if setup else "")

    def play(self, position: int | None) -> None:
        """Put lines without a request id down to the scenario at ``position`` from now on."""
        with self._changed:
            self._playing = position

    def since(self, index: int) -> list[tuple[int | None, LogLine]]:
        """Return the lines from number ``index`` on, each with its scenario's position."""
        with self._changed:
            return self._lines[index:]

    def of(self, position: int) -> list[str]:
        """Return the newest lines of one scenario, at most ``MAX_LINES``."""
        with self._changed:
            found = [line.text for where, line in self._lines if where == position]
        return found[-MAX_LINES:]

    def wait_for_end(self, position: int, timeout: float) -> None:
        """Wait until the last line of that scenario's call came, at most ``timeout`` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self.request_id(position) in self._ended, timeout)

    def _follow(self) -> None:
        for raw in _until_broken(self._source):
            line = read_line(raw, self._mask)
            if line is not None:
                self._add(line)

    def _add(self, line: LogLine) -> None:
        with self._changed:
            known = self._id.fullmatch(line.request_id)
            self._lines.append((int(known[1]) if known else self._playing, line))
            if line.ends_call:
                self._ended.add(line.request_id)
            # A talkative agent costs no memory without end.
            if len(self._lines) > _MAX_KEPT:
                self._lines[_MAX_KEPT:] = []
            self._changed.notify_all()


def _until_broken(source: Iterable[str]) -> Iterator[str]:
    from provisioning.drivers.base import DriverError

    try:
        yield from source
    except (DriverError, OSError, ValueError):
        # The engine went away; the test itself will notice.
        return
