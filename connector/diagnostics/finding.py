"""What `connector doctor` has found: one finding for each check, those that are fine included."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """What one check found: `cause` is a sentence about what is so, `remedy` one about what to do, "" when fine.

    `away`: the problem is only that a server does not answer; nobody has to change anything.
    """

    check: str
    level: Literal["ok", "warning", "problem"]
    cause: str
    remedy: str = ""
    away: bool = False

    def to_json(self) -> dict[str, str]:
        """The finding as `--json` prints it."""
        return {"check": self.check, "level": self.level, "cause": self.cause, "remedy": self.remedy}


def ok(check: str, cause: str) -> Finding:
    """The check is fine."""
    return Finding(check, "ok", cause)


def warning(check: str, cause: str, remedy: str) -> Finding:
    """Labels are lost or the order may suffer, but the queue works."""
    return Finding(check, "warning", cause, remedy)


def problem(check: str, cause: str, remedy: str, *, away: bool = False) -> Finding:
    """The queue does not work as it should."""
    return Finding(check, "problem", cause, remedy, away)
