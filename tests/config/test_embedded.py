"""The embedded servers, run for real in folders of their own."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import stat
from typing import TYPE_CHECKING

import psycopg
import pytest
import redis

from config.embedded import DataFolder, EmbeddedServers, StartupError
from config.embedded_folder import LOOPBACK, free_port, is_free
from config.embedded_postgres import POSTGRES_UID
from config.embedded_process import account_for, is_root, wait_until
from config.embedded_redis import REDIS_UID

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FAST = {"fsync": "off"}
OTHER_LOOPBACK = "127.0.0.2"


@pytest.fixture
def own(tmp_path: Path) -> Iterator[EmbeddedServers]:
    """Servers of one test, started, with a second address to listen on."""
    servers = build(tmp_path)
    servers.start()
    yield servers
    servers.stop(hurry=True)


def build(path: Path) -> EmbeddedServers:
    return EmbeddedServers(DataFolder(path), addresses=[OTHER_LOOPBACK], postgres_settings=FAST)


def pid_of(servers: EmbeddedServers) -> int:
    assert servers.postgres.process is not None
    return servers.postgres.process.pid


def test_a_restart_keeps_data_addresses_and_users(own: EmbeddedServers) -> None:
    urls = own.urls
    with psycopg.connect(urls.database) as connection:
        connection.execute("CREATE TABLE kept (word text)")
        connection.execute("INSERT INTO kept VALUES ('here')")
    client = redis.Redis.from_url(urls.redis)
    client.set("kept", "here")
    client.acl_setuser(
        "agent", enabled=True, passwords=["+secret"], keys=["agent.1.*"], commands=["+get", "+set"]
    )
    client.acl_save()
    client.close()

    own.stop()
    assert own.start() == urls

    with psycopg.connect(urls.database) as connection:
        assert connection.execute("SELECT word FROM kept").fetchall() == [("here",)]
    with redis.Redis.from_url(urls.redis) as client:
        assert client.get("kept") == b"here"
    with redis.Redis(LOOPBACK, own.redis.port, username="agent", password="secret") as agent:
        assert agent.set("agent.1.note", "mine") is True
        with pytest.raises(redis.exceptions.NoPermissionError):
            agent.get("agent.2.note")


def test_nobody_gets_in_without_a_password(own: EmbeddedServers) -> None:
    wrong = own.urls.database.replace(own.folder.secret("agent_factory"), "wrong")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong)
    with (
        redis.Redis(LOOPBACK, own.redis.port) as client,
        pytest.raises(redis.exceptions.AuthenticationError),
    ):
        client.ping()


def test_from_another_address_only_the_memory_of_agents_is_open(tmp_path: Path) -> None:
    # A connection to an address of this machine comes from that address.
    address = own_address()
    servers = EmbeddedServers(DataFolder(tmp_path), addresses=[address], postgres_settings=FAST)
    with servers:
        with psycopg.connect(servers.urls.agent_database, autocommit=True) as admin:
            admin.execute("CREATE ROLE agent_one LOGIN PASSWORD 'secret'")
            admin.execute("GRANT CONNECT ON DATABASE agent_memory TO agent_one")
        agent = f"postgresql://agent_one:secret@{address}:{servers.postgres.port}"
        with psycopg.connect(f"{agent}/agent_memory") as connection:
            assert connection.execute("SELECT current_user").fetchone() == ("agent_one",)
        for database in ("agent_factory", "postgres", "template1"):
            with pytest.raises(psycopg.OperationalError, match=r"no pg_hba\.conf entry"):
                psycopg.connect(f"{agent}/{database}")
            near = f"postgresql://agent_one:secret@{LOOPBACK}:{servers.postgres.port}/{database}"
            with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
                psycopg.connect(near)
        for url in (servers.urls.database, servers.urls.agent_database):
            with pytest.raises(psycopg.OperationalError, match=r"pg_hba\.conf rejects"):
                psycopg.connect(url.replace(f"@{LOOPBACK}:", f"@{address}:"))


def own_address() -> str:
    """An address of this machine that is not loopback (no packet is sent)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no address besides loopback")
        return str(probe.getsockname()[0])


