"""Where the platform may send requests on behalf of agents and operators.

A host name is resolved once, every address that it stands for is judged, and the request then
goes to the judged address itself: a name that changes its answer between the look and the call
(DNS rebinding) leads nowhere new.
"""

import ipaddress
import socket
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from django.conf import settings

from ledger.errors import InvalidInput, UpstreamFailed

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

MAX_URL_LENGTH: Final = 2000
_PORTS: Final = {"http": 80, "https": 443}
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True)
class Target:
    """A judged address and how to speak to it under its own name."""

    url: str
    """The URL with the address in place of the name: what to connect to."""
    host: str
    """The host name as given: for the server's certificate (SNI)."""
    host_header: str
    """What belongs in the ``Host`` header."""
    address: Address


def check_address(address: str) -> Address:
    """Return ``address``, parsed, if requests may go there.

    Link-local addresses (cloud metadata), multicast, reserved and unspecified ones never may;
    private ones and this machine's own only with ``settings.EGRESS_ALLOW_PRIVATE``.

    Raises:
        InvalidInput: ``address_refused``, or it is not an IP address.

    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        raise _refused("This is not an IP address.") from None
    judged = _embedded(parsed)
    never = judged.is_link_local or judged.is_multicast or judged.is_unspecified
    if never or (judged.is_reserved and not judged.is_loopback):
        raise _refused("Requests may not go to this address. Use the service's own address.")
    if not judged.is_global and not settings.EGRESS_ALLOW_PRIVATE:
        raise _refused(
            "Requests may not go to private addresses. Use a public address, or ask whoever runs "
            "the platform to allow private ones (EGRESS_ALLOW_PRIVATE)."
        )
    return parsed


def _embedded(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 one carries, if it does."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def target_of(url: str) -> Target:
    """Resolve and judge ``url``. Blocks while the name is looked up.

    Raises:
        InvalidInput: not an http(s) URL without credentials, or its address is refused.
        UpstreamFailed: ``host_unknown``; the name has no address.

    """
    parts, host, port = _parse(url)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise UpstreamFailed(
            "host_unknown", f"The host {host} can't be found. Check the address for typing errors."
        ) from None
    addresses = [check_address(str(sockaddr[0])) for *_, sockaddr in found]
    address = addresses[0]
    numeric = f"[{address}]" if address.version == 6 else str(address)  # noqa: PLR2004 - IPv6
    bracketed = f"[{host}]" if ":" in host else host
    netloc = bracketed if port == _PORTS[parts[0]] else f"{bracketed}:{port}"
    scheme, path, query = parts
    return Target(
        url=urlunsplit((scheme, f"{numeric}:{port}", path or "/", query, "")),
        host=host,
        host_header=netloc,
        address=address,
    )


def _parse(url: str) -> tuple[tuple[str, str, str], str, int]:
    wrong = InvalidInput.of_field(
        "url", "invalid_url", "Give an address that begins with https:// or http:// and a host."
    )
    if len(url) > MAX_URL_LENGTH or not url.isprintable() or " " in url:
        raise wrong
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise wrong from None
    if parts.scheme not in _PORTS or not host or port == 0:
        raise wrong
    if parts.username is not None or parts.password is not None:
        raise InvalidInput.of_field(
            "url",
            "credentials_in_url",
            "Leave user name and password out of the address. Store them as a secret.",
        )
    return (parts.scheme, parts.path, parts.query), host, port or _PORTS[parts.scheme]


def _refused(message: str) -> InvalidInput:
    return InvalidInput.of_field("url", "address_refused", message)
