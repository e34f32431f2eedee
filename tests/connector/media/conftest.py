"""A Label Studio and a host with pictures, both played by small servers, and fetchers that leave nothing behind."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from support.media_fetching import PATIENT, TOKEN, Make, One, media_threads
from support.media_server import MediaServer
from support.small_internet import SmallInternet

from connector.media import Failure, Fetcher, Source


@pytest.fixture
def studio() -> Iterator[MediaServer]:
    """Label Studio, at an address of this machine."""
    server = MediaServer()
    yield server
    server.close()


@pytest.fixture
def pictures() -> Iterator[MediaServer]:
    """Any other host: pictures.example, once `internet` leads there."""
    server = MediaServer()
    yield server
    server.close()


@pytest.fixture
def internet(pictures: MediaServer) -> SmallInternet:
    """In which pictures.example is a public host."""
    small = SmallInternet()
    small.add("pictures.example", pictures.port)
    return small


@pytest.fixture
def make(studio: MediaServer, internet: SmallInternet) -> Iterator[Make]:
    """Makes fetchers. After the test, none of their threads may be left."""
    with contextlib.ExitStack() as fetchers:

        def new(url: str = studio.url, *, real_network: bool = False, **options: Any) -> Fetcher:
            small = {} if real_network else {"resolve": internet.resolve, "network": internet}
            return fetchers.enter_context(Fetcher(url, lambda: TOKEN, **{"limits": PATIENT, **small, **options}))

        yield new
    assert media_threads() == []


@pytest.fixture
def one(make: Make) -> One:
    """Fetches the medium behind one address, or behind several as its pages."""

    def fetch(*addresses: str, task: int = 7, **options: Any) -> bytes | Failure:
        ((_, found),) = make(**options).fetch({"only": Source(task, addresses)})
        return found

    return fetch
