"""What the launcher's processes do: prepare the database, serve, work, keep the schedule."""

from __future__ import annotations

import gc
import os
import signal
import socket
from io import StringIO
from typing import TYPE_CHECKING

from config.embedded_process import StartupError, die_with

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_WORKER_CHILDREN = 2


def load_models() -> None:
    """Import settings and models, so that forked processes share them. Opens no connection."""
    import django

    django.setup()


def load_pages() -> None:
    """Import what the web server needs besides."""
    import uvicorn.lifespan.on
    import uvicorn.protocols.http.httptools_impl
    import uvicorn.protocols.websockets.websockets_sansio_impl
    import uvloop
    from django.urls import get_resolver

    import config.asgi

    del uvicorn, uvloop, config
    _ = get_resolver().url_patterns
    _keep_shared()


def load_queue() -> None:
    """Import what the worker and beat need besides."""
    import celery.apps.beat
    import celery.apps.worker
    import django_celery_beat.schedulers

    from config.celery import app

    del celery, django_celery_beat
    app.loader.import_default_modules()
    _keep_shared()


def _keep_shared() -> None:
    # What is here now stays; collecting would only write to memory that is shared.
    gc.collect()
    gc.freeze()


def prepare() -> list[str]:
    """Bring the database up to date and make the first admin; return what a person should know.

    Raises StartupError when a command refuses.
    """
    from django.core.management import CommandError, call_command

    # The password is for the person's eyes, not for the log.
    refused, admin = StringIO(), StringIO()
    try:
        if _migrations_pending():
            call_command("migrate", interactive=False)
        call_command("load_defaults")
        call_command("load_templates", stderr=refused)
        call_command("bootstrap_admin", stdout=admin)
    except CommandError as error:
        raise StartupError(str(error)) from error
    problems = [f"Template not loaded: {line}" for line in _lines(refused)]
    return [*problems, *_lines(admin)]


def find_base_image() -> str:
    """Make sure that the image which agents' images are built on is there; return its story."""
    from django.core.management import CommandError, call_command

    story = StringIO()
    try:
        call_command("base_image", "--if-missing", stdout=story)
    except CommandError as error:
        raise StartupError(str(error)) from error
    return " ".join(_lines(story))


def serve(sockets: Sequence[socket.socket]) -> int:
    """Serve pages, API and the agents' way out."""
    from config.server import serve as serve_on

    serve_on(sockets)
    return 0


def work() -> int:
    """Run the Celery worker."""
    from celery.signals import worker_process_init

    from config.celery import app

    parent = os.getpid()

    def leave_with_worker(**_: object) -> None:
        die_with(parent, signal.SIGKILL)

    worker_process_init.connect(leave_with_worker, weak=False)
    run: Callable[[list[str]], object] = app.worker_main  # leaves by SystemExit or returns
    run(
        [
            "worker",
            "--pool=prefork",
            f"--concurrency={_WORKER_CHILDREN}",
            "--loglevel=INFO",
            "--without-gossip",
            "--without-mingle",
        ]
    )
    return 0


def keep_schedule() -> int:
    """Run Celery beat."""
    from config.celery import app

    run: Callable[[list[str]], object] = app.start  # leaves by SystemExit or returns
    run(["beat", "--pidfile=", "--loglevel=INFO"])
    return 0


def stop_agents() -> int:
    """Stop what was deployed; it starts again with the platform. Return how many there were."""
    from provisioning.shutdown import stop_instances

    return stop_instances()


def manage(arguments: Sequence[str]) -> None:
    """Run one of Django's management commands."""
    from django.core.management import execute_from_command_line

    execute_from_command_line(["manage", *arguments])


def _lines(output: StringIO) -> list[str]:
    return [line.strip() for line in output.getvalue().splitlines() if line.strip()]


def _migrations_pending() -> bool:
    from django.db import connection
    from django.db.migrations.executor import MigrationExecutor

    executor = MigrationExecutor(connection)
    return bool(executor.migration_plan(executor.loader.graph.leaf_nodes()))
