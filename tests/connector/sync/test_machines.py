"""Machines' labels have a say in probabilities and trainings, and are nowhere counted as people's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.scoring_factory import CLASSES, Model, labelled, probabilities, pulled

from connector.annotations.controls.choices import Choices
from connector.annotations.questions import Questions
from connector.annotations.records import Annotation, Task, digest
from connector.progress import Reporter
from connector.state.project_state import ProjectState
from connector.state.rows import MachineLabel
from connector.state.snapshot import ProjectSnapshot
from connector.sync.label_matrix import align_probabilities
from connector.sync.machine_summary import MachineSummary, machines_of
from connector.sync.machines import MOST_TOGETHER
from connector.sync.people import people_of
from connector.sync.review import review
from connector.sync.scoring import Scored, choose, score

PEOPLE, REST = 40, 60
TRUTH = {task: CLASSES[task % 2] for task in range(1, PEOPLE + REST + 1)}


@pytest.fixture
def model() -> Model:
    return Model()


def project(machines: Mapping[str, Mapping[int, str]], people: int = PEOPLE) -> ProjectSnapshot:
    """A hundred tasks. Two people have labelled the first ones, all of them rightly."""
    tasks = [labelled(task, TRUTH[task], TRUTH[task]) if task <= people else labelled(task) for task in TRUTH]
    labels = {
        name: {task: MachineLabel(label, None, "") for task, label in said.items()} for name, said in machines.items()
    }
    return replace(pulled(*tasks), read_machine_labels=lambda: labels)


def wrong(task: int) -> str:
    return CLASSES[1 - task % 2]


def good() -> dict[int, str]:
    """Right but for every tenth task."""
    return {task: wrong(task) if task % 10 == 0 else label for task, label in TRUTH.items()}


def run(found: ProjectSnapshot, model: Model, state: ProjectState, train: str = "auto") -> Scored:
    return score(found, model, state, Reporter(), train=train)  # type: ignore[arg-type]


def test_the_machines_opinion_stands_where_the_model_has_none(model: Model, state: ProjectState) -> None:
    found = project({"gpt": good()})
    model.served = probabilities(np.full((len(TRUTH), 2), 0.5), list(TRUTH))
    state.store_trained({task: TRUTH[task] for task in range(1, PEOPLE + 1)})
    scored = run(found, model, state, train="never")
    assert scored.opinion.pools[0].weight[0] > 0.5
    assert {task: scored.predicted[task] for task in TRUTH if task > PEOPLE} == {
        task: label for task, label in good().items() if task > PEOPLE
    }
    assert scored.probabilities is not None
    assert set(scored.probabilities.ids.tolist()) == set(TRUTH)


def test_machines_are_no_people(model: Model, state: ProjectState) -> None:
    """Labels, consensus and what the model was trained on are people's."""
    scored = run(project({"gpt": good()}), model, state)
    assert {annotator for _, annotator in scored.labels} == {1, 2}
    assert set(scored.consensus) == set(range(1, PEOPLE + 1))
    assert set(state.trained()) == set(scored.consensus)
    assert scored.labels_changed == PEOPLE


def test_a_model_is_trained_on_machines_labels_which_count_no_more_than_peoples(
    model: Model, state: ProjectState
) -> None:
    scored = run(project({"gpt": TRUTH}, people=20), model, state)
    _, _, labels = model.trainings[-1]
    assert set(labels) == set(TRUTH)
    assert all(CLASSES[labels[task]] == label for task, label in TRUTH.items())
    weights = model.weights or {}
    assert sum(weights[task] for task in TRUTH if task > 20) <= MOST_TOGETHER * 20 + 1e-9
    assert sum(weights[task] for task in scored.consensus) == pytest.approx(20)


def test_labels_of_which_the_machines_are_not_sure_are_not_learnt_from(model: Model, state: ProjectState) -> None:
    said = {task: wrong(task) if task % 5 in (1, 3) else label for task, label in TRUTH.items()}
    scored = run(project({"gpt": said}), model, state)
    assert set(model.trainings[-1][2]) == set(scored.consensus)


@pytest.mark.parametrize("said", ["chance", "same", "wrong"])
def test_a_bad_machine_leaves_everything_as_it_is(model: Model, state: ProjectState, said: str) -> None:
    rng = np.random.default_rng(0)
    bad = {
        "chance": {task: CLASSES[int(rng.integers(2))] for task in TRUTH},
        "same": dict.fromkeys(TRUTH, CLASSES[0]),
        "wrong": {task: wrong(task) for task in TRUTH},
    }[said]
    scored = run(project({"bad": bad}), model, state)
    assert scored.opinion.pools[0].weight.tolist() == [0.0]
    assert set(model.trainings[-1][2]) == set(range(1, PEOPLE + 1))
    without = run(project({}), Model(), state, train="always")
    assert scored.scores == without.scores
    assert scored.predicted == without.predicted


