"""Where requests may go."""

from __future__ import annotations

from typing import Any

import pytest

from ledger.errors import InvalidInput, UpstreamFailed
from registry.addresses import check_address, target_of

NEVER = [
    "169.254.169.254",
    "0.0.0.0",  # noqa: S104 - an address to refuse
    "224.0.0.1",
    "255.255.255.255",
    "240.0.0.1",
    "::",
    "fe80::1",
    "fe80::1%eth0",
    "ff02::1",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
]
PRIVATE = [
    "127.0.0.1",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "::1",
    "fd00::1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
]


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700::1111", "::ffff:101:101"])
@pytest.mark.parametrize("allowed", [True, False])
def test_public_addresses_are_allowed(settings: Any, address: str, *, allowed: bool) -> None:
    settings.EGRESS_ALLOW_PRIVATE = allowed
    assert str(check_address(address)) == address


@pytest.mark.parametrize("address", NEVER)
@pytest.mark.parametrize("allowed", [True, False])
def test_some_addresses_are_never_allowed(settings: Any, address: str, *, allowed: bool) -> None:
    settings.EGRESS_ALLOW_PRIVATE = allowed
    with pytest.raises(InvalidInput) as caught:
        check_address(address)
    assert caught.value.problems[0].code == "address_refused"


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_a_setting(settings: Any, address: str) -> None:
    settings.EGRESS_ALLOW_PRIVATE = True
    check_address(address)
    settings.EGRESS_ALLOW_PRIVATE = False
    with pytest.raises(InvalidInput) as caught:
        check_address(address)
    assert "EGRESS_ALLOW_PRIVATE" in caught.value.message


def test_what_is_no_address_is_refused() -> None:
    with pytest.raises(InvalidInput):
        check_address("example")


def test_a_name_is_resolved_and_the_request_goes_to_the_judged_address(settings: Any) -> None:
    settings.EGRESS_ALLOW_PRIVATE = True

    target = target_of("http://localhost:8080/v1/x?y=1#part")

    assert target.host == "localhost"
    assert target.host_header == "localhost:8080"
    assert target.url in (
        "http://127.0.0.1:8080/v1/x?y=1",
        "http://[::1]:8080/v1/x?y=1",
    )


@pytest.mark.parametrize(
    ("url", "connect", "header"),
    [
        ("https://1.1.1.1", "https://1.1.1.1:443/", "1.1.1.1"),
        ("http://1.1.1.1:80/a", "http://1.1.1.1:80/a", "1.1.1.1"),
        ("https://[2606:4700::1111]/", "https://[2606:4700::1111]:443/", "[2606:4700::1111]"),
        ("https://1.1.1.1:8443/", "https://1.1.1.1:8443/", "1.1.1.1:8443"),
    ],
)
def test_numeric_addresses(url: str, connect: str, header: str) -> None:
    target = target_of(url)
    assert (target.url, target.host_header) == (connect, header)


@pytest.mark.parametrize("url", ["http://2130706433/", "http://0x7f000001/", "http://localhost/"])
def test_disguised_addresses_of_this_machine_are_recognised(settings: Any, url: str) -> None:
    settings.EGRESS_ALLOW_PRIVATE = False
    with pytest.raises(InvalidInput) as caught:
        target_of(url)
    assert caught.value.problems[0].code == "address_refused"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "ftp://example.com",
        "file:///etc/passwd",
        "http://",
        "http://exa mple.com",
        "http://example.com\n",
        "http://example.com:99999",
        "http://example.com:0",
        "http://[::1",
        "https://example.com/" + "a" * 2000,
    ],
)
def test_what_is_no_web_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        target_of(url)
    assert caught.value.problems[0].code == "invalid_url"


@pytest.mark.parametrize("url", ["https://user:word@example.com", "https://user@example.com"])
def test_credentials_do_not_belong_in_an_address(url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        target_of(url)
    assert caught.value.problems[0].code == "credentials_in_url"


@pytest.mark.parametrize("host", ["nobody.invalid", "a" * 70 + ".invalid", "xn--.invalid", "a..b"])
def test_an_unknown_host_is_said_so(host: str) -> None:
    with pytest.raises(UpstreamFailed) as caught:
        target_of(f"http://{host}/")
    assert caught.value.code == "host_unknown"
