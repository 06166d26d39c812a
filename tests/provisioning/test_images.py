"""The base and runtime images, and the packages that go into them."""

from __future__ import annotations

import io
import os
import tarfile
from typing import TYPE_CHECKING

import pytest
from django.core.management import CommandError, call_command

from provisioning.drivers.base import PermanentDriverError
from provisioning.drivers.docker_engine import engine, find_image
from provisioning.images import base, runtime, wheels
from provisioning.images.building import build_from_archive
from provisioning.images.runtime import ensure_runtime_image
from provisioning.images.wheels import install_packages, install_wheels, lock_file

if TYPE_CHECKING:
    from pathlib import Path

MISSING = "agent-factory/there-is-none:1"


@pytest.mark.docker
def test_the_command_finds_or_makes_both_images_and_says_so() -> None:
    said = io.StringIO()
    call_command("base_image", "--if-missing", stdout=said)
    made = ensure_runtime_image()
    assert made.reference in said.getvalue()
    assert said.getvalue().count("\n") == 1
    found = find_image(engine(), made.reference)
    assert found is not None
    assert found["Config"]["User"] == "10001:10001"
    assert found["Config"]["Cmd"] == ["python3", "main.py"]
    assert found["Config"]["WorkingDir"] == "/agent"


@pytest.mark.docker
def test_neither_images_nor_history_name_a_package_index() -> None:
    call_command("base_image", "--if-missing", stdout=io.StringIO())
    made = ensure_runtime_image()
    history = engine().history(made.reference)  # type: ignore[no-untyped-call]  # the stubs leave it open
    said = f"{find_image(engine(), made.reference)}{history}"
    assert "http" not in said
    assert "PIP_" not in said


@pytest.mark.docker
def test_the_runtime_image_holds_the_program_ready_to_run() -> None:
    call_command("base_image", "--if-missing", stdout=io.StringIO())
    client = engine()
    code = (
        "import agent_runtime, uvicorn, psycopg, os;"
        "print(agent_runtime.__file__, agent_runtime.__cached__, os.getuid())"
    )
    container = client.create_container(ensure_runtime_image().reference, ["python3", "-c", code])
    try:
        client.start(container["Id"])
        assert client.wait(container["Id"])["StatusCode"] == 0
        path, cached, uid = client.logs(container["Id"]).decode().split()
    finally:
        client.remove_container(container["Id"], force=True)
    assert path == "/opt/agent/lib/agent_runtime/__init__.py"
    assert cached.endswith(".pyc")
    assert uid == "10001"


@pytest.mark.docker
def test_without_a_base_image_one_is_told_how_to_make_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "BASE_TAG", MISSING)
    monkeypatch.setattr(runtime, "_digest", lambda: "0" * 64)
    with pytest.raises(PermanentDriverError, match="make base-image"):
        ensure_runtime_image()


@pytest.mark.docker
def test_without_root_or_debootstrap_one_is_told_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(PermanentDriverError, match=r"(as root|install debootstrap).*docker tag"):
        base._make(engine(), lambda _: None)


@pytest.mark.docker
def test_a_failing_debootstrap_is_told_in_its_own_words(tmp_path: Path) -> None:
    program = tmp_path / "debootstrap"
    program.write_text("#!/bin/sh\necho E: no such suite\nexit 1\n")
    program.chmod(0o755)
    with pytest.raises(PermanentDriverError, match=r"no such suite.*apt-get update"):
        base._debootstrap(str(program), "nosuite", tmp_path / "root", tmp_path / "log")  # noqa: SLF001 - the step


