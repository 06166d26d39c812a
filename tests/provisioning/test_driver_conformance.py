"""What every runtime driver promises, asked of each one with real engines."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings
from django.core.management import call_command

from provisioning.drivers import get_driver
from provisioning.drivers.base import (
    BuildRequest,
    InstanceRequest,
    InstanceState,
    NotFoundDriverError,
    PermanentDriverError,
    RuntimeDriver,
    TransientDriverError,
)
from registry.spec import Resources
from tests.provisioning.stub_agent import FILES, ask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provisioning.drivers.base import BuiltImage, Instance

CANARY = "canary-in-the-credentials-4711"


@dataclass
class Scene:
    """A driver, and the things of one test in it."""

    driver: RuntimeDriver
    mark: str = field(default_factory=lambda: secrets.token_hex(4))

    @property
    def tag(self) -> str:
        return f"af-{settings.INSTALLATION_ID}/conformance-{self.mark}:r1"

    @property
    def labels(self) -> dict[str, str]:
        return {
            "agent-factory.installation": settings.INSTALLATION_ID,
            "agent-factory.deployment": f"deployment-{self.mark}",
            "agent-factory.run": f"conformance:{self.mark}",
        }

    def build(self, **changes: Any) -> BuiltImage:
        return self.driver.ensure_image(self.build_request(**changes))

    def build_request(self, **changes: Any) -> BuildRequest:
        fields: dict[str, Any] = {
            "tag": self.tag,
            "files": {**FILES, "mark": self.mark},
            "packages": (),
            "labels": self.labels,
        }
        return BuildRequest(**{**fields, **changes})

    def request(self, **changes: Any) -> InstanceRequest:
        fields: dict[str, Any] = {
            "name": f"af-conformance-{self.mark}",
            "image": changes["image"] if "image" in changes else self.build().reference,
            "network": "agents",
            "mode": "live",
            "resources": Resources(),
            "credentials": {"invoke_token": CANARY},
            "environment": {},
            "labels": self.labels,
        }
        return InstanceRequest(**{**fields, **changes})

    def start(self, **changes: Any) -> Instance:
        instance = self.driver.ensure_instance(self.request(**changes))
        assert ask(instance.address) == "alive"
        return instance

    def owned(self) -> list[tuple[str, str]]:
        return sorted(
            (one.kind, one.name)
            for one in self.driver.list_owned()
            if one.labels.get("agent-factory.run") == f"conformance:{self.mark}"
        )

    def wait_for(self, name: str, state: InstanceState) -> Instance:
        deadline = time.monotonic() + 30
        while (found := self.driver.inspect(name)).state is not state:
            assert time.monotonic() < deadline, f"{found} is not {state}"
            time.sleep(0.05)
        return found

    def clean(self) -> None:
        kinds = ["instance", "volume", "image"]
        for resource in sorted(self.driver.list_owned(), key=lambda one: kinds.index(one.kind)):
            if resource.labels.get("agent-factory.run") == f"conformance:{self.mark}":
                self.driver.remove_owned(resource)


@pytest.fixture(scope="session")
def _base_image() -> None:
    call_command("base_image", "--if-missing")


@pytest.fixture(params=["process", pytest.param("docker", marks=pytest.mark.docker)])
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    """Each driver in turn; afterwards nothing of the test is left."""
    if request.param == "docker":
        request.getfixturevalue("_base_image")
    made = Scene(get_driver(request.param))
    yield made
    made.clean()
    assert made.owned() == []


# --- The driver itself ------------------------------------------------------------------------


def test_it_tells_what_it_talks_to(scene: Scene) -> None:
    info = scene.driver.info()
    assert info.name == scene.driver.name
    assert info.isolated == scene.driver.isolated == (scene.driver.name == "docker")
    assert info.version
    assert info.cpu_cores >= 1
    assert info.memory_mb > 512


def test_an_unknown_driver_is_refused() -> None:
    with pytest.raises(PermanentDriverError, match="docker or process"):
        get_driver("swarm")


def test_there_is_one_driver_for_each_name() -> None:
    assert get_driver("process") is get_driver("process")


# --- Images -----------------------------------------------------------------------------------


def test_an_image_is_built_once_and_found_again(scene: Scene) -> None:
    first = scene.build()
    again = scene.build()
    assert (first.created, again.created) == (True, False)
    assert first.reference == again.reference
    assert scene.owned() == [("image", scene.tag)]


def test_other_files_make_another_image_under_the_same_tag(scene: Scene) -> None:
    first = scene.build()
    second = scene.build(files={**FILES, "more.py": "MORE = 1\n"})
    assert second.created
    assert first.reference != second.reference
    instance = scene.start(image=second.reference)
    assert ask(instance.address, "read", "more.py") == "MORE = 1\n"


def test_files_arrive_as_they_are(scene: Scene) -> None:
    text = "line\r\n\ttab ü 漢字 \\n $HOME `x` {{ }} \x7f\n"
    instance = scene.start(
        image=scene.build(files={**FILES, "deep/er/odd name.txt": text}).reference
    )
    code = "print(open('deep/er/odd name.txt', newline='').read().encode().hex())"
    told = ask(instance.address, "run", code)
    assert bytes.fromhex(told[1]).decode() == text


@pytest.mark.parametrize("path", ["../out.py", "/etc/out", "a/../../out", "", "nul\0"])
def test_a_file_outside_the_project_is_refused(scene: Scene, path: str) -> None:
    with pytest.raises(PermanentDriverError, match="not inside the project"):
        scene.build(files={**FILES, path: "x"})
    assert scene.owned() == []


def test_an_extra_package_can_be_imported(scene: Scene) -> None:
    instance = scene.start(image=scene.build(packages=("six==1.16.0",)).reference)
    assert ask(instance.address, "import", "six").endswith("packages/six.py")


def test_a_package_that_does_not_exist_is_refused_and_named(scene: Scene) -> None:
    with pytest.raises(PermanentDriverError, match=r"six==0\.0\.0\.1"):
        scene.build(packages=("six==0.0.0.1",))
    assert scene.owned() == []


def test_removing_an_image_that_is_not_there_is_success(scene: Scene) -> None:
    scene.driver.remove_image(scene.tag)
    scene.build()
    scene.driver.remove_image(scene.tag)
    scene.driver.remove_image(scene.tag)
    assert scene.owned() == []


def test_an_image_in_use_stays(scene: Scene) -> None:
    instance = scene.start()
    with pytest.raises(TransientDriverError):
        scene.driver.remove_image(scene.tag)
    assert ask(instance.address) == "alive"


def test_images_built_side_by_side_are_one(scene: Scene) -> None:
    request = scene.build_request()
    with ThreadPoolExecutor(4) as threads:
        built = list(threads.map(scene.driver.ensure_image, [request] * 4))
    usable = {image.reference for image in built}
    assert scene.build().reference in usable
    assert ("image", scene.tag) in scene.owned()


# --- Instances --------------------------------------------------------------------------------


def test_an_instance_is_made_once_and_found_again(scene: Scene) -> None:
    request = scene.request()
    first = scene.driver.ensure_instance(request)
    assert first.state is InstanceState.RUNNING
    assert first.address.startswith("http://")
    again = scene.driver.ensure_instance(request)
    assert (again.id, again.address) == (first.id, first.address)
    looked = scene.driver.inspect(request.name)
    assert (looked.id, looked.state, looked.address) == (first.id, first.state, first.address)
    assert looked.exit_code is None


def test_instances_made_side_by_side_are_one(scene: Scene) -> None:
    request = scene.request()
    with ThreadPoolExecutor(6) as threads:
        made = list(threads.map(scene.driver.ensure_instance, [request] * 6))
    assert len({one.id for one in made}) == 1
    assert ask(made[0].address, "credentials") == {"invoke_token": CANARY}


def test_every_given_label_is_on_it(scene: Scene) -> None:
    odd = {"agent-factory.note": 'quo"te\nnew line = ü {{ }}'}
    instance = scene.start(labels={**scene.labels, **odd})
    expected = {**scene.labels, **odd}
    assert expected.items() <= instance.labels.items()
    assert expected.items() <= scene.driver.inspect(instance.name).labels.items()
    assert ("instance", instance.name) in scene.owned()


def test_it_knows_where_and_what_it_is(scene: Scene) -> None:
    instance = scene.start(mode="sandbox", network="sandbox")
    told = ask(instance.address, "environment")
    assert told["AGENT_MODE"] == "sandbox"
    assert instance.address.endswith(f":{told['AGENT_PORT']}")


def test_its_environment_is_its_own(scene: Scene) -> None:
    values = {
        "PLAIN": "value",
        "QUOTES": "\"'`$HOME ${PATH} $(id) \\ ; | & # %",
        "LINES": "one\ntwo\r\n\tthree",
        "UNICODE": "ü 漢字 🙂",
        "EQUALS": "a=b=c",
        "EMPTY": "",
        "LONG": "x" * 1000,
    }
    told = ask(scene.start(environment=values).address, "environment")
    assert {name: told.get(name) for name in values} == values
    assert "SECRET_KEY" not in told
    assert settings.SECRET_KEY not in str(told)
    assert "DATABASE_URL" not in told


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AGENT_CREDENTIALS_FILE", "/etc/passwd"),
        ("AGENT_MODE", "live"),
        ("PYTHONPATH", "/tmp"),  # noqa: S108 - a text
        ("LD_PRELOAD", "/tmp/x.so"),  # noqa: S108 - a text
        ("PATH", "/tmp"),  # noqa: S108 - a text
        ("A=B", "x"),
        ("", "x"),
        ("NULL", "a\0b"),
    ],
)
def test_what_cannot_be_set_is_refused_and_named(scene: Scene, name: str, value: str) -> None:
    with pytest.raises(PermanentDriverError, match="environment variable"):
        scene.driver.ensure_instance(scene.request(environment={name: value}))
    assert [kind for kind, _ in scene.owned()] == ["image"]


def test_the_credentials_are_inside_and_nowhere_else(scene: Scene) -> None:
    request = scene.request()
    instance = scene.driver.ensure_instance(request)
    assert ask(instance.address, "credentials") == {"invoke_token": CANARY}
    told = ask(instance.address, "environment")
    mode, owner = ask(instance.address, "mode-of", told["AGENT_CREDENTIALS_FILE"])
    assert mode in ("0o400", "0o600")
    assert owner == ask(instance.address, "identity")["uid"]
    assert CANARY not in str(told)
    assert CANARY not in repr(request)
    assert CANARY not in repr(scene.driver.inspect(instance.name))
    assert CANARY not in repr(scene.driver.list_owned())
    assert CANARY not in "".join(scene.driver.logs(instance.name))


def test_an_exited_instance_is_started_again_with_new_credentials(scene: Scene) -> None:
    request = scene.request(mode="sandbox")
    first = scene.driver.ensure_instance(request)
    ask(first.address, "exit", 3)
    exited = scene.wait_for(request.name, InstanceState.EXITED)
    assert exited.exit_code == 3
    assert exited.address == ""
    with pytest.raises(NotFoundDriverError):
        scene.driver.usage(request.name)
    again = scene.driver.ensure_instance(replace(request, credentials={"invoke_token": "new"}))
    assert again.state is InstanceState.RUNNING
    assert ask(again.address, "credentials") == {"invoke_token": "new"}


def test_an_instance_of_another_image_is_replaced(scene: Scene) -> None:
    instance = scene.start()
    other = scene.build(files={**FILES, "more.py": ""}).reference
    replaced = scene.start(image=other)
    assert replaced.id != instance.id
    assert ask(replaced.address, "read", "more.py") == ""


def test_an_instance_of_another_deployment_is_replaced(scene: Scene) -> None:
    instance = scene.start()
    labels = {**scene.labels, "agent-factory.deployment": "another"}
    replaced = scene.start(labels=labels)
    assert replaced.id != instance.id
    assert replaced.labels["agent-factory.deployment"] == "another"


def test_an_image_that_is_gone_is_not_found(scene: Scene) -> None:
    image = scene.build().reference
    scene.driver.remove_image(scene.tag)
    with pytest.raises(NotFoundDriverError):
        scene.driver.ensure_instance(scene.request(image=image))
    assert scene.owned() == []


def test_a_missing_instance_is_missing_everywhere(scene: Scene) -> None:
    name = f"af-none-{scene.mark}"
    missing = scene.driver.inspect(name)
    assert (missing.state, missing.address, missing.id) == (InstanceState.MISSING, "", "")
    assert scene.driver.logs(name) == []
    assert list(scene.driver.follow_logs(name)) == []
    with pytest.raises(NotFoundDriverError):
        scene.driver.usage(name)
    scene.driver.remove_instance(name)


def test_removing_an_instance_leaves_nothing(scene: Scene) -> None:
    instance = scene.start()
    scene.driver.remove_instance(instance.name)
    assert scene.driver.inspect(instance.name).state is InstanceState.MISSING
    assert scene.owned() == [("image", scene.tag)]
    scene.driver.remove_instance(instance.name)


def test_an_instance_is_asked_to_stop_before_it_is_made_to(scene: Scene) -> None:
    instance = scene.start()
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(scene.driver.follow_logs(instance.name)))
    reader.start()
    time.sleep(0.3)
    scene.driver.remove_instance(instance.name)
    reader.join(timeout=20)
    assert not reader.is_alive()
    assert lines == ["listening", "stopped when asked"]


def test_a_stubborn_instance_is_made_to_stop(scene: Scene) -> None:
    instance = scene.start()
    assert ask(instance.address, "stubborn") == "stubborn"
    scene.driver.remove_instance(instance.name, grace_seconds=0.5)
    assert scene.driver.inspect(instance.name).state is InstanceState.MISSING


def test_removed_side_by_side_it_is_gone(scene: Scene) -> None:
    instance = scene.start()
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(scene.driver.remove_instance, [instance.name] * 4))
    assert scene.driver.inspect(instance.name).state is InstanceState.MISSING


def test_everything_owned_can_be_removed_twice(scene: Scene) -> None:
    scene.start()
    mine = [
        one
        for one in scene.driver.list_owned()
        if one.labels.get("agent-factory.run") == f"conformance:{scene.mark}"
    ]
    assert {one.kind for one in mine} >= {"instance", "image"}
    for resource in sorted(mine, key=lambda one: one.kind != "instance"):
        scene.driver.remove_owned(resource)
        scene.driver.remove_owned(resource)
    assert scene.owned() == []


# --- What it says and uses --------------------------------------------------------------------


def test_the_last_lines_of_its_output_are_kept(scene: Scene) -> None:
    instance = scene.start()
    for number in range(5):
        ask(instance.address, "print", f"line {number} ü")
    wait_for_lines(scene, instance.name, 6)
    assert scene.driver.logs(instance.name, tail=2) == ["line 3 ü", "line 4 ü"]
    assert scene.driver.logs(instance.name)[0] == "listening"
    assert scene.driver.logs(instance.name, tail=0) == []


def test_output_that_is_no_text_is_shown_all_the_same(scene: Scene) -> None:
    instance = scene.start()
    ask(instance.address, "print-raw", b"\xff\xfe bytes\n\0null\n".hex())
    lines = wait_for_lines(scene, instance.name, 3)
    assert lines[1:] == ["\ufffd\ufffd bytes", "\ufffdnull"]


def test_its_output_is_bounded(scene: Scene) -> None:
    instance = scene.start()
    ask(instance.address, "print-much", 250_000)
    time.sleep(1)
    kept = scene.driver.logs(instance.name, tail=1_000_000)
    assert kept[-1].startswith("0249999")
    assert len(kept) * 101 < 12_000_000


def test_a_very_long_line_is_cut(scene: Scene) -> None:
    instance = scene.start()
    ask(instance.address, "print", "y" * 50_000)
    lines = wait_for_lines(scene, instance.name, 2)
    assert len(lines[-1]) < 20_000


def test_output_is_followed_as_it_is_written(scene: Scene) -> None:
    instance = scene.start(mode="sandbox")
    lines = scene.driver.follow_logs(instance.name)
    assert next(lines) == "listening"
    ask(instance.address, "print", "now")
    assert next(lines) == "now"
    ask(instance.address, "exit", 0)
    assert list(lines) == []


def test_following_can_be_left(scene: Scene) -> None:
    instance = scene.start()
    lines = scene.driver.follow_logs(instance.name)
    assert next(lines) == "listening"
    lines.close()  # type: ignore[attr-defined]  # it is a generator
    assert ask(instance.address) == "alive"


def test_it_tells_what_it_uses(scene: Scene) -> None:
    instance = scene.start()
    before = scene.driver.usage(instance.name)
    assert 3 < before.memory_mb < 200
    ask(instance.address, "run", "sum(range(10_000_000))")
    after = scene.driver.usage(instance.name)
    assert after.cpu_seconds >= before.cpu_seconds


def test_the_instance_survives_the_worker_that_started_it(scene: Scene) -> None:
    """A worker of its own process starts it and is killed."""
    request = scene.request()
    code = (
        "import django, json, os, sys; django.setup()\n"
        "from provisioning.drivers import get_driver\n"
        "from provisioning.drivers.base import InstanceRequest\n"
        "from registry.spec import Resources\n"
        "given = json.loads(sys.stdin.read())\n"
        "given['resources'] = Resources()\n"
        f"driver = get_driver({scene.driver.name!r})\n"
        "print(driver.ensure_instance(InstanceRequest(**given)).id, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    given = {
        "name": request.name,
        "image": request.image,
        "network": "agents",
        "mode": "live",
        "credentials": {"invoke_token": CANARY},
        "environment": {},
        "labels": scene.labels,
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == -9, done.stderr
    found = scene.driver.inspect(request.name)
    assert (found.id, found.state) == (done.stdout.strip(), InstanceState.RUNNING)
    assert ask(found.address) == "alive"


def wait_for_lines(scene: Scene, name: str, count: int) -> list[str]:
    deadline = time.monotonic() + 20
    while len(lines := scene.driver.logs(name)) < count:
        assert time.monotonic() < deadline, lines
        time.sleep(0.05)
    return lines
