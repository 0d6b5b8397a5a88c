"""Which addresses a download may connect to. A table is untrusted: its URLs must not reach into the user's own network.

Three doors, each of which alone would hold: a URL's host when it is itself an address, in whatever form
(`Guard.need_host`); what DNS says of a name, each time it is asked (`Guard.resolve`, so that a name which points
elsewhere at the second look gains nothing); and the very address that a socket is about to be opened to
(`Guard.open_socket`). Redirects pass the same doors. Knows nothing of photos, retries or tables.
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

_SHARED = IPv4Network("100.64.0.0/10")  # carrier-grade NAT
_GLOBAL = IPv6Network("2000::/3")  # the only part of IPv6 that is given out for the public internet
_NAT64 = IPv6Network("64:ff9b::/96")  # an IPv4 address in the last 32 bits; what DNS64 gives in an IPv6-only network
_COMPATIBLE = IPv6Network("::/96")  # ::a.b.c.d, long withdrawn
_TEREDO = IPv6Network("2001::/32")


class AddressRefused(Exception):
    """An address that may not be connected to; the message says which, and what kind of address it is."""


class Guard(AbstractResolver):
    """Looks names up and opens sockets, to public addresses only unless `allow_private`."""

    def __init__(self, allow_private: bool) -> None:
        self.allow_private = allow_private
        self._resolver: ThreadedResolver | None = None  # made in the event loop that it belongs to

    def need_host(self, host: str) -> None:
        """Raises AddressRefused when a URL's host is an address that may not be connected to, or a name of this machine."""
        if self.allow_private:
            return
        name = host.rstrip(".").lower()
        if name == "localhost" or name.endswith(".localhost"):
            raise AddressRefused(f"{host} is this machine")
        if address := literal(host):
            self._need(address, host)

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC) -> list[ResolveResult]:
        """The addresses of a name that may be connected to. Raises AddressRefused when it has others only, OSError when it has none."""
        self._resolver = self._resolver or ThreadedResolver()
        found = await self._resolver.resolve(host, port, family)
        if self.allow_private:
            return found
        public = [one for one in found if not forbidden(one["host"])]
        if found and not public:
            self._need(found[0]["host"], host)
        return public

    def open_socket(self, address: tuple[Any, ...]) -> socket.socket:
        """A socket for one entry of `getaddrinfo`, the last moment before it is connected. Raises AddressRefused."""
        family, kind, protocol, _, place = address
        if not self.allow_private:
            self._need(str(place[0]), str(place[0]))
        return socket.socket(family=family, type=kind, proto=protocol)

    async def close(self) -> None:
        if self._resolver:
            await self._resolver.close()

    @staticmethod
    def _need(address: str, host: str) -> None:
        if what := forbidden(address):
            raise AddressRefused(f"{host} is {what}" if host == address else f"{host} is {address}, {what}")


def forbidden(address: str) -> str:
    """What kind of address this is when it is none of the public internet, in words; "" when it is public.

    An IPv6 address that carries an IPv4 address (mapped, NAT64, 6to4) is judged by what it carries.
    """
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return "no address in its usual form"
    return _forbidden_ipv4(parsed) if isinstance(parsed, IPv4Address) else _forbidden_ipv6(parsed)


def literal(host: str) -> str:
    """The address that a URL's host stands for when it is no name: also 2130706433, 0x7f.1, 0177.0.0.1 and [::1]; "" for a name."""
    bare = host.strip("[]").rstrip(".")
    try:
        return str(ip_address(bare.partition("%")[0]))
    except ValueError:
        pass
    try:
        return str(IPv4Address(socket.inet_aton(bare)))
    except (OSError, UnicodeError, ValueError):  # ValueError: a NUL
        return ""


def _forbidden_ipv4(address: IPv4Address) -> str:
    kinds = (
        (address.is_loopback, "a loopback address"),
        (address.is_unspecified or address in IPv4Network("0.0.0.0/8"), "the unspecified address"),
        (address.is_link_local, "a link-local address"),
        (address.is_multicast, "a multicast address"),
        (address in _SHARED, "a shared address behind a carrier's NAT"),
        (address.is_private, "a private address"),
        (not address.is_global or address.is_reserved, "a reserved address"),
    )
    return next((words for found, words in kinds if found), "")


def _forbidden_ipv6(address: IPv6Address) -> str:
    inner = address.ipv4_mapped or address.sixtofour
    if inner is None and address in _NAT64:
        inner = IPv4Address(int(address) & 0xFFFFFFFF)
    if inner is not None:
        return _forbidden_ipv4(inner)
    kinds = (
        (address.is_loopback, "a loopback address"),
        (address.is_unspecified, "the unspecified address"),
        (address.is_link_local or address.is_site_local, "a link-local address"),
        (address.is_multicast, "a multicast address"),
        (address in _COMPATIBLE or address in _TEREDO, "a tunnel's address"),
        (address.is_private, "a private address"),
        (address not in _GLOBAL or not address.is_global or address.is_reserved, "a reserved address"),
    )
    return next((words for found, words in kinds if found), "")
