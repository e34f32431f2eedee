"""The audit: tasks drawn uniformly at random from all, which are served among those of the window.

Which tasks are drawn is decided by a hash of their numbers: those with the lowest come first. So the tasks of the audit
are a random sample of all that there are now, also after others were imported, and no scores can have a say. Pure, and
free of NumPy.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from connector.active_learning.window import Slot
from connector.annotations.records import Task
from connector.formatting import count, share_within

LEAST_AUDITED = 10  # before, the intervals say next to nothing


class Drawn(NamedTuple):
    """A task of the audit. `answers`: how many annotations and skips it had. `wanted`: how many labels it is to get."""

    answers: int
    wanted: int


@dataclass(frozen=True)
class Audit:
    """The audit of a project.

    Attributes:
        share: of a window that is drawn.
        seed: decides the order in which tasks are drawn.
        drawn: {task: how it was drawn}.
        wanted: how many labels each task is to get.
    """

    share: float = 0.0
    seed: str = ""
    drawn: Mapping[int, Drawn] = field(default_factory=dict)
    wanted: int = 1

    def answered(self, tasks: Mapping[int, Task]) -> set[int]:
        """The tasks of the audit that got an annotation or a skip since they were drawn."""
        return {
            task for task, drawn in self.drawn.items() if task in tasks and len(tasks[task].annotations) > drawn.answers
        }

    def only(self, labels: Mapping[int, int]) -> set[int]:
        """The tasks with labels of the audit alone. `labels`: {task: how many it has}.

        They had no annotation when they were drawn, and have no more labels than were wanted of the audit. For the
        choice of the next tasks they are as unlabelled ones. Otherwise the tasks of the audit among the unlabelled ones
        would be others than the rest: those that would have been chosen by now would still be among them.
        """
        return {
            task for task, drawn in self.drawn.items() if not drawn.answers and 0 < labels.get(task, 0) <= drawn.wanted
        }

    def draw(self, pool: Iterable[int], answered: Collection[int], size: int) -> list[int]:
        """The tasks of the audit for a window of `size` tasks. `pool`: all tasks that can be asked for."""
        random_share = random.Random(f"{self.seed} {len(answered)}").random()
        count = int(size * self.share + random_share)
        return sorted(set(pool).difference(answered), key=self._place)[:count] if count else []

    def among(self, window: list[Slot], audited: list[Slot], size: int) -> list[Slot]:
        """The window with the tasks of the audit at random places among the first `size`."""
        if not audited:
            return window
        places = random.Random(f"{self.seed} {[slot.task for slot in audited]}")
        merged = list(window)
        for place, slot in zip(sorted(places.sample(range(size), len(audited))), audited, strict=True):
            merged.insert(place, slot)
        return merged

    def _place(self, task: int) -> tuple[bytes, int]:
        return hashlib.blake2b(f"{self.seed} {task}".encode(), digest_size=8).digest(), task


NO_AUDIT = Audit()


def audit_words(found: Mapping[str, Any]) -> str:
    """How many labels are right, in words. `found`: an `accuracy.Accuracy` as a mapping."""
    audited = found["audited"]
    if audited < LEAST_AUDITED:
        return f"too early to say: {audited} of the {LEAST_AUDITED} tasks that an audit needs are labelled"
    project, consensus, model = (share_within(**found[name]) for name in ("project", "consensus", "model"))
    return (
        f"the labels are right for {project} of the tasks: the consensus labels for {consensus}, and the model's, of "
        f"all tasks, for {model} (by {count(audited, 'labelled task')} drawn at random)"
    )
