"""What only containers promise: isolation, limits, closed networks; what errors mean."""

from __future__ import annotations

import io
import json
import socket
import subprocess
import sys
import tarfile
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import requests
from django.conf import settings
from django.core.management import call_command
from docker.errors import APIError, DockerException

from config.embedded_process import wait_until
from provisioning.drivers import docker_engine, docker_images, get_driver
from provisioning.drivers.base import (
    BuildRequest,
    BuiltImage,
    DriverError,
    Instance,
    InstanceRequest,
    InstanceState,
    NotFoundDriverError,
    PermanentDriverError,
    TransientDriverError,
)
from provisioning.drivers.docker_engine import engine, find_image, translated
from provisioning.drivers.docker_networks import ensure_networks, network_name, remove_networks
from registry.spec import Resources
from tests.provisioning.stub_agent import FILES, ask

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from provisioning.drivers.base import RuntimeDriver

pytestmark = pytest.mark.docker
CANARY = "canary-in-the-credentials-0815"
LABELS = {"agent-factory.run": "test-driver-docker", "agent-factory.deployment": "d"}


@pytest.fixture(scope="module")
def driver() -> Iterator[RuntimeDriver]:
    call_command("base_image", "--if-missing")
    made = get_driver("docker")
    yield made
    kinds = ["instance", "volume", "image"]
    for resource in sorted(made.list_owned(), key=lambda one: kinds.index(one.kind)):
        if resource.labels.get("agent-factory.run") == LABELS["agent-factory.run"]:
            made.remove_owned(resource)


def named(name: str) -> str:
    """Return a name that no other test process on this engine uses."""
    return f"af-{settings.INSTALLATION_ID}-{name}"


def own(letter: str) -> str:
    """Return the id of an installation that no other test process has; ids are short."""
    return f"{settings.INSTALLATION_ID}{letter}"


def tag() -> str:
    return named("driver-docker/agent:r1")


@pytest.fixture(scope="module")
def image(driver: RuntimeDriver) -> str:
    request = BuildRequest(tag=tag(), files=FILES, packages=(), labels=LABELS)
    return driver.ensure_image(request).reference


def request_of(image: str, name: str, **changes: Any) -> InstanceRequest:
    fields: dict[str, Any] = {
        "name": named(name),
        "image": image,
        "network": "sandbox",
        "mode": "sandbox",
        "resources": Resources(cpu_cores=4, memory_mb=512),
        "credentials": {"invoke_token": CANARY},
        "environment": {},
        "labels": LABELS,
    }
    return InstanceRequest(**{**fields, **changes})


@pytest.fixture(scope="module")
def instance(driver: RuntimeDriver, image: str) -> Instance:
    return driver.ensure_instance(request_of(image, "shared"))


@pytest.fixture(scope="module")
def inspected(instance: Instance) -> dict[str, Any]:
    found: dict[str, Any] = engine().inspect_container(instance.name)
    return found


# --- Isolation --------------------------------------------------------------------------------


def test_it_is_nobody_and_may_nothing(instance: Instance) -> None:
    assert ask(instance.address, "identity") == {
        "uid": 10001,
        "gid": 10001,
        "capabilities": "0000000000000000",
        "no_new_privileges": "1",
    }


@pytest.mark.parametrize(
    "path", ["/agent/x", "/agent/main.py", "/etc/x", "/run/agent/x", "/opt/agent/lib/x", "/var/x"]
)
def test_it_writes_nothing_outside_its_temporary_folder(instance: Instance, path: str) -> None:
    assert ask(instance.address, "write", path) in ("OSError", "PermissionError")


def test_its_temporary_folder_is_small_and_runs_nothing(instance: Instance) -> None:
    assert ask(instance.address, "write", "/tmp/x") == "done"  # noqa: S108 - inside the container
    code, _, error = ask(
        instance.address,
        "run",
        "import os, shutil; shutil.copy('/bin/true', '/tmp/true'); os.execv('/tmp/true', ['true'])",
    )
    assert code == 1
    assert "PermissionError" in error
    code, _, error = ask(
        instance.address, "run", "open('/tmp/big', 'wb').write(bytes(100_000_000))"
    )
    assert code == 1
    assert "No space left" in error


