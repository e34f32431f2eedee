"""From the mirror to the next window: consensus labels, training where labels changed, scores, the choice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from connector.active_learning import activelab, dawid_skene
from connector.active_learning import cleanlab_scorer as oracle
from connector.active_learning.crowdlab import Floats, Ints, Labels, crowdlab
from connector.active_learning.multilabel import Scorer
from connector.active_learning.window import (
    DEFAULT_STRATEGY,
    STRATEGIES,
    Candidate,
    Slot,
    Strategy,
    active_annotators,
    choose_window,
    eligible,
)
from connector.annotations.ground_truth import accuracy, ground_truths, warning
from connector.annotations.label_config import Control
from connector.annotations.records import latest_labels
from connector.backend import Backend, Probabilities
from connector.progress import Reporter
from connector.state.lock import KEEP_SECONDS
from connector.state.pull import Pulled
from connector.sync.label_matrix import Heard, heard, model_rows, predicted, targets

# A model is retrained when this many consensus labels differ from those it was trained on, or this share of them if
# more.
RETRAIN_LABELS = 10
RETRAIN_SHARE = 0.02

SCORERS: dict[str, Scorer] = {"activelab": activelab, "cleanlab": oracle}


class Memory(Protocol):
    """What scoring needs of the project's state (connector.state.project_state.ProjectState)."""

    def trained(self) -> dict[int, str]: ...

    def store_trained(self, labels: dict[int, str]) -> None: ...

    def renew_lock(self, *, at_most_every: float = 0.0) -> None: ...

    def put(self, **values: Any) -> None: ...


class ByStrategy:
    """The scorer that does as a strategy says, by another one where that is what it says.

    Where a label is a set of classes (`multiple`), CROWDLAB's choice among those heard stands in the posterior's place:
    class by class, it was the better one (docs/selection.md).
    """

    def __init__(self, strategy: Strategy, scorer: Scorer, multiple: bool) -> None:
        self._strategy, self._scorer, self._multiple = strategy, scorer, multiple
        self._last: tuple[Labels, Floats, Floats] | None = None

    def heard_consensus(self, labels: Labels, pred_probs: Floats) -> Ints:
        if self._strategy.consensus == "majority":
            return activelab.majority_vote(labels)
        if self._strategy.consensus == "crowdlab":
            return crowdlab(labels, pred_probs).label
        if self._multiple:
            return self._scorer.heard_consensus(labels, pred_probs)
        return dawid_skene.heard_consensus(labels, self.posterior(labels, pred_probs))

    def posterior(self, labels: Labels, pred_probs: Floats) -> Floats:
        """That of `connector.active_learning.dawid_skene`, computed once where the very same arrays come again."""
        if self._last is None or self._last[0] is not labels or self._last[1] is not pred_probs:
            self._last = labels, pred_probs, dawid_skene.posterior(labels, pred_probs)
        return self._last[2]

    def scores(self, labels: Labels, pred_probs: Floats, pred_probs_unlabeled: Floats) -> tuple[Floats, Floats]:
        return (self._strategy.scores or self._scorer.scores)(labels, pred_probs, pred_probs_unlabeled)


@dataclass
class Scored:
    """What the labels and the model say.

    `labels` {(task, annotator): label}, `consensus` {task: label}, `scores` {task: the strategy's, lowest first; empty
    while there is no model}, `predicted` {task: the model's label}, `agreement`: the share of labelled tasks whose
    consensus label is the model's out-of-sample one; `held_out` {task: ground truth}: the test set, of which only
    `predicted` knows; `accuracy`: the share of it that the model labels so. Shares are None where there is nothing to
    count. Labels are as Control.label_of writes them: of a multiple control, whole sets. `known`: what the ML backend
    said of all tasks, None while there is no model.
    """

    labels: dict[tuple[int, int], str]
    consensus: dict[int, str] = field(default_factory=dict)
    scores: dict[int, float] = field(default_factory=dict)
    predicted: dict[int, str] = field(default_factory=dict)
    labels_changed: int = 0
    trained: bool = False
    model_version: str | None = None
    agreement: float | None = None
    held_out: dict[int, str] = field(default_factory=dict)
    accuracy: float | None = None
    known: Probabilities | None = None


