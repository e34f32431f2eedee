"""Names and public addresses that exist in a test alone, and lead to servers on this machine."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence

import httpcore

PUBLIC = "93.184.215.14"


class SmallInternet(httpcore.AsyncNetworkBackend):
    """A name server, and a network for httpcore. Loopback is as always, and nothing else is reached.

    Attributes:
        names: Of each name, the answers in turn. The last one is given for ever.
        routes: Of each public address, the port on this machine.
        lookups: The names that were looked up.
        connections: The addresses that were to be connected to, with the port.
    """

    def __init__(self) -> None:
        self.names: dict[str, list[Sequence[str]]] = {}
        self.routes: dict[str, int] = {}
        self.lookups: list[str] = []
        self.connections: list[tuple[str, int]] = []
        self._network = httpcore.AnyIOBackend()

    def add(self, name: str, port: int, address: str = PUBLIC) -> None:
        """A host with a public address, which leads to a port of this machine."""
        self.names[name] = [[address]]
        self.routes[address] = port

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        self.lookups.append(host)
        if host.replace(".", "").isdigit():
            return [host]
        if host not in self.names:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        answers = self.names[host]
        return answers.pop(0) if len(answers) > 1 else answers[0]

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        self.connections.append((host, port))
        if host in self.routes:
            host, port = "127.0.0.1", self.routes[host]
        elif host != "127.0.0.1":
            raise httpcore.ConnectError("No route to host")
        return await self._network.connect_tcp(host, port, timeout, local_address, socket_options)

    async def sleep(self, seconds: float) -> None:
        await self._network.sleep(seconds)
