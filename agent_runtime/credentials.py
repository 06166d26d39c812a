"""What the platform hands to this one agent: how to reach its queue, its memory and the way out.

Third-party credentials never come here; the platform's egress adds them to calls outside.
"""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

from agent_runtime.errors import StartError

MAX_BYTES: Final = 65_536
_SCHEMA_NAME: Final = re.compile(r"^[a-z_][a-z0-9_]{0,62}$")
_KEY_PREFIX: Final = re.compile(r"^[A-Za-z0-9_.:-]{1,128}$")


@dataclass(frozen=True, slots=True)
class EmbeddingModel:
    """A connected embeddings model and the length of its vectors."""

    model: str
    dimensions: int


@dataclass(frozen=True, slots=True)
class Credentials:
    """The contents of ``credentials.json``; secrets are kept out of ``repr``."""

    agent_key: str = ""
    invoke_token: str | None = field(default=None, repr=False)
    redis_url: str | None = field(default=None, repr=False)
    key_prefix: str = "agent."
    database_url: str | None = field(default=None, repr=False)
    database_schema: str | None = None
    egress_url: str | None = None
    egress_token: str | None = field(default=None, repr=False)
    chat_model: str | None = None
    embedding_model: EmbeddingModel | None = None

    @classmethod
    def from_json(cls, raw: Any) -> Self:
        """Read the document; unknown fields are left alone, so that the platform may grow.

        Raises:
            StartError: a field of the wrong kind, named (its value never is).

        """
        if not isinstance(raw, dict):
            raise StartError("The credentials are not a JSON object.")
        models = raw.get("models") or {}
        if not isinstance(models, dict):
            raise StartError("The credentials' models must be an object.")
        schema = _text(raw, "database_schema")
        if schema is not None and not _SCHEMA_NAME.match(schema):
            raise StartError("The credentials' database_schema is not a schema's name.")
        prefix = _text(raw, "key_prefix") or "agent."
        if not _KEY_PREFIX.match(prefix):
            raise StartError("The credentials' key_prefix has characters that no key may have.")
        return cls(
            agent_key=_text(raw, "agent_key") or "",
            invoke_token=_text(raw, "invoke_token"),
            redis_url=_address(raw, "redis_url", ("redis", "rediss")),
            key_prefix=prefix,
            database_url=_address(raw, "database_url", ("postgresql", "postgres")),
            database_schema=schema,
            egress_url=_address(raw, "egress_url", ("http", "https")),
            egress_token=_text(raw, "egress_token"),
            chat_model=_chat(models.get("chat")),
            embedding_model=_embeddings(models.get("embeddings")),
        )

    def secrets(self) -> tuple[str, ...]:
        """Every secret text in here, for the log to leave out."""
        passwords = [
            urlsplit(url).password for url in (self.redis_url, self.database_url) if url is not None
        ]
        return tuple(text for text in (self.invoke_token, self.egress_token, *passwords) if text)


def read_credentials(path: Path) -> Credentials | None:
    """Return the credentials in ``path``, or ``None`` while there is no such file.

    Raises:
        StartError: the file is too large, unreadable or not what it should be.

    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StartError(f"The credentials {path} cannot be read ({error.strerror}).") from error
    if len(text) > MAX_BYTES:
        raise StartError(f"The credentials {path} are larger than {MAX_BYTES} bytes.")
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError):
        # The parser's own message would quote what it read.
        raise StartError(f"The credentials {path} are not valid JSON.") from None
    return Credentials.from_json(raw)


def _text(raw: dict[str, Any], name: str) -> str | None:
    value = raw.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise StartError(f"The credentials' {name} must be a text.")
    return value


def _address(raw: dict[str, Any], name: str, schemes: tuple[str, ...]) -> str | None:
    value = _text(raw, name)
    if value is None:
        return None
    try:
        parts = urlsplit(value)
        usable = parts.scheme in schemes and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable:
        raise StartError(f"The credentials' {name} must start with {schemes[0]}:// and a host.")
    return value.rstrip("/") if name == "egress_url" else value


def _chat(raw: Any) -> str | None:
    if raw is None:
        return None
    if not isinstance(raw, dict) or not isinstance(raw.get("model"), str):
        raise StartError("The credentials' models.chat must name its model.")
    return str(raw["model"])


def _embeddings(raw: Any) -> EmbeddingModel | None:
    if raw is None:
        return None
    dimensions = raw.get("dimensions") if isinstance(raw, dict) else None
    if (
        not isinstance(raw, dict)
        or not isinstance(raw.get("model"), str)
        or type(dimensions) is not int
        or not 1 <= dimensions <= 16_000  # noqa: PLR2004 - pgvector's largest vector
    ):
        raise StartError("The credentials' models.embeddings must name its model and dimensions.")
    return EmbeddingModel(model=raw["model"], dimensions=dimensions)
