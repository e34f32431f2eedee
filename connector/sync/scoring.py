"""From the mirror to the next window: consensus labels, training where labels changed, scores, the choice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np

from connector.active_learning.accuracy import Accuracy
from connector.active_learning.audit import NO_AUDIT, Audit
from connector.active_learning.consensus import ConsensusResult
from connector.active_learning.cost import worth_per_second
from connector.active_learning.strategies import Strategy, find_strategy
from connector.active_learning.window import Candidate, Slot, active_annotators, choose_window, eligible
from connector.annotations.ground_truth import accuracy, ground_truths, warning, without_answers_on_truth
from connector.annotations.label_config import Control
from connector.annotations.objects.linked import links_in
from connector.annotations.records import Annotation, is_answered, latest_labels
from connector.backend import Backend, Probabilities
from connector.formatting import count
from connector.progress import Reporter
from connector.state.lock import KEEP_SECONDS
from connector.state.snapshot import ProjectSnapshot
from connector.sync.differing import ConfusedPair, Differing, confused_by_name, differing_by_task, highest
from connector.sync.gold import gold_tasks, with_gold
from connector.sync.label_matrix import LabelSet, align_probabilities, class_positions, label_set, predicted_labels
from connector.sync.machines import Opinion, weigh_machines
from connector.sync.summary import CostSummary

# A model is retrained if this many consensus labels differ from those it was trained on, or this share of them if more.
RETRAIN_LABELS = 10
RETRAIN_SHARE = 0.02


class Memory(Protocol):
    """What scoring needs of the project's state (connector.state.project_state.ProjectState)."""

    def trained(self) -> dict[int, str]: ...

    def store_trained(self, labels: dict[int, str]) -> None: ...

    def trained_machines(self) -> dict[str, int]: ...

    def store_trained_machines(self, counts: dict[str, int]) -> None: ...

    def renew_lock(self, *, at_most_every: float = 0.0) -> None: ...


@dataclass
class Scored:
    """The labels of a project, and what the consensus method and the model make of them.

    Labels are as Control.label_of writes them: for a multiple control, whole sets. Shares are None if there is nothing
    to count.

    Attributes:
        labels: {(task, annotator): label}.
        consensus: {task: consensus label}.
        quality: {task: the probability that the consensus label is right} by `probabilities`. Empty without a model,
            and after a training, since the consensus labels are those that the model was trained on.
        scores: {task: the strategy's score, lowest first}. Empty without a model.
        predicted: {task: the model's label}.
        labels_changed: how many consensus labels differ from those that the model was trained on.
        trained: whether the model was trained in this round.
        model_version: the version of the model that gave the scores.
        agreement: share of the labelled tasks whose consensus label is the model's out-of-sample label.
        held_out: {task: ground truth}, the test set. Only `predicted` has its tasks, too.
        accuracy: share of the test set that the model labels correctly.
        probabilities: the class probabilities of all tasks: the ML backend's, pooled with the machines' labels if there
            are any. None without a model.
        own: the ML backend's alone.
        own_labels: {task: the label that the model alone predicts}.
        opinion: how much the machines count.
        audit: how many labels are right, as `audit.estimate_accuracy` says.
        differing: {task: what is known of how people differ on it}. Empty without a model, and for multiple choice.
        confused: the classes that even the best annotators confuse.
        cost: how the order weighs time, with `--cost time`.
        parts: of a project with several questions, what was found of each. Then this is what `join` makes of them.
    """

    labels: Mapping[tuple[int, int], str]
    consensus: Mapping[int, str] = field(default_factory=dict)
    quality: dict[int, float] = field(default_factory=dict)
    scores: dict[int, float] = field(default_factory=dict)
    predicted: Mapping[int, str] = field(default_factory=dict)
    labels_changed: int = 0
    trained: bool = False
    model_version: str | None = None
    agreement: float | None = None
    held_out: Mapping[int, str] = field(default_factory=dict)
    accuracy: float | None = None
    probabilities: Probabilities | None = None
    own: Probabilities | None = None
    own_labels: Mapping[int, str] = field(default_factory=dict)
    opinion: Opinion = field(default_factory=Opinion)
    audit: Accuracy | None = None
    differing: dict[int, Differing] = field(default_factory=dict)
    confused: list[ConfusedPair] = field(default_factory=list)
    cost: CostSummary | None = None
    parts: list[Scored] = field(default_factory=list)

    @property
    def ambiguous(self) -> dict[int, float]:
        """{task: how probably people honestly differ on it}, of several questions on the most ambiguous one."""
        if self.parts:
            return highest([part.ambiguous for part in self.parts])
        return {task: one.probability for task, one in self.differing.items() if one.ambiguous}

    @property
    def hopeless(self) -> set[int]:
        """The tasks that more labels do not settle. Of several questions, none of those that it was given."""
        if self.parts:
            some = set().union(*(part.hopeless for part in self.parts))
            others = [part.consensus.keys() - part.hopeless for part in self.parts]
            return some.difference(*others)
        return {task for task, one in self.differing.items() if one.hopeless}