@dataclass
class Review:
    """Each labelled task's consensus and each task's class probabilities, for who takes the results out.

    `quality` {task: the probability that the consensus label is right; empty while there is no model},
    `pred_probs` {task: probabilities by the config's classes}, out-of-sample for labelled tasks.
    """

    scored: Scored
    quality: dict[int, float] = field(default_factory=dict)
    pred_probs: dict[int, NDArray[np.float64]] = field(default_factory=dict)


def score(
    pulled: Pulled,
    backend: Backend,
    state: Memory,
    train: str,
    reporter: Reporter,
    scorer: Scorer = activelab,
    strategy: Strategy = STRATEGIES[DEFAULT_STRATEGY],
    classifier: str | None = None,
    ground_truth: bool = False,
) -> Scored:
    """Scores every task that has a text. `train`: "auto" (when labels changed enough), "always" or "never".

    Until there are two different labels, or with "never" and no model, there are no scores. `classifier`: its name in
    the ML backend, else the one that is set there. `ground_truth`: tasks that have one are a test set and held out.
    """
    project, control = str(pulled.project["id"]), pulled.control
    texts = _texts(pulled)
    held_out = ground_truths(row for task in texts for row in pulled.tasks[task].annotations) if ground_truth else {}
    result = Scored(
        latest_labels(row for task in texts if task not in held_out for row in pulled.tasks[task].annotations),
        held_out=held_out,
    )
    labelled = sorted({task for task, _ in result.labels})
    if words := warning(len(held_out), len(labelled)):
        reporter.say(words)
    known = _ask(pulled, backend, texts, reporter)
    given = heard(result.labels, labelled, control, ByStrategy(strategy, scorer, control.multiple))
    pred_probs = model_rows(known, labelled, control) if known is not None else None
    result.consensus = dict(zip(labelled, given.consensus(pred_probs), strict=True))
    last = state.trained() if known is not None else {}
    result.labels_changed = sum(
        last.get(task) != result.consensus.get(task) for task in last.keys() | result.consensus.keys()
    )
    tainted = bool(held_out.keys() & last.keys())  # the model was trained on the test set
    if known is not None and (set(known.classes), known.multilabel) != (set(control.classes), control.multiple):
        due = True  # the config has changed: the model cannot know its classes
    else:
        due = tainted or known is None or result.labels_changed >= max(RETRAIN_LABELS, RETRAIN_SHARE * len(last))
    if (train == "always" or (train == "auto" and due)) and len(set(result.consensus.values())) > 1:
        state.renew_lock()
        with reporter.stage("train", f"Training on {len(result.consensus)} labels") as stage:

            def progress(note: str, share: float) -> None:
                state.renew_lock(at_most_every=KEEP_SECONDS)
                stage.share(note, share)

            if tainted:
                backend.forget_model(project)  # with the encoders that may have been fine-tuned on the test set
            backend.train(
                project,
                control.classes,
                targets(result.consensus, control),
                multilabel=control.multiple,
                weights=_weights(given, result.consensus, pred_probs) if strategy.weighted else None,
                classifier=classifier,
                progress=progress,
            )
        state.store_trained(result.consensus)
        result.trained = True
        with reporter.stage("probabilities", "Fetching class probabilities"):
            known = backend.probabilities(project)
        state.renew_lock()
    result.known = known
    if known is None:
        return result
    result.model_version = known.model_version
    state.put(model_version=known.model_version)
    if not labelled:  # all labels were taken back: nothing to score by
        return result
    with reporter.stage("score", "Scoring all tasks"):
        _score_all(result, given, model_rows(known, labelled, control), labelled, texts, control, known)
    return result


def review(pulled: Pulled, backend: Backend | None, reporter: Reporter, scorer: Scorer = activelab) -> Review:
    """What the labels and the model as it is say, training nothing; without a backend, the labels alone."""
    known = _ask(pulled, backend, _texts(pulled), reporter) if backend is not None else None
    return review_of(pulled, known, reporter, scorer)


