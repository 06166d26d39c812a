"""The platform as processes: the server's two ports, kills and restarts."""

from __future__ import annotations

import http.client
import socket
from typing import TYPE_CHECKING

import httpx
import pytest

from accounts.models import User
from config.embedded_folder import LOOPBACK, free_port
from config.embedded_process import StartupError, wait_until
from config.server import listen, listen_everywhere
from tests.builders import PASSWORD, make_user

if TYPE_CHECKING:
    from tests.running import RunningPlatform


@pytest.mark.worker
def test_people_and_agents_are_served_on_different_ports(platform: RunningPlatform) -> None:
    health = httpx.get(f"{platform.url}/health")
    assert (health.status_code, health.json()) == (200, {"status": "ok"})
    egress = httpx.get(f"http://{LOOPBACK}:{platform.egress_port}/health")
    assert egress.status_code == 405  # it takes POST only
    assert "uvicorn" not in health.headers.get("server", "")


@pytest.mark.worker
def test_rows_made_by_a_test_are_seen_by_the_processes(platform: RunningPlatform) -> None:
    user = make_user()
    answer = httpx.post(
        f"{platform.url}/api/auth/token", json={"username": user.username, "password": PASSWORD}
    )
    assert answer.status_code == 200
    assert User.objects.get(pk=user.pk) == user


@pytest.mark.worker
def test_a_killed_worker_is_missed_and_comes_back(platform: RunningPlatform) -> None:
    def worker_status() -> str:
        checks = httpx.get(f"{platform.url}/ready", timeout=10).json()["checks"]
        return str(next(check["status"] for check in checks if check["name"] == "worker"))

    assert wait_until(lambda: worker_status() == "ok", seconds=30)
    platform.kill_worker()
    assert worker_status() == "down"
    platform.start_worker()
    assert wait_until(lambda: worker_status() == "ok", seconds=30)


@pytest.mark.worker
def test_a_stopped_web_server_exits_in_order_and_answers_again(platform: RunningPlatform) -> None:
    platform.stop("web")
    with pytest.raises(OSError, match="refused"):
        http.client.HTTPConnection(LOOPBACK, platform.port, timeout=5).connect()
    platform.start("web")
    assert httpx.get(f"{platform.url}/health").status_code == 200


def test_the_server_opens_each_address_once() -> None:
    port, egress_port = free_port([LOOPBACK]), free_port([LOOPBACK, "127.0.0.2"])
    sockets = listen_everywhere(
        {
            "PORT": str(port),
            "EGRESS_PORT": str(egress_port),
            "EGRESS_HOSTS": "127.0.0.1, 127.0.0.2,127.0.0.1,",
        }
    )
    try:
        assert [one.getsockname() for one in sockets] == [
            (LOOPBACK, port),
            (LOOPBACK, egress_port),
            ("127.0.0.2", egress_port),
        ]
    finally:
        for one in sockets:
            one.close()


@pytest.mark.parametrize("host", ["192.0.2.77", "no-such-host.invalid"])
def test_an_address_that_cannot_be_had_is_told(host: str) -> None:
    with pytest.raises(StartupError, match=rf"Port 8000 at {host} cannot be opened"):
        listen(host, 8000)


def test_a_taken_port_leaves_no_socket_open() -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartupError, match="in use"):
            listen(LOOPBACK, port)
    for one in listen(LOOPBACK, port):
        one.close()
