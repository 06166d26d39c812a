"""The tool registry, and connecting to tools for real."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import call_command

from accounts.roles import Role
from ledger.errors import InvalidInput, NotAllowed, NotFound
from registry.models import Tool
from registry.services import tools as services
from registry.services.secrets import put_secret
from registry.services.tools import active_tools, check_parameters, load_tools, tool_for
from tests.builders import make_caller

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registry.services.tools import ToolCheck

pytestmark = pytest.mark.django_db
SLUGS = {"redis", "postgresql", "vectordb", "embeddings-api", "chat-model", "http-api"}
KEY = "key-for-the-model"


class ModelServer(ThreadingHTTPServer):
    """An OpenAI-compatible service with one model, that also answers in every wrong way."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.seen: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://localhost:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: ModelServer
    ROUTES = {
        "/v1/embeddings": "embeddings",
        "/v1/chat/completions": "chat",
        "/open": "ok",
        "/locked": "locked",
        "/broken/embeddings": "broken",
        "/away/embeddings": "away",
        "/busy/embeddings": "busy",
        "/huge/embeddings": "huge",
        "/text/embeddings": "text",
        "/other/chat/completions": "other",
        "/other/embeddings": "other",
    }

    def do_GET(self) -> None:
        self._answer({})

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        self._answer(json.loads(self.rfile.read(length)))

    def _answer(self, body: dict[str, Any]) -> None:
        self.server.seen.append({"headers": dict(self.headers), "path": self.path, "body": body})
        kind = self.ROUTES.get(self.path, "missing")
        if kind in ("embeddings", "chat"):
            if self.headers.get("Authorization") != f"Bearer {KEY}":
                return self._send(401, {"error": {"message": "Incorrect API key provided"}})
            if body.get("model") != "known":
                return self._send(404, {"error": {"message": "The model does not exist"}})
            answers = {
                "embeddings": {"data": [{"embedding": [0.1] * 8}]},
                "chat": {"choices": [{"message": {"content": "pong"}}]},
            }
            return self._send(200, answers[kind])
        if kind == "huge":
            return self._send(200, {"data": "x" * 2_000_000})
        if kind == "text":
            return self._send_bytes(200, b"<html>hello</html>")
        statuses = {"locked": 403, "broken": 500, "away": 302, "busy": 429, "missing": 404}
        return self._send(statuses.get(kind, 200), {"hello": "there"})

    def _send(self, status: int, answer: Any) -> None:
        self._send_bytes(status, json.dumps(answer).encode())

    def _send_bytes(self, status: int, answer: bytes) -> None:
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "http://169.254.169.254/")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        try:
            self.wfile.write(answer)
        except OSError:
            self.close_connection = True

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def model_server() -> Iterator[ModelServer]:
    server = ModelServer()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def check(model_server: ModelServer) -> Any:
    load_tools()
    caller = make_caller()
    put_secret(caller=caller, name="good", value=KEY)
    put_secret(caller=caller, name="bad", value="wrong-key")
    put_secret(caller=caller, name="lines", value="two\nlines")

    def run(tool: str, path: str = "/v1", secret: str | None = "good", **more: Any) -> ToolCheck:  # noqa: S107 - a name
        parameters = {"base_url": model_server.url + path, "model": "known", **more}
        if tool == "http-api":
            del parameters["model"]
        return services.test_tool(caller=caller, tool=tool, parameters=parameters, secret=secret)

    return run


# --- The registry -----------------------------------------------------------------------------


def test_loading_adds_what_is_missing_and_keeps_what_an_admin_changed() -> None:
    assert load_tools() == 6
    assert set(Tool.objects.values_list("slug", flat=True)) == SLUGS
    Tool.objects.filter(slug="redis").update(name="Our Redis", is_active=False)
    Tool.objects.filter(slug="http-api").delete()

    assert load_tools() == 1

    assert Tool.objects.get(slug="redis").name == "Our Redis"
    assert "redis" not in set(active_tools().values_list("slug", flat=True))


def test_an_unknown_or_switched_off_tool_is_not_found() -> None:
    load_tools()
    Tool.objects.filter(slug="redis").update(is_active=False)

    for slug in ("redis", "nothing", "", "\x00"):
        with pytest.raises(NotFound) as caught:
            tool_for(slug)
        assert caught.value.code == "tool_not_found"
        assert "chat-model" in caught.value.message


@pytest.mark.parametrize(
    ("tool", "parameters", "attr", "sentence"),
    [
        ("redis", {"host": "x"}, "parameters", "It takes: none."),
        ("chat-model", {"base_url": "https://x"}, "parameters", "also needs: model."),
        ("chat-model", {"base_url": "x", "model": "m"}, "parameters.base_url", "https://"),
        ("chat-model", {"base_url": "http://x", "model": 5}, "parameters.model", "model"),
        ("chat-model", {"base_url": "http://x", "model": "m\x00"}, "parameters", "NUL"),
        (
            "embeddings-api",
            {"base_url": "http://x", "model": "m", "dimensions": 0},
            "parameters.dimensions",
            "dimensions",
        ),
    ],
)
def test_parameters_are_checked(
    tool: str, parameters: dict[str, Any], attr: str, sentence: str
) -> None:
    load_tools()

    problems = check_parameters(tool_for(tool), parameters)

    assert [problem.attr for problem in problems] == [attr]
    assert sentence in problems[0].detail
    with pytest.raises(InvalidInput):
        services.test_tool(caller=make_caller(), tool=tool, parameters=parameters, secret=None)


