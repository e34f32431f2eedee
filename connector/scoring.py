"""From the mirror to a score for every task: consensus labels, training where labels changed, ActiveLab."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from connector import activelab, oracle
from connector.annotations import latest_labels
from connector.backend import Backend, Probabilities
from connector.crowdlab import Floats, Ints, Labels, crowdlab
from connector.lock import KEEP_SECONDS
from connector.mirror import Pulled
from connector.progress import Reporter
from connector.state import ProjectState

# A model is retrained when this many consensus labels differ from those it was trained on, or this share of them if
# more.
RETRAIN_LABELS = 10
RETRAIN_SHARE = 0.02
# A class that the model does not know yet (it was added to the config since) gets this probability.
UNKNOWN_CLASS = 1e-3


class Scorer(Protocol):
    """Who finds consensus labels and scores: the module `activelab`, or `oracle`, which asks cleanlab."""

    def heard_consensus(self, labels: Labels, pred_probs: Floats) -> Ints: ...

    def scores(self, labels: Labels, pred_probs: Floats, pred_probs_unlabeled: Floats) -> tuple[Floats, Floats]: ...


SCORERS: dict[str, Scorer] = {"activelab": activelab, "cleanlab": oracle}


@dataclass
class Scored:
    """What the labels and the model say.

    `labels` {(task, annotator): class}, `consensus` {task: class}, `scores` {task: ActiveLab score, lowest first; empty
    while there is no model}, `predicted` {task: the model's class}, `agreement`: the share of labelled tasks whose
    consensus label is the model's out-of-sample class, None while there is no such task.
    """

    labels: dict[tuple[int, int], str]
    consensus: dict[int, str] = field(default_factory=dict)
    scores: dict[int, float] = field(default_factory=dict)
    predicted: dict[int, str] = field(default_factory=dict)
    labels_changed: int = 0
    trained: bool = False
    model_version: str | None = None
    agreement: float | None = None


@dataclass
class Review:
    """Each labelled task's consensus and each task's class probabilities, for who takes the results out.

    `quality` {task: CROWDLAB's probability that the consensus label is right; empty while there is no model},
    `pred_probs` {task: probabilities by the config's classes}, out-of-sample for labelled tasks.
    """

    scored: Scored
    quality: dict[int, float] = field(default_factory=dict)
    pred_probs: dict[int, NDArray[np.float64]] = field(default_factory=dict)


def score(
    pulled: Pulled,
    backend: Backend,
    state: ProjectState,
    train: str,
    reporter: Reporter,
    scorer: Scorer = activelab,
) -> Scored:
    """Scores every task that has a text. `train`: "auto" (when labels changed enough), "always" or "never".

    Until labels of two classes are there, or with "never" and no model, there are no scores.
    """
    project, classes = str(pulled.project["id"]), pulled.control.classes
    texts = _texts(pulled)
    result = Scored(latest_labels(row for task in texts for row in pulled.tasks[task].annotations))
    labelled = sorted({task for task, _ in result.labels})
    known = _ask(pulled, backend, texts, reporter)
    labels = _indexed(result.labels, labelled, classes)
    result.consensus = _consensus(labels, labelled, classes, known, scorer)
    last = state.trained() if known is not None else {}
    result.labels_changed = sum(
        last.get(task) != result.consensus.get(task) for task in last.keys() | result.consensus.keys()
    )
    if known is not None and set(known.classes) != set(classes):
        due = True  # the config has changed: the model cannot know its classes
    else:
        due = result.labels_changed >= max(RETRAIN_LABELS, RETRAIN_SHARE * len(last)) or known is None
    if (train == "always" or (train == "auto" and due)) and len(set(result.consensus.values())) > 1:
        state.keep_lock()
        position = {name: index for index, name in enumerate(classes)}
        with reporter.stage("train", f"Training on {len(result.consensus)} labels") as stage:
            chosen = {task: position[name] for task, name in result.consensus.items()}

            def progress(note: str, share: float) -> None:
                state.keep_lock(at_most_every=KEEP_SECONDS)
                stage.share(note, share)

            backend.train(project, classes, chosen, progress=progress)
        state.store_trained(result.consensus)
        result.trained = True
        with reporter.stage("probabilities", "Fetching class probabilities"):
            known = backend.probabilities(project)
        state.keep_lock()
    if known is None:
        return result
    result.model_version = known.model_version
    state.put(model_version=known.model_version)
    if not labelled:  # all labels were taken back: nothing to score by
        return result
    with reporter.stage("score", "Scoring with ActiveLab"):
        _score_all(result, labels, labelled, texts, classes, known, scorer)
    return result


def review(pulled: Pulled, backend: Backend | None, reporter: Reporter, scorer: Scorer = activelab) -> Review:
    """What the labels and the model as it is say, training nothing; without a backend, the labels alone."""
    classes, texts = pulled.control.classes, _texts(pulled)
    scored = Scored(latest_labels(row for task in texts for row in pulled.tasks[task].annotations))
    labelled = sorted({task for task, _ in scored.labels})
    known = _ask(pulled, backend, texts, reporter) if backend is not None else None
    labels = _indexed(scored.labels, labelled, classes)
    scored.consensus = _consensus(labels, labelled, classes, known, scorer)
    result = Review(scored)
    if known is None:
        return result
    scored.model_version = known.model_version
    everyone = sorted(texts)
    result.pred_probs = dict(zip(everyone, _rows(known, everyone, classes), strict=True))
    if labelled:
        with reporter.stage("score", "Scoring with ActiveLab"):
            _score_all(scored, labels, labelled, texts, classes, known, scorer)
            position = {name: index for index, name in enumerate(classes)}
            chosen = np.array([position[scored.consensus[task]] for task in labelled], np.int64)
            quality = crowdlab(labels, _rows(known, labelled, classes)).of(chosen)
        result.quality = {task: float(value) for task, value in zip(labelled, quality, strict=True)}
    return result


def _texts(pulled: Pulled) -> dict[int, str]:
    """The tasks that have a text, with its digest."""
    return {task.id: task.digest for task in pulled.tasks.values() if task.digest is not None}


def _ask(pulled: Pulled, backend: Backend, texts: Mapping[int, str], reporter: Reporter) -> Probabilities | None:
    """Brings the backend the texts it lacks; its probabilities, or None while it has no model."""
    project = str(pulled.project["id"])
    with reporter.stage("texts", "Bringing new texts to the ML backend") as stage:
        backend.check()
        backend.put_items(project, list(texts), list(texts.values()), pulled.texts, stage.count)
    with reporter.stage("probabilities", "Fetching class probabilities"):
        return backend.probabilities(project)


def _indexed(labels: Mapping[tuple[int, int], str], tasks: list[int], classes: tuple[str, ...]) -> Labels:
    """Labels by position: tasks in the order of `tasks`, annotators by ascending id, classes as in the config."""
    annotators = sorted({annotator for _, annotator in labels})
    row = {task: index for index, task in enumerate(tasks)}
    column = {annotator: index for index, annotator in enumerate(annotators)}
    place = {name: index for index, name in enumerate(classes)}
    order = sorted(labels)
    return Labels(
        task=np.array([row[task] for task, _ in order], np.int64),
        annotator=np.array([column[annotator] for _, annotator in order], np.int64),
        label=np.array([place[labels[key]] for key in order], np.int64),
        n_tasks=len(tasks),
        n_classes=len(classes),
    )


def _consensus(
    labels: Labels,
    tasks: list[int],
    classes: tuple[str, ...],
    known: Probabilities | None,
    scorer: Scorer,
) -> dict[int, str]:
    """{task: class}: the majority vote at first, CROWDLAB's choice among those heard once there are probabilities."""
    if known is None or not tasks:
        chosen = activelab.majority_vote(labels)
    else:
        chosen = scorer.heard_consensus(labels, _rows(known, tasks, classes))
    return {task: classes[index] for task, index in zip(tasks, chosen, strict=True)}


def _score_all(
    result: Scored,
    labels: Labels,
    labelled: list[int],
    texts: Mapping[int, str],
    classes: tuple[str, ...],
    known: Probabilities,
    scorer: Scorer,
) -> None:
    """Fills in the scores and the model's classes."""
    unlabelled = sorted(set(texts) - set(labelled))
    pred_probs, pred_probs_unlabeled = _rows(known, labelled, classes), _rows(known, unlabelled, classes)
    of_labelled, of_unlabelled = scorer.scores(labels, pred_probs, pred_probs_unlabeled)
    result.scores = {
        task: float(value)
        for task, value in zip([*labelled, *unlabelled], np.concatenate([of_labelled, of_unlabelled]), strict=True)
    }
    result.predicted = {
        task: classes[index]
        for task, index in zip(
            [*labelled, *unlabelled],
            np.concatenate([pred_probs, pred_probs_unlabeled]).argmax(axis=1),
            strict=True,
        )
    }
    place = {int(item): index for index, item in enumerate(known.ids)}
    held_out = [task for task in labelled if task in place and known.fold[place[task]] >= 0]
    if held_out:
        agreeing = sum(result.predicted[task] == result.consensus[task] for task in held_out)
        result.agreement = agreeing / len(held_out)


def _rows(known: Probabilities, tasks: list[int], classes: tuple[str, ...]) -> NDArray[np.float64]:
    """The model's probabilities (len(tasks), len(classes)) for `tasks`, columns by the config's classes.

    Uniform where the backend has none for a task yet; a class that the model does not know gets UNKNOWN_CLASS.
    """
    place = {int(item): index for index, item in enumerate(known.ids)}
    column = {name: index for index, name in enumerate(known.classes)}
    rows = np.array([place.get(task, -1) for task in tasks], np.int64)
    held = rows >= 0
    probs = np.full((len(tasks), len(classes)), UNKNOWN_CLASS)
    for index, name in enumerate(classes):
        if name in column:
            probs[held, index] = known.pred_probs[rows[held], column[name]]
    probs[~held] = 1.0
    probs = np.maximum(probs, np.finfo(float).eps)  # all of a row may have been on a class that is gone
    return np.asarray(probs / probs.sum(axis=1, keepdims=True), np.float64)