def test_its_limits_are_set(inspected: dict[str, Any], driver: RuntimeDriver) -> None:
    host = inspected["HostConfig"]
    assert host["Memory"] == host["MemorySwap"] == 512 * 1024 * 1024
    assert host["NanoCpus"] == int(min(4.0, driver.info().cpu_cores) * 1e9)
    assert host["PidsLimit"] == 128
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert host["Init"] is True
    assert host["RestartPolicy"]["Name"] == "no"
    assert host["LogConfig"] == {
        "Type": "json-file",
        "Config": {"max-file": "2", "max-size": "5m"},
    }


def test_memory_beyond_its_limit_is_not_had(driver: RuntimeDriver, image: str) -> None:
    hungry = driver.ensure_instance(request_of(image, "hungry"))
    code, _, _ = ask(hungry.address, "run", "x = bytearray(700_000_000)")
    assert code == -9
    driver.remove_instance(hungry.name)


def test_processes_beyond_its_limit_are_not_had(driver: RuntimeDriver, image: str) -> None:
    crowded = driver.ensure_instance(request_of(image, "crowded"))
    code = (
        "import os, time\n"
        "made = 0\n"
        "try:\n"
        "    for _ in range(300):\n"
        "        if os.fork() == 0:\n"
        "            time.sleep(3); os._exit(0)\n"
        "        made += 1\n"
        "except BlockingIOError:\n"
        "    print(made)\n"
    )
    _, told, _ = ask(crowded.address, "run", code)
    assert 50 < int(told) < 128
    driver.remove_instance(crowded.name)


def test_a_live_one_is_started_again_when_it_ends(driver: RuntimeDriver, image: str) -> None:
    request = request_of(image, "live", mode="live", network="agents")
    live = driver.ensure_instance(request)
    ask(live.address, "exit", 1)
    assert wait_until(
        lambda: (
            engine().inspect_container(request.name)["RestartCount"] >= 1
            and driver.inspect(request.name).state is InstanceState.RUNNING
        ),
        seconds=20,
    )
    assert ask(driver.inspect(request.name).address, "credentials") == {"invoke_token": CANARY}
    driver.remove_instance(request.name)


def test_the_credentials_stand_nowhere_in_the_engine(
    instance: Instance, inspected: dict[str, Any], image: str
) -> None:
    assert ask(instance.address, "credentials") == {"invoke_token": CANARY}
    client = engine()
    volume = client.inspect_volume(f"{instance.name}-credentials")
    assert volume["Labels"]["agent-factory.installation"] == settings.INSTALLATION_ID
    history: Any = client.history(image)  # type: ignore[no-untyped-call]  # the stubs leave it open
    said = json.dumps([inspected, find_image(client, image), history, volume])
    assert CANARY not in said
    assert "10001:10001" in said


def test_the_release_is_one_layer_that_holds_the_project_only(image: str) -> None:
    data = b"".join(engine().get_image(image))
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        manifest_file = tar.extractfile("manifest.json")
        assert manifest_file is not None
        layers = json.load(manifest_file)[0]["Layers"]
        layer_file = tar.extractfile(layers[-1])
        assert layer_file is not None
        with tarfile.open(fileobj=layer_file) as layer:
            entries = {
                entry.name.rstrip("/"): (entry.mode & 0o777, entry.uid)
                for entry in layer.getmembers()
            }
    assert entries == {
        "agent": (0o755, 0),
        "agent/README.md": (0o444, 0),
        "agent/capabilities": (0o755, 0),
        "agent/capabilities/__init__.py": (0o444, 0),
        "agent/main.py": (0o444, 0),
        "agent/spec.json": (0o444, 0),
    }


