"""Secrets with known values, the whole road, and a look everywhere: none stands in the clear.

The few places where one has to be are named, each where it is read.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
import secrets
import tarfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import httpx
import pytest
import redis
from django.apps import apps
from django.contrib import admin
from django.contrib.sessions.models import Session
from django.db import connection
from django.urls import reverse
from psycopg import sql
from websockets.sync.client import connect

from accounts.models import Membership, Organization, User
from accounts.roles import Role
from config.embedded_process import wait_until
from provisioning.images.layout import CREDENTIALS_FOLDER
from registry.models import Agent, Secret
from registry.services.agents import credentials_of
from tests.builders import make_organization
from tests.pages import FormReader
from tests.services import docker_client
from tests.upstream import Answer, Upstream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from docker.models.containers import Container

    from tests.running import RunningPlatform

FACTORY = "/api/platform/agent-factory"
OBJECT = {"type": "object"}
ROWS_OF_A_MODEL = 12
"""Change pages of one model that are opened."""


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


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    server = Upstream().start()
    yield server
    server.stop()


def agent_request(upstream: Upstream) -> dict[str, Any]:
    return {
        "template_id": "memory-agent",
        "agent_id": "WowCanary",
        "name": "Canary Agent",
        "description": "Calls out with secrets.",
        "tier": 3,
        "capabilities": [
            "store_context",
            "retrieve_context",
            "search_context",
            "summarize_context",
            {
                "name": "call_out",
                "description": "Call the service.",
                "input_schema": {"type": "object", "properties": {"q": {"type": "string"}}},
                "output_schema": OBJECT,
                "timeout_seconds": 5,
                "implementation": {
                    "kind": "http",
                    "url": f"{upstream.url}/things",
                    "secret": "tool-secret",
                },
            },
            {
                "name": "ask_model",
                "description": "Ask the model.",
                "input_schema": OBJECT,
                "output_schema": {"type": "object", "properties": {"answer": {"type": "string"}}},
                "timeout_seconds": 5,
                "implementation": {"kind": "prompt", "instructions": "Answer."},
            },
        ],
        "tools": [
            {
                "tool": "chat-model",
                "parameters": {"base_url": f"{upstream.url}/v1", "model": "big"},
                "secret": "model-key",
            },
        ],
        "resources": {"cpu_cores": 1, "memory_mb": 1024, "storage_gb": 1},
    }


@pytest.fixture
def sites(platform: RunningPlatform) -> Iterator[list[Site]]:
    """Three clients: of a person, of a program and of the admin."""
    made = [Site(platform) for _ in range(3)]
    yield made
    for site in made:
        site.client.close()


@pytest.mark.worker
@pytest.mark.docker
def test_no_secret_stands_anywhere_in_the_clear(
    platform: RunningPlatform, upstream: Upstream, sites: list[Site]
) -> None:
    canaries = Canaries()
    _add_own_secrets(canaries, platform)
    people, programs, admins = sites
    organization = make_organization()

    # The admin makes a person and keeps two secrets.
    admins.sign_in("admin", platform.admin_password)
    canaries.add("admin password", platform.admin_password)
    password = canaries.make("password")
    for name in ("tool-secret", "model-key"):
        made = admins.submit(
            reverse("admin:registry_secret_add"),
            {"organization": organization.pk, "name": name, "value": canaries.make(name)},
        )
        assert made.status_code == 302, _errors(made)
    username = f"canary-person-{organization.pk}"
    made = admins.submit(
        reverse("admin:accounts_user_add"),
        {
            "username": username, "usable_password": "true",
            "password1": password, "password2": password,
        },
    )  # fmt: skip
    assert made.status_code == 302, _errors(made)
    user = User.objects.get(username=username)
    Membership.objects.create(user=user, organization=organization, role=Role.ADMIN)
    people.sign_in(username, password)

    _sign_programs_in(canaries, people, programs, username, password)
    agent = _go_the_road(canaries, programs, organization, platform, upstream)
    _keep_a_secret_in_the_wizard(canaries, people)
    _look_at_pages(admins, people, agent)

    for site in (people, programs, admins):
        for where, content in site.answers:
            canaries.look(where, content, allowed=_shown_once(where))
    _look_at_the_container(canaries, platform)
    _look_at_processes(canaries, platform)
    _look_at_the_database(canaries)
    _look_at_redis(canaries, platform)
    _look_at_files(canaries, platform)

    assert canaries.found == []
    assert canaries.looked_at > 200
    assert programs.client.post("/api/agents/WowCanary/undeploy").status_code == 202
    assert wait_until(lambda: _state(programs)["status"] == "stopped", seconds=60)


def _errors(page: httpx.Response) -> list[str]:
    return re.findall(r"error[^<]*</?[^>]*>[^<]*", page.text)


def _add_own_secrets(canaries: Canaries, platform: RunningPlatform) -> None:
    """The platform's own keys and passwords are random: they are their own canaries."""
    for name in ("SECRET_KEY", "SECRETS_KEYS"):
        canaries.add(name, platform.environment[name])
    for name in ("DATABASE_URL", "AGENT_DATABASE_URL", "REDIS_URL"):
        canaries.add(name, unquote(urlsplit(platform.environment[name]).password or ""))


