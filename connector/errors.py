"""What can go wrong, grouped by what can be done about it.

ConnectorError            exit code 1: unforeseen; the sentence says what is known
├── UsageError            exit code 2: somebody has to change an option, a setting or the project
└── TryAgainLater         exit code 3: nothing to change; the next run may succeed
    ├── StaleTasks        a task is gone since it was read: read again, then go on
    └── AnswerLost        (retries.py) nobody knows whether the server acted: look, then go on
"""


class ConnectorError(Exception):
    """Base of all errors; its text is one sentence for a person."""

    exit_code = 1


class UsageError(ConnectorError):
    """An option, a setting or the Label Studio project has to be changed first."""

    exit_code = 2


class TryAgainLater(ConnectorError):
    """Label Studio or the ML backend does not answer, or another sync holds the project."""

    exit_code = 3


class StaleTasks(TryAgainLater):
    """Label Studio no longer knows a task that is to be published."""
