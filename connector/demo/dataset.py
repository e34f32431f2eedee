"""A corpus as the demo's simulated people see it: who of them gives which of its labels."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from connector.simulation import corpus

MOST_PEOPLE = 5


class Corpus(corpus.Corpus):
    """A corpus whose labels are given by at most MOST_PEOPLE people."""

    @cached_property
    def labels_a_task(self) -> int:
        """How many labels every task has, at most as many as the demo has people."""
        return min(MOST_PEOPLE, *(len(rows) for rows in self.annotations.values()))

    @cached_property
    def annotators(self) -> list[str]:
        """Who labelled every task, if the same few people did; else nobody."""
        everybody = {annotator for rows in self.annotations.values() for annotator, _ in rows}
        complete = all(len(rows) == len(everybody) for rows in self.annotations.values())
        return sorted(everybody) if complete and len(everybody) <= MOST_PEOPLE else []

    def answer(self, task: str, person: int, seen_by: int) -> str:
        """The label that `person` (0, 1, …) gives to a task that `seen_by` others have labelled before.

        Where the same few annotators labelled every task, each of them is a person. Otherwise the next person to see a
        task gives its next annotation, whoever gave it in the corpus.
        """
        rows = self.annotations[task]
        return dict(rows)[self.annotators[person]] if self.annotators else rows[seen_by][1]


def read(directory: Path) -> Corpus:
    """The corpus in a directory of tables; raises UsageError if it is none."""
    found = corpus.read(directory)
    return Corpus(found.tasks, found.annotations, found.test)