def score(
    pulled: ProjectSnapshot,
    backend: Backend,
    state: Memory,
    reporter: Reporter,
    *,
    train: str = "auto",
    strategy: Strategy | None = None,
    classifier: str | None = None,
    ground_truth: bool = False,
    audit: Audit = NO_AUDIT,
    gold: bool = False,
) -> Scored:
    """Scores every task that has a text, and trains the model first if that is due.

    There are no scores without a model: until two different texts have different labels, or with "never" while there is
    none.

    Args:
        pulled: the project as Label Studio has it now.
        backend: the ML backend.
        state: remembers what the model was trained on.
        reporter: shows the stages.
        train: "auto" (if labels changed enough), "always" or "never".
        strategy: how to score and find consensus labels. None: the default strategy.
        classifier: its name in the ML backend. None: the one that is set there.
        ground_truth: hold out the tasks that have a ground truth, as a test set.
        audit: the tasks that were drawn at random.
        gold: leave out the labels of tasks with a ground truth but that one: annotators are asked for them as a test.
    """
    control, strategy = pulled.control, strategy or find_strategy()
    texts = task_digests(pulled)
    held_out = ground_truths(row for task in texts for row in pulled.tasks[task].annotations) if ground_truth else {}
    rows: Iterable[Annotation] = (
        row for task in texts if task not in held_out for row in pulled.tasks[task].annotations
    )
    result = Scored(latest_labels(without_answers_on_truth(rows) if gold else rows), held_out=held_out)
    if notice := warning(len(held_out), len({task for task, _ in result.labels})):
        reporter.say(notice)
    result.own = fetch_probabilities(pulled, backend, reporter)
    last = state.trained() if result.own is not None else {}
    tainted = bool(held_out.keys() & last.keys())  # the model was trained on the test set
    gone = labels_are_gone(last, result.labels)
    if tainted or gone:
        result.own = None
    ask_machines(result, pulled)
    labels, consensus = find_consensus(result, control, strategy)
    result.labels_changed = sum(
        last.get(task) != result.consensus.get(task) for task in last.keys() | result.consensus.keys()
    )
    trained_on = sum(map(bool, last.values()))
    machines = {name: len(labels) for name, labels in pulled.machine_labels.items() if labels}
    changed_enough = _labels_changed_enough(result, control, trained_on) or (
        bool(result.labels) and _machines_changed_enough(machines, state.trained_machines())
    )
    due = train == "always" or (train == "auto" and changed_enough)
    if due and _is_trainable(result.consensus, texts, control.kind, reporter):
        _train(
            pulled,
            backend,
            state,
            reporter,
            result.consensus,
            weights=_weights(result, consensus),
            opinion=result.opinion,
            classifier=classifier,
            forget=tainted,
        )
        state.store_trained_machines(machines)
        result.trained, result.quality = True, {}
        with reporter.stage("probabilities", "Fetching class probabilities"):
            result.own = backend.probabilities(pulled.model_key)
        ask_machines(result, pulled)
        state.renew_lock()
    elif tainted:
        reporter.say(
            "The model was trained on the test set, so it is not used until it is trained on labels of other tasks."
        )
    elif gone:
        reporter.say(
            "All labels that the model was trained on are gone, so it is not used until it is trained on others."
        )
    if result.probabilities is None:
        return result
    result.model_version = result.probabilities.model_version
    if result.labels:  # else all labels were taken back: nothing to score by
        with reporter.stage("score", "Scoring all tasks"):
            score_tasks(result, labels, pulled, strategy, audit)
    return result


