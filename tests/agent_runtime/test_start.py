"""Starting, refusing to start, and stopping."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import agent_runtime
from agent_runtime.settings import Mode, Settings
from agent_runtime.spec import Spec, digest_of
from agent_runtime.spec_check import SCHEMA_FILE
from registry.spec import AgentSpec
from registry.spec_schema import spec_schema_text
from tests.agent_runtime.projects import (
    MEMORY_CAPABILITIES,
    ROOT,
    Backing,
    builtin,
    make_document,
    start_agent,
    write_project,
)

ABOUT = builtin("about", "agent.describe")
DOCUMENT = make_document([ABOUT])


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    coverage = {name: value for name, value in os.environ.items() if "COVERAGE" in name}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **coverage, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_schema_is_the_one_of_the_platform() -> None:
    assert SCHEMA_FILE.read_text() == spec_schema_text()


def test_the_digest_and_the_defaults_are_those_of_the_platform() -> None:
    spec = AgentSpec.model_validate(DOCUMENT)
    assert digest_of(spec.to_json_dict()) == spec.digest
    short, long = Spec.from_json(DOCUMENT), Spec.from_json(spec.to_json_dict())
    assert (short.memory, short.retry) == (long.memory, long.retry)
    assert short.rate_limit_per_minute == long.rate_limit_per_minute == 100
    assert short.max_concurrency == long.max_concurrency == 5
    assert short.capabilities["about"].timeout == long.capabilities["about"].timeout == 30


def test_the_smaller_timeout_counts() -> None:
    spec = Spec.from_json(make_document([ABOUT], policies={"timeouts": {"operation_seconds": 2}}))
    assert spec.capabilities["about"].timeout == 2


def test_the_package_gives_its_names_when_asked() -> None:
    assert {agent_runtime.serve.__name__, agent_runtime.Context.__name__} == {"serve", "Context"}
    with pytest.raises(AttributeError):
        agent_runtime.nothing  # noqa: B018 - that it is not there


def test_check_says_what_it_found(tmp_path: Path) -> None:
    write_project(tmp_path, DOCUMENT)
    done = run(tmp_path, "-m", "agent_runtime", "--check")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"WowTest: 1 capabilities, digest {digest_of(DOCUMENT)}\n"
    assert run(tmp_path, "-m", "agent_runtime").returncode == 2


def broken(**changes: Any) -> dict[str, Any]:
    return {**DOCUMENT, **changes}


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (broken(tier=9), "not valid at tier"),
        (broken(extra=1), "not valid at the top"),
        (broken(capabilities=[ABOUT, ABOUT]), "'about' twice"),
        (broken(capabilities=[{**ABOUT, "input_schema": {"type": 5}}]), "is not a JSON Schema"),
        (broken(capabilities=[]), "not valid at capabilities"),
        ([], "is not a JSON object"),
    ],
)
def test_a_specification_that_is_wrong(tmp_path: Path, document: Any, words: str) -> None:
    write_project(tmp_path, DOCUMENT)
    (tmp_path / "spec.json").write_text(json.dumps(document))
    for command in (["-m", "agent_runtime", "--check"], ["main.py"]):
        done = run(tmp_path, *command)
        assert done.returncode == 2
        assert words in done.stderr
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [("{", "not valid JSON"), ("[" * 100_000, "not valid JSON"), (" " * 9_000_000, "larger")],
)
def test_a_specification_that_is_no_json(tmp_path: Path, text: str, words: str) -> None:
    write_project(tmp_path, DOCUMENT)
    (tmp_path / "spec.json").write_text(text)
    done = run(tmp_path, "main.py")
    assert done.returncode == 2
    assert words in done.stderr


def test_no_specification(tmp_path: Path) -> None:
    write_project(tmp_path, DOCUMENT)
    done = run(tmp_path, "main.py", AGENT_SPEC_FILE="/nowhere.json")
    assert (done.returncode, done.stdout) == (2, "")
    assert "/nowhere.json cannot be read" in done.stderr


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("CAPABILITIES = {}", "in the specification but not in CAPABILITIES"),
        ("async def f(p, c): ...\nCAPABILITIES = {'about': f, 'more': f}", "has 'more'"),
        ("CAPABILITIES = {'about': len}", "not an `async def`"),
        ("CAPABILITIES = 3", "no dictionary called CAPABILITIES"),
        ("raise RuntimeError('no')", "cannot be imported: RuntimeError: no"),
    ],
)
def test_a_capability_table_that_is_wrong(tmp_path: Path, table: str, words: str) -> None:
    write_project(tmp_path, DOCUMENT)
    (tmp_path / "capabilities" / "__init__.py").write_text(table)
    done = run(tmp_path, "-m", "agent_runtime", "--check")
    assert done.returncode == 2
    assert words in done.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [("AGENT_MODE", "test"), ("AGENT_PORT", "http"), ("AGENT_PORT", "0"), ("AGENT_PORT", "70000")],
)
def test_an_environment_that_is_wrong(tmp_path: Path, name: str, value: str) -> None:
    write_project(tmp_path, DOCUMENT)
    done = run(tmp_path, "main.py", **{name: value})
    assert done.returncode == 2
    assert f"{name} is {value!r}" in done.stderr


def test_settings_have_defaults() -> None:
    settings = Settings.from_environment({})
    assert settings == Settings()
    assert (settings.mode, settings.port, settings.max_body_bytes) == (Mode.LIVE, 8080, 1_048_576)
    assert str(settings.credentials_file) == "/run/agent/credentials.json"


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    write_project(tmp_path, DOCUMENT)
    (tmp_path / "credentials.json").write_text("{}")
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = str(holder.getsockname()[1])
        done = run(
            tmp_path, "main.py", AGENT_HOST="127.0.0.1", AGENT_PORT=port,
            AGENT_CREDENTIALS_FILE="credentials.json",
        )  # fmt: skip
    assert done.returncode == 2
    assert f"127.0.0.1:{port} cannot be used" in done.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not valid JSON"),
        ("[]", "not a JSON object"),
        ("{}" + " " * 70_000, "larger than"),
        ('{"redis_url": "http://user:hush-hush@x"}', "redis_url must start with redis://"),
        ('{"redis_url": "redis://:hush-hush@x:99999"}', "redis_url must start with redis://"),
        ('{"invoke_token": 5}', "invoke_token must be a text"),
        ('{"key_prefix": "a b"}', "key_prefix"),
        ('{"database_schema": "x; DROP"}', "database_schema"),
        ('{"models": 5}', "models must be an object"),
        ('{"models": {"chat": {}}}', "models.chat"),
        ('{"models": {"embeddings": {"model": "m", "dimensions": 0}}}', "models.embeddings"),
    ],
)
def test_credentials_that_are_wrong(tmp_path: Path, text: str, words: str) -> None:
    write_project(tmp_path, DOCUMENT)
    (tmp_path / "credentials.json").write_text(text)
    done = run(
        tmp_path, "main.py", AGENT_HOST="127.0.0.1", AGENT_PORT="19321",
        AGENT_CREDENTIALS_FILE="credentials.json",
    )  # fmt: skip
    assert done.returncode == 2
    assert words in done.stderr
    assert "hush-hush" not in done.stderr + done.stdout


def test_it_serves_without_credentials_where_there_is_nothing_to_protect(tmp_path: Path) -> None:
    with start_agent(tmp_path, DOCUMENT, None, AGENT_CREDENTIALS_WAIT_SECONDS="1") as agent:
        agent.wait_for("/health")
        early = agent.invoke("about", {})
        assert early.json()["code"] == "dependency_down"
        agent.wait_for("/ready")
        assert agent.output("about", {})["agent_id"] == "WowTest"
        agent.wait_for_event("no credentials: calls need no token, and there is no queue")
        assert agent.stop() == 0


def test_it_waits_for_credentials_that_come_late(tmp_path: Path, backing: Backing) -> None:
    document = make_document(MEMORY_CAPABILITIES, memory={"kind": "long_term"})
    with start_agent(tmp_path, document, None, AGENT_CREDENTIALS_WAIT_SECONDS="1") as agent:
        body = agent.wait_for("/health")
        assert [d["name"] for d in body["dependencies"]] == ["credentials"]
        assert body["status"] == "degraded"
        time.sleep(1.5)
        assert agent.client.get("/ready").status_code == 503
        written = agent.folder / "new.json"
        written.write_text(json.dumps(backing.credentials(invoke_token=None)))
        written.rename(agent.folder / "credentials.json")
        names = [d["name"] for d in agent.wait_for("/ready")["dependencies"]]
        assert names == ["redis", "queue", "postgresql"]


def test_a_memory_without_its_address_is_down_and_says_so(tmp_path: Path) -> None:
    document = make_document(MEMORY_CAPABILITIES, memory={"kind": "hybrid"})
    with start_agent(tmp_path, document, {"invoke_token": "t"}) as agent:
        body = agent.wait_for("/ready", 503)
        while body["dependencies"][0]["name"] == "credentials":
            body = agent.wait_for("/ready", 503)
        assert {d["name"]: d["detail"] for d in body["dependencies"]} == {
            "redis": "The credentials name no redis_url.",
            "postgresql": "The credentials name no database_url.",
        }
        for name in ("store_context", "retrieve_context"):
            answer = agent.invoke(name, {"customer_id": "a", "text": "b"})
            assert answer.json()["code"] == "dependency_down"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_in_good_order(tmp_path: Path, number: signal.Signals) -> None:
    with start_agent(tmp_path, DOCUMENT, {"invoke_token": "t"}) as agent:
        agent.wait_for("/ready")
        agent.process.send_signal(number)
        assert agent.process.wait(20) == 0
        assert agent.log_lines()[-1]["event"] == "agent stopped"


def test_an_idle_agent_is_small(tmp_path: Path, backing: Backing) -> None:
    document = make_document(MEMORY_CAPABILITIES, memory={"kind": "hybrid"})
    with start_agent(tmp_path, document, backing.credentials()) as agent:
        agent.wait_for("/ready")
        # Ready to store and search, with its queue open; 33 MiB where this was written.
        assert agent.memory_kib()["Rss"] < 40 * 1024, agent.memory_kib()
