"""Fetches many media at once and hands out their small copies one by one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

import anyio
import httpcore
import httpx
from anyio.from_thread import BlockingPortal

from connector.errors import UsageError
from connector.media.addresses import Site, shown
from connector.media.download import Downloads
from connector.media.failures import NOT_ALLOWED, Failure, Unusable
from connector.media.images import IMAGES
from connector.media.limits import DEFAULT_LIMITS, Kind, Limits
from connector.media.network import AllowedHosts, GuardedNetwork, Resolve, resolve

DECODERS = 2  # originals that are made small at once: each may need some hundred megabytes
AHEAD = 2  # times `parallel`: the media that are begun, or ready and not yet taken
IDLE_SECONDS = 15.0  # until a connection without a request is closed

Key = TypeVar("Key")


class Source(NamedTuple):
    """What to fetch.

    Attributes:
        task: A task that names the medium. Label Studio signs the addresses of its storages per task.
        addresses: At least one. Several are the pages of one medium.
    """

    task: int
    addresses: tuple[str, ...]


class Fetcher:
    """Fetches media and makes small copies of them. Use one for a whole run, and close it.

    It reads no proxies from the environment and no .netrc. Certificates are checked as httpx does it.

    Args:
        url: Label Studio's address.
        authorization: Gives the Authorization header for a request to Label Studio. It is called in another thread,
            once at a time. A ConnectorError that it raises ends the fetch.
        hosts: Hosts that may be in a private network, as HOST, HOST:PORT or *.DOMAIN. Label Studio's own always may.
        limits: What one medium may cost.
        parallel: Media that are read at once.
        resolve: Looks up a host.
        network: Connects to the addresses found. By default, as httpcore does.

    Raises:
        UsageError: `url` is no web address, or one of `hosts` is no host.
    """

    def __init__(
        self,
        url: str,
        authorization: Callable[[], str],
        *,
        hosts: Collection[str] = (),
        limits: Limits = DEFAULT_LIMITS,
        parallel: int = 8,
        resolve: Resolve = resolve,
        network: httpcore.AsyncNetworkBackend | None = None,
    ) -> None:
        site, allowed = Site(url), AllowedHosts(hosts)
        allowed.add(site.origin.host, site.origin.port)
        guarded = GuardedNetwork(allowed, resolve, network)
        self._work = partial(_Work, site, guarded, authorization, limits=limits, parallel=parallel)
        self._parallel = parallel
        self._background: _Background | None = None

    def __enter__(self) -> Fetcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def fetch(self, sources: Mapping[Key, Source], kind: Kind = IMAGES) -> Iterator[tuple[Key, bytes | Failure]]:
        """The small copy of each source, or why there is none, in the order in which they are ready.

        `sources` is read as far as needed, and at most 2 `parallel` media are begun or waiting to be taken. Media are
        fetched in the background while the caller works. `kind`: what they are.

        Raises:
            UsageError: What this kind of media needs is not installed, or the token is none.
            ConnectorError: `authorization` raised it.
        """
        kind.check()
        if self._background is None:
            self._background = _Background(self._work)
        background, items = self._background, iter(sources.items())
        begun: dict[Future[bytes | Failure], Key] = {}
        try:
            while True:
                while len(begun) < AHEAD * self._parallel and (item := next(items, None)) is not None:
                    begun[background.start(item[1], kind)] = item[0]
                if not begun:
                    return
                future = next(iter(wait(begun, return_when=FIRST_COMPLETED).done))
                yield begun.pop(future), future.result()
        finally:
            for future in begun:
                future.cancel()

    def close(self) -> None:
        """Ends what is under way, and closes all connections."""
        background, self._background = self._background, None
        if background is not None:
            background.close()


class _Work:
    """What is done within the event loop: a few media at a time."""

    def __init__(
        self,
        site: Site,
        network: GuardedNetwork,
        authorization: Callable[[], str],
        *,
        limits: Limits,
        parallel: int,
    ) -> None:
        self.parallel = parallel
        self._authorization = authorization
        self._limits = limits
        self._slots = anyio.CapacityLimiter(parallel)
        self._one_token_at_a_time = anyio.Lock()
        self._decoders = ThreadPoolExecutor(DECODERS, thread_name_prefix="media-decoder")
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=httpx.create_ssl_context(),
            max_connections=parallel,
            keepalive_expiry=IDLE_SECONDS,
            network_backend=network,
        )
        self._downloads = Downloads(self._pool, site, self._token, limits)

    async def close(self) -> None:
        await self._pool.aclose()
        self._decoders.shutdown(wait=True, cancel_futures=True)

    async def copy(self, source: Source, kind: Kind) -> bytes | Failure:
        """The small copy of one medium."""
        async with self._slots:
            address, left = "", self._limits.seconds
            parts: list[Any] = []
            try:
                if not source.addresses:
                    raise Unusable(NOT_ALLOWED, "has no address")
                for address in source.addresses[: self._limits.pages]:
                    began = anyio.current_time()
                    original = await self._downloads.read(address, source.task, left)
                    left -= anyio.current_time() - began
                    parts.append(await self._in_thread(self._decoders, kind.part, original, self._limits))
                whole: bytes = await self._in_thread(self._decoders, kind.whole, parts)
                return whole
            except Unusable as error:
                return Failure(error.cause, f"its {kind.noun} {error.problem}", shown(address))

    async def _token(self) -> str:
        # Shielded, because a failure of the token is not one of the medium that was to be read with it.
        with anyio.CancelScope(shield=True):
            async with self._one_token_at_a_time:
                token: str = await self._in_thread(None, self._authorization)
        if not (token.isascii() and token.isprintable()):
            raise UsageError("The token in LABEL_STUDIO_API_KEY is not a Label Studio token.")
        return token

    @staticmethod
    async def _in_thread(executor: ThreadPoolExecutor | None, call: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(executor, call, *arguments)


class _Background:
    """An event loop in a thread. The thread is a daemon: a program that forgets to close it ends all the same."""

    def __init__(self, work: Callable[[], _Work]) -> None:
        self._ready: Future[tuple[BlockingPortal, _Work]] = Future()
        self._thread = threading.Thread(target=self._run, args=(work,), name="media", daemon=True)
        self._thread.start()
        self._portal, self._work = self._ready.result()

    def start(self, source: Source, kind: Kind) -> Future[bytes | Failure]:
        """Begins to fetch one medium."""
        return self._portal.start_task_soon(self._work.copy, source, kind)

    def close(self) -> None:
        """Gives up what is under way, and waits until nothing is left of it."""
        self._portal.call(self._portal.stop, True)
        self._thread.join()

    def _run(self, work: Callable[[], _Work]) -> None:
        try:
            asyncio.run(self._serve(work))
        except BaseException as error:
            if self._ready.done():
                raise
            self._ready.set_exception(error)

    async def _serve(self, make: Callable[[], _Work]) -> None:
        work = make()
        # For names that are looked up: a slow name server must not hold up all other hosts.
        executor = ThreadPoolExecutor(2 * work.parallel, thread_name_prefix="media-names")
        asyncio.get_running_loop().set_default_executor(executor)
        try:
            async with BlockingPortal() as portal:
                self._ready.set_result((portal, work))
                await portal.sleep_until_stopped()
        finally:
            with anyio.CancelScope(shield=True):
                await work.close()
