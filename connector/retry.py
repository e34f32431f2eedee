"""Repeats calls that failed in a way that may pass: wait a little and call again, within a limit.

All calls to Label Studio and the ML backend follow this policy. Waits double and are drawn at random, so that syncs
that failed together do not come back together. They last at least as long as the server asks for (`Retry-After`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, wait_random_exponential

from connector.errors import TryAgainLater

TOTAL_SECONDS = 60.0  # no attempt begins later than this after the first: cron's next run may be a minute away
LOOK_AGAIN_SECONDS = 3.0  # the same if a person only wants to know whether the servers answer
SHORTEST_WAIT, LONGEST_WAIT = 0.5, 15.0

# How long one attempt may stay without an answer. A call that only reads is cut early enough to be repeated within the
# limit. The slowest page measured took 8 s. A call that makes the server work is not: deleting a version has taken
# three minutes on a busy SQLite server, which would go on with it, and a second call makes a busy server busier. With
# the limit, one call ends within TOTAL_SECONDS + WORK_SECONDS at worst, well before the project's lock expires.
CONNECT_SECONDS = 10.0
LOOK_SECONDS = 40.0
WORK_SECONDS = 300.0

log = logging.getLogger("connector")
T = TypeVar("T")


class TransientError(Exception):
    """One attempt failed in a way that may pass.

    `error` is raised if there is no further attempt. `happened` says the same in few words. `unprocessed`: it is
    certain that the server did not act on the request. `retry_after`: how many seconds the server asks to wait.
    """

    def __init__(
        self, error: TryAgainLater, happened: str, *, unprocessed: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(happened)
        self.error = error
        self.happened = happened
        self.unprocessed = unprocessed
        self.retry_after = retry_after


class UnknownOutcome(TryAgainLater):
    """It is not known whether the server acted on a request that must not be repeated. `failure` is what happened."""

    def __init__(self, failure: TransientError) -> None:
        super().__init__(str(failure.error))
        self.failure = failure


class Retries:
    """The policy. With `total_seconds` 0 there is one attempt."""

    def __init__(
        self,
        total_seconds: float = TOTAL_SECONDS,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total = total_seconds
        self._sleep = sleep
        self._clock = clock
        self._backoff = wait_random_exponential(multiplier=2 * SHORTEST_WAIT, min=SHORTEST_WAIT, max=LONGEST_WAIT)

    def call(self, attempt: Callable[[], T], *, repeatable: bool) -> T:
        """Calls `attempt` until it does not raise TransientError, or the time is over, and returns what it returns.

        If it is not `repeatable`, it is repeated only after failures that are `unprocessed`. Raises TryAgainLater if
        the time is over, and UnknownOutcome if it must not be repeated.
        """
        began = self._clock()

        def left() -> float:
            return self._total - (self._clock() - began)

        def may_be_repeated(error: BaseException) -> bool:
            return isinstance(error, TransientError) and (repeatable or error.unprocessed)

        def wait(state: RetryCallState) -> float:
            return min((_failure(state).retry_after or 0.0) + self._backoff(state), left())

        def stop(state: RetryCallState) -> bool:
            return left() < max(SHORTEST_WAIT, _failure(state).retry_after or 0.0)

        loop = Retrying(
            retry=retry_if_exception(may_be_repeated),
            wait=wait,
            stop=stop,
            before_sleep=_log_wait,
            sleep=self._sleep,
            reraise=True,
        )
        try:
            return loop(attempt)
        except TransientError as last:
            if not may_be_repeated(last):
                raise UnknownOutcome(last) from last.__cause__
            sentence = str(last.error)
            if loop.statistics["attempt_number"] > 1:
                sentence += f" Tried {loop.statistics['attempt_number']} times in {self._clock() - began:.0f} s."
            if last.retry_after is not None and last.retry_after > left():
                sentence += f" It asks to wait {last.retry_after:.0f} s."
            raise TryAgainLater(sentence) from last.__cause__


def is_transient(status: int) -> bool:
    """Whether an answer with this status may be a different one soon. Other refusals are final."""
    return status in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS) or status >= 500


def failed_answer(server: str, status: int, headers: Mapping[str, str], error: TryAgainLater) -> TransientError:
    """The failure that an answer with a transient status is. `headers` accept names in any case."""
    seconds = retry_after(headers)
    refused = status == HTTPStatus.TOO_MANY_REQUESTS
    refused = refused or (status == HTTPStatus.SERVICE_UNAVAILABLE and seconds is not None)
    return TransientError(error, f"{server} answered {status}", unprocessed=refused, retry_after=seconds)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that an answer's Retry-After asks to wait, given as such or as a date (RFC 9110, 10.2.3)."""
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    at, now = _date(value), _date(headers.get("Date", ""))  # by the server's own clock, which may differ from ours
    if at is None:
        return None
    return max(0.0, (at - (now or datetime.now(timezone.utc))).total_seconds())


def _date(value: str) -> datetime | None:
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=timezone.utc)


def _failure(state: RetryCallState) -> TransientError:
    failure = state.outcome.exception() if state.outcome else None
    assert isinstance(failure, TransientError)
    return failure


def _log_wait(state: RetryCallState) -> None:
    log.warning("%s. Trying again in %.1f s", _failure(state).happened, state.upcoming_sleep)
