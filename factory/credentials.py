"""Whether something looks like a credential that strayed into a plain setting."""

import re
from typing import Any, Final

_NAME: Final = re.compile(
    r"(^|[_-])(KEY|APIKEY|TOKEN|PASSWORD|PASSWD|PWD|PASSPHRASE|SECRET|CREDENTIALS?|AUTH)"
    r"([_-]?\d+)?$",
    re.IGNORECASE,
)
_HEADER: Final = re.compile(
    r"^(proxy-)?authorization$|^cookie$|(^|[_-])(key|token|secret|password|signature|auth)$"
    r"|api-?key|auth-token",
    re.IGNORECASE,
)
_VALUE: Final = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|\b(sk|pk|rk)[-_][A-Za-z0-9_-]{16,}"
    r"|\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_[A-Za-z0-9_]{20,}|\bglpat-[A-Za-z0-9_-]{16,}"
    r"|\bxox[abeoprs]-[A-Za-z0-9-]{10,}"
    r"|\b(AKIA|ASIA)[0-9A-Z]{16}\b|\bAIza[A-Za-z0-9_-]{30,}"
    r"|\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\."
    r"|\bBearer\s+\S{8,}"
    r"|[a-z][a-z0-9+.-]*://[^/\s:@]*:[^/\s@]+@",
)

ADVICE: Final = "This looks like a credential. Store it as a secret and choose it by its name."


def is_credential_name(name: str) -> bool:
    """Whether a setting of this name usually holds a credential, as OPENAI_API_KEY does."""
    return bool(_NAME.search(name))


def is_credential_header(name: str) -> bool:
    """Whether an HTTP header of this name usually holds a credential."""
    return bool(_HEADER.search(name))


def is_credential_value(value: str) -> bool:
    """Whether ``value`` has the shape of a known kind of key, token or address with password."""
    return bool(_VALUE.search(value))


def credential_paths(value: Any, path: str) -> list[str]:
    """Return the dotted paths of all texts in the JSON ``value`` that look like credentials."""
    found = []
    stack: list[tuple[Any, str]] = [(value, path)]
    while stack:
        item, where = stack.pop()
        if isinstance(item, str) and is_credential_value(item):
            found.append(where)
        elif isinstance(item, dict):
            stack.extend((child, f"{where}.{key}") for key, child in item.items())
        elif isinstance(item, list):
            stack.extend((child, f"{where}.{index}") for index, child in enumerate(item))
    return sorted(found)
