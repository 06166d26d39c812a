"""The agent's long-term memory: a PostgreSQL role that owns one schema and nothing else."""

from __future__ import annotations

from contextlib import contextmanager
from time import monotonic, sleep
from typing import TYPE_CHECKING, Final, LiteralString
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
from django.conf import settings
from psycopg import sql

from provisioning.names import checked_installation, checked_key
from provisioning.stores.errors import PermanentStoreError, TransientStoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

CONNECTION_LIMIT: Final = 10
"""Connections that one agent may hold at a time."""

_CONNECT_SECONDS: Final = 5
_DEFAULT_PORT: Final = 5432
_LOCK_TIMEOUT: Final = "10s"
_STATEMENT_TIMEOUT: Final = "60s"
_SESSION_END_SECONDS: Final = 5.0
# One at a time: changes to the rights on one database, made side by side, fail in PostgreSQL
# ("tuple concurrently updated"). The number is this program's own and means nothing.
_LOCK_NUMBER: Final = 0x6166_726F
# What an agent's own mistakes may cost the server.
_ROLE_SETTINGS: Final[dict[LiteralString, LiteralString]] = {
    "statement_timeout": "30s",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "60s",
}
# To act for a role is two rights since PostgreSQL 16: the question, and the grant if it is denied.
_VERSION_16: Final = 16_00_00
_RIGHTS_16: Final[tuple[LiteralString, LiteralString]] = (
    (
        "SELECT 1 FROM pg_roles WHERE rolname = %s"
        " AND pg_has_role(oid, 'USAGE') AND pg_has_role(oid, 'SET')"
    ),
    "GRANT {role} TO CURRENT_USER WITH INHERIT TRUE, SET TRUE",
)
_RIGHTS_15: Final[tuple[LiteralString, LiteralString]] = (
    "SELECT 1 FROM pg_roles WHERE rolname = %s AND pg_has_role(oid, 'USAGE')",
    "GRANT {role} TO CURRENT_USER",
)
_NO_RIGHTS: Final = "NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT NOREPLICATION NOBYPASSRLS"