def test_the_agents_admin_makes_and_removes_an_agents_place(own: EmbeddedServers) -> None:
    with psycopg.connect(own.urls.agent_database, autocommit=True) as admin:
        rights = admin.execute(
            "SELECT rolsuper, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
        assert rights == (False, True, False)
        for name in ("agent_one", "agent_two"):
            admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'secret' CONNECTION LIMIT 5")
            admin.execute(f"GRANT CONNECT ON DATABASE agent_memory TO {name}")
            admin.execute(f"CREATE SCHEMA {name} AUTHORIZATION {name}")
        with psycopg.connect(
            f"postgresql://agent_one:secret@{LOOPBACK}:{own.postgres.port}/agent_memory"
        ) as agent:
            agent.execute("CREATE TABLE note (place vector(2), words tsvector)")
            agent.execute("INSERT INTO note VALUES ('[1,2]', to_tsvector('english', 'running'))")
            nearest = agent.execute("SELECT place <-> '[1,3]' FROM note").fetchone()
            assert nearest == (1.0,)
            agent.commit()
            for refused in (
                "CREATE TABLE agent_two.note (x int)",
                "CREATE TABLE public.note (x int)",
                "CREATE SCHEMA agent_three",
                "CREATE TEMP TABLE note2 (x int)",
                "SELECT pg_read_file('/etc/passwd')",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    agent.execute(refused)
                agent.rollback()
        for name in ("agent_one", "agent_two"):
            admin.execute(f"DROP OWNED BY {name} CASCADE")
            admin.execute(f"DROP ROLE {name}")
        left = admin.execute("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'agent\\_o%'")
        assert left.fetchone() == (0,)


def test_a_killed_start_is_recovered(own: EmbeddedServers) -> None:
    urls = own.urls
    with psycopg.connect(urls.database) as connection:
        connection.execute("CREATE TABLE kept (word text)")
    assert own.redis.process is not None
    os.kill(pid_of(own), signal.SIGKILL)
    own.redis.process.kill()
    own.redis.process.wait()
    assert own.postgres.process is not None
    own.postgres.process.wait()
    assert (own.folder.path / "postgres/data/postmaster.pid").exists()

    again = build(own.folder.path)
    try:
        assert again.start() == urls
        with psycopg.connect(urls.database) as connection:
            assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)
    finally:
        again.stop()


def test_servers_that_outlived_their_launcher_are_ended_by_the_next(own: EmbeddedServers) -> None:
    old = pid_of(own)
    again = build(own.folder.path)
    try:
        assert again.start() == own.urls
        assert own.postgres.process is not None
        assert own.redis.process is not None
        assert own.postgres.process.wait(10) == 0
        assert own.redis.process.wait(10) == 0
        assert pid_of(again) != old
    finally:
        again.stop()


def test_a_pid_file_that_names_another_program_is_set_aside(tmp_path: Path) -> None:
    servers = build(tmp_path)
    servers.start()
    servers.stop()
    pid_file = tmp_path / "postgres/data/postmaster.pid"
    pid_file.write_text(f"{os.getpid()}\n{tmp_path}/postgres/data\n0\n5432\n\n127.0.0.1\n0 0\n")
    for name in ("postgres", "redis"):
        (tmp_path / "processes" / name).write_text(f"{os.getpid()} 1")
    with servers:
        assert pid_of(servers) != os.getpid()


def test_a_kept_port_that_is_taken_gives_way(tmp_path: Path) -> None:
    servers = build(tmp_path)
    first = servers.start()
    port = servers.postgres.port
    servers.stop()
    with socket.create_server((OTHER_LOOPBACK, port)), servers:
        assert servers.postgres.port != port
        with psycopg.connect(servers.urls.database) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        assert servers.urls.redis == first.redis
    assert DataFolder(tmp_path).port("postgres", [LOOPBACK]) == servers.postgres.port


def test_secrets_are_for_the_owner_only(own: EmbeddedServers) -> None:
    files = list((own.folder.path / "secrets").iterdir())
    assert sorted(file.name for file in files) == [
        "agent_factory",
        "factory_agents_admin",
        "postgres",
        "redis",
    ]
    modes = {stat.S_IMODE(file.stat().st_mode) for file in files}
    assert modes == {0o600}
    for name in ("postgres", "redis"):
        assert stat.S_IMODE((own.folder.path / name).stat().st_mode) == 0o700
    words = [file.read_text().strip() for file in files]
    command_lines = "".join(
        (own.folder.path.__class__(f"/proc/{process.pid}/cmdline")).read_text()
        for process in (own.postgres.process, own.redis.process)
        if process is not None
    )
    assert [word for word in words if word in command_lines] == []


@pytest.mark.skipif(not is_root(), reason="only root can give a process to another user")
def test_as_root_the_servers_run_as_users_of_their_own(own: EmbeddedServers) -> None:
    for process, uid in ((own.postgres.process, POSTGRES_UID), (own.redis.process, REDIS_UID)):
        assert process is not None
        status = own.folder.path.__class__(f"/proc/{process.pid}/status").read_text()
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert fields["Uid"].split() == [str(uid)] * 4
        assert fields["Gid"].split() == [str(uid)] * 4
        assert fields["Groups"].strip() == ""


@pytest.mark.skipif(not is_root(), reason="only root can give a process to another user")
def test_as_root_a_closed_parent_folder_costs_one_capability(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    (closed / "data").mkdir()
    assert account_for(POSTGRES_UID, POSTGRES_UID, closed / "data").capability is not None
    with build(closed / "data") as servers:
        assert servers.postgres.process is not None
        with psycopg.connect(servers.urls.database) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)


class TestStartupErrors:
    def test_the_folder_is_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(StartupError, match=r"file cannot be used \(.*DATA_DIR="):
            DataFolder(tmp_path / "file")

    def test_the_folder_is_held_by_another_start(self, tmp_path: Path) -> None:
        first, second = DataFolder(tmp_path), DataFolder(tmp_path)
        first.lock()
        with pytest.raises(StartupError, match=rf"already runs .*process {os.getpid()}"):
            second.lock()
        first.unlock()
        second.lock()
        second.unlock()

    def test_the_data_is_of_another_kind(self, tmp_path: Path) -> None:
        servers = build(tmp_path)
        (tmp_path / "postgres/data").mkdir(parents=True)
        with pytest.raises(StartupError, match="is not a PostgreSQL data folder"):
            servers.start()
        assert servers.redis.process is None

    def test_the_data_is_of_another_version(self, tmp_path: Path) -> None:
        servers = build(tmp_path)
        (tmp_path / "postgres/data").mkdir(parents=True)
        (tmp_path / "postgres/data/PG_VERSION").write_text("16\n")
        with pytest.raises(StartupError, match="made by PostgreSQL 16 and this is 18"):
            servers.start()

    def test_the_data_is_damaged(self, tmp_path: Path) -> None:
        with build(tmp_path):
            pass
        (tmp_path / "postgres/data/global/pg_control").write_bytes(b"not this")
        servers = build(tmp_path)
        with pytest.raises(StartupError, match=r"PostgreSQL did not start \(.*pg_control.*logs"):
            servers.start()
        assert servers.redis.process is None

    def test_the_append_only_file_is_damaged(self, tmp_path: Path) -> None:
        with build(tmp_path):
            pass
        manifest = next((tmp_path / "redis/appendonlydir").glob("*.manifest"))
        manifest.write_text("nonsense\n")
        servers = build(tmp_path)
        with pytest.raises(StartupError, match=r"Redis server did not start \(.*redis\.log"):
            servers.start()
        assert servers.postgres.process is None

    def test_the_passwords_are_gone(self, tmp_path: Path) -> None:
        with build(tmp_path):
            pass
        (tmp_path / "secrets/postgres").unlink()
        with pytest.raises(StartupError, match="restore the folder 'secrets' from a backup"):
            build(tmp_path)

    def test_a_secret_cannot_be_read(self, tmp_path: Path) -> None:
        folder = DataFolder(tmp_path)
        (tmp_path / "secrets/redis").mkdir()
        with pytest.raises(StartupError, match=r"secrets/redis cannot be read"):
            folder.secret("redis")

    def test_an_address_that_this_machine_does_not_have(self, tmp_path: Path) -> None:
        servers = EmbeddedServers(DataFolder(tmp_path), addresses=["192.0.2.77"])
        with pytest.raises(StartupError, match=r"No free port .*192\.0\.2\.77"):
            servers.start()


def test_an_interrupted_first_start_is_begun_again(tmp_path: Path) -> None:
    servers = build(tmp_path)
    draft = tmp_path / "postgres/data.new"
    draft.mkdir(parents=True)
    (draft / "PG_VERSION").write_text("18\n")
    with servers:
        assert not draft.exists()


def test_a_launcher_that_is_killed_takes_its_servers_along(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        os.setsid()
        build(tmp_path).start()
        signal.pause()
    marker = tmp_path / "postgres/data/postmaster.pid"
    ready = wait_until(
        lambda: marker.exists() and "ready" in marker.read_text().split(), seconds=60
    )
    pids = [
        int(marker.read_text().split()[0]),
        int((tmp_path / "processes/redis").read_text().split()[0]),
    ]
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert ready
    assert wait_until(lambda: not any(is_alive(pid) for pid in pids), seconds=15)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_ports_file_that_makes_no_sense_is_written_anew(tmp_path: Path) -> None:
    for text in ("[]", "{", '{"postgres": "x"}', '{"postgres": null}'):
        (tmp_path / "ports.json").write_text(text)
        folder = DataFolder(tmp_path)
        port = folder.port("postgres", [LOOPBACK])
        assert folder.port("postgres", [LOOPBACK]) == port


def test_a_port_in_use_is_not_free() -> None:
    port = free_port([LOOPBACK])
    assert is_free(port, [LOOPBACK])
    with socket.create_server((LOOPBACK, port)):
        assert not is_free(port, [LOOPBACK])
        assert not is_free(port, [OTHER_LOOPBACK, LOOPBACK])


def test_a_long_log_is_set_aside(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    file = folder.log("web")
    file.write_bytes(secrets.token_bytes(1))
    assert folder.log("web").exists()
    os.truncate(file, 10_000_001)
    assert not folder.log("web").exists()
    assert file.with_suffix(".log.old").stat().st_size == 10_000_001