def review_of(pulled: Pulled, known: Probabilities | None, reporter: Reporter, scorer: Scorer = activelab) -> Review:
    """As `review`, by what the ML backend has said already."""
    control, texts = pulled.control, _texts(pulled)
    scored = Scored(latest_labels(row for task in texts for row in pulled.tasks[task].annotations), known=known)
    labelled = sorted({task for task, _ in scored.labels})
    by = ByStrategy(STRATEGIES[DEFAULT_STRATEGY], scorer, control.multiple)
    given = heard(scored.labels, labelled, control, by)
    of_labelled = model_rows(known, labelled, control) if known is not None else None
    scored.consensus = dict(zip(labelled, given.consensus(of_labelled), strict=True))
    result = Review(scored)
    if known is None or of_labelled is None:
        return result
    scored.model_version = known.model_version
    everyone = sorted(texts)
    pred_probs = model_rows(known, everyone, control)
    result.pred_probs = dict(zip(everyone, pred_probs, strict=True))
    scored.predicted = dict(zip(everyone, predicted(pred_probs, control), strict=True))
    if labelled:
        with reporter.stage("score", "Scoring all tasks"):
            _score_all(scored, given, of_labelled, labelled, texts, control, known)
            quality = given.quality(of_labelled, [scored.consensus[task] for task in labelled])
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


def _weights(given: Heard, consensus: Mapping[int, str], pred_probs: Floats | None) -> dict[int, float] | None:
    """{task: how much its label counts in the training}; None, all alike, at first."""
    if pred_probs is None:
        return None
    weights = given.weights(pred_probs, list(consensus.values()))
    return None if weights is None else dict(zip(consensus, weights.tolist(), strict=True))


def choose(
    pulled: Pulled,
    scored: Scored,
    backend: Backend,
    *,
    strategy: Strategy = STRATEGIES[DEFAULT_STRATEGY],
    window: int,
    max_annotations: int,
    min_annotations: int = 1,
    seed: int = 0,
) -> list[Slot]:
    """The next window: by the scores, or, before there are any, new tasks spread over the embedding space or at random.

    `min_annotations`: how many the team wants on every task; those with fewer come first. `seed` decides what no score
    does.
    """
    counts = Counter(task for task, _ in scored.labels)
    active = active_annotators(row for task in pulled.tasks.values() for row in task.annotations)
    new, labelled = eligible(
        {number: task for number, task in pulled.tasks.items() if number not in scored.held_out},
        counts,
        active,
        max_annotations=max_annotations,
        skip_queue=pulled.project["skip_queue"],
    )
    scores: Mapping[int, float] = scored.scores
    again = labelled
    if not scores:
        if not strategy.spread_start:
            order = np.random.default_rng(seed).permutation(new).tolist()
        else:
            order = backend.spread(str(pulled.project["id"]), new, window, seed=seed) if new else []
        place = {task: rank for rank, task in enumerate(order)}
        scores = {task: place.get(task, len(order)) for task in new} | dict.fromkeys(labelled, 0.0)
    if not scored.scores or not strategy.relabels:
        again = [task for task in labelled if counts[task] < min_annotations]
    candidates = [Candidate(task, scores[task], relabel=False) for task in new]
    candidates += [
        Candidate(task, scores[task], relabel=True, unfinished=counts[task] < min_annotations) for task in again
    ]
    return choose_window(candidates, window, len(active))


def _score_all(
    result: Scored,
    given: Heard,
    pred_probs: Floats,
    labelled: list[int],
    texts: Mapping[int, str],
    control: Control,
    known: Probabilities,
) -> None:
    """Fills in the scores and the model's labels; `pred_probs` (len(labelled), n_classes)."""
    unlabelled = sorted(texts.keys() - set(labelled) - result.held_out.keys())
    tested = sorted(result.held_out)
    pred_probs_unlabeled = model_rows(known, unlabelled, control)
    of_labelled, of_unlabelled = given.scores(pred_probs, pred_probs_unlabeled)
    result.scores = {
        task: float(value)
        for task, value in zip([*labelled, *unlabelled], np.concatenate([of_labelled, of_unlabelled]), strict=True)
    }
    by_model = predicted(
        np.concatenate([pred_probs, pred_probs_unlabeled, model_rows(known, tested, control)]), control
    )
    result.predicted = dict(zip([*labelled, *unlabelled, *tested], by_model, strict=True))
    result.accuracy = accuracy(result.held_out, result.predicted)
    out_of_sample = [task for task in labelled if task in known.place and known.fold[known.place[task]] >= 0]
    result.agreement = accuracy({task: result.consensus[task] for task in out_of_sample}, result.predicted)
