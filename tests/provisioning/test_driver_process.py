"""What only local processes promise: ports, files, bounded logs, and a keeper for each."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from config.embedded_process import wait_until
from provisioning.drivers import process
from provisioning.drivers.base import (
    BuildRequest,
    Instance,
    InstanceRequest,
    InstanceState,
    PermanentDriverError,
    TransientDriverError,
)
from provisioning.drivers.process import ProcessDriver
from provisioning.drivers.process_files import read_document, safe_name
from provisioning.drivers.process_keeper import main as keep
from provisioning.drivers.process_keeper import started_at, write_whole
from registry.spec import Resources
from tests.provisioning.stub_agent import FILES, ask

if TYPE_CHECKING:
    from collections.abc import Iterator

LABELS = {"agent-factory.deployment": "d"}


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[ProcessDriver]:
    made = ProcessDriver("test", tmp_path)
    yield made
    for resource in made.list_owned():
        made.remove_owned(resource)
    assert made.list_owned() == []


def start(driver: ProcessDriver, name: str = "af-one", **changes: Any) -> Instance:
    return driver.ensure_instance(request_of(driver, name, **changes))


def request_of(driver: ProcessDriver, name: str = "af-one", **changes: Any) -> InstanceRequest:
    build = BuildRequest(tag="af-test/one:r1", files=FILES, packages=(), labels=LABELS)
    fields: dict[str, Any] = {
        "name": name,
        "image": driver.ensure_image(build).reference,
        "network": "agents",
        "mode": "live",
        "resources": Resources(),
        "credentials": {},
        "environment": {},
        "labels": LABELS,
    }
    return InstanceRequest(**{**fields, **changes})


def folder_of(driver: ProcessDriver, name: str = "af-one") -> Path:
    return driver._instances / safe_name(name)  # noqa: SLF001 - what is on disk is the point


def test_it_starts_with_a_clean_environment(
    driver: ProcessDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLATFORM_SECRET", "not for agents")
    told = ask(start(driver).address, "environment")
    assert sorted(told) == [
        "AGENT_CREDENTIALS_FILE",
        "AGENT_HOST",
        "AGENT_MODE",
        "AGENT_PORT",
        "HOME",
        "LANG",
        "PATH",
        "PYTHONDONTWRITEBYTECODE",
        "PYTHONPATH",
        "PYTHONUNBUFFERED",
        "TMPDIR",
    ]


def test_it_finds_its_program_and_nothing_else_of_the_platform(driver: ProcessDriver) -> None:
    address = start(driver).address
    assert ask(address, "import", "agent_runtime").endswith("agent_runtime/__init__.py")
    for room in ("config", "provisioning", "manage"):
        assert "ModuleNotFoundError" in ask(address, "import", room)


def test_its_files_are_its_owners_only(driver: ProcessDriver) -> None:
    start(driver)
    folder = folder_of(driver)
    assert folder.stat().st_mode & 0o777 == 0o700
    for name in ("credentials.json", "start.json", "process.json"):
        assert (folder / name).stat().st_mode & 0o777 == 0o600


def test_its_limits_are_set(driver: ProcessDriver) -> None:
    told = ask(start(driver).address, "limits")
    assert told["data"] == [512 * 1024 * 1024] * 2
    assert told["core"] == [0, 0]
    assert told["files"][0] <= 4096


def test_memory_beyond_its_limit_is_not_had(driver: ProcessDriver) -> None:
    code, _, error = ask(start(driver).address, "run", "x = bytearray(700_000_000)")
    assert code == 1
    assert "MemoryError" in error


def test_each_has_a_port_of_its_own_and_keeps_it(driver: ProcessDriver) -> None:
    first, second = start(driver), start(driver, "af-two")
    assert first.address != second.address
    ask(first.address, "exit", 1)
    assert wait_until(lambda: driver.inspect("af-one").state is InstanceState.EXITED, seconds=20)
    assert start(driver).address == first.address


def test_a_port_that_was_taken_meanwhile_is_changed(driver: ProcessDriver) -> None:
    first = start(driver)
    ask(first.address, "exit", 1)
    assert wait_until(lambda: driver.inspect("af-one").state is InstanceState.EXITED, seconds=20)
    port = int(first.address.rpartition(":")[2])
    with socket.create_server(("127.0.0.1", port)):
        again = start(driver)
        assert again.address != first.address
        assert ask(again.address) == "alive"


def test_no_free_port_is_told(driver: ProcessDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setattr(process, "_PORTS", range(port, port + 1))
        monkeypatch.setattr(process, "_PORT_TRIES", 1)
        with pytest.raises(PermanentDriverError, match="No free port"):
            start(driver)


def test_a_number_that_another_process_has_by_now_is_not_taken_for_it(
    driver: ProcessDriver,
) -> None:
    start(driver)
    document = read_document(folder_of(driver) / "process.json")
    write_whole(folder_of(driver) / "process.json", {**document, "pid": os.getpid()})
    assert driver.inspect("af-one").state is InstanceState.EXITED
    write_whole(folder_of(driver) / "process.json", document)
    assert driver.inspect("af-one").state is InstanceState.RUNNING


def test_what_it_started_goes_with_it(driver: ProcessDriver) -> None:
    instance = start(driver)
    child = ask(instance.address, "leave-child")
    assert wait_until(lambda: "child" in driver.logs("af-one"), seconds=20)
    driver.remove_instance("af-one", grace_seconds=0.5)
    assert wait_until(lambda: started_at(child) == "", seconds=20)
    assert not folder_of(driver).exists()


def test_it_goes_with_its_keeper(driver: ProcessDriver) -> None:
    instance = start(driver)
    assert ask(instance.address) == "alive"
    os.kill(read_document(folder_of(driver) / "process.json")["keeper"], signal.SIGKILL)
    assert wait_until(lambda: driver.inspect("af-one").state is InstanceState.EXITED, seconds=20)
    assert driver.inspect("af-one").exit_code == 137
    assert ask(start(driver).address) == "alive"


def test_no_dead_process_is_left_behind(driver: ProcessDriver) -> None:
    instance = start(driver)
    document = read_document(folder_of(driver) / "process.json")
    ask(instance.address, "exit", 0)
    assert wait_until(lambda: not Path(f"/proc/{document['pid']}").exists(), seconds=20)
    assert wait_until(lambda: driver.inspect("af-one").exit_code == 0, seconds=20)


def test_its_log_is_kept_in_two_files(driver: ProcessDriver) -> None:
    instance = start(driver)
    ask(instance.address, "print-much", 60_000)
    assert wait_until(
        lambda: driver.logs("af-one")[-1:] != [] and "0059999" in driver.logs("af-one")[-1],
        seconds=20,
    )
    folder = folder_of(driver)
    assert (folder / "output.log").stat().st_size <= 2_100_000
    assert (folder / "output.log.1").stat().st_size <= 2_100_000


def test_following_goes_over_to_the_next_file(driver: ProcessDriver) -> None:
    instance = start(driver, mode="sandbox")
    lines = driver.follow_logs("af-one")
    assert next(lines) == "listening"
    ask(instance.address, "print-much", 25_000)
    ask(instance.address, "exit", 0)
    assert "0024999" in list(lines)[-1]


def test_one_that_was_never_started_is_created(driver: ProcessDriver) -> None:
    request = request_of(driver)
    folder = folder_of(driver)
    folder.mkdir(parents=True)
    write_whole(
        folder / "start.json",
        {"name": request.name, "image": request.image, "labels": LABELS, "port": 1},
    )
    assert driver.inspect("af-one").state is InstanceState.CREATED
    assert ask(driver.ensure_instance(request).address) == "alive"


def test_a_program_that_cannot_be_run_is_told(driver: ProcessDriver) -> None:
    request = request_of(driver)
    project = driver._images.path(request.image) / "project"  # noqa: SLF001 - broken on purpose
    project.chmod(0o755)
    (project / "main.py").unlink()
    instance = driver.ensure_instance(request)
    assert wait_until(lambda: driver.inspect("af-one").state is InstanceState.EXITED, seconds=20)
    assert driver.inspect("af-one").exit_code == 2
    assert "main.py" in driver.logs("af-one")[-1]
    assert instance.name == "af-one"


def test_a_folder_that_cannot_be_written_is_told(driver: ProcessDriver) -> None:
    request = request_of(driver)
    driver._instances.write_text("in the way")  # noqa: SLF001 - broken on purpose
    with pytest.raises(TransientDriverError, match="DATA_DIR"):
        driver.ensure_instance(request)
    driver._instances.unlink()  # noqa: SLF001 - as above


@pytest.mark.parametrize("name", ["", ".hidden", "..", "x" * 300])
def test_a_name_that_is_no_folder_is_refused(driver: ProcessDriver, name: str) -> None:
    with pytest.raises(PermanentDriverError, match="cannot be that of a folder"):
        driver.inspect(name)


def test_a_name_with_separators_stays_one_folder() -> None:
    assert safe_name("af-1/agent:r1@0") == "af-1%2Fagent%3Ar1%400"


def test_broken_files_are_as_none(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    assert read_document(file) == {}
    for text in ("", "{", "[]", "1"):
        file.write_text(text)
        assert read_document(file) == {}


# --- The keeper, in this process --------------------------------------------------------------


def kept(folder: Path, command: list[str], **changes: Any) -> str:
    write_whole(
        folder / "start.json",
        {
            "command": command,
            "folder": str(folder),
            "environment": {},
            "memory_mb": 512,
            **changes,
        },
    )
    answer, tell = os.pipe()
    keep(folder, tell)
    with os.fdopen(answer) as told:
        return told.read()


def test_the_keeper_writes_down_what_ran_and_how_it_ended(tmp_path: Path) -> None:
    assert kept(tmp_path, ["/bin/sh", "-c", "echo words; exit 3"]) == "started\n"
    assert (tmp_path / "output.log").read_text() == "words\n"
    assert json.loads((tmp_path / "exit.json").read_text()) == {"code": 3}
    assert read_document(tmp_path / "process.json")["keeper"] == os.getpid()


def test_the_keeper_tells_a_signal_as_a_shell_does(tmp_path: Path) -> None:
    kept(tmp_path, ["/bin/sh", "-c", "kill -9 $$"])
    assert json.loads((tmp_path / "exit.json").read_text()) == {"code": 137}


def test_the_keeper_says_why_nothing_started(tmp_path: Path) -> None:
    assert "nowhere" in kept(tmp_path, ["/nowhere/at-all"])
    assert json.loads((tmp_path / "exit.json").read_text()) == {"code": 127}


def test_the_keeper_begins_a_new_file_when_one_is_full(tmp_path: Path) -> None:
    kept(tmp_path, ["/bin/sh", "-c", "head -c 5000000 /dev/zero"])
    assert (tmp_path / "output.log").stat().st_size <= 2_000_000
    assert (tmp_path / "output.log.1").stat().st_size <= 2_000_000


def test_a_second_keeper_does_nothing(tmp_path: Path) -> None:
    import fcntl

    with (tmp_path / "keeper.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another worker" in kept(tmp_path, ["/bin/true"])
    assert not (tmp_path / "exit.json").exists()


def test_a_process_that_is_not_there_has_no_start() -> None:
    assert started_at(2**22 + secrets.randbelow(1000)) == ""
    assert started_at(os.getpid()) != ""
