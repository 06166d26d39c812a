"""What `make demo` says when it can't go on; the road itself is in tests/config/test_road.py."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from accounts.services import create_api_token
from factory import demo
from registry.models import Agent
from registry.services.agents import reserve_agent
from tests.builders import make_caller, make_spec
from tests.upstream import Answer, Upstream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.running import RunningPlatform


@pytest.fixture
def product(monkeypatch: pytest.MonkeyPatch) -> Iterator[Upstream]:
    """A server that stands where the product should."""
    server = Upstream().start()
    monkeypatch.setenv("FACTORY_URL", server.url)
    monkeypatch.setenv("FACTORY_TOKEN", "any")
    yield server
    server.stop()


def said(capsys: pytest.CaptureFixture[str]) -> str:
    assert demo.main() == 1
    error = capsys.readouterr().err
    assert error.startswith("The demo stopped. ")
    assert "Traceback" not in error
    return error


def test_the_products_own_sentence_is_told(
    product: Upstream, capsys: pytest.CaptureFixture[str]
) -> None:
    problem = {"detail": "Not today.", "errors": [{"attr": "tier", "detail": "Choose another."}]}
    product.answer = Answer.of(problem, status=409)
    assert "Not today. tier: Choose another." in said(capsys)


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"detail": "x", "errors": [1]}', b""])
def test_an_error_that_is_no_problem_is_told_by_its_status(
    product: Upstream, body: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    product.answer = Answer(status=502, body=body)
    assert "answered 502" in said(capsys)


def test_another_program_at_the_address(
    product: Upstream, capsys: pytest.CaptureFixture[str]
) -> None:
    product.answer = Answer(body=b"<html>Welcome</html>")
    assert "is not Agent Factory. Set FACTORY_URL." in said(capsys)


@pytest.mark.parametrize("url", ["http://[", "nonsense", "ftp://127.0.0.1"])
def test_an_address_that_is_none(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FACTORY_URL", url)
    monkeypatch.setenv("FACTORY_TOKEN", "any")
    assert said(capsys)


def test_without_a_way_to_sign_in(
    product: Upstream, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("FACTORY_TOKEN")
    monkeypatch.delenv("FACTORY_ADMIN_PASSWORD", raising=False)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert "Set FACTORY_TOKEN, or FACTORY_USER and FACTORY_ADMIN_PASSWORD." in said(capsys)
    assert product.received == []


def test_a_length_of_vectors_that_is_no_number(
    product: Upstream, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DEMO_EMBEDDINGS_URL", "https://a.example/v1")
    monkeypatch.setenv("DEMO_EMBEDDINGS_DIMENSIONS", "many")
    assert "Set DEMO_EMBEDDINGS_DIMENSIONS to a whole number" in said(capsys)


def test_the_endpoint_for_vectors_is_taken_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("DEMO_EMBEDDINGS_URL", raising=False)
    assert demo.embeddings_binding() is None
    monkeypatch.setenv("DEMO_EMBEDDINGS_URL", "https://a.example/v1")
    monkeypatch.setenv("DEMO_EMBEDDINGS_MODEL", "small")
    monkeypatch.setenv("DEMO_EMBEDDINGS_DIMENSIONS", "8")
    monkeypatch.setenv("DEMO_EMBEDDINGS_SECRET", "emb-key")
    binding = demo.embeddings_binding()
    assert binding == {
        "parameters": {"base_url": "https://a.example/v1", "model": "small", "dimensions": 8},
        "secret": "emb-key",
    }
    request = demo.agent_request("WowVectors", binding)
    assert {"tool": "embeddings-api", **binding} in request["tools"]


def test_a_deployment_that_fails_is_told_step_by_step(
    product: Upstream, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = [
        {"title": "Build", "status": "failed", "duration_seconds": None},
        {"title": "Start", "status": "pending", "duration_seconds": None},
    ]
    error = {"code": "build_failed", "detail": "No space left."}
    product.answer = Answer.of({"status": "failed", "steps": steps, "error": error})
    with (
        demo.Client(product.url) as client,
        pytest.raises(demo.DemoError, match=r"ended as failed: .*No space left"),
    ):
        demo.follow(client, "WowAny")
    assert capsys.readouterr().out == "• Build: failed (0.0 s)\n"


def test_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "PATIENCE_SECONDS", -1.0)
    with pytest.raises(demo.DemoError, match="takes too long"):
        demo.wait_for(lambda: False)


@pytest.mark.worker
def test_an_agent_that_was_never_deployed_is_removed_all_the_same(
    platform: RunningPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller = make_caller()
    agent = reserve_agent(caller=caller, spec=make_spec())
    monkeypatch.setenv("FACTORY_TOKEN", create_api_token(caller=caller, name="demo")[1])
    with demo.Client(platform.url) as client:
        client.sign_in()
        demo.remove(client, agent.agent_id)
    assert not Agent.objects.present().filter(pk=agent.pk).exists()
