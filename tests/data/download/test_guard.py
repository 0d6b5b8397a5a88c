"""No table reaches into the user's own network."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seeworth.data.download.guard import AddressRefused, Guard, forbidden, literal

PRIVATE = {
    "127.0.0.1": "loopback", "127.255.255.254": "loopback", "::1": "loopback",
    "0.0.0.0": "unspecified", "0.1.2.3": "unspecified", "::": "unspecified",
    "10.0.0.1": "private", "172.16.0.1": "private", "172.31.255.255": "private", "192.168.1.1": "private", "fd00::1": "private",
    "fc00::1": "private", "2001:db8::1": "private", "192.0.2.1": "private", "198.18.0.1": "private", "203.0.113.9": "private",
    "169.254.169.254": "link-local", "fe80::1": "link-local", "fe80::1%eth0": "link-local", "fec0::1": "link-local",
    "100.64.0.1": "shared", "100.127.255.255": "shared", "224.0.0.1": "multicast", "239.1.1.1": "multicast", "ff02::1": "multicast",
    "ff0e::1": "multicast", "240.0.0.1": "", "255.255.255.255": "", "::ffff:127.0.0.1": "loopback", "::ffff:10.0.0.1": "private",
    "::ffff:0:127.0.0.1": "", "::127.0.0.1": "tunnel", "::8.8.8.8": "tunnel", "64:ff9b::7f00:1": "loopback", "64:ff9b::a00:1": "private",
    "64:ff9b:1::808:808": "", "2002:7f00:1::": "loopback", "2002:a9fe:a9fe::1": "link-local", "2001:0:1:2::1": "tunnel",
    "100::1": "", "4000::1": "", "5f00::1": "", "nonsense": "usual form", "2130706433": "usual form", "127.1": "usual form",
}  # fmt: skip
PUBLIC = ("8.8.8.8", "1.1.1.1", "100.63.255.255", "100.128.0.1", "172.32.0.1", "2606:4700::1111", "2a00:1450:4001::1",
          "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1")  # fmt: skip


@pytest.mark.parametrize(("address", "words"), PRIVATE.items())
def test_an_address_that_is_not_of_the_public_internet_is_refused(address: str, words: str) -> None:
    assert words in forbidden(address)
    assert forbidden(address)
    with pytest.raises(AddressRefused):
        Guard(False).open_socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, 80)))


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_not(address: str) -> None:
    assert forbidden(address) == ""
    Guard(False).need_host(address)


@given(st.ip_addresses(network="10.0.0.0/8") | st.ip_addresses(network="127.0.0.0/8") | st.ip_addresses(network="169.254.0.0/16"))
def test_a_private_address_is_refused_in_every_coat(address: Any) -> None:
    number, parts = int(address), str(address).split(".")
    coats = [f"::ffff:{address}", f"64:ff9b::{number >> 16:x}:{number & 65535:x}", f"2002:{number >> 16:x}:{number & 65535:x}::5"]
    forms = [str(number), hex(number), oct(number).replace("0o", "0"), ".".join(hex(int(part)) for part in parts),
             ".".join(f"0{int(part):o}" for part in parts), f"{parts[0]}.{number & 0xFFFFFF}", f"{address}.", f"[{coats[0]}]"]  # fmt: skip
    for host in (*coats, *forms):
        with pytest.raises(AddressRefused):
            Guard(False).need_host(host)
        assert forbidden(literal(host))


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "localhost.", "a.localhost", "127.0.0.1", "127.1", "0", "0x7f000001", "[::1]"])
def test_the_names_of_this_machine_are_refused_unless_allowed(host: str) -> None:
    with pytest.raises(AddressRefused):
        Guard(False).need_host(host)
    Guard(True).need_host(host)


@pytest.mark.parametrize("host", ["example.com", "10.example.com", "xn--bcher-kva.example", "cafe", "1.2.3.4.5", "a\0b"])
def test_a_name_is_no_address(host: str) -> None:
    assert literal(host) == ""


class FakeDns:
    """Says another thing each time it is asked, as a rebinding attacker's server does."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)

    async def resolve(self, host: str, port: int, family: int) -> list[dict[str, Any]]:
        answer = self.answers.pop(0)
        return [{"hostname": host, "host": one, "port": port, "family": socket.AF_INET, "proto": 0, "flags": 0} for one in answer]


def test_what_dns_says_is_checked_each_time() -> None:
    guard = Guard(False)
    guard._resolver = FakeDns(["93.184.216.34"], ["127.0.0.1"], ["10.0.0.1", "93.184.216.34"])  # type: ignore[assignment]
    assert [one["host"] for one in asyncio.run(guard.resolve("rebind.example", 80))] == ["93.184.216.34"]
    with pytest.raises(AddressRefused, match=r"rebind.example is 127.0.0.1, a loopback address"):
        asyncio.run(guard.resolve("rebind.example", 80))
    assert [one["host"] for one in asyncio.run(guard.resolve("rebind.example", 80))] == ["93.184.216.34"]  # of two, the public one


def test_a_name_that_points_home_is_refused_by_real_dns() -> None:
    with pytest.raises(AddressRefused, match="loopback"):
        asyncio.run(Guard(False).resolve("localhost", 80))
    assert asyncio.run(Guard(True).resolve("localhost", 80))
