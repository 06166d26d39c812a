"""Known secret values, and looking for them in everything that a running platform leaves."""

from __future__ import annotations

import base64
import io
import json
import os
import secrets
import tarfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import redis
from django.contrib.sessions.models import Session
from django.db import connection
from psycopg import sql

from provisioning.images.layout import CREDENTIALS_FOLDER
from tests.pages import FormReader
from tests.services import docker_client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from docker.models.containers import Container

    from tests.running import RunningPlatform


class Canaries:
    """Secret values by name, looked for in everything that is given to `look`."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self._forms: dict[str, tuple[bytes, ...]] = {}
        self.looked_at = 0
        self.found: list[str] = []

    def make(self, name: str) -> str:
        """Make a secret value."""
        value = f"canary-{secrets.token_hex(12)}"
        self.add(name, value)
        return value

    def add(self, name: str, value: str) -> None:
        """Look for a value from now on."""
        assert len(value) >= 16, name
        self.values[name] = data = value.encode()
        # As it is, and as it stands within Base64, which is how the queue packs its messages.
        packed = (base64.b64encode(b" " * shift + data + b"   ") for shift in range(3))
        self._forms[name] = (data, *(text[4 : 4 * (len(data) // 3)] for text in packed))

    def look(self, where: str, content: bytes | str, *, allowed: tuple[str, ...] = ()) -> None:
        """Note which secrets stand in the content, but for those that have to be there."""
        data = content.encode(errors="replace") if isinstance(content, str) else content
        self.looked_at += 1
        for name, forms in self._forms.items():
            at = max(data.find(form) for form in forms)
            if at >= 0 and name not in allowed:
                around = data[max(0, at - 60) : at].decode(errors="replace")
                self.found.append(f"{name} in {where}, after {around!r}")


class Site:
    """One client of the platform; every answer is kept, to be looked at in the end."""

    def __init__(self, platform: RunningPlatform) -> None:
        self.answers: list[tuple[str, bytes]] = []
        self.client = httpx.Client(
            base_url=platform.url,
            timeout=120,
            event_hooks={"response": [self._keep]},
        )

    def _keep(self, response: httpx.Response) -> None:
        response.read()
        head = repr(response.headers.raw).encode()
        request = response.request
        self.answers.append((f"{request.method} {request.url}", head + response.content))

    def submit(self, path: str, fields: Mapping[str, Any], form: str = "") -> httpx.Response:
        """Open the page of a form and send it back with these fields."""
        page = self.client.get(form or path)
        assert page.status_code == 200, (path, page.status_code)
        reader = FormReader()
        reader.feed(page.text)
        found = next(
            item["fields"]
            for item in reader.forms
            if fields.keys() & {*item["fields"], *(name for name, _ in item["buttons"])}
        )
        return self.client.post(path, data={**found, **fields})

    def sign_in(self, username: str, password: str) -> None:
        """Sign in on the page."""
        self.submit("/sign-in", {"username": username, "password": "not-" + password[::-1]})
        answer = self.submit("/sign-in", {"username": username, "password": password})
        assert answer.status_code == 302, answer.text


def look_at_the_container(canaries: Canaries, platform: RunningPlatform) -> None:
    client = docker_client()
    assert client is not None
    with ExitStack() as stack:
        stack.callback(client.close)
        label = f"agent-factory.installation={platform.installation}"
        containers: list[Container] = client.containers.list(all=True, filters={"label": label})
        assert containers
        for container in containers:
            canaries.look("container settings", json.dumps(container.attrs))
            canaries.look("container log", container.logs())
            image: Any = container.image
            canaries.look("image settings", json.dumps(image.attrs) + json.dumps(image.history()))
            for number in (row[1] for row in container.top()["Processes"]):
                for name in ("environ", "cmdline"):
                    content = Path(f"/proc/{number}/{name}").read_bytes()
                    canaries.look(f"{name} of the agent", content)
            for name, content in _files_of(container, "/agent"):
                canaries.look(f"project file {name}", content)
            held = dict(_files_of(container, CREDENTIALS_FOLDER))
            # The one place where an agent's own credentials are, and no other secret.
            own = ("invoke_token", "egress_token", "redis_password", "database_password")
            assert len(held) == 1
            for content in held.values():
                canaries.look("credentials file", content, allowed=own)
                assert canaries.values["egress_token"] in content


def _files_of(container: Container, folder: str) -> Iterator[tuple[str, bytes]]:
    stream, _ = container.get_archive(folder)
    with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as archive:
        for entry in archive:
            file = archive.extractfile(entry) if entry.isfile() else None
            if file is not None:
                yield entry.name, file.read()


def look_at_processes(canaries: Canaries) -> None:
    """No command line, for every user of the machine may read those."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                content = (folder / "cmdline").read_bytes()
            except OSError:  # it has ended
                continue
            canaries.look(f"command line {content[:80]!r}", content)


def look_at_the_database(canaries: Canaries) -> None:
    """Every row of every table as text, whichever room or agent it belongs to."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_schema, table_name FROM information_schema.tables"
            " WHERE table_schema NOT IN ('pg_catalog', 'information_schema')"
        )
        tables = cursor.fetchall()
        assert len(tables) > 30
        for schema, table in tables:
            cursor.execute(
                sql.SQL("SELECT t::text FROM {} t").format(sql.Identifier(schema, table))
            )
            rows = "\n".join(row[0] for row in cursor.fetchall())
            canaries.look(f"table {schema}.{table}", rows)
    for session in Session.objects.all():
        canaries.look("session", repr(session.get_decoded()))


def look_at_redis(canaries: Canaries, platform: RunningPlatform) -> None:
    """Every key and value, and what the server shows of its users and clients."""
    for number in (0, 1):
        url = platform.environment["REDIS_URL"].rsplit("/", 1)[0] + f"/{number}"
        with redis.Redis.from_url(url) as client:
            for key in client.scan_iter(count=1000):
                canaries.look("Redis key", bytes(key))
                canaries.look(f"Redis value of {key!r}", repr(_value(client, key)))
            shown = [client.acl_list(), client.client_list(), client.config_get("*")]
            canaries.look("Redis settings", repr(shown))


def _value(client: Any, key: bytes) -> Any:
    readers: dict[bytes, Callable[[], Any]] = {
        b"string": lambda: client.get(key),
        b"list": lambda: client.lrange(key, 0, -1),
        b"set": lambda: client.smembers(key),
        b"zset": lambda: client.zrange(key, 0, -1),
        b"hash": lambda: client.hgetall(key),
        b"stream": lambda: client.xrange(key),
        b"none": lambda: None,  # it has run out
    }
    return readers[client.type(key)]()


def look_at_files(canaries: Canaries, platform: RunningPlatform) -> None:
    """The data folder with all logs, but for the servers' own data and the key store."""
    folder = platform.servers.folder.path
    seen = set()
    for path in sorted(folder.rglob("*")):
        top = path.relative_to(folder).parts[0]
        # `secrets` is where the servers' passwords have to be; only its owner may open it.
        if path.is_file() and top not in ("postgres", "redis", "secrets"):
            canaries.look(f"file {path.relative_to(folder)}", path.read_bytes())
            seen.add(path.name)
    assert {f"platform-{name}.log" for name in ("web", "worker", "beat")} <= seen
    assert (folder / "secrets").stat().st_mode & 0o077 == 0