def _shown_once(where: str) -> tuple[str, ...]:
    """Return the secrets that this answer is there to hand out."""
    if where.endswith(("/api/auth/token", "/api/auth/refresh")):
        return ("access token", "refresh token", "second access token")
    return ("API token",) if where.startswith("POST") and where.endswith("/account/tokens") else ()


def _sign_programs_in(
    canaries: Canaries, people: Site, programs: Site, username: str, password: str
) -> None:
    page = people.submit("/account/tokens", {"name": "canary"}, form="/account")
    shown = re.search(r"\b[0-9a-f]{64}\b", page.text)
    assert shown, page.text
    canaries.add("API token", shown.group())
    client = programs.client
    for wrong in (password + "x", password[:-1]):
        refused = client.post("/api/auth/token", json={"username": username, "password": wrong})
        assert refused.status_code == 401
    tokens = client.post("/api/auth/token", json={"username": username, "password": password})
    canaries.add("access token", tokens.json()["access"])
    canaries.add("refresh token", tokens.json()["refresh"])
    again = client.post("/api/auth/refresh", json={"refresh": tokens.json()["refresh"]})
    canaries.add("second access token", again.json()["access"])
    for scheme, token in (("Bearer", tokens.json()["access"]), ("Token", shown.group())):
        spoilt = {"Authorization": f"{scheme} {token}x"}
        assert client.get("/api/agents", headers=spoilt).status_code == 401
    client.headers["Authorization"] = f"Bearer {tokens.json()['access']}"
    assert client.get("/api/agents").status_code == 200
    client.headers["Authorization"] = f"Token {shown.group()}"
    assert client.get("/api/agents").status_code == 200


def _state(programs: Site) -> Any:
    return programs.client.get(f"{FACTORY}/agents/WowCanary/provisioning").json()


def _go_the_road(
    canaries: Canaries,
    programs: Site,
    organization: Organization,
    platform: RunningPlatform,
    upstream: Upstream,
) -> Agent:
    client, request = programs.client, agent_request(upstream)
    report = client.post(f"{FACTORY}/validate", json=request).json()
    assert report["valid"] is True, report
    scenario = {"name": "Store Context", "input": {"customer_id": "c-1", "text": "premium"}}
    started = client.post(
        f"{FACTORY}/test", json={"agent_config": request, "test_scenarios": [scenario]}
    )
    assert started.status_code == 202, started.text
    test_id = started.json()["test_id"]
    results = f"{FACTORY}/test/{test_id}/results"
    _follow(canaries, programs, platform, f"sandbox/{test_id}", ("completed", "errored"))
    assert client.get(results).json()["passed"] is True, client.get(results).text

    accepted = client.post(f"{FACTORY}/agents", json=request)
    assert accepted.status_code == 202, accepted.text
    deployment_id = accepted.json()["deployment_id"]
    _follow(canaries, programs, platform, f"deployment/{deployment_id}", ("running", "failed"))
    assert wait_until(lambda: _state(programs)["status"] == "completed", seconds=120)
    assert client.post("/api/agents/WowCanary/activate").status_code == 200
    agent = Agent.objects.get(agent_id="WowCanary", organization=organization)
    held = credentials_of(agent)
    for name in ("invoke_token", "egress_token", "redis_password", "database_password"):
        canaries.add(name, getattr(held, name))

    def call(capability: str, body: Any) -> httpx.Response:
        return client.post(f"/api/agents/WowCanary/invoke/{capability}", json=body)

    # A service that gives away what it was sent, in good answers and in bad ones.
    tool_secret, model_key = (
        canaries.values[name].decode() for name in ("tool-secret", "model-key")
    )
    for status in (200, 401, 500):
        upstream.answer = Answer.of({"echo": f"you sent Bearer {tool_secret}"}, status=status)
        assert call("call_out", {"q": "a"}).status_code in (200, 424, 502)
        said = {"answer": f"key {model_key}"}
        upstream.answer = Answer.of(
            {
                "choices": [{"message": {"role": "assistant", "content": json.dumps(said)}}],
                "error": {"message": f"Incorrect API key provided: {model_key}"},
            },
            status=status,
        )
        assert call("ask_model", {}).status_code in (200, 424, 502)
    sent = {received.headers.get("authorization") for received in upstream.received}
    # Where they have to arrive: at the services that they are for.
    assert sent == {f"Bearer {tool_secret}", f"Bearer {model_key}"}
    upstream.answer = Answer(body=f"no JSON: {tool_secret}".encode())
    assert call("call_out", {}).status_code in (200, 502)
    assert call("call_out", {"q": 5}).status_code == 400
    assert call("store_context", {"text": 5}).status_code == 400
    assert call("nothing", {}).status_code == 404
    assert call("store_context", {"customer_id": "c-1", "text": "premium"}).status_code == 200
    for path in ("", "/WowCanary"):
        assert client.get(f"/api/agents{path}").status_code == 200
    assert client.get(f"{FACTORY}/agents/WowCanary/status").json()["health"]
    return agent


