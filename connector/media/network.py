"""Connects to public addresses only, and in private networks only to hosts that are allowed.

A host's name is looked up here, every address found is checked, and the connection goes to one of these very addresses.
So an answer of the name server that changes in between (DNS rebinding) changes nothing. httpcore asks this network for
each connection of its own, a redirect's as well, so there is no way around it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import anyio
import httpcore
import httpx

from connector.errors import UsageError
from connector.media.failures import PRIVATE, UNREACHABLE, Unusable

# Finds the addresses of a host, as texts. Raises OSError if there is none.
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

_UNICAST = ipaddress.ip_network("2000::/3")  # all IPv6 addresses that the internet has
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # an IPv4 address behind a translator (RFC 6052)
# Ways into IPv4 that an address of the internet may hide: Teredo and 6to4. The NAT64 prefix for local use,
# 64:ff9b:1::/48, is refused because it is not unicast: where the IPv4 address is in it, only its network knows.
_TUNNELS = (ipaddress.ip_network("2001::/32"), ipaddress.ip_network("2002::/16"))


def is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether an address is one of the internet, not of a private network, this machine or a special purpose."""
    if isinstance(address, ipaddress.IPv6Address):
        inside = address.ipv4_mapped
        if inside is None and address in _NAT64:
            inside = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inside is not None:
            return is_public(inside)
        if address not in _UNICAST or any(address in network for network in _TUNNELS):
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


class AllowedHosts:
    """Hosts that may be in a private network, as HOST, HOST:PORT, *.DOMAIN or *.DOMAIN:PORT.

    Raises UsageError if one is not of this form.
    """

    def __init__(self, hosts: Iterable[str]) -> None:
        self._hosts = {_host_and_port(host) for host in hosts}

    def add(self, host: str, port: int) -> None:
        """Allows one host at one port."""
        self._hosts.add((host, port))

    def __contains__(self, host_and_port: tuple[str, int]) -> bool:
        host, port = host_and_port
        parts = host.split(".")
        names = [host, *("*." + ".".join(parts[index:]) for index in range(1, len(parts)))]
        return any((name, at) in self._hosts for name in names for at in (None, port))


def _host_and_port(text: str) -> tuple[str, int | None]:
    try:
        url = httpx.URL(f"//{text.strip()}")
    except (httpx.InvalidURL, ValueError):
        url = httpx.URL("")
    domain = url.host.removeprefix("*.")
    is_host = bool(domain) and "*" not in domain and str(url) == f"//{url.netloc.decode('ascii')}"
    if not is_host or (url.port is not None and not 1 <= url.port <= 65_535):
        raise UsageError(f"'{text}' is no host: write HOST or HOST:PORT, such as minio.example.com:9000.")
    return url.raw_host.decode("ascii"), url.port


async def resolve(host: str, port: int) -> Sequence[str]:
    """The addresses of a host, by this machine's own settings. Raises OSError if there is none."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class _Stream(httpcore.AsyncNetworkStream):
    """A connection that is closed if it is given up while TLS begins. httpcore closes it only if that fails."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return await self._stream.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        try:
            return await self._stream.start_tls(ssl_context, server_hostname, timeout)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._stream.aclose()
            raise

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class GuardedNetwork(httpcore.AsyncNetworkBackend):
    """httpcore's network with a guard before it. Raises Unusable if a host may not be connected to.

    Args:
        allowed: Hosts that may be in a private network.
        find: Looks up a host.
        network: Connects to the addresses found. By default, as httpcore does.
    """

    def __init__(
        self, allowed: AllowedHosts, find: Resolve = resolve, network: httpcore.AsyncNetworkBackend | None = None
    ) -> None:
        self._allowed = allowed
        self._find = find
        self._network = network or httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connects to the first address of the host that answers."""
        seconds = float("inf") if timeout is None else timeout
        deadline = anyio.current_time() + seconds
        try:
            with anyio.fail_after(seconds):
                addresses = await self._addresses(host, port)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout("the name server does not answer") from error
        last: Exception = httpcore.ConnectError("no address")
        for tried, address in enumerate(addresses):
            share = (deadline - anyio.current_time()) / (len(addresses) - tried)
            try:
                stream = await self._network.connect_tcp(address, port, max(share, 0.0), local_address, socket_options)
                return _Stream(stream)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                last = error
        raise last

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None
    ) -> httpcore.AsyncNetworkStream:
        """Refuses: an address of a task never means a socket of this machine."""
        raise Unusable(PRIVATE, "is behind a socket of this machine")

    async def sleep(self, seconds: float) -> None:
        """Waits."""
        await anyio.sleep(seconds)

    async def _addresses(self, host: str, port: int) -> Sequence[str]:
        """The addresses of the host. Raises Unusable unless all may be connected to."""
        try:
            found = await self._find(host, port)
        except socket.gaierror as error:
            passing = error.errno == socket.EAI_AGAIN
            raise Unusable(UNREACHABLE, "is on a host that is not known", may_pass=passing) from error
        except (OSError, UnicodeError) as error:  # Python cannot encode every name
            raise Unusable(UNREACHABLE, "is on a host that is not known") from error
        if (host, port) not in self._allowed:
            for address in found:
                if not is_public(ipaddress.ip_address(address)):
                    raise Unusable(PRIVATE, f"is at a private address ({address})")
        return found