def test_new_labels_of_a_machine_make_a_training_due(model: Model, state: ProjectState) -> None:
    said = good()
    some = {task: label for task, label in said.items() if task <= 80}
    assert run(project({"gpt": some}), model, state).trained
    assert not run(project({"gpt": some}), model, state).trained
    few_more = {task: label for task, label in said.items() if task <= 89}
    assert not run(project({"gpt": few_more}), model, state).trained
    assert run(project({"gpt": said}), model, state).trained
    assert run(project({}), model, state).trained  # it is gone
    assert not run(project({}), model, state).trained
    assert not run(project({"empty": {}}), model, state).trained
    assert run(project({"other": said}), model, state).trained


def test_the_models_own_agreement_is_told_without_the_machines(model: Model, state: ProjectState) -> None:
    """The served model is wrong everywhere, the machine right."""
    probs = [[0.3, 0.7] if TRUTH[task] == CLASSES[0] else [0.7, 0.3] for task in TRUTH]
    served = probabilities(probs, list(TRUTH))
    fold = np.zeros(len(TRUTH), np.int8)
    model.served = replace(served, fold=fold)
    state.store_trained({task: TRUTH[task] for task in range(1, PEOPLE + 1)})
    scored = run(project({"gpt": dict(TRUTH)}), model, state, train="never")
    assert scored.agreement == 0.0
    assert all(scored.predicted[task] == TRUTH[task] for task in TRUTH)


def test_a_good_machine_makes_asking_on_its_tasks_worth_less(model: Model, state: ProjectState) -> None:
    half = {task: label for task, label in TRUTH.items() if task <= PEOPLE or task % 4 < 2}
    found = project({"gpt": half})
    scored = run(found, model, state)
    with_label = [scored.scores[task] for task in TRUTH if task > PEOPLE and task in half]
    without = [scored.scores[task] for task in TRUTH if task > PEOPLE and task not in half]
    assert min(with_label) > max(without)
    window = choose(found, scored, model, window=20, max_annotations=5)  # type: ignore[arg-type]
    asked = [slot.task for slot in window[:20] if not slot.relabel]
    assert asked
    assert not set(asked) & set(half)


def test_the_test_set_is_not_trained_on_by_the_machines_labels(model: Model, state: ProjectState) -> None:
    found = project({"gpt": TRUTH})
    truth = {
        task: one._replace(annotations=(one.annotations[0]._replace(ground_truth=True), one.annotations[1]))
        for task, one in found.tasks.items()
        if task <= 10
    }
    found = replace(found, tasks={**found.tasks, **truth})
    scored = score(found, model, state, Reporter(), ground_truth=True)  # type: ignore[arg-type]
    assert set(scored.held_out) == set(range(1, 11))
    assert not set(model.trainings[-1][2]) & set(scored.held_out)
    assert set(model.trainings[-1][2]) == set(TRUTH) - set(scored.held_out)


def test_a_review_pools_as_a_round_does(model: Model, state: ProjectState) -> None:
    found = project({"gpt": good()})
    scored = run(found, model, state)
    reviewed = review(found, model, Reporter())  # type: ignore[arg-type]
    assert scored.probabilities is not None
    after = align_probabilities(scored.probabilities, sorted(TRUTH), found.control)
    assert np.allclose([reviewed.pred_probs[task] for task in sorted(TRUTH)], after)
    assert reviewed.scored.predicted == scored.predicted


def test_machines_of_several_questions_answer_each(state: ProjectState) -> None:
    questions = Questions(
        (
            Choices("tone", "text", "text", CLASSES, {name: name for name in CLASSES}),
            Choices("topic", "text", "text", ("a", "b"), {"a": "a", "b": "b"}),
        ),
        order=("tone", "topic"),
    )
    joint = {task: questions.joint({"tone": label, "topic": "a"}) for task, label in TRUTH.items()}
    only_tone = {task: questions.joint({"tone": label}) for task, label in TRUTH.items() if task > 50}
    at = "2026-03-01T10:00:00.000000Z"
    tasks = {
        task: Task(
            task,
            digest(f"Text {task}"),
            False,
            1,
            at,
            (Annotation(task, task, 1, joint[task], False, False, at),) if task <= PEOPLE else (),
        )
        for task in TRUTH
    }
    labels = {"gpt": {task: MachineLabel(label, None, "") for task, label in {**joint, **only_tone}.items()}}
    found = ProjectSnapshot(
        {"id": 7, "skip_queue": "REQUEUE_FOR_OTHERS"},
        questions,
        tasks,
        {},
        True,
        lambda ids: {task: f"Text {task}" for task in ids},
        read_machine_labels=lambda: labels,
    )
    tone, topic = found.by_question()
    assert {task: one.label for task, one in tone.machine_labels["gpt"].items()} == TRUTH
    assert {task: one.label for task, one in topic.machine_labels["gpt"].items()} == dict.fromkeys(range(1, 51), "a")