# --- Connecting -------------------------------------------------------------------------------


@pytest.mark.parametrize("tool", ["redis", "postgresql", "vectordb"])
def test_what_the_platform_brings_is_connected(tool: str) -> None:
    load_tools()

    found = services.test_tool(caller=make_caller(), tool=tool, parameters={}, secret=None)

    assert (found.ok, found.detail) == (True, "Connected")


@pytest.mark.parametrize(
    ("tool", "setting", "url", "name"),
    [
        ("redis", "AGENT_REDIS_URL", "redis://127.0.0.1:1/0", "Redis"),
        ("postgresql", "AGENT_DATABASE_URL", "postgresql://u@127.0.0.1:1/x", "PostgreSQL"),
    ],
)
def test_what_is_away_is_said_so(
    settings: Any, tool: str, setting: str, url: str, name: str
) -> None:
    load_tools()
    setattr(settings, setting, url)

    found = services.test_tool(caller=make_caller(), tool=tool, parameters={}, secret=None)

    assert not found.ok
    assert found.detail.startswith(f"{name} does not answer.")


def test_a_model_service_is_connected(check: Any, model_server: ModelServer) -> None:
    assert check("embeddings-api").detail == "Connected (8 dimensions)"
    assert check("embeddings-api", dimensions=8).ok
    assert check("chat-model", path="/v1/").ok
    assert model_server.seen[0]["headers"]["Host"] == f"localhost:{model_server.server_port}"
    assert check("http-api", path="/open").ok
    assert check("http-api", path="/nothing-here").ok


@pytest.mark.parametrize(
    ("tool", "arguments", "sentence"),
    [
        ("embeddings-api", {"secret": "bad"}, "refuses the key"),
        ("embeddings-api", {"secret": None}, "refuses the key"),
        ("chat-model", {"secret": "bad"}, "refuses the key"),
        ("http-api", {"path": "/locked"}, "refuses the key"),
        ("embeddings-api", {"model": "unknown"}, "does not know the model unknown"),
        ("chat-model", {"model": "unknown"}, "does not know the model unknown"),
        ("embeddings-api", {"path": "/wrong"}, "base URL"),
        ("embeddings-api", {"dimensions": 3}, "vectors of 8 numbers, not 3"),
        ("embeddings-api", {"path": "/broken"}, "error (500)"),
        ("http-api", {"path": "/broken/embeddings"}, "error (500)"),
        ("embeddings-api", {"path": "/away"}, "sends us elsewhere"),
        ("embeddings-api", {"path": "/busy"}, "quota is used up"),
        ("embeddings-api", {"path": "/huge"}, "not as an OpenAI-compatible one"),
        ("embeddings-api", {"path": "/text"}, "not as an OpenAI-compatible one"),
        ("chat-model", {"path": "/other"}, "not as an OpenAI-compatible one"),
        ("embeddings-api", {"path": "/other"}, "not as an OpenAI-compatible one"),
        ("chat-model", {"secret": "lines"}, "characters that can't be sent"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    check: Any, tool: str, arguments: dict[str, Any], sentence: str
) -> None:
    found = check(tool, **arguments)

    assert not found.ok
    assert sentence in found.detail
    assert KEY not in found.detail
    assert "wrong-key" not in found.detail


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("http://127.0.0.1:1/v1", "can't be reached"),
        ("https://nobody.invalid/v1", "can't be found"),
        ("http://169.254.169.254/v1", "may not go to this address"),
    ],
)
def test_what_can_not_be_reached_is_said_in_a_sentence(check: Any, url: str, sentence: str) -> None:
    found = check("chat-model", base_url=url)

    assert not found.ok
    assert sentence in found.detail


def test_https_to_a_plain_service_is_said_so(check: Any, model_server: ModelServer) -> None:
    found = check("chat-model", base_url=f"https://localhost:{model_server.server_port}/v1")
    assert "whether it is http or https" in found.detail


def test_private_addresses_are_a_setting(
    check: Any, model_server: ModelServer, settings: Any
) -> None:
    settings.EGRESS_ALLOW_PRIVATE = False

    found = check("embeddings-api")

    assert "may not go to private addresses" in found.detail
    assert model_server.seen == []


def test_another_organisations_secret_is_not_there(model_server: ModelServer) -> None:
    load_tools()
    put_secret(caller=make_caller(), name="good", value=KEY)

    with pytest.raises(InvalidInput) as caught:
        services.test_tool(
            caller=make_caller(),
            tool="chat-model",
            parameters={"base_url": model_server.url, "model": "known"},
            secret="good",
        )

    assert caught.value.problems[0].attr == "secret"
    assert model_server.seen == []


def test_testing_needs_a_role() -> None:
    with pytest.raises(NotAllowed):
        services.test_tool(
            caller=make_caller(Role.VIEWER), tool="redis", parameters={}, secret=None
        )


def test_the_command_loads_tools_tiers_and_prices(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("load_defaults")
    call_command("load_defaults")

    assert capsys.readouterr().out.splitlines() == [
        "Added 6 tools, 5 tiers, 1 price books.",
        "Added 0 tools, 0 tiers, 0 price books.",
    ]
