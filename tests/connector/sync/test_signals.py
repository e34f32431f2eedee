"""SIGTERM and Ctrl-C: the first is remembered, the second ends everything."""

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from connector.sync.signals import Stopped, StopSignals

BOTH = [signal.SIGTERM, signal.SIGINT]


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", BOTH)
def test_the_first_signal_is_remembered(number: int) -> None:
    with StopSignals() as stop:
        assert not stop.wait(0)
        stop.check()
        send(number)
        assert stop.wait(60)
        with pytest.raises(Stopped):
            stop.check()
        with pytest.raises(Stopped):
            stop.sleep(60)


@pytest.mark.parametrize("number", BOTH)
def test_a_wait_ends_when_a_signal_comes(number: int) -> None:
    with StopSignals() as stop:
        timer = threading.Timer(0.1, send, [number])
        timer.start()
        assert stop.wait(60)
        timer.join()


def test_a_second_signal_ends_whatever_goes_on() -> None:
    with StopSignals() as stop:
        send(signal.SIGTERM)
        with pytest.raises(Stopped):
            send(signal.SIGINT)
        assert stop.wait(0)


def test_what_does_not_come_to_an_end_is_ended_after_the_grace() -> None:
    with StopSignals(grace_seconds=1):
        send(signal.SIGTERM)
        with pytest.raises(Stopped):
            time.sleep(60)


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt, which a shell's background process ignores."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_everything_is_as_before_afterwards(ctrl_c: None) -> None:
    numbers = [*BOTH, signal.SIGALRM]
    before = [signal.getsignal(number) for number in numbers]
    with StopSignals():
        send(signal.SIGTERM)
    assert [signal.getsignal(number) for number in numbers] == before
    assert signal.alarm(0) == 0
    with pytest.raises(KeyboardInterrupt):
        send(signal.SIGINT)


def test_being_told_to_end_is_no_error() -> None:
    assert not issubclass(Stopped, Exception)
