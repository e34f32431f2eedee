"""The result of one of doctor's checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """The result of one check. `cause` says what is the case, and `remedy` what to do, "" if all is well.

    `unavailable`: the only problem is that a server does not answer, so no one has to change anything.
    """

    check: str
    level: Literal["ok", "warning", "problem"]
    cause: str
    remedy: str = ""
    unavailable: bool = False

    def to_json(self) -> dict[str, str]:
        """The finding as `--json` prints it."""
        return {"check": self.check, "level": self.level, "cause": self.cause, "remedy": self.remedy}


def ok(check: str, cause: str) -> Finding:
    """All is well."""
    return Finding(check, "ok", cause)


def warning(check: str, cause: str, remedy: str) -> Finding:
    """The queue works, but labels are lost or the order may suffer."""
    return Finding(check, "warning", cause, remedy)


def problem(check: str, cause: str, remedy: str, *, unavailable: bool = False) -> Finding:
    """The queue does not work as it should."""
    return Finding(check, "problem", cause, remedy, unavailable)
