"""Consensus, training when it pays, and scores for every task, with an ML backend played in memory."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.scoring_factory import CLASSES, Model, both_classes, labelled, probabilities, pulled

from connector.active_learning.activelab import scores
from connector.active_learning.audit import NO_AUDIT, Audit, Drawn
from connector.active_learning.consensus import TIE_WEIGHT
from connector.active_learning.labels import Labels
from connector.active_learning.strategies import STRATEGIES
from connector.active_learning.window import Slot
from connector.annotations.records import Task, digest
from connector.errors import TryAgainLater
from connector.progress import Reporter
from connector.state.project_state import ProjectState
from connector.state.snapshot import ProjectSnapshot
from connector.sync.audit import estimate_accuracy
from connector.sync.scoring import RETRAIN_LABELS, Scored, choose, score


@pytest.fixture
def model() -> Model:
    return Model()


def run(project: ProjectSnapshot, model: Model, state: ProjectState, train: str = "auto") -> Scored:
    return score(project, model, state, Reporter(), train=train)  # type: ignore[arg-type]


# -- what the backend is told ----------------------------------------------------------------------------------------


def test_every_task_with_a_text_is_an_item(model: Model, state: ProjectState) -> None:
    silent = Task(3, None, False, 1, "2026-03-01T10:00:00Z")
    run(pulled(labelled(1), labelled(2, "Polite"), silent), model, state)
    texts = ["Text 1", "Text 2"]
    assert model.items == [("7", [1, 2], [digest(text) for text in texts], texts)]
    assert model.checked == 1


def test_labels_of_tasks_without_a_text_are_left_out(model: Model, state: ProjectState) -> None:
    silent = Task(3, None, True, 1, "2026-03-01T10:00:00Z", labelled(3, "Impolite").annotations)
    result = run(pulled(labelled(1, "Polite"), silent), model, state)
    assert result.labels == {(1, 1): "Polite"}
    assert result.consensus == {1: "Polite"}


def test_the_model_is_trained_on_one_consensus_label_a_task(model: Model, state: ProjectState) -> None:
    tasks = [labelled(1, "Polite"), labelled(2, "Impolite", "Impolite", "Polite"), labelled(3, None), labelled(4)]
    result = run(pulled(*tasks), model, state)
    assert model.trainings == [("7", CLASSES, {1: 0, 2: 1})]
    assert (result.trained, result.model_version) == (True, "model-1")
    assert state.trained() == {1: "Polite", 2: "Impolite"}


# -- when it is trained ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("train", ["auto", "always", "never"])
@pytest.mark.parametrize(
    "tasks",
    [[], [labelled(1), labelled(2)], [labelled(1, "Polite"), labelled(2, "Polite")], [labelled(1, None)]],
    ids=["no tasks", "no labels", "one class", "only skips"],
)
def test_without_labels_of_two_classes_there_is_no_training_and_no_score(
    model: Model, state: ProjectState, train: str, tasks: list[Task]
) -> None:
    result = run(pulled(*tasks), model, state, train)
    assert (model.trainings, result.trained, result.scores, result.model_version) == ([], False, {}, None)


@pytest.mark.parametrize("train", ["auto", "always"])
def test_labels_on_one_text_alone_give_no_model_and_a_window_as_at_the_start(
    model: Model, state: ProjectState, train: str
) -> None:
    same = [labelled(number, CLASSES[number % 2])._replace(digest=digest("thanks")) for number in (1, 2, 3)]
    project = pulled(*same, labelled(4), labelled(5))
    result = run(project, model, state, train)
    assert (model.trainings, result.trained, result.scores, result.model_version) == ([], False, {}, None)
    assert result.consensus == {1: "Impolite", 2: "Polite", 3: "Impolite"}
    assert sorted(order("activelab", project, result)) == [4, 5]
    assert run(pulled(*same, labelled(4, "Polite")), model, state, train).trained


def test_never_means_never(model: Model, state: ProjectState) -> None:
    result = run(pulled(*both_classes(40)), model, state, "never")
    assert (model.trainings, result.scores) == ([], {})
    assert len(result.consensus) == 40


def test_never_still_scores_by_the_model_that_is_there(model: Model, state: ProjectState) -> None:
    tasks = both_classes(10)
    run(pulled(*tasks), model, state)
    result = run(pulled(*tasks, *both_classes(30, 11)), model, state, "never")
    assert (len(model.trainings), len(result.scores), result.model_version) == (1, 40, "model-1")


def test_always_trains_with_nothing_new(model: Model, state: ProjectState) -> None:
    for _ in range(2):
        assert run(pulled(*both_classes(10)), model, state, "always").trained
    assert len(model.trainings) == 2


@pytest.mark.parametrize(
    ("more", "trained"), [(0, False), (RETRAIN_LABELS - 1, False), (RETRAIN_LABELS, True), (RETRAIN_LABELS + 5, True)]
)
def test_auto_trains_again_when_enough_labels_are_new(
    model: Model, state: ProjectState, more: int, trained: bool
) -> None:
    assert run(pulled(*both_classes(20)), model, state).trained
    result = run(pulled(*both_classes(20 + more)), model, state)
    assert (result.labels_changed, result.trained) == (more, trained)


def test_a_model_whose_labels_are_all_gone_is_not_used(
    model: Model, state: ProjectState, caplog: pytest.LogCaptureFixture
) -> None:
    run(pulled(*both_classes(20)), model, state)
    tasks = [*(labelled(number) for number in range(1, 21)), labelled(30, "Polite"), labelled(31, "Polite")]
    for train in ("auto", "always", "never"):
        caplog.clear()
        with caplog.at_level("INFO", logger="connector"):
            result = run(pulled(*tasks), model, state, train)
        assert (result.trained, result.model_version, result.scores, result.predicted) == (False, None, {}, {})
        assert "All labels that the model was trained on are gone" in caplog.text
    assert run(pulled(*tasks[:-1], labelled(31, "Impolite")), model, state).trained
    assert run(pulled(labelled(1), labelled(30, "Polite")), model, state, "never").model_version is not None


def test_a_model_of_texts_that_have_all_changed_is_trained_anew(model: Model, state: ProjectState) -> None:
    tasks = both_classes(RETRAIN_LABELS - 2)
    assert run(pulled(*tasks), model, state).trained
    state.store_trained({task.id: "Polite" for task in tasks[1:]})  # one text has changed
    assert not run(pulled(*tasks), model, state).trained
    state.store_trained({})
    assert run(pulled(*tasks), model, state).trained


def test_a_model_that_read_other_fields_is_trained_anew(model: Model, state: ProjectState) -> None:
    project = pulled(*both_classes(20))
    assert run(project, model, state).trained
    other = replace(project, questions=project.questions.with_fields(["title", "text"]))
    assert run(other, model, state).trained


@pytest.mark.parametrize(("control", "trained"), [("", False), ("politeness", False), ("tone", True)])
def test_a_model_of_another_control_is_trained_anew(
    model: Model, state: ProjectState, control: str, trained: bool
) -> None:
    project = pulled(*both_classes(20))
    run(project, model, state)
    assert model.served is not None
    model.served = replace(model.served, control=control)
    assert run(project, model, state).trained is trained


@pytest.mark.parametrize(("more", "trained"), [(19, False), (20, True)])
def test_in_a_large_project_a_share_of_the_labels_has_to_be_new(
    model: Model, state: ProjectState, more: int, trained: bool
) -> None:
    run(pulled(*both_classes(1000)), model, state)
    assert run(pulled(*both_classes(1000 + more)), model, state).trained is trained


@pytest.mark.parametrize(("changed", "trained"), [(9, False), (10, True)])
def test_a_label_that_changed_counts_once(model: Model, state: ProjectState, changed: int, trained: bool) -> None:
    tasks = both_classes(60)
    run(pulled(*tasks), model, state)
    turned = [labelled(task.id, CLASSES[(task.id + 1) % 2]) for task in tasks[:changed]]
    result = run(pulled(*turned, *tasks[changed:]), model, state)
    assert (result.labels_changed, result.trained) == (changed, trained)


def test_labels_taken_back_count_too(model: Model, state: ProjectState) -> None:
    tasks = both_classes(40)
    run(pulled(*tasks), model, state)
    result = run(pulled(*(labelled(task.id) for task in tasks[:12]), *tasks[12:]), model, state)
    assert (result.labels_changed, result.trained) == (12, True)


def test_a_backend_that_lost_its_model_is_trained_at_once(model: Model, state: ProjectState) -> None:
    run(pulled(*both_classes(20)), model, state)
    model.served = None
    result = run(pulled(*both_classes(20)), model, state)
    assert (result.trained, result.labels_changed) == (True, 20)


def test_other_classes_in_the_config_train_at_once(model: Model, state: ProjectState) -> None:
    tasks = both_classes(20)
    run(pulled(*tasks), model, state)
    assert not run(pulled(*tasks, classes=("Impolite", "Polite")), model, state).trained
    assert run(pulled(*tasks, classes=(*CLASSES, "Neutral")), model, state).trained
    assert model.trainings[-1][1] == (*CLASSES, "Neutral")


def test_a_failed_training_is_tried_again_by_the_next_sync(model: Model, state: ProjectState) -> None:
    model.failure = TryAgainLater("The ML backend does not answer.")
    with pytest.raises(TryAgainLater):
        run(pulled(*both_classes(20)), model, state)
    assert state.trained() == {}
    model.failure = None
    assert run(pulled(*both_classes(20)), model, state).trained


def test_a_sync_that_lost_the_project_does_not_train(model: Model, state: ProjectState) -> None:
    state.put(lock_holder="elsewhere:1:abc")
    with pytest.raises(TryAgainLater, match="took this project over"):
        run(pulled(*both_classes(20)), model, state)
    assert model.trainings == []


# -- consensus -------------------------------------------------------------------------------------------------------


def test_before_there_is_a_model_the_majority_decides(model: Model, state: ProjectState) -> None:
    tasks = [labelled(1, "Polite", "Impolite", "Impolite"), labelled(2, "Polite")]
    assert run(pulled(*tasks), model, state, "never").consensus == {1: "Impolite", 2: "Polite"}


def test_once_there_are_probabilities_they_decide_a_split_vote(model: Model, state: ProjectState) -> None:
    alike = [labelled(number, *2 * [CLASSES[number % 2]]) for number in range(1, 21)]
    tasks = [*alike, labelled(50, "Polite", "Impolite")]
    probs = [[0.9, 0.1] if task.id % 2 == 0 else [0.1, 0.9] for task in tasks[:-1]]
    for favoured, sure in (("Polite", [0.95, 0.05]), ("Impolite", [0.05, 0.95])):
        model.served = probabilities([*probs, sure], [task.id for task in tasks])
        assert run(pulled(*tasks), model, state, "never").consensus[50] == favoured


# -- scores ----------------------------------------------------------------------------------------------------------


def test_every_task_with_a_text_has_a_score_and_the_models_class(model: Model, state: ProjectState) -> None:
    silent = Task(99, None, False, 1, "2026-03-01T10:00:00Z")
    result = run(pulled(*both_classes(12), labelled(20), labelled(21, None), silent), model, state)
    assert set(result.scores) == set(result.predicted) == {*range(1, 13), 20, 21}
    assert all(isinstance(value, float) and 0 <= value <= 1 for value in result.scores.values())
    assert (result.predicted[3], result.predicted[4]) == (CLASSES[1], CLASSES[0])


def test_scores_are_activelabs_on_the_tasks_own_rows(model: Model, state: ProjectState) -> None:
    tasks = [labelled(5, "Polite", "Polite"), labelled(3, "Impolite", "Polite"), labelled(9), labelled(8, "Impolite")]
    rows = {5: [0.9, 0.1], 3: [0.6, 0.4], 9: [0.3, 0.7], 8: [0.2, 0.8]}
    shuffled = [8, 5, 9, 3]
    model.served = probabilities([rows[task][::-1] for task in shuffled], shuffled, classes=("Impolite", "Polite"))
    result = run(pulled(*tasks), model, state, "never")
    labels = Labels(np.array([0, 0, 1, 1, 2]), np.array([0, 1, 0, 1, 0]), np.array([1, 0, 0, 0, 1]), 3, 2)
    expected, new = scores(labels, np.array([rows[3], rows[5], rows[8]]), np.array([rows[9]]))
    assert result.scores == pytest.approx({3: expected[0], 5: expected[1], 8: expected[2], 9: new[0]}, abs=1e-12)


def test_when_all_labels_are_taken_back_there_are_no_scores(model: Model, state: ProjectState) -> None:
    run(pulled(*both_classes(20)), model, state)
    result = run(pulled(*(labelled(number) for number in range(1, 21))), model, state)
    assert (result.scores, result.consensus, result.trained) == ({}, {}, False)
    assert result.labels_changed == 20


def test_when_every_task_is_labelled_all_have_scores(model: Model, state: ProjectState) -> None:
    assert len(run(pulled(*both_classes(12)), model, state).scores) == 12


def test_the_seconds_of_each_stage_are_kept(model: Model, state: ProjectState) -> None:
    reporter = Reporter()
    score(pulled(*both_classes(12)), model, state, reporter)  # type: ignore[arg-type]
    assert set(reporter.seconds) == {"texts", "probabilities", "train", "score"}


# -- the audit --------------------------------------------------------------------------------------------------------


def test_a_share_of_the_window_is_drawn_and_the_rest_chosen_as_without(model: Model, state: ProjectState) -> None:
    project = pulled(*both_classes(20), *(labelled(number) for number in range(21, 61)))
    result = run(project, model, state)

    def window(audit: Audit) -> list[Slot]:
        chosen = choose(project, result, model, window=20, max_annotations=5, audit=audit)  # type: ignore[arg-type]
        return chosen[:20]

    plain, audited = window(NO_AUDIT), window(Audit(0.25, "seed"))
    drawn = [slot for slot in audited if slot.audit]
    assert len(drawn) == 5
    assert [slot for slot in audited if not slot.audit] == [slot for slot in plain if slot not in drawn][:15]
    assert {slot.task: slot.relabel for slot in drawn} == {slot.task: slot.task <= 20 for slot in drawn}


def test_the_first_window_has_its_share_too(model: Model) -> None:
    project, audit = pulled(*(labelled(number) for number in range(1, 41))), Audit(0.25, "seed")
    slots = choose(
        project,
        Scored({}),
        model,  # type: ignore[arg-type]
        strategy=STRATEGIES["random"],
        window=20,
        max_annotations=5,
        audit=audit,
    )
    assert sum(slot.audit for slot in slots[:20]) == 5
    assert len({slot.task for slot in slots}) == len(slots)


def test_tasks_of_the_audit_alone_are_scored_as_unlabelled_ones(model: Model, state: ProjectState) -> None:
    project = pulled(*both_classes(20), labelled(30))
    result = run(project, model, state)
    audit = Audit(drawn={1: Drawn(0, 1), 2: Drawn(1, 1)})
    scored = score(project, model, state, Reporter(), train="never", audit=audit)  # type: ignore[arg-type]
    assert scored.scores[1] != result.scores[1]
    assert {task for task in scored.scores if scored.scores[task] != result.scores[task]} == {1}


def test_the_accuracy_is_estimated_where_there_is_an_audit_and_a_model(model: Model, state: ProjectState) -> None:
    project = pulled(*both_classes(40), *(labelled(number) for number in range(41, 61)))
    drawn = Audit(drawn={number: Drawn(0, 1) for number in range(1, 21)})
    result = run(project, model, state)
    found = estimate_accuracy(project, result, drawn)
    assert found is not None
    assert found.audited == 20
    assert 0 <= found.project.low < found.project.value < found.project.high <= 1
    assert estimate_accuracy(project, result, NO_AUDIT) is None
    assert estimate_accuracy(project, replace(result, probabilities=None), drawn) is None


# -- a test set of ground truth ---------------------------------------------------------------------------------------


def truth(number: int, label: str, *others: str) -> Task:
    """A task whose ground truth is `label`, and what others said."""
    task = labelled(number, label, *others)
    return task._replace(annotations=(task.annotations[0]._replace(ground_truth=True), *task.annotations[1:]))


def with_truth(project: ProjectSnapshot, model: Model, state: ProjectState) -> Scored:
    return score(project, model, state, Reporter(), ground_truth=True)  # type: ignore[arg-type]


def test_without_being_a_test_set_ground_truth_is_a_label_like_others(model: Model, state: ProjectState) -> None:
    result = run(pulled(*both_classes(20), truth(30, "Polite")), model, state)
    assert result.consensus[30] == "Polite"
    assert 30 in model.trainings[0][2]
    assert (result.held_out, result.accuracy) == ({}, None)


def test_tasks_with_a_ground_truth_are_held_out_whole(model: Model, state: ProjectState) -> None:
    project = pulled(*both_classes(20), truth(30, "Polite"), truth(31, "Polite", "Impolite"), labelled(32))
    result = with_truth(project, model, state)
    assert result.held_out == {30: "Polite", 31: "Polite"}
    assert {task for task, _ in result.labels} == set(result.consensus) == set(model.trainings[0][2])
    assert result.held_out.keys() & (result.consensus.keys() | result.scores.keys()) == set()
    assert result.held_out.keys() < result.predicted.keys()
    assert {30, 31} & set(order("activelab-weighted", project, result, model)) == set()
    assert 32 in order("activelab-weighted", project, result, model)


def test_before_there_is_a_model_they_are_not_asked_for_either(model: Model, state: ProjectState) -> None:
    skipped = truth(31, "Polite")._replace(is_labeled=False)
    project = pulled(labelled(30), skipped)
    result = with_truth(project, model, state)
    assert (result.held_out, result.accuracy) == ({31: "Polite"}, None)
    assert order("random", project, result) == [30]


def test_the_accuracy_is_the_share_of_ground_truths_that_the_model_says(model: Model, state: ProjectState) -> None:
    tasks = [*both_classes(20), truth(30, "Polite"), truth(31, "Impolite", "Polite"), truth(32, "Polite")]
    rows = [[0.6, 0.4]] * 20 + [[0.7, 0.3], [0.8, 0.2], [0.9, 0.1]]
    model.served = probabilities(rows, [task.id for task in tasks])
    result = score(pulled(*tasks), model, state, Reporter(), train="never", ground_truth=True)  # type: ignore[arg-type]
    assert result.accuracy == pytest.approx(2 / 3)


def test_a_model_that_was_trained_on_the_test_set_is_trained_again(model: Model, state: ProjectState) -> None:
    project = pulled(*both_classes(40), truth(50, "Polite"))
    run(project, model, state)
    result = with_truth(project, model, state)
    assert (result.trained, result.labels_changed) == (True, 1)
    assert 50 not in model.trainings[1][2]
    assert model.forgotten == ["7"]  # what was fine-tuned on the test set may not stay
    assert not with_truth(project, model, state).trained


@pytest.mark.parametrize("train", ["auto", "always", "never"])
def test_a_model_that_was_trained_on_the_test_set_is_not_used(
    model: Model, state: ProjectState, caplog: pytest.LogCaptureFixture, train: str
) -> None:
    """All labels of one class are of the test set, so no other model can be trained."""
    project = pulled(*(truth(number, CLASSES[number % 2]) for number in range(1, 21)), labelled(30, "Polite"))
    run(project, model, state)
    with caplog.at_level("INFO", logger="connector"):
        result = score(project, model, state, Reporter(), train=train, ground_truth=True)  # type: ignore[arg-type]
    assert (result.trained, result.model_version, result.accuracy) == (False, None, None)
    assert (result.scores, result.predicted, result.quality) == ({}, {}, {})
    assert (result.consensus, result.labels_changed) == ({30: "Polite"}, 20)
    assert "The model was trained on the test set, so it is not used until it is trained on" in caplog.text
    assert score(project, model, state, Reporter(), train="never").model_version == "model-1"  # type: ignore[arg-type]


@pytest.mark.parametrize(("others", "warned"), [(40, False), (39, True)])
def test_many_ground_truths_may_be_imported_labels(
    model: Model, state: ProjectState, caplog: pytest.LogCaptureFixture, others: int, warned: bool
) -> None:
    tasks = [*both_classes(others), *(truth(number, "Polite") for number in range(50, 60))]
    with caplog.at_level("INFO", logger="connector"):
        with_truth(pulled(*tasks), model, state)
    assert ("10 of 49 labelled tasks are marked as ground truth" in caplog.text) is warned


# -- strategies ------------------------------------------------------------------------------------------------------


def by(name: str, project: ProjectSnapshot, model: Model, state: ProjectState) -> Scored:
    return score(project, model, state, Reporter(), strategy=STRATEGIES[name])  # type: ignore[arg-type]


def order(name: str, project: ProjectSnapshot, scored: Scored, model: Model | None = None, **options: Any) -> list[int]:
    chosen = choose(
        project,
        scored,
        model,  # type: ignore[arg-type]
        strategy=STRATEGIES[name],
        **{"window": 100, "max_annotations": 5, **options},
    )
    return [slot.task for slot in chosen]


def test_a_tie_hardly_counts_in_the_first_training(model: Model, state: ProjectState) -> None:
    tasks = [labelled(1, "Polite", "Impolite"), *both_classes(20, start=2)]
    by("activelab-weighted", pulled(*tasks), model, state)
    assert model.weights is not None
    assert model.weights[1] == TIE_WEIGHT
    assert {model.weights[task.id] for task in tasks[1:]} == {1.0}


def test_the_first_labels_weigh_alike_and_later_ones_by_their_quality(model: Model, state: ProjectState) -> None:
    tasks = [labelled(1, "Polite", "Polite"), *both_classes(20, start=2)]
    by("activelab-weighted", pulled(*tasks), model, state)
    assert model.weights is None
    tasks += [labelled(30, "Polite", "Impolite", "Impolite"), *both_classes(12, start=31)]
    found = by("activelab-weighted", pulled(*tasks), model, state)
    assert model.weights is not None
    assert set(model.weights) == {task.id for task in tasks}
    of_class = {
        label: [model.weights[task.id] for task in tasks if found.consensus[task.id] == label] for label in CLASSES
    }
    assert [np.mean(weights) for weights in of_class.values()] == pytest.approx([1, 1])
    assert model.weights[1] > model.weights[2] > model.weights[31] > 0  # two agree with the model, one does, it is even


@pytest.mark.parametrize(
    ("name", "consensus"), [("activelab", "Polite"), ("activelab-weighted", "Impolite"), ("random", "Impolite")]
)
def test_only_crowdlab_as_it_is_overrules_all_annotators(
    name: str, consensus: str, model: Model, state: ProjectState
) -> None:
    tasks = [labelled(number, "Polite", "Polite") for number in range(1, 30, 2)]
    tasks += [labelled(number, "Impolite", "Impolite") for number in range(2, 31, 2)]
    probs = [[0.99, 0.01] if task.id % 2 else [0.01, 0.99] for task in tasks]
    alone = labelled(99, "Impolite")
    model.served = probabilities([*probs, [0.999, 0.001]], [*(task.id for task in tasks), 99])
    # Annotators who contradict each other elsewhere weigh less than the model.
    others = [labelled(number, "Polite", "Impolite") for number in range(40, 60)]
    model.served = probabilities(
        [*probs, [0.999, 0.001], *[[0.9, 0.1]] * 20], [*(task.id for task in tasks), 99, *(task.id for task in others)]
    )
    found = score(
        pulled(*tasks, alone, *others),
        model,  # type: ignore[arg-type]
        state,
        Reporter(),
        train="never",
        strategy=STRATEGIES[name],
    )
    assert found.consensus[99] == consensus


def test_the_classifier_that_is_asked_for_is_trained(model: Model, state: ProjectState) -> None:
    project = pulled(*both_classes(12))
    score(project, model, state, Reporter(), classifier="logistic")  # type: ignore[arg-type]
    assert model.classifier == "logistic"


@pytest.mark.parametrize("name", [name for name, strategy in STRATEGIES.items() if not strategy.relabels])
def test_some_strategies_ask_for_new_tasks_alone(name: str) -> None:
    project = pulled(labelled(1, "Polite"), labelled(2), labelled(3), labelled(4, "Polite", "Polite"))
    labels = {(1, 1): "Polite", (4, 1): "Polite", (4, 2): "Polite"}
    scored = Scored(labels, scores={1: 0.1, 2: 0.3, 3: 0.2, 4: 0.0})
    assert order(name, project, scored) == [3, 2]
    assert order(name, project, scored, min_annotations=2) == [1, 3, 2]  # the team wants two on every task
    assert order("activelab", project, scored) == [1, 3, 2]  # both people have seen the fourth


def test_before_there_are_scores_new_tasks_come_spread_or_at_random() -> None:
    project = pulled(*(labelled(number) for number in range(1, 41)))

    class Spread(Model):
        def spread(self, name: str, ids: Sequence[int], count: int, *, seed: int) -> list[int]:
            assert (name, count, seed) == ("7", 30, 3)
            return [ids[5], ids[2]]

    assert order("activelab-weighted", project, Scored({}), Spread(), window=30, seed=3)[:3] == [6, 3, 1]
    drawn = [order("activelab", project, Scored({}), window=30, seed=seed) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(set(drawn[0])) == 30


def test_near_duplicates_wait_with_the_default_alone(model: Model) -> None:
    project = pulled(*(labelled(number) for number in range(1, 5)))
    scored = Scored({}, scores={1: 0.1, 2: 0.2, 3: 0.3, 4: 0.4})
    model.copies = {1, 3}
    assert order("activelab-weighted", project, scored, model) == [2, 4, 1, 3]
    for name in STRATEGIES.keys() - {"activelab-weighted"}:
        assert order(name, project, scored, model) == [1, 2, 3, 4]


# -- what people honestly differ on ----------------------------------------------------------------------------------


def disputed_project(clear: int = 24, disputed: int = 12) -> ProjectSnapshot:
    """Tasks that four people agree on, then some on which they differ by half, each time in another way."""
    tasks = [labelled(number, *[CLASSES[number % 2]] * 4) for number in range(1, clear + 1)]
    for number in range(clear + 1, clear + disputed + 1):
        tasks.append(labelled(number, *(CLASSES[(annotator + number) % 4 < 2] for annotator in range(4))))
    # A fifth annotator is active, or nobody would be left to ask.
    return pulled(*tasks, labelled(clear + disputed + 1, None, None, None, None, "Polite"), labelled(99))


def test_tasks_that_people_honestly_differ_on_are_known_with_soft_labels(model: Model, state: ProjectState) -> None:
    project = disputed_project()
    result = run(project, model, state)
    assert set(result.ambiguous) == set(range(25, 37)) == result.hopeless
    assert min(result.ambiguous.values()) > 0.9
    assert result.differing.keys() == result.consensus.keys()
    assert result.differing[25].soft == pytest.approx([0.5, 0.5], abs=0.02)
    assert result.differing[1].soft[1] > 0.95
    assert (result.differing[25].settles, result.differing[1].ambiguous) == (0, False)
    (pair,) = result.confused
    assert pair.classes == CLASSES
    assert 5 <= pair.tasks <= 12 < pair.of <= 36


def test_nothing_is_known_of_it_without_a_model(model: Model, state: ProjectState) -> None:
    result = run(disputed_project(), model, state, train="never")
    assert (result.differing, result.ambiguous, result.hopeless, result.confused) == ({}, {}, set(), [])


@pytest.mark.parametrize("minimum", [1, 5])
def test_further_opinions_on_them_are_skipped_if_a_team_asks_for_that(
    model: Model, state: ProjectState, minimum: int
) -> None:
    project = disputed_project()
    result = run(project, model, state)

    def window(**options: Any) -> set[int]:
        chosen = choose(
            project,
            result,
            model,  # type: ignore[arg-type]
            window=50,
            max_annotations=6,
            min_annotations=minimum,
            **options,
        )
        return {slot.task for slot in chosen}

    disputed = set(range(25, 37))
    assert disputed < window()
    kept = disputed if minimum == 5 else set()
    assert window(skip_ambiguous=True) == window() - disputed | kept, "but not labels that the team wants on every task"