@pytest.mark.docker
def test_where_no_registry_answers_the_base_is_made_from_packages(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Stands in for the real one, which takes a minute and is what `make base-image` runs.
    program = tmp_path / "debootstrap"
    program.write_text(
        '#!/bin/sh\nmkdir -p "$4/bin" "$4/usr/share/doc/x"\necho "$@" > "$4/bin/asked"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(base, "BASE_TAG", "af-test-images:made")
    monkeypatch.setattr(base, "_fetch", lambda *_: False)
    said: list[str] = []
    made = base.ensure_base_image(say=said.append)
    client = engine()
    try:
        assert made.origin.startswith("made here with debootstrap")
        assert said[-1].startswith("Making it")
        assert base.ensure_base_image() == made
        image = io.BytesIO(b"".join(client.get_image(made.id)))
        with tarfile.open(fileobj=image) as tar:
            (layer,) = [one for one in tar.getnames() if one.endswith("layer.tar")]
            inner = tar.extractfile(layer)
            assert inner is not None
            with tarfile.open(fileobj=inner) as files:
                names = {one.lstrip("./") for one in files.getnames()}
                asked = files.extractfile("./bin/asked")
                assert asked is not None
                assert b"--variant=minbase" in asked.read()
        assert "usr/share/doc" not in names
    finally:
        client.remove_image("af-test-images:made")


@pytest.mark.docker
def test_the_runtime_is_built_anew_when_asked() -> None:
    call_command("base_image", "--if-missing", stdout=io.StringIO())
    before = ensure_runtime_image()
    assert runtime.rebuild_runtime_image() == before == ensure_runtime_image()


@pytest.mark.docker
def test_the_command_fails_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "BASE_TAG", MISSING)
    monkeypatch.setattr(base, "_fetch", lambda *_: False)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(CommandError, match="no base image for agents"):
        call_command("base_image")


@pytest.mark.docker
def test_a_base_without_python_is_refused() -> None:
    client = engine()
    empty = io.BytesIO(b"\0" * 10_240)
    client.import_image_from_data(empty.getvalue(), repository="af-test-images", tag="empty")
    try:
        found = find_image(client, "af-test-images:empty")
        assert found is not None
        broken = base.BaseImage(id=found["Id"], origin="an empty one")
        with pytest.raises(PermanentDriverError, match=r"an empty one.*cannot run python3"):
            runtime._ask_base(client, broken)  # noqa: SLF001 - the step
    finally:
        client.remove_image("af-test-images:empty")


@pytest.mark.docker
def test_what_does_not_build_is_told_in_the_engines_words() -> None:
    dockerfile = b"FROM agent-factory/base:1\nCOPY none /x\n"
    archive = runtime._archive({"Dockerfile": dockerfile})  # noqa: SLF001 - an archive
    with pytest.raises(PermanentDriverError, match="does not build"):
        build_from_archive(engine(), archive, tag="af-test-images:broken", labels={})


def test_every_library_of_the_program_is_locked_with_its_hash() -> None:
    lines = lock_file().read_text().splitlines()
    names = [line for line in lines if line[:1].isalnum()]
    assert len(names) > 5
    assert all("==" in line for line in names)
    assert sum("--hash=sha256:" in line for line in lines) >= len(names)


def test_a_package_is_installed_for_this_python(tmp_path: Path) -> None:
    install_packages(["six==1.16.0"], tmp_path)
    assert (tmp_path / "six.py").exists()


def test_a_package_is_installed_for_another_python(tmp_path: Path) -> None:
    install_packages(["six==1.16.0"], tmp_path, python="3.12", machine="aarch64")
    assert (tmp_path / "six.py").exists()


def test_a_package_of_another_version_than_the_lock_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PermanentDriverError, match="could not be installed"):
        install_packages(["uvicorn==0.1.0"], tmp_path)


def test_addresses_of_indexes_are_not_told(tmp_path: Path) -> None:
    with pytest.raises(PermanentDriverError) as caught:
        install_wheels(
            ["--no-index", "--find-links=http://user:hidden@127.0.0.1:1/x", "six==0.0.0.1"],
            tmp_path,
        )
    assert "hidden" not in str(caught.value)


def test_there_is_a_pip() -> None:
    assert wheels._installer()[1:] == ("-m", "pip")  # noqa: SLF001 - which one depends on the machine
