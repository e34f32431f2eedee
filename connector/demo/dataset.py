"""A corpus for the demo: which of its labels each simulated annotator gives."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from connector.simulation.corpus import Corpus as LabelledCorpus
from connector.simulation.corpus import read_corpus as read_labelled

MOST_PEOPLE = 5


class Corpus(LabelledCorpus):
    """A corpus whose labels at most MOST_PEOPLE people give."""

    @property
    def test_data(self) -> list[tuple[dict[str, str], str]]:
        """The data and the label of each test task. Images are in the data themselves."""
        if self.kind == "text":
            return [({"text": text}, label) for text, label in self.test]
        labels = (label for _, label in self.test)
        return [({"image": address}, label) for address, label in zip(self.test_addresses, labels, strict=True)]

    @cached_property
    def labels_a_task(self) -> int:
        """How many labels every task gets, at most as many as the demo has people."""
        return min(MOST_PEOPLE, *(len(rows) for rows in self.annotations.values()))

    @cached_property
    def annotators(self) -> list[str]:
        """The annotators, if the same few people labelled every task. Otherwise empty."""
        everyone = {annotator for rows in self.annotations.values() for annotator, _ in rows}
        complete = all(len(rows) == len(everyone) for rows in self.annotations.values())
        return sorted(everyone) if complete and len(everyone) <= MOST_PEOPLE else []

    def answer(self, task: str, person: int, seen_by: int) -> str:
        """The label that `person` (0, 1, …) gives to a task that `seen_by` others have labelled before.

        If the same few annotators labelled every task, each of them is a person. Otherwise the next person who sees a
        task gives its next annotation.
        """
        rows = self.annotations[task]
        return dict(rows)[self.annotators[person]] if self.annotators else rows[seen_by][1]


def read_corpus(directory: Path) -> Corpus:
    """The corpus in a directory of tables. Raises UsageError if it is none."""
    corpus = read_labelled(directory)
    return Corpus(corpus.tasks, corpus.annotations, corpus.test, kind=corpus.kind)
