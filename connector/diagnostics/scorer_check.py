"""Our scores beside cleanlab's, on the labels and probabilities of a project as they are."""

from __future__ import annotations

from typing import Any

import numpy as np
from rich.console import Console

from connector.active_learning import activelab
from connector.active_learning import cleanlab_scorer as oracle
from connector.active_learning.crowdlab import Floats, Ints, Labels
from connector.active_learning.multilabel import Scorer
from connector.backend import Backend
from connector.diagnostics.finding import Finding, ok, warning
from connector.errors import ConnectorError
from connector.progress import Reporter
from connector.state.pull import Pulled
from connector.sync.scoring import review

SAME = 1e-9  # what two ways of adding the same numbers up may differ by, and a great deal more
SAMPLE = 2_000  # labelled tasks: cleanlab needs a second for as many, and more memory with each annotator


class Looking(Backend):
    """An ML backend that is asked for what it has and brought nothing."""

    def put_items(self, *items: Any, **options: Any) -> None:
        """Texts that the backend lacks wait for the next sync."""


class Both:
    """A scorer that gives `ours` and remembers how `theirs` differs.

    `largest`: the largest difference of a score in all calls (one for each class where a task may have several), with
    its `place` among the labelled and then the unlabelled tasks and the two scores; `labeled`: how many labelled tasks
    were compared, and `of` how many; `unlabeled`: all were.
    """

    def __init__(self, ours: Scorer = activelab, theirs: Scorer = oracle, sample: int = SAMPLE) -> None:
        self.ours = ours
        self.theirs = theirs
        self.sample = sample
        self.largest, self.place, self.scores_there = 0.0, 0, (0.0, 0.0)
        self.labeled = self.of = self.unlabeled = 0

    def heard_consensus(self, labels: Labels, pred_probs: Floats) -> Ints:
        """That of `ours`."""
        return self.ours.heard_consensus(labels, pred_probs)

    def scores(self, labels: Labels, pred_probs: Floats, pred_probs_unlabeled: Floats) -> tuple[Floats, Floats]:
        """Those of `ours`."""
        self._compare(labels, pred_probs, pred_probs_unlabeled)
        return self.ours.scores(labels, pred_probs, pred_probs_unlabeled)

    def _compare(self, labels: Labels, pred_probs: Floats, pred_probs_unlabeled: Floats) -> None:
        """Both score the same sample, without ties among probabilities, which cleanlab breaks by chance."""
        chosen: Ints = np.arange(labels.n_tasks)
        if labels.n_tasks > self.sample:
            chosen = np.sort(np.random.default_rng(0).choice(labels.n_tasks, self.sample, replace=False))
        given = _of_tasks(labels, chosen), oracle.without_ties(pred_probs[chosen]), pred_probs_unlabeled
        mine, others = (np.concatenate(one.scores(*given)) for one in (self.ours, self.theirs))
        difference = np.nan_to_num(np.abs(mine - others), nan=np.inf)
        place = int(difference.argmax())
        self.labeled, self.of, self.unlabeled = len(chosen), labels.n_tasks, len(pred_probs_unlabeled)
        if difference[place] <= self.largest:
            return
        self.largest, self.scores_there = float(difference[place]), (float(mine[place]), float(others[place]))
        self.place = int(chosen[place]) if place < len(chosen) else labels.n_tasks + place - len(chosen)


def _of_tasks(labels: Labels, chosen: Ints) -> Labels:
    """The labels of the tasks `chosen` (n,), numbered in that order."""
    place = np.full(labels.n_tasks, -1)
    place[chosen] = np.arange(len(chosen))
    kept = place[labels.task] >= 0
    return Labels(place[labels.task[kept]], labels.annotator[kept], labels.label[kept], len(chosen), labels.n_classes)


def scorer(project_id: int, pulled: Pulled, backend: Backend | None, both: Both | None = None) -> Finding:
    """Does our scorer say what cleanlab says about this project? `backend`: None where it does not answer."""
    classes = pulled.control.classes if pulled.control.multiple else ()
    both = both or Both(sample=SAMPLE // max(len(classes), 1))
    away = ok("scorer", "Nothing to compare with cleanlab while the ML backend gives no probabilities.")
    if backend is None:
        return away
    try:
        reviewed = review(pulled, backend, Reporter(Console(quiet=True), quiet=True), both).scored
    except ConnectorError:
        return away
    if not reviewed.labels:
        return ok("scorer", "Nothing to compare with cleanlab: there are no labels yet.")
    if not reviewed.scores:
        return ok("scorer", "Nothing to compare with cleanlab: the ML backend has no model yet.")
    compared = f"{both.labeled + both.unlabeled} tasks"
    if both.labeled < both.of:
        compared += f" ({both.labeled} of the {both.of} labelled ones, and all others)"
    if both.largest <= SAME:
        return ok("scorer", f"Our scores are cleanlab's: the largest difference is {both.largest:.1g} over {compared}.")
    mine, others = both.scores_there
    return warning(
        "scorer",
        f"Our scores are not cleanlab's: over {compared} the largest difference is {both.largest:.1g}, of task "
        f"{list(reviewed.scores)[both.place]} ({mine:.9g}, cleanlab says {others:.9g}).",
        "Set CONNECTOR_SCORER=cleanlab, which runs cleanlab itself, then run connector sync --project "
        f"{project_id}; and report the difference to those who maintain the connector.",
    )
