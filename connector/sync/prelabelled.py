"""Whether people follow labels that they see preselected: answers with one, beside blind answers to the same labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from connector.annotations.records import Annotation, moment
from connector.formatting import share
from connector.state.rows import Shown

LEAST_ANSWERS = 20  # of each kind, before anything is said


@dataclass(frozen=True)
class Following:
    """How often people gave the label that they saw, and how often they give it blind.

    Attributes:
        shown: how many answers were given with a label preselected.
        same: how many of these are that label.
        blind: how many answers were given without one, on tasks for which the same source has a label.
        blind_same: how many of these are that label.
    """

    shown: int
    same: int
    blind: int
    blind_same: int

    @property
    def words(self) -> str:
        """What that says. "": there are too few answers."""
        if min(self.shown, self.blind) < LEAST_ANSWERS:
            return ""
        with_label, without = self.same / self.shown, self.blind_same / self.blind
        sentence = (
            f"people gave the label that they saw in {share(with_label)} of {self.shown:,} answers, and without "
            f"seeing it in {share(without)} of {self.blind:,}"
        )
        return f"{sentence}: they seem to follow it" if with_label > without else sentence

    def to_json(self) -> dict[str, Any]:
        """As a round remembers it."""
        return asdict(self)


def following(
    rows: Iterable[Annotation], shown: Mapping[int, Sequence[Shown]], labels: Mapping[int, str]
) -> Following | None:
    """How far people follow preselected labels. None: nobody answered with one.

    Args:
        rows: annotations.
        shown: {task: labels that were preselected}.
        labels: {task: the label of the same source}, for blind answers.
    """
    counts = {"shown": 0, "same": 0, "blind": 0, "blind_same": 0}
    for row in rows:
        if row.label is None or row.ground_truth:
            continue
        seen = _seen(row, shown.get(row.task, ()))
        if seen is not None:
            counts["shown"] += 1
            counts["same"] += row.label == seen
        elif row.task in labels:
            counts["blind"] += 1
            counts["blind_same"] += row.label == labels[row.task]
    return Following(**counts) if counts["shown"] else None


def _seen(row: Annotation, shown: Sequence[Shown]) -> str | None:
    """The label that was preselected when the annotation was made."""
    if not shown:
        return None
    at = moment(row.created_at or row.updated_at)
    for one in shown:
        if moment(one.since) <= at and (one.until is None or at <= moment(one.until)):
            return one.label
    return None