def _keep_a_secret_in_the_wizard(canaries: Canaries, people: Site) -> None:
    """Type a secret on step 3, then a wrong one, and open every step of the draft."""
    begun = people.submit("/agents/new", {"template-template": "memory-agent"})
    assert begun.status_code == 302, _errors(begun)
    draft = begun.headers["location"].rsplit("/", 1)[0]
    people.submit(f"{draft}/basics", {"basics-name": "Canary Draft", "do": "next"})
    for name in ("wizard-secret", ""):
        fields = {"secret_name": name, "secret_value": canaries.make(f"typed {name or 'in vain'}")}
        kept = people.submit(f"{draft}/capabilities", {**fields, "do": "secret-add"})
        assert kept.status_code in (200, 302), kept.text
        assert people.client.get(f"{draft}/capabilities").status_code == 200
    assert Secret.objects.filter(name="wizard-secret").exists()


def _follow(
    canaries: Canaries, programs: Site, platform: RunningPlatform, what: str, ends: tuple[str, ...]
) -> None:
    """Follow a piece of work over its WebSocket until it ends; look at every message."""
    url = f"{platform.url.replace('http', 'ws', 1)}/ws/factory/{what}"
    headers = {"Authorization": programs.client.headers["Authorization"]}
    with connect(url, additional_headers=headers) as socket:
        while True:
            text = socket.recv(timeout=120)
            canaries.look(f"WebSocket {what}", text)
            message = json.loads(text)
            payload = message.get("payload", {})
            if message.get("status") in ends or (
                message.get("kind") == "status"
                and "step" not in payload
                and payload.get("to") in (*ends, "passed", "failed")
            ):
                return


def _look_at_pages(admins: Site, people: Site, agent: Agent) -> None:
    """Open every page of the admin, and the portal's pages about this agent."""
    for model in apps.get_models():
        if not admin.site.is_registered(model):
            continue
        base = f"admin:{model._meta.label_lower.replace('.', '_')}"  # noqa: SLF001 - Django's documented model API
        assert admins.client.get(reverse(f"{base}_changelist")).status_code == 200, base
        rows = model._default_manager.order_by("-pk").values_list("pk", flat=True)  # noqa: SLF001 - the same
        for pk in rows[:ROWS_OF_A_MODEL]:
            for page in ("change", "history"):
                answer = admins.client.get(reverse(f"{base}_{page}", args=[pk]))
                assert answer.status_code in (200, 302), (base, pk, answer.status_code)
    deployment = agent.deployments.latest("created_at")
    for path in (
        "/", "/account", "/templates", "/templates/memory-agent", "/agents/WowCanary",
        "/deployments", f"/deployments/{deployment.pk}", "/health", "/ready", "/api/schema",
    ):  # fmt: skip
        assert people.client.get(path).status_code == 200, path


def _look_at_the_container(canaries: Canaries, platform: RunningPlatform) -> None:
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


def _look_at_processes(canaries: Canaries, platform: RunningPlatform) -> None:
    """No command line, for every user of the machine may read those."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                content = (folder / "cmdline").read_bytes()
            except OSError:  # it has ended
                continue
            canaries.look(f"command line {content[:80]!r}", content)


def _look_at_the_database(canaries: Canaries) -> None:
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


def _look_at_redis(canaries: Canaries, platform: RunningPlatform) -> None:
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


def _look_at_files(canaries: Canaries, platform: RunningPlatform) -> None:
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
