"""Why a medium could not be used: few causes, so that a person can count them (docs/media.md)."""

from __future__ import annotations

from typing import NamedTuple

# Beside these, a cause is the status of an HTTP answer: "401", "403", "404", "500", …
CUT_OFF = "cut off"  # the answer ended before its announced end
NOT_ALLOWED = "not allowed"  # the address, or where it redirects to, is of a kind that is never asked
PRIVATE = "private address"  # the host is in a private network and not on the list of allowed hosts
REDIRECTS = "redirects"  # too many
TIMED_OUT = "timed out"  # no connection, or no complete answer, within the limits
TOO_LARGE = "too large"  # in bytes, pixels or channels
UNREACHABLE = "unreachable"  # no such host, no connection, or no answer in HTTP
UNREADABLE = "unreadable"  # the bytes are no image, no recording or no text that can be read
CAUSES = frozenset({CUT_OFF, NOT_ALLOWED, PRIVATE, REDIRECTS, TIMED_OUT, TOO_LARGE, UNREACHABLE, UNREADABLE})


class Failure(NamedTuple):
    """Why there is no small copy of a medium.

    Attributes:
        cause: One of CAUSES, or the status of an HTTP answer, such as "404".
        problem: The same in words, such as "its image answers 404 (not found)". Media with one problem can be listed
            together.
        address: The address without its query, in one line and without a token.
    """

    cause: str
    problem: str
    address: str = ""


class Unusable(Exception):
    """A medium cannot be used. `problem` begins with a verb, such as "answers 404 (not found)".

    `may_pass`: the same call may soon succeed. `retry_after`: how many seconds the server asks to wait.
    """

    def __init__(self, cause: str, problem: str, *, may_pass: bool = False, retry_after: float | None = None) -> None:
        assert cause in CAUSES or (len(cause) == 3 and cause.isdigit()), cause
        super().__init__(problem)
        self.cause = cause
        self.problem = problem
        self.may_pass = may_pass
        self.retry_after = retry_after