def test_a_release_is_made_of_the_image_that_was_tested(
    driver: RuntimeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed: list[str] = []
    real = docker_images._archive  # noqa: SLF001 - counted

    def counted(request: BuildRequest, packages: Path) -> bytes:
        packed.append(request.tag)
        return real(request, packages)

    monkeypatch.setattr(docker_images, "_archive", counted)
    request = BuildRequest(
        tag=named("driver-docker/tested:r1"),
        files=FILES | {"tested.txt": "tested\n"},
        packages=(),
        labels=LABELS,
    )
    of_test = replace(
        request,
        tag=named("driver-docker/sandbox:t1"),
        labels={"agent-factory.run": LABELS["agent-factory.run"]},
    )
    tested = driver.ensure_image(of_test).reference
    release = driver.ensure_image(request).reference
    assert packed == [of_test.tag]
    driver.remove_image(of_test.tag)
    # A copy is not copied in its turn, or there would be a layer more each time.
    again = replace(request, tag=named("driver-docker/tested:r2"))
    driver.ensure_image(again)
    assert packed == [of_test.tag, again.tag]
    assert driver.ensure_image(request) == BuiltImage(reference=release, created=False)
    labels = next(owned.labels for owned in driver.list_owned() if owned.name == request.tag)
    assert labels["agent-factory.deployment"] == "d"
    address = driver.ensure_instance(request_of(release, "tested")).address
    assert ask(address, "read", "tested.txt") == "tested\n"
    driver.remove_instance(named("tested"))
    names = [owned.name for owned in driver.list_owned() if owned.kind == "image"]
    assert tested not in names
    driver.remove_image(request.tag)
    assert find_image(engine(), tested) is None


def test_the_container_that_an_image_is_made_in_is_removed_when_it_fails(
    driver: RuntimeDriver,
) -> None:
    before = len(driver.list_owned())
    with pytest.raises(DriverError):
        driver.ensure_image(
            BuildRequest(tag="AF/Not A Tag:r1", files=FILES, packages=(), labels=LABELS)
        )
    assert len(driver.list_owned()) == before


def test_a_removed_network_is_made_again(driver: RuntimeDriver, image: str) -> None:
    other = type(driver)(own("g"))  # type: ignore[call-arg]  # the Docker driver's own
    request = request_of(image, "netgone")
    other.services_host("sandbox")
    remove_networks(own("g"))
    try:
        assert ask(other.ensure_instance(request).address) == "alive"
    finally:
        other.remove_instance(request.name)
        remove_networks(own("g"))


# --- Networks ---------------------------------------------------------------------------------


@pytest.fixture
def listener(driver: RuntimeDriver) -> Iterator[str]:
    """Something that the platform serves on the sandbox network's gateway."""
    with socket.create_server((driver.services_host("sandbox"), 0)) as server:
        host, port = server.getsockname()
        yield f"{host}:{port}"


def test_it_reaches_what_the_host_serves_on_the_gateway(instance: Instance, listener: str) -> None:
    assert ask(instance.address, "connect", listener) == "done"


def test_it_reaches_no_other_container(
    driver: RuntimeDriver, image: str, instance: Instance
) -> None:
    other = driver.ensure_instance(request_of(image, "other"))
    elsewhere = driver.ensure_instance(request_of(image, "elsewhere", network="agents"))
    for target in (other, elsewhere):
        assert ask(target.address) == "alive"
        place = target.address.removeprefix("http://")
        assert ask(instance.address, "connect", place) in ("TimeoutError", "OSError")
        driver.remove_instance(target.name)


def test_it_reaches_no_other_host(instance: Instance) -> None:
    # Addresses for documentation (RFC 5737) and a well-known one outside.
    for place in ("203.0.113.1:80", "1.1.1.1:443"):
        assert ask(instance.address, "connect", place) in ("TimeoutError", "OSError")
    assert ask(instance.address, "resolve", "example.org") == "gaierror"


def test_it_reaches_nothing_that_listens_on_loopback(instance: Instance) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        for host in ("127.0.0.1", get_driver("docker").services_host("sandbox")):
            assert ask(instance.address, "connect", f"{host}:{port}") == "ConnectionRefusedError"


def test_networks_are_made_once_found_again_and_removed() -> None:
    try:
        first = ensure_networks(own("t"))
        assert first == ensure_networks(own("t"))
        assert set(first) == {"agents", "sandbox"}
        (network,) = engine().networks(names=[network_name(own("t"), "agents")])
        assert network["Internal"] is True
        assert network["Labels"] == {"agent-factory.installation": own("t")}
        assert network["Options"] == {"com.docker.network.bridge.enable_icc": "false"}
    finally:
        remove_networks(own("t"))
        remove_networks(own("t"))
    assert engine().networks(names=[network_name(own("t"), "agents")]) == []


def test_networks_made_side_by_side_are_one() -> None:
    answers: list[dict[str, str]] = []
    threads = [
        threading.Thread(target=lambda: answers.append(ensure_networks(own("r")))) for _ in range(5)
    ]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(answers) == 5
        assert all(answer == answers[0] for answer in answers)
    finally:
        remove_networks(own("r"))


def test_an_open_network_of_that_name_is_not_used() -> None:
    client = engine()
    made = client.create_network(network_name("netopen", "agents"), driver="bridge")
    try:
        with pytest.raises(PermanentDriverError, match="docker network rm af-netopen-agents"):
            ensure_networks("netopen")
    finally:
        client.remove_network(made["Id"])
        remove_networks("netopen")


def test_an_installation_that_cannot_be_in_a_name_is_refused() -> None:
    with pytest.raises(PermanentDriverError, match="INSTALLATION_ID"):
        ensure_networks("Not a name")


def test_networks_are_made_without_settings() -> None:
    code = (
        "from provisioning.drivers.docker_networks import ensure_networks, remove_networks\n"
        "print(sorted(ensure_networks('netbare'))); remove_networks('netbare')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "['agents', 'sandbox']\n", done.stderr


# --- Errors -----------------------------------------------------------------------------------


def api_error(status: int, said: str) -> APIError:
    response = requests.Response()
    response.status_code = status
    return APIError("failed", response=response, explanation=said)


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (api_error(404, "no such container"), NotFoundDriverError),
        (api_error(400, "invalid reference format"), PermanentDriverError),
        (api_error(409, "name in use"), TransientDriverError),
        (api_error(408, "timeout"), TransientDriverError),
        (api_error(429, "busy"), TransientDriverError),
        (api_error(500, "something broke"), TransientDriverError),
        (api_error(503, "starting"), TransientDriverError),
        (api_error(500, "write /x: no space left on device"), PermanentDriverError),
        (api_error(404, "could not find an available, non-overlapping pool"), PermanentDriverError),
        (requests.ConnectionError("refused"), TransientDriverError),
        (requests.ReadTimeout("slow"), TransientDriverError),
        (DockerException("no engine"), TransientDriverError),
        (OSError("gone"), TransientDriverError),
    ],
)
def test_errors_say_whether_to_try_again(error: Exception, meaning: type[DriverError]) -> None:
    with pytest.raises(DriverError) as caught, translated("do this"):
        raise error
    assert type(caught.value) is meaning
    assert "do this" in str(caught.value)


