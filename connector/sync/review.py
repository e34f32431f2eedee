"""Consensus labels with their quality, and scores, by the model as it is: for exports, reports and publishing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from connector.active_learning import DEFAULT_STRATEGY
from connector.active_learning.strategies import find_strategy
from connector.annotations.ground_truth import without_answers_on_truth
from connector.annotations.questions import Questions
from connector.annotations.records import Annotation, latest_labels
from connector.backend import Backend
from connector.progress import Reporter
from connector.state.project_state import ProjectState
from connector.state.snapshot import ProjectSnapshot
from connector.sync.label_matrix import align_probabilities, predicted_labels
from connector.sync.scoring import (
    Scored,
    ask_machines,
    fetch_probabilities,
    find_consensus,
    labels_are_gone,
    score_tasks,
    task_digests,
)
from connector.sync.several import join, without_hidden


@dataclass
class Review:
    """Each labelled task's consensus and each task's class probabilities.

    Attributes:
        scored: labels, consensus labels and scores.
        quality: {task: the probability that the consensus label is right}. Empty without a model.
        pred_probs: {task: probabilities (n_classes,) by the config's classes}, out-of-sample for labelled tasks.
    """

    scored: Scored
    quality: dict[int, float] = field(default_factory=dict)
    pred_probs: dict[int, NDArray[np.float64]] = field(default_factory=dict)


def review(
    pulled: ProjectSnapshot,
    backend: Backend | None,
    reporter: Reporter,
    scorer: str = "activelab",
    trained: Mapping[int, str] | None = None,
    *,
    gold: bool = False,
) -> Review:
    """The consensus labels, their quality and all scores by the default strategy, without training.

    Without a backend, labels and majority votes alone, and also if all labels that the model was trained on are gone.

    Args:
        pulled: the project as Label Studio has it now.
        backend: the ML backend, if it is to be asked.
        reporter: shows the stages.
        scorer: the setting CONNECTOR_SCORER.
        trained: {task: consensus label} that the model was trained on. None: not known.
        gold: as for `score`.
    """
    strategy = find_strategy(scorer=scorer)
    own = fetch_probabilities(pulled, backend, reporter) if backend is not None else None
    given = _labels(pulled, gold=gold)
    if labels_are_gone(trained or {}, given):
        own = None
    scored = Scored(given, own=own)
    ask_machines(scored, pulled)
    probabilities = scored.probabilities
    labels, _ = find_consensus(scored, pulled.control, strategy)
    if probabilities is None:
        return Review(scored)
    scored.model_version = probabilities.model_version
    tasks = sorted(task_digests(pulled))
    pred_probs = align_probabilities(probabilities, tasks, pulled.control)
    scored.predicted = dict(zip(tasks, predicted_labels(pred_probs, pulled.control), strict=True))
    if scored.labels:
        with reporter.stage("score", "Scoring all tasks"):
            score_tasks(scored, labels, pulled, strategy)
    return Review(scored, scored.quality, dict(zip(tasks, pred_probs, strict=True)))


def reviews(
    pulled: ProjectSnapshot, backend: Backend | None, reporter: Reporter, state: ProjectState, scorer: str = "activelab"
) -> tuple[list[Review], Scored]:
    """A review of each question, and what `join` makes of them. Of one question, this is what its review found."""
    questions, gold = pulled.questions, state.record().judges_annotators
    found = [
        review(
            part,
            backend,
            reporter.of(part.control.name) if questions.several else reporter,
            scorer,
            state.memory_of(questions, part.control.name).trained(),
            gold=gold,
        )
        for part in pulled.by_question()
    ]
    parts = [reviewed.scored for reviewed in found]
    return found, join(questions, parts) if questions.several else parts[0]


def shown_reviews(questions: Questions, found: Sequence[Review], joined: Scored) -> tuple[list[Review], Scored]:
    """What `reviews` found, without consensus labels of questions that the form hides by the others."""
    shown = without_hidden(questions, joined)
    if shown is joined:
        return list(found), joined
    parts = zip(shown.parts, found, strict=True)
    return [Review(part, part.quality, reviewed.pred_probs) for part, reviewed in parts], shown


def consensus_quality(
    pulled: ProjectSnapshot, scored: Scored, strategy_name: str, scorer: str = "activelab", *, gold: bool = False
) -> Scored:
    """The consensus labels and their quality after a round, as `review` has them, without scores.

    They are those of the round, unless it went by another strategy, trained the model or held out a test set. Of
    several questions, they are joint ones.

    Args:
        pulled: the project as Label Studio has it now.
        scored: what the round found.
        strategy_name: the strategy of the round.
        scorer: the setting CONNECTOR_SCORER.
        gold: as for `score`.
    """
    if scored.parts:
        of_parts = zip(pulled.by_question(), scored.parts, strict=True)
        parts = [consensus_quality(part, found, strategy_name, scorer, gold=gold) for part, found in of_parts]
        return without_hidden(pulled.questions, join(pulled.questions, parts))
    if strategy_name == DEFAULT_STRATEGY and not scored.trained and not scored.held_out:
        return scored
    found = Scored(_labels(pulled, gold=gold), probabilities=scored.probabilities)
    find_consensus(found, pulled.control, find_strategy(scorer=scorer))
    return found


def _labels(pulled: ProjectSnapshot, *, gold: bool) -> Mapping[tuple[int, int], str]:
    rows: Iterable[Annotation] = (row for task in task_digests(pulled) for row in pulled.tasks[task].annotations)
    return latest_labels(without_answers_on_truth(rows) if gold else rows)