def labels_are_gone(trained: Mapping[int, str], labels: Mapping[tuple[int, int], str]) -> bool:
    """Whether no task that a model was trained on has a label any more. `trained`: {task: consensus label} of these."""
    return bool(trained) and not any(task in trained for task, _ in labels)


def ask_machines(scored: Scored, pulled: ProjectSnapshot) -> None:
    """Pools the model's own probabilities with the labels of machines."""
    scored.opinion = weigh_machines(pulled, scored.labels, scored.own, scored.held_out)
    scored.probabilities = scored.opinion.probabilities


def find_consensus(scored: Scored, control: Control, strategy: Strategy) -> tuple[LabelSet, ConsensusResult]:
    """Fills in the consensus labels, with their quality if there are probabilities. Returns both as arrays, too."""
    labelled = sorted({task for task, _ in scored.labels})
    labels = label_set(scored.labels, labelled, control)
    probabilities = scored.probabilities
    pred_probs = align_probabilities(probabilities, labelled, control) if probabilities is not None else None
    consensus = labels.consensus(pred_probs, strategy)
    scored.consensus = dict(zip(labelled, labels.names(consensus), strict=True))
    if pred_probs is not None:
        scored.quality = dict(zip(labelled, consensus.probability.tolist(), strict=True))
    return labels, consensus


def score_tasks(
    scored: Scored, labels: LabelSet, pulled: ProjectSnapshot, strategy: Strategy, audit: Audit = NO_AUDIT
) -> None:
    """Fills in the scores, the model's labels, and how often they are right. `labels`: those of `scored` as arrays.

    Tasks with labels of the audit alone get the scores of unlabelled ones (`Audit.only`).
    """
    probabilities, control = scored.probabilities, pulled.control
    assert probabilities is not None
    labelled, tested = list(scored.consensus), sorted(scored.held_out)
    unlabelled = sorted(task_digests(pulled).keys() - scored.consensus.keys() - scored.held_out.keys())
    parts = [align_probabilities(probabilities, tasks, control) for tasks in (labelled, unlabelled, tested)]
    audited = sorted(audit.only(Counter(task for task, _ in scored.labels)))
    as_unlabelled = np.concatenate([parts[1], align_probabilities(probabilities, audited, control)])
    by_task = np.concatenate(labels.scores(parts[0], as_unlabelled, strategy)).tolist()
    scored.scores = dict(zip([*labelled, *unlabelled, *audited], by_task, strict=True))
    predicted = predicted_labels(np.concatenate(parts), control)
    scored.predicted = dict(zip([*labelled, *unlabelled, *tested], predicted, strict=True))
    scored.own_labels = own_labels(scored, control) if any(pulled.machine_labels.values()) else scored.predicted
    _judge_model(scored)
    if (found := labels.ambiguity(parts[0])) is not None:
        scored.differing = differing_by_task(found[0], labelled)
        scored.confused = confused_by_name(found[1], control.classes)


def _judge_model(scored: Scored) -> None:
    """Fills in how often the model is right, without the machines: by the test set, and by the consensus."""
    own = scored.own
    assert own is not None
    out_of_sample = [task for task in scored.consensus if task in own.place and own.fold[own.place[task]] >= 0]
    scored.accuracy = accuracy(scored.held_out, scored.own_labels)
    scored.agreement = accuracy({task: scored.consensus[task] for task in out_of_sample}, scored.own_labels)


def own_labels(scored: Scored, control: Control) -> dict[int, str]:
    """{task: the label that the model alone predicts}."""
    assert scored.own is not None
    tasks = list(scored.predicted)
    return dict(zip(tasks, predicted_labels(align_probabilities(scored.own, tasks, control), control), strict=True))


def task_digests(pulled: ProjectSnapshot) -> dict[int, str]:
    """{task: the digest of its text}, without tasks that have no text."""
    return {task.id: task.digest for task in pulled.tasks.values() if task.digest is not None}