def test_an_engine_that_does_not_answer_may_answer_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine().close()
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    docker_engine._engine_of.cache_clear()  # noqa: SLF001 - the connection is kept for the process
    try:
        driver = type(get_driver("docker"))("away")  # type: ignore[call-arg]  # the Docker driver's own
        request = request_of("sha256:0", "away")
        for call in (
            driver.info,
            driver.list_owned,
            lambda: driver.services_host("agents"),
            lambda: driver.inspect("x"),
            lambda: driver.remove_instance("x"),
            lambda: driver.ensure_instance(request),
            lambda: driver.logs("x"),
            lambda: driver.usage("x"),
            lambda: driver.remove_image("x"),
            lambda: list(driver.follow_logs("x")),
        ):
            with pytest.raises(TransientDriverError, match="does not answer"):
                call()
    finally:
        docker_engine._engine_of.cache_clear()  # noqa: SLF001 - as above


def test_the_engines_states_are_told(driver: RuntimeDriver, image: str) -> None:
    request = request_of(image, "states")
    client = engine()
    started = driver.ensure_instance(request)
    client.pause(request.name)
    assert driver.inspect(request.name).state is InstanceState.RUNNING
    client.unpause(request.name)
    client.kill(request.name)
    client.wait(request.name)
    exited = driver.inspect(request.name)
    assert (exited.state, exited.exit_code, exited.id) == (InstanceState.EXITED, 137, started.id)
    driver.remove_instance(request.name)
    client.create_container(tag(), name=request.name, labels=LABELS)
    assert driver.inspect(request.name).state is InstanceState.CREATED
    driver.remove_instance(request.name)