class MemoryStore:
    """The long-term memory of the agent with this key."""

    def __init__(self, key: str) -> None:
        try:
            self.key = checked_key(key)
            self.role = f"{_prefix()}{key.replace('-', '_')}"
        except ValueError as error:
            raise PermanentStoreError(str(error)) from error

    @property
    def schema(self) -> str:
        """The schema's name, which is the role's too."""
        return self.role

    def ensure(self, password: str) -> bool:
        """Make the role and its schema, or bring them in order; return whether it was new.

        Raises:
            TransientStoreError: the server does not answer.
            PermanentStoreError: the platform may not make roles there, or the schema is another's.

        """
        with _server("make the agent's memory store") as connection, connection.transaction():
            _take_turn(connection)
            new = not self._has_role(connection)
            # Only the verifier travels (RFC 5802), so that no log of the server's shows a password.
            verifier = connection.pgconn.encrypt_password(
                password.encode(), self.role.encode(), b"scram-sha-256"
            ).decode()
            if new:
                self._run(connection, "CREATE ROLE {role} NOLOGIN " + _NO_RIGHTS)
            connection.execute(
                sql.SQL(
                    "ALTER ROLE {role} LOGIN NOINHERIT CONNECTION LIMIT {limit} PASSWORD {verifier}"
                ).format(
                    role=sql.Identifier(self.role),
                    limit=sql.Literal(CONNECTION_LIMIT),
                    verifier=sql.Literal(verifier),
                )
            )
            self._act_for_role(connection)
            for name, value in _ROLE_SETTINGS.items():
                connection.execute(
                    sql.SQL("ALTER ROLE {} SET {} = {}").format(
                        sql.Identifier(self.role), sql.Identifier(name), sql.Literal(value)
                    )
                )
            self._run(connection, "ALTER ROLE {role} SET search_path = {role}, public")
            connection.execute(
                sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(
                    sql.Identifier(connection.info.dbname), sql.Identifier(self.role)
                )
            )
            self._run(connection, "CREATE SCHEMA IF NOT EXISTS {role} AUTHORIZATION {role}")
            if not self._owns_schema(connection):
                raise PermanentStoreError(
                    f"The schema {self.role} belongs to another role: remove it or give it to "
                    f"{self.role}."
                )
        return new

    def exists(self) -> bool:
        """Tell whether both the role and its schema are there."""
        with _server("look for the agent's memory store") as connection:
            return self._owns_schema(connection)

    def remove(self) -> None:
        """End its sessions and remove the role with everything it owns; gone is success."""
        with _server("remove the agent's memory store") as connection:
            with connection.transaction():
                _take_turn(connection)
                if self._has_role(connection):
                    self._act_for_role(connection)
                    self._run(connection, "ALTER ROLE {role} NOLOGIN")
            self._end_sessions(connection)
            with connection.transaction():
                _take_turn(connection)
                self._run(connection, "DROP SCHEMA IF EXISTS {role} CASCADE")
                if self._has_role(connection):
                    self._run(connection, "DROP OWNED BY {role} CASCADE")
                    self._run(connection, "DROP ROLE {role}")

    def url(self, host: str, password: str) -> str:
        """Return the address with which the agent signs in; ``host`` is as the agent sees it."""
        parts = urlsplit(settings.AGENT_DATABASE_URL)
        shown = f"[{host}]" if ":" in host else host
        sign_in = f"{quote(self.role, safe='')}:{quote(password, safe='')}"
        place = f"{sign_in}@{shown}:{parts.port or _DEFAULT_PORT}"
        return urlunsplit(("postgresql", place, parts.path, parts.query, ""))

    def _run(self, connection: psycopg.Connection, statement: LiteralString) -> None:
        connection.execute(sql.SQL(statement).format(role=sql.Identifier(self.role)))

    def _has_role(self, connection: psycopg.Connection) -> bool:
        return _holds(connection, "SELECT 1 FROM pg_roles WHERE rolname = %s", self.role)

    def _owns_schema(self, connection: psycopg.Connection) -> bool:
        return _holds(
            connection,
            "SELECT 1 FROM pg_namespace n JOIN pg_roles r ON r.oid = n.nspowner"
            " WHERE n.nspname = %s AND r.rolname = n.nspname AND r.rolcanlogin",
            self.role,
        )

    def _act_for_role(self, connection: psycopg.Connection) -> None:
        """Let the platform's role give the agent's role a schema, and drop what it owns."""
        held, grant = _RIGHTS_16 if connection.info.server_version >= _VERSION_16 else _RIGHTS_15
        if not _holds(connection, held, self.role):
            self._run(connection, grant)

    def _end_sessions(self, connection: psycopg.Connection) -> None:
        deadline = monotonic() + _SESSION_END_SECONDS
        while _holds(
            connection,
            # True for each session that was asked to end.
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s",
            self.role,
        ):
            if monotonic() > deadline:
                raise TransientStoreError(f"The sessions of {self.role} have not ended yet.")
            sleep(0.02)


def list_owned() -> list[str]:
    """Return the keys of the agents that have a memory store in this installation, sorted."""
    prefix = _prefix()
    with _server("list the agents' memory stores") as connection:
        names = connection.execute(
            "SELECT rolname FROM pg_roles WHERE starts_with(rolname, %(prefix)s)"
            " UNION SELECT nspname FROM pg_namespace WHERE starts_with(nspname, %(prefix)s)",
            {"prefix": prefix},
        ).fetchall()
    return sorted(str(name).removeprefix(prefix).replace("_", "-") for (name,) in names)


def _prefix() -> str:
    return f"af_{checked_installation(settings.INSTALLATION_ID)}_"


def _take_turn(connection: psycopg.Connection) -> None:
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK_NUMBER,))


def _holds(connection: psycopg.Connection, query: LiteralString, *values: str) -> bool:
    return connection.execute(query, values).fetchone() is not None


@contextmanager
def _server(doing: str) -> Iterator[psycopg.Connection]:
    try:
        with psycopg.connect(
            settings.AGENT_DATABASE_URL,
            autocommit=True,
            connect_timeout=_CONNECT_SECONDS,
            application_name="agent-factory stores",
            options=f"-c lock_timeout={_LOCK_TIMEOUT} -c statement_timeout={_STATEMENT_TIMEOUT}",
        ) as connection:
            yield connection
    except psycopg.errors.InsufficientPrivilege as error:
        raise PermanentStoreError(
            f"Could not {doing}: {_said(error)}. The role of AGENT_DATABASE_URL needs CREATEROLE, "
            "CREATE on the database, and CONNECT on it with grant option."
        ) from error
    except (psycopg.OperationalError, psycopg.InternalError) as error:
        raise TransientStoreError(
            f"Could not {doing}: {_said(error)}. Check that PostgreSQL runs and can be reached "
            "(AGENT_DATABASE_URL)."
        ) from error
    except psycopg.Error as error:
        raise PermanentStoreError(f"Could not {doing}: {_said(error)}.") from error


def _said(error: psycopg.Error) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
