"""What can go wrong, grouped by what can be done about it.

ConnectorError              exit code 1: unforeseen
├── UsageError              exit code 2: an option, a setting or the project has to be changed
│   ├── ProjectGone         Label Studio has no such project, or none that the token's user may see
│   └── StateUnusable       the state database cannot be opened or written, or is damaged
├── TryAgainLater           exit code 3: nothing to change, the next run may succeed
│   ├── StateUnavailable    the state database does not answer, is locked, or its disk is full
│   ├── StaleTasks          a task was deleted since it was read: read again, then go on
│   └── UnknownOutcome      (retry.py) it is not known whether the server acted: look, then go on
└── StateError              any failure of the state database, of either kind
"""

from collections.abc import Iterable


class ConnectorError(Exception):
    """Base of all errors. Its text is one sentence for a person."""

    exit_code = 1


class UsageError(ConnectorError):
    """An option, a setting or the Label Studio project has to be changed first."""

    exit_code = 2


class ProjectGone(UsageError):
    """Label Studio has no such project, or none that the token's user may see."""


class TryAgainLater(ConnectorError):
    """Label Studio or the ML backend does not answer, or another sync holds the project."""

    exit_code = 3


class StaleTasks(TryAgainLater):
    """Label Studio no longer has a task that is to be published."""


class StateError(ConnectorError):
    """The state database failed."""


class StateUnavailable(StateError, TryAgainLater):
    """The state database failed in a way that may pass."""


class StateUnusable(StateError, UsageError):
    """The state database cannot be used until a person has changed something."""


def gravest_exit_code(codes: Iterable[int]) -> int:
    """One exit code for several outcomes: 1 before 2 before 3, and 0 if all succeeded."""
    return min((code for code in codes if code), default=0)


def unusable_environment(error: Exception) -> UsageError:
    """A library cannot open connections with the proxies or certificates that the environment names."""
    return UsageError(
        f"No connection can be opened ({str(error).rstrip('.')}): check the proxies and the certificates that the "
        "environment names (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY, SSL_CERT_FILE, SSL_CERT_DIR, "
        "REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE)."
    )
