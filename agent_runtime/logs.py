"""Structured logs: one JSON object per line on standard output.

A line tells what happened, never what was sent: no inputs, no outputs, no credentials. Values of
the credentials are replaced wherever they appear, and a failure's message is freed of the texts
that the call carried.
"""

import logging
import sys
import traceback
from collections.abc import Iterable, MutableMapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from structlog.stdlib import BoundLogger

_HIDDEN: Final = "[hidden]"
_MAX_VALUE: Final = 2_000
_MAX_FRAMES: Final = 12
_MIN_SECRET: Final = 4

_secrets: list[str] = []


def configure_logs(level: int = logging.INFO) -> None:
    """Send structlog and the standard library's loggers to standard output as JSON lines."""
    with _without("rich", "better_exceptions"):
        import structlog

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _hide_secrets,
            structlog.processors.JSONRenderer(ensure_ascii=False, default=str),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [_Forward()]
    root.setLevel(logging.WARNING)
    # Its lines carry a header and a traceback; the agent tells the same in one line of its own.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)


def hide(secrets: Iterable[str]) -> None:
    """Leave these texts out of every line from now on."""
    _secrets[:] = sorted((s for s in secrets if len(s) >= _MIN_SECRET), key=len, reverse=True)


def get_logger(**bound: Any) -> "BoundLogger":
    """Return the logger with these values bound to each of its lines."""
    import structlog

    logger: BoundLogger = structlog.get_logger(**bound)
    return logger


def describe_failure(error: BaseException, texts: Iterable[str] = ()) -> dict[str, str]:
    """Return an unexpected failure for the log: kind, message, and where it happened.

    ``texts`` are what the call carried; they are taken out of the message.
    """
    message = str(error)[:_MAX_VALUE]
    for text in sorted((t for t in texts if len(t) >= _MIN_SECRET), key=len, reverse=True):
        message = message.replace(text, "[input]").replace(repr(text)[1:-1], "[input]")
    frames = traceback.extract_tb(error.__traceback__)[-_MAX_FRAMES:]
    where = " < ".join(f"{f.name} ({f.filename}:{f.lineno})" for f in reversed(frames))
    return {"error": type(error).__name__, "message": message[:500], "where": where}


def _hide_secrets(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if isinstance(value, str):
            text = value[:_MAX_VALUE]
            for secret in _secrets:
                text = text.replace(secret, _HIDDEN)
            event[key] = text
    return event


@contextmanager
def _without(*modules: str) -> "Iterator[None]":
    """Import what follows as if ``modules`` were not installed.

    structlog loads these for its coloured console if they are there, which costs an agent 9 MB
    for something that it never shows.
    """
    hidden = [name for name in modules if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # the documented way to refuse one
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


class _Forward(logging.Handler):
    """Turns a standard library record into a line of the agent's own log."""

    def emit(self, record: logging.LogRecord) -> None:
        failure = record.exc_info[1] if record.exc_info else None
        extra = describe_failure(failure) if failure else {}
        get_logger(source=record.name).log(
            max(record.levelno, logging.DEBUG), record.getMessage(), **extra
        )