def fetch_probabilities(pulled: ProjectSnapshot, backend: Backend, reporter: Reporter) -> Probabilities | None:
    """Sends the backend the texts it lacks. Returns its probabilities, or None while it has no model.

    The media that it lacks are left out: `media.bring_media` brings them.
    """
    project, digests = pulled.model_key, task_digests(pulled)
    if pulled.control.kind != "text":
        backend.check()
        backend.missing_items(project, list(digests), list(digests.values()), pulled.control.kind)
        with reporter.stage("probabilities", "Fetching class probabilities"):
            return backend.probabilities(project)
    texts, more = pulled.texts, dict[str, Any]()
    if pulled.control.has_links:
        texts, sources = partial(_fetched_texts, pulled), pulled.sources
        more = {"sources": [sources[task] for task in digests]}
    with reporter.stage("texts", "Bringing new texts to the ML backend") as stage:
        backend.check()
        backend.put_items(project, list(digests), list(digests.values()), texts, stage.count, **more)
    with reporter.stage("probabilities", "Fetching class probabilities"):
        return backend.probabilities(project)


def _fetched_texts(pulled: ProjectSnapshot, tasks: Iterable[int]) -> dict[int, str]:
    """The texts of tasks, without those that are still to be fetched."""
    return {task: text for task, text in pulled.texts(tasks).items() if not links_in(text)}


def _labels_changed_enough(scored: Scored, control: Control, trained_on: int) -> bool:
    """Whether a training is due: there is no model, the config has changed, or enough of the labels have.

    `trained_on`: how many labels the model learnt from that still count, of texts that have not changed since.
    """
    model = scored.own
    if model is None or (set(model.classes), model.multilabel) != (set(control.classes), control.multiple):
        return True
    if model.fields != control.fields or model.control not in ("", control.name):
        return True  # it reads something else, or answers another question
    if not trained_on:
        return True  # since its training, all texts that it learnt from have changed, or other annotators count
    return scored.labels_changed >= max(RETRAIN_LABELS, RETRAIN_SHARE * trained_on)


def _machines_changed_enough(now: Mapping[str, int], before: Mapping[str, int]) -> bool:
    """Whether a machine is new or gone, or has so many more or fewer labels that a training is due."""
    if now.keys() != before.keys():
        return True
    return any(abs(now[name] - size) >= max(RETRAIN_LABELS, RETRAIN_SHARE * size) for name, size in before.items())


def _is_trainable(consensus: Mapping[int, str], digests: Mapping[int, str], kind: str, reporter: Reporter) -> bool:
    """Whether a model can learn from the labels. It needs two classes and two contents, of which one is held out."""
    if len(set(consensus.values())) < 2:
        return False
    if len({digests[task] for task in consensus}) < 2:
        reporter.say(f"All labelled tasks have the same {kind}, so there is nothing to train on yet. Label more.")
        return False
    return True


def _train(
    pulled: ProjectSnapshot,
    backend: Backend,
    state: Memory,
    reporter: Reporter,
    consensus: Mapping[int, str],
    *,
    weights: dict[int, float] | None,
    opinion: Opinion,
    classifier: str | None,
    forget: bool,
) -> None:
    """Trains the model on the consensus labels and on machines' labels, and remembers the former.

    `forget`: delete the model first.
    """
    project = pulled.model_key
    state.renew_lock()
    with reporter.stage("train", f"Training on {count(len(consensus), 'label')}") as stage:

        def progress(note: str, share: float) -> None:
            state.renew_lock(at_most_every=KEEP_SECONDS)
            stage.share(note, share)

        if forget:
            backend.forget_model(project)  # with the encoders that may have been fine-tuned on the test set
        labels = {**consensus, **opinion.labels}
        if opinion.weights:
            weights = {**(weights or dict.fromkeys(consensus, 1.0)), **opinion.weights}
        backend.train(
            project,
            pulled.control.classes,
            class_positions(labels, pulled.control),
            multilabel=pulled.control.multiple,
            weights=weights,
            pseudo=opinion.labels.keys(),
            classifier=classifier,
            control=pulled.control.name,
            fields=pulled.control.fields,
            progress=progress,
        )
    state.store_trained(dict(consensus))


def _weights(scored: Scored, consensus: ConsensusResult) -> dict[int, float] | None:
    """{task: how much its label counts in the training}. None: all count alike, as in the first training."""
    if consensus.weight is None:
        return None
    return dict(zip(scored.consensus, consensus.weight.tolist(), strict=True))