TOPICS = Choices(
    "topics",
    "text",
    "text",
    ("rain", "price", "noise"),
    {name: name for name in ("rain", "price", "noise")},
    multiple=True,
    none_counts=True,
)


class SetModel(Model):
    """Knows nothing: each class applies with an even chance."""

    def train(self, project: str, classes: Any, labels: Any, **how: Any) -> str:
        self.weights = how.get("weights")
        self.trainings.append((project, tuple(classes), dict(labels)))
        ids = self.items[-1][1]
        served = probabilities(np.full((len(ids), len(classes)), 0.4), ids, tuple(classes))
        self.served = replace(served, multilabel=True)
        return "v1"


def test_of_multiple_choice_each_class_is_weighed_for_itself(state: ProjectState) -> None:
    """The machine knows rain and noise, and answers by chance whether a text is about the price."""
    rng = np.random.default_rng(0)
    sets = {task: tuple(np.array(TOPICS.classes)[rng.random(3) < 0.5]) for task in range(1, 121)}
    said = {}
    for task, names in sets.items():
        price = ("price",) if rng.random() < 0.5 else ()
        said[task] = MachineLabel(TOPICS.label_of([*(set(names) - {"price"}), *price]), None, "")
    at = "2026-03-01T10:00:00.000000Z"
    tasks = {
        task: Task(
            task,
            digest(f"Text {task}"),
            False,
            1,
            at,
            tuple(
                Annotation(2 * task + person, task, person, TOPICS.label_of(names), False, False, at)
                for person in (1, 2)
                if task <= 80
            ),
        )
        for task, names in sets.items()
    }
    found = ProjectSnapshot(
        {"id": 7, "skip_queue": "REQUEUE_FOR_OTHERS"},
        Questions((TOPICS,)),
        tasks,
        {},
        True,
        lambda ids: {task: f"Text {task}" for task in ids},
        read_machine_labels=lambda: {"gpt": said},
    )
    model = SetModel()
    scored = run(found, model, state)
    rain, price, noise = (float(pool.weight[0]) for pool in scored.opinion.pools)
    assert min(rain, noise) > 0.5
    assert price < 0.2
    for task, names in sets.items():
        if task > 80:
            assert set(TOPICS.classes_of(scored.predicted[task])) - {"price"} == set(names) - {"price"}
    assert len(model.trainings[-1][2]) > 100  # all but those of which it is not sure
    (summary,) = machines_of(found, scored, [])
    assert (summary.labels, summary.shared) == (120, 80)
    assert summary.by_class["rain"] is not None
    assert summary.by_class["rain"].low > 0.9
    assert summary.by_class["price"] is not None
    assert summary.by_class["price"].high < 0.7


def test_what_is_said_of_a_machine(model: Model, state: ProjectState) -> None:
    """Against people who are always right, and two ground truths."""
    found = project({"good": good(), "same": dict.fromkeys(TRUTH, CLASSES[0]), "elsewhere": {90: CLASSES[0]}})
    truth = {
        task: one._replace(annotations=(one.annotations[0]._replace(ground_truth=True), one.annotations[1]))
        for task, one in found.tasks.items()
        if task in (9, 10)
    }
    found = replace(found, tasks={**found.tasks, **truth})
    scored = run(found, model, state)
    first, second, third = machines_of(found, scored, people_of(found, scored))
    assert first.accuracy is not None
    assert first.accuracy.low < 0.9 < first.accuracy.high
    assert (first.on_truth, first.right_on_truth) == (2, 1)
    assert (second.machine, second.weight, second.worse) == ("same", 0.0, [CLASSES[1]])
    assert second.verdict == "it counts for nothing now: it adds nothing to what the model knows"
    assert second.words(repr) == f"Less good on 'Impolite'. I{second.verdict[1:]}."
    assert (third.shared, third.accuracy) == (0, None)
    assert third.verdict == "it counts once people have labelled some of its tasks"
    assert MachineSummary.from_json(json.loads(json.dumps(first.to_json()))) == first
