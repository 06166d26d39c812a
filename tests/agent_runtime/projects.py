"""An agent's project on disk and its process, as the platform makes and starts them."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import httpx
import psycopg

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[2]
DEADLINE = 30.0

# What the platform grants an agent's Redis user: these commands, on its own keys.
REDIS_COMMANDS = (
    "auth", "select", "ping", "multi", "exec",
    "xadd", "xreadgroup", "xack", "xautoclaim", "xclaim", "xpending", "xinfo|consumers",
    "xgroup|create", "xgroup|createconsumer", "xgroup|delconsumer",
    "get", "set", "mget", "del", "incr", "expire",
    "zadd", "zrem", "zrange", "zcard", "zremrangebyscore",
)  # fmt: skip

MAIN = """\
from agent_runtime import serve
from capabilities import CAPABILITIES

if __name__ == "__main__":
    serve(CAPABILITIES)
"""
BUILTIN = """\
from typing import Any

from agent_runtime import Context


async def run(payload: dict[str, Any], context: Context) -> dict[str, Any]:
    return await context.{kind}({name!r}, payload)
"""
ANY = {"type": "object"}


def capability(name: str, implementation: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "input_schema": ANY,
        "output_schema": ANY,
        "implementation": implementation,
        **changes,
    }


def builtin(name: str, operation: str, **changes: Any) -> dict[str, Any]:
    return capability(name, {"kind": "builtin", "operation": operation}, **changes)


MEMORY_CAPABILITIES = [
    builtin("store_context", "memory.store"),
    builtin("retrieve_context", "memory.retrieve"),
    builtin("search_context", "memory.search"),
    builtin("summarize_context", "memory.summarize"),
    builtin("describe", "agent.describe"),
    builtin("report", "agent.health"),
]


def make_document(capabilities: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    return {
        "agent_id": "WowTest",
        "name": "Test",
        "display_name": "Test agent",
        "tier": 2,
        "template": {"slug": "blank", "version": "1.0.0"},
        "capabilities": capabilities,
        **changes,
    }


@dataclass
class Backing:
    """One agent's own Redis user, key prefix, PostgreSQL role and schema."""

    redis_url: str
    key_prefix: str
    database_url: str
    schema: str

    def credentials(self, **changes: Any) -> dict[str, Any]:
        return {
            "agent_key": self.schema,
            "invoke_token": "token-of-the-agent",
            "redis_url": self.redis_url,
            "key_prefix": self.key_prefix,
            "database_url": self.database_url,
            "database_schema": self.schema,
            "egress_url": None,
            "egress_token": None,
            "models": {"chat": None, "embeddings": None},
            **changes,
        }


@dataclass
class AgentProcess:
    """``python main.py`` in a rendered project's folder."""

    folder: Path
    process: subprocess.Popen[bytes]
    port: int
    token: str | None
    client: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        headers = {"authorization": f"Bearer {self.token}"} if self.token else {}
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}", headers=headers, timeout=20, trust_env=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        if self.process.poll() is None:
            # Not killed: it would take along the record of the lines that it ran.
            self.process.terminate()
        try:
            self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def wait_for(self, path: str, status: int = 200) -> dict[str, Any]:
        deadline = time.monotonic() + DEADLINE
        answer = None
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.logs()
            try:
                answer = self.client.get(path)
            except httpx.TransportError:
                answer = None
            if answer is not None and answer.status_code == status:
                return dict(answer.json())
            time.sleep(0.02)
        raise AssertionError(
            f"{path} did not become {status}: {answer and answer.text}\n{self.logs()}"
        )

    def invoke(self, name: str, payload: Mapping[str, Any], **headers: str) -> httpx.Response:
        return self.client.post(f"/invoke/{name}", json=payload, headers=headers)

    def output(self, name: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        answer = self.invoke(name, payload)
        assert answer.status_code == 200, answer.text + self.logs()
        return dict(answer.json()["output"])

    def logs(self) -> str:
        return (self.folder / "log.txt").read_text()

    def log_lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.logs().splitlines() if line.startswith("{")]

    def wait_for_event(self, event: str) -> dict[str, Any]:
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline:
            for line in self.log_lines():
                if line["event"] == event:
                    return line
            time.sleep(0.02)
        raise AssertionError(f"never logged {event!r}: {self.logs()}")

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(DEADLINE)

    def memory_kib(self) -> dict[str, int]:
        rows = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text().splitlines()[1:]
        return {row.split(":")[0]: int(row.split()[1]) for row in rows}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def write_project(
    folder: Path, document: dict[str, Any], modules: Mapping[str, str] | None = None
) -> None:
    """Write the project; ``modules`` replaces the code of the capabilities that it names."""
    package = folder / "capabilities"
    package.mkdir(parents=True, exist_ok=True)
    (folder / "main.py").write_text(MAIN)
    (folder / "spec.json").write_text(json.dumps(document))
    names = [item["name"] for item in document["capabilities"]]
    for item in document["capabilities"]:
        name, how = item["name"], item["implementation"]
        target = how["operation"] if how["kind"] == "builtin" else name
        code = (modules or {}).get(name) or BUILTIN.format(kind=how["kind"], name=target)
        (package / f"{name}.py").write_text(code)
    imports = "".join(f"from capabilities import {name}\n" for name in names)
    table = ", ".join(f"{name!r}: {name}.run" for name in names)
    (package / "__init__.py").write_text(f"{imports}\nCAPABILITIES = {{{table}}}\n")


def start_agent(
    folder: Path,
    document: dict[str, Any],
    credentials: dict[str, Any] | None = None,
    modules: Mapping[str, str] | None = None,
    **environment: str,
) -> AgentProcess:
    """Write the project into ``folder`` and start it; its log goes to ``log.txt``."""
    write_project(folder, document, modules)
    secret_file = folder / "credentials.json"
    if credentials is not None:
        secret_file.write_text(json.dumps(credentials))
    port = free_port()
    with (folder / "log.txt").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "main.py"],
            cwd=folder,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(ROOT),
                **{name: value for name, value in os.environ.items() if "COVERAGE" in name},
                "AGENT_HOST": "127.0.0.1",
                "AGENT_PORT": str(port),
                "AGENT_CREDENTIALS_FILE": str(secret_file),
                "AGENT_SHUTDOWN_SECONDS": "3",
                **environment,
            },
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    token = credentials.get("invoke_token") if credentials else None
    return AgentProcess(folder, process, port, token)


def make_role(connection: psycopg.Connection[Any], name: str, password: str) -> None:
    """Make an agent's role and its schema, which it owns."""
    database = connection.info.dbname
    connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
    connection.execute(f"GRANT CONNECT ON DATABASE {database} TO {name}")
    connection.execute(f"CREATE SCHEMA {name}")
    connection.execute(f"ALTER SCHEMA {name} OWNER TO {name}")
    connection.execute(f"GRANT USAGE ON SCHEMA public TO {name}")
    connection.execute(f"ALTER ROLE {name} IN DATABASE {database} SET search_path = {name}, public")


def new_name() -> str:
    return f"af_{secrets.token_hex(5)}"