def choose(
    pulled: ProjectSnapshot,
    scored: Scored,
    backend: Backend,
    *,
    strategy: Strategy | None = None,
    window: int,
    max_annotations: int,
    min_annotations: int = 1,
    skip_ambiguous: bool = False,
    gold: float = 0.0,
    seed: int = 0,
    audit: Audit = NO_AUDIT,
    accepted: Collection[int] | None = None,
    seconds: Mapping[int, float] | None = None,
) -> list[Slot]:
    """The next window: by the scores, or without any, new tasks spread over the embedding space or at random.

    Args:
        pulled: the project as Label Studio has it now.
        scored: its labels and scores.
        backend: spreads the first tasks over the embedding space, and knows near-duplicates.
        strategy: None for the default strategy.
        window: how many tasks to choose, without the tail of new tasks.
        max_annotations: most labels per task.
        min_annotations: how many labels the team wants on every task. Tasks with fewer come first.
        skip_ambiguous: ask for no further opinion on tasks that more labels do not settle.
        gold: the share of the window that judges annotators (`connector.sync.gold`).
        seed: decides where no score does.
        audit: which share of the window is drawn at random, of all tasks.
        accepted: tasks with an accepted label of the model. If not None, people are asked for the other unlabelled
            tasks alone, and for tasks with fewer labels than the team wants.
        seconds: {task: the expected seconds of an answer}, of all tasks with a score. If given, tasks are chosen by
            what they are worth per second (`connector.sync.cost`).
    """
    strategy = strategy or find_strategy()
    counts = Counter(task for task, _ in scored.labels)
    active = active_annotators(row for task in pulled.tasks.values() for row in task.annotations)
    judging = _gold(pulled, scored, active, max_annotations, gold * window)
    new, labelled = eligible(
        {number: task for number, task in pulled.tasks.items() if number not in {*scored.held_out, *judging}},
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
            order = backend.spread(pulled.model_key, new, window, seed=seed) if new else []
        place = {task: rank for rank, task in enumerate(order)}
        scores = {task: place.get(task, len(order)) for task in new} | dict.fromkeys(labelled, 0.0)
    elif seconds and strategy.highest_score is not None:
        scores = _by_worth_per_second(scores, strategy.highest_score, seconds)
    if not scored.scores or not strategy.relabels or accepted is not None:
        again = [task for task in labelled if counts[task] < min_annotations]
    if skip_ambiguous:
        hopeless = scored.hopeless
        again = [task for task in again if task not in hopeless or counts[task] < min_annotations]
    candidates = [
        Candidate(task, scores[task], relabel=is_answered(pulled.tasks[task].annotations))
        for task in new
        if task not in (accepted or ())
    ]
    candidates += [
        Candidate(task, scores[task], relabel=True, unfinished=counts[task] < min_annotations) for task in again
    ]
    distinct = partial(backend.distinct, pulled.model_key) if strategy.distinct else None
    drawn = audit.draw([*new, *labelled], audit.answered(pulled.tasks), window)[: max(0, window - len(judging))]
    relabel = set(labelled) | {task for task in new if is_answered(pulled.tasks[task].annotations)}
    left = [candidate for candidate in candidates if candidate.task not in set(drawn)]
    size = window - len(drawn)
    chosen = with_gold(choose_window(left, size - len(judging), len(active), distinct), judging, size)
    return audit.among(chosen, [Slot(task, task in relabel, audit=True) for task in drawn], window)


def _by_worth_per_second(scores: Mapping[int, float], highest: float, seconds: Mapping[int, float]) -> dict[int, float]:
    """{task: what it is worth per second, negative, so that the lowest is worth most}."""
    expected = np.array([seconds[task] for task in scores], np.float64)
    worth = worth_per_second(np.array(list(scores.values()), np.float64), highest, expected)
    return dict(zip(scores, (-worth).tolist(), strict=True))


def _gold(pulled: ProjectSnapshot, scored: Scored, active: set[int], max_annotations: int, places: float) -> list[int]:
    """The gold tasks of the window, about `places` of them, and one at least if there is any share."""
    if not places:
        return []
    return gold_tasks(pulled, scored.quality, active, max_annotations)[: max(1, round(places))]
