"""Liveness and readiness of the platform itself."""

import time
from collections.abc import Callable

import structlog
from django.conf import settings
from django.core.cache import cache
from django.db import connection
from django.http import HttpRequest, JsonResponse

from config.celery import app as celery_app
from provisioning.drivers import get_driver

log = structlog.get_logger(__name__)


def health(request: HttpRequest) -> JsonResponse:
    """Say that the process answers. Looks at nothing else, so a slow database can't restart us."""
    return JsonResponse({"status": "ok"})


def ready(request: HttpRequest) -> JsonResponse:
    """Say whether every part that the platform needs is there, each one named."""
    parts = [
        _check("database", _database),
        _check("redis", _redis),
        _check("runtime", _runtime),
        _check("worker", _worker),
    ]
    ok = all(part["status"] == "ok" for part in parts)
    return JsonResponse(
        {"status": "ok" if ok else "unavailable", "checks": parts}, status=200 if ok else 503
    )


def _check(name: str, probe: Callable[[], str]) -> dict[str, object]:
    started = time.monotonic()
    try:
        detail, status = probe(), "ok"
    except Exception as error:  # noqa: BLE001 - whatever is wrong with a part, the others are still told
        log.warning("not ready", part=name, error=str(error))
        detail, status = "does not answer", "down"
    milliseconds = round((time.monotonic() - started) * 1000, 1)
    return {"name": name, "status": status, "detail": detail, "duration_ms": milliseconds}


def _database() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return "PostgreSQL"


def _redis() -> str:
    cache.get("ready")
    return "Redis"


def _runtime() -> str:
    info = get_driver().info()
    return f"{info.name} {info.version}" + ("" if info.isolated else ", not isolated")


def _worker() -> str:
    replies = celery_app.control.ping(timeout=1.0, limit=1)
    if not replies:
        raise RuntimeError("no worker answers")
    return f"{settings.RUNTIME_DRIVER} worker"
