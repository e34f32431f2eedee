"""How many labels of a project are right, by the tasks that were drawn at random."""

from __future__ import annotations

from collections import Counter

import numpy as np

from connector.active_learning.accuracy import Accuracy, estimate
from connector.active_learning.audit import Audit
from connector.state.snapshot import ProjectSnapshot
from connector.sync.label_matrix import align_probabilities, class_positions, single_labels
from connector.sync.scoring import Scored, task_digests


def estimate_accuracy(pulled: ProjectSnapshot, scored: Scored, audit: Audit) -> Accuracy | None:
    """The accuracies of a project, or of one of its questions. None without a model, and for labels that are sets.

    Tasks of the test set and tasks without a text are left out.
    """
    control, probabilities = pulled.control, scored.probabilities
    if probabilities is None or not scored.scores or control.multiple or not audit.drawn:
        return None
    labelled = list(scored.consensus)
    unlabelled = sorted(task_digests(pulled).keys() - scored.consensus.keys() - scored.held_out.keys())
    only = audit.only(Counter(task for task, _ in scored.labels))
    position = class_positions(scored.consensus, control)
    return estimate(
        single_labels(scored.labels, labelled, control),
        np.array([position[task] for task in labelled], np.int64),
        align_probabilities(probabilities, labelled, control),
        align_probabilities(probabilities, unlabelled, control),
        np.array([task in only for task in labelled], bool),
        audited=len(audit.answered(pulled.tasks) & scored.consensus.keys()),
    )
