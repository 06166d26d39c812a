"""The product as ``make run`` starts it, on a data folder and a port of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Self

import httpx

from tests.services import docker_client, remove_labelled

PASSWORD = "a-long-enough-passphrase"
FACTORY = "/api/platform/agent-factory"
START_SECONDS = 180.0


class Product:
    """A running product and its API."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="af-bench-")
        self.data_dir = Path(self._folder.name) / "data"
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self.http = httpx.Client(base_url=self.url, timeout=60)

    def __enter__(self) -> Self:
        self.start()
        answer = self.call("POST", "/api/auth/token", {"username": "admin", "password": PASSWORD})
        self.http.headers["Authorization"] = f"Bearer {answer['access']}"
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        client = docker_client()
        if client is not None:
            remove_labelled(client, (self.data_dir / "installation").read_text().strip())
            client.close()
        self._folder.cleanup()

    def start(self) -> float:
        """Start everything; return the seconds until the first page."""
        started = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "config.run"],
            env=os.environ
            | {
                "PORT": str(self.port),
                "DATA_DIR": str(self.data_dir),
                "FACTORY_ADMIN_PASSWORD": PASSWORD,
            },
            stdout=subprocess.DEVNULL,
        )
        while True:
            try:
                if self.http.get("/sign-in").status_code == httpx.codes.OK:
                    break
            except httpx.HTTPError:
                pass
            if self._process.poll() is not None or time.perf_counter() - started > START_SECONDS:
                raise RuntimeError("The product did not start; see the lines above.")
            time.sleep(0.05)
        return time.perf_counter() - started

    def stop(self) -> None:
        """Stop everything that was started."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(60)
            self._process = None

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Return the JSON answer.

        Raises:
            RuntimeError: the API refused.

        """
        answer = self.http.request(method, path, json=body)
        if answer.is_error:
            raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text[:2000]}")
        return answer.json() if answer.content else None

    def bearer(self) -> tuple[tuple[str, str], ...]:
        """Return the sign-in header, for a load."""
        return (("Authorization", str(self.http.headers["Authorization"])),)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
