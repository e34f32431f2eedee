"""Multiple choice between the answers that people give and what comes of them, without servers."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
from support.record_factory import project_record

from connector.active_learning import activelab, multilabel
from connector.active_learning.consensus import by_crowdlab_among_given
from connector.active_learning.multilabel import ClassSets
from connector.active_learning.strategies import SCORERS, find_strategy
from connector.annotations.controls.choices import Choices
from connector.annotations.label_config import Control
from connector.annotations.questions import Questions
from connector.annotations.records import (
    Annotation,
    Task,
    digest,
    latest_labels,
    read_annotation,
)
from connector.backend import Backend, Probabilities
from connector.diagnostics import content_checks, server_checks
from connector.progress import Reporter
from connector.reporting.formats import write
from connector.reporting.rows import Extras, columns, label_studio_task, task_rows
from connector.state.project_state import ProjectState
from connector.state.snapshot import ProjectSnapshot
from connector.sync.label_matrix import UNKNOWN_CLASS, align_probabilities, predicted_labels
from connector.sync.review import review
from connector.sync.scoring import Scored, score

CLASSES = ("rain", "price", "noise")
CONTROL = Choices(
    name="topics",
    to_name="text",
    data_key="text",
    classes=CLASSES,
    spellings={"rain": "rain", "Weather": "rain", "price": "price", "noise": "noise"},
    multiple=True,
    none_counts=True,
)
SINGLE = replace(CONTROL, multiple=False, none_counts=False)
REQUIRED = replace(CONTROL, none_counts=False)
AT = "2026-03-01T10:00:00.000000Z"


def label(*names: str) -> str:
    return CONTROL.label_of(names)


def region(*choices: Any, **changes: Any) -> dict[str, Any]:
    return {"from_name": "topics", "to_name": "text", "type": "choices", "value": {"choices": list(choices)}, **changes}


def raw(*regions: dict[str, Any], number: int = 1, annotator: int = 5, **changes: Any) -> dict[str, Any]:
    return {
        "id": number,
        "completed_by": annotator,
        "result": list(regions),
        "was_cancelled": False,
        "ground_truth": False,
        "created_at": AT,
        "updated_at": AT,
        "lead_time": 1.5,
        **changes,
    }


def read(*regions: dict[str, Any], control: Control = CONTROL, **changes: Any) -> tuple[str | None, bool]:
    made = read_annotation(raw(*regions, **changes), 7, control)
    return made.label, made.unknown


# -- answers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (["rain"], ["rain"]),
        (["noise", "rain"], ["rain", "noise"]),
        (["noise", "Weather", "price"], ["rain", "price", "noise"]),
        (["rain", "Weather", "rain"], ["rain"]),
        ([], []),
    ],
)
def test_an_answer_is_a_set_in_the_configs_order(chosen: list[str], expected: list[str]) -> None:
    made, unknown = read(region(*chosen))
    assert made is not None
    assert CONTROL.classes_of(made) == expected
    assert not unknown


def test_an_empty_form_says_none_unless_a_choice_was_required() -> None:
    beside = {"from_name": "stars", "to_name": "text", "type": "rating", "value": {"rating": 3}}
    for regions in ([], [beside], [region()]):
        assert read(*regions) == ("[]", False)
        assert read(*regions, control=REQUIRED) == (None, False)
        assert read(*regions, control=SINGLE) == (None, False)


def test_a_skip_says_nothing_even_with_choices() -> None:
    assert read(was_cancelled=True) == (None, False)
    assert read(region("rain"), was_cancelled=True) == (None, False)


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [(["rain", "gone"], label("rain")), (["gone"], None), (["gone", "lost"], None)],
    ids=["the rest stands", "nothing is left", "nothing is left of two"],
)
def test_a_choice_that_the_config_no_longer_has_is_left_out_and_counted(
    chosen: list[str], expected: str | None
) -> None:
    assert read(region(*chosen)) == (expected, True)


def test_regions_of_other_controls_are_passed_over() -> None:
    assert read(region("price"), region("noise", from_name="other")) == (label("price"), False)
    assert read(region("noise", from_name="other")) == ("[]", False)


@pytest.mark.parametrize(
    "broken",
    [region(type="labels"), region("rain", 5)],
    ids=["labels", "a number"],
)
def test_what_cannot_be_read_as_choices_does_not_say_none(broken: dict[str, Any]) -> None:
    assert read(broken) == (None, False)
    assert read(broken, region("price")) == (label("price"), False)


def test_none_of_the_classes_is_a_label_that_may_change() -> None:
    first = read_annotation(raw(region("rain")), 7, CONTROL)
    later = read_annotation(raw(number=2, updated_at="2026-03-02T10:00:00.000000Z"), 7, CONTROL)
    skip = read_annotation(raw(number=3, was_cancelled=True, updated_at="2026-03-03T10:00:00.000000Z"), 7, CONTROL)
    assert latest_labels([first, later, skip]) == {(7, 5): "[]"}


@pytest.mark.parametrize("names", [[], ["price"], ["rain", "noise"]])
def test_a_prelabel_reads_back_as_its_set(names: list[str]) -> None:
    result = CONTROL.result(label(*names))
    assert read(*result) == (label(*names), False)
    assert CONTROL.answer(result) == names
    assert len(result) == bool(names), "the form sends no region where nothing is chosen"


# -- the model's probabilities -----------------------------------------------------------------------------------------


def probabilities(
    probs: Any, ids: Sequence[int], classes: tuple[str, ...] = CLASSES, fold: int = 0, multilabel: bool = True
) -> Probabilities:
    numbers = np.asarray(ids, np.int64)
    folds = np.full(len(numbers), fold, np.int8)
    return Probabilities("v1", classes, numbers, np.asarray(probs, np.float64), folds, multilabel)


def test_rows_are_of_each_class_by_itself() -> None:
    got = align_probabilities(probabilities([[0.9, 0.8, 0.1], [0.2, 0.3, 0.4]], [4, 2], CLASSES[::-1]), [2, 4], CONTROL)
    np.testing.assert_allclose(got, [[0.4, 0.3, 0.2], [0.1, 0.8, 0.9]])


def test_what_the_model_does_not_know_is_undecided_or_improbable_and_not_predicted() -> None:
    got = align_probabilities(probabilities([[0.9, 1.0]], [4], CLASSES[:2]), [4, 5], CONTROL)
    assert got[0, 2] == UNKNOWN_CLASS
    assert got[0, 1] < 1
    np.testing.assert_allclose(got[1], 0.5)
    assert predicted_labels(got, CONTROL) == [label("rain", "price"), "[]"]


# -- scoring -----------------------------------------------------------------------------------------------------------


class Model:
    """Plays the ML backend: it is sure to 0.8 of what it was trained on, and undecided where it has seen nothing."""

    def __init__(self) -> None:
        self.served: Probabilities | None = None
        self.ids: list[int] = []
        self.trainings: list[tuple[dict[int, Any], bool]] = []

    def check(self) -> None:
        pass

    def put_items(self, project: str, ids: Sequence[int], *others: Any) -> None:
        self.ids = list(ids)

    def probabilities(self, project: str) -> Probabilities | None:
        return self.served

    def train(
        self,
        project: str,
        classes: Sequence[str],
        labels: dict[int, Any],
        *,
        multilabel: bool,
        weights: Any,
        classifier: str | None,
        progress: Any,
        **_: Any,
    ) -> None:
        assert (
            weights is None or not multilabel
        )  # also where tasks have several answers: see connector.active_learning.multilabel
        self.trainings.append((labels, multilabel))
        probs = np.full((len(self.ids), len(classes)), 0.45 if multilabel else 1 / len(classes))
        for row, task in enumerate(self.ids):
            if task in labels:
                probs[row] = 0.2 if multilabel else 0.2 / (len(classes) - 1)
                probs[row, labels[task]] = 0.8
        self.served = probabilities(probs, self.ids, tuple(classes), multilabel=multilabel)


def labelled(number: int, *sets: Sequence[str] | None, control: Control = CONTROL) -> Task:
    """A task with a set (None: a skip) of annotator 1, of annotator 2, and so on."""
    annotations = tuple(
        Annotation(
            number * 10 + who, number, who, None if one is None else control.label_of(one), one is None, False, AT
        )
        for who, one in enumerate(sets, start=1)
    )
    return Task(number, digest(f"Text {number}"), bool(annotations), 1, AT, annotations)


def pulled(*tasks: Task, control: Control = CONTROL) -> ProjectSnapshot:
    found = {task.id: task for task in tasks}
    texts = {task: f"Text {task}" for task in found}
    return ProjectSnapshot(
        {"id": 7}, Questions((control,)), found, {}, changed=True, texts=lambda ids: {task: texts[task] for task in ids}
    )


SETS = [["rain"], ["rain", "noise"], [], ["price"]]


def a_team(count: int = 40) -> list[Task]:
    """Tasks with the sets in turn, every third of which a second person has answered alike, and two without labels."""
    known = [labelled(n, *[SETS[n % 4]] * (1 + (n % 3 == 0))) for n in range(1, count + 1)]
    return [*known, labelled(count + 1), labelled(count + 2, None)]


@pytest.fixture
def model() -> Model:
    return Model()


def run(
    project: ProjectSnapshot, model: Model, state: ProjectState, train: str = "auto", scorer: str = "activelab"
) -> Scored:
    strategy = find_strategy(scorer=scorer)
    return score(project, model, state, Reporter(), train=train, strategy=strategy)  # type: ignore[arg-type]


@pytest.mark.parametrize("scorer", SCORERS)
def test_sets_are_trained_on_scored_and_predicted(model: Model, state: ProjectState, scorer: str) -> None:
    result = run(pulled(*a_team()), model, state, scorer=scorer)
    assert model.trainings == [({n: [CLASSES.index(name) for name in SETS[n % 4]] for n in range(1, 41)}, True)]
    assert result.consensus == {n: label(*SETS[n % 4]) for n in range(1, 41)}
    assert {n: result.predicted[n] for n in range(1, 41)} == result.consensus
    assert result.predicted[41] == "[]"
    assert result.agreement == 1.0
    assert set(result.scores) == set(range(1, 43))
    assert state.trained() == result.consensus


def test_scores_are_those_of_the_sets(model: Model, state: ProjectState) -> None:
    tasks = [labelled(5, ["rain"], ["rain", "price"]), labelled(3, [], ["noise"]), labelled(9), labelled(8, ["price"])]
    by_task = {5: [0.9, 0.4, 0.1], 3: [0.2, 0.1, 0.6], 9: [0.3, 0.7, 0.5], 8: [0.2, 0.8, 0.3]}
    model.served = probabilities([by_task[task] for task in (8, 5, 9, 3)], [8, 5, 9, 3])
    result = run(pulled(*tasks), model, state, "never")
    chosen = np.array([[0, 0, 0], [0, 0, 1], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.bool_)
    sets = ClassSets(np.array([0, 0, 1, 1, 2]), np.array([0, 1, 0, 1, 0]), chosen, 3)
    probs = np.array([by_task[3], by_task[5], by_task[8]])
    expected, new = multilabel.scores(sets, probs, np.array([by_task[9]]), activelab.scores)
    assert result.scores == pytest.approx({3: expected[0], 5: expected[1], 8: expected[2], 9: new[0]}, abs=1e-12)
    consensus = multilabel.consensus(sets, probs, by_crowdlab_among_given)
    reviewed = review(pulled(*tasks), model, Reporter())  # type: ignore[arg-type]
    assert reviewed.scored.consensus == result.consensus
    assert reviewed.quality == pytest.approx(dict(zip((3, 5, 8), consensus.probability, strict=True)), abs=1e-12)


def test_before_there_is_a_model_each_class_goes_by_majority(model: Model, state: ProjectState) -> None:
    tasks = [labelled(1, ["rain", "price"], ["rain"], ["rain", "noise"]), labelled(2, [])]
    assert run(pulled(*tasks), model, state, "never").consensus == {1: label("rain"), 2: "[]"}


@pytest.mark.parametrize(
    ("tasks", "trained"),
    [
        ([labelled(1, ["rain"]), labelled(2, ["rain"])], False),
        ([labelled(1, []), labelled(2, [])], False),
        ([labelled(1, []), labelled(2, ["rain"])], True),
        ([labelled(1, ["rain"]), labelled(2, ["rain", "price"])], True),
    ],
    ids=["all have the class", "none has any", "one has it", "all have one, one has another"],
)
def test_training_needs_a_class_that_some_have_and_some_have_not(
    model: Model, state: ProjectState, tasks: list[Task], trained: bool
) -> None:
    result = run(pulled(*tasks), model, state, "always")
    assert (result.trained, bool(result.scores)) == (trained, trained)


@pytest.mark.parametrize("train", ["auto", "never"])
def test_a_config_that_goes_from_one_class_to_several_and_back_is_trained_anew(
    model: Model, state: ProjectState, train: str
) -> None:
    single = pulled(*(labelled(n, [CLASSES[n % 2]], control=SINGLE) for n in range(1, 31)), control=SINGLE)
    run(single, model, state, "always")
    several = run(pulled(*a_team()), model, state, train)
    assert several.trained == (train == "auto")
    assert len(several.scores) == 42
    back = run(single, model, state, train)
    assert back.trained == (train == "auto")
    assert len(back.scores) == 30
    assert [multilabel for _, multilabel in model.trainings] == ([False, True, False] if train == "auto" else [False])


def test_a_model_of_the_other_kind_is_trained_anew_when_nothing_else_is(model: Model, state: ProjectState) -> None:
    run(pulled(*a_team()), model, state)
    assert model.served is not None
    model.served = replace(model.served, multilabel=False)
    assert run(pulled(*a_team()), model, state).trained


# -- results -----------------------------------------------------------------------------------------------------------


def exported(model: Model, state: ProjectState) -> tuple[list[dict[str, Any]], ProjectSnapshot]:
    """The rows of three tasks: a set, none, and no labels; the first has a choice that is gone."""
    tasks = [labelled(1, ["rain", "noise"]), labelled(2, []), labelled(3)]
    gone = tasks[0].annotations[0]._replace(unknown=True)
    tasks[0] = tasks[0]._replace(annotations=(gone,))
    project = pulled(*tasks)
    run(project, model, state)
    reviewed = review(project, model, Reporter())  # type: ignore[arg-type]
    extras = Extras(choices={gone.id: {CONTROL.name: ["rain", "gone", "noise"]}})
    rows = task_rows(tasks, Questions((CONTROL,)), [reviewed], reviewed.scored.scores, extras, project.texts)
    return list(rows), project


def test_rows_hold_lists_of_names(model: Model, state: ProjectState) -> None:
    first, second, third = exported(model, state)[0]
    assert (first["consensus"], second["consensus"], third["consensus"]) == (["rain", "noise"], [], None)
    assert (first["predicted"], second["predicted"], third["predicted"]) == (["rain", "noise"], [], [])
    assert (first["prob_rain"], first["prob_price"]) == (0.8, 0.2)
    assert (first["agreement"], second["agreement"], third["agreement"]) == (1.0, 1.0, None)
    assert 0 < first["quality"] < 1
    assert first["annotations"][0]["label"] == ["rain", "gone", "noise"]
    assert second["annotations"][0]["label"] == []


def test_every_format_gives_the_lists_back(model: Model, state: ProjectState, tmp_path: Path) -> None:
    made, _ = exported(model, state)
    expected = [["rain", "noise"], [], None]
    for name in ("csv", "jsonl", "parquet", "datasets"):
        write(name, iter(made), Questions((CONTROL,)), tmp_path / name)
    with (tmp_path / "csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert list(table[0]) == columns(Questions((CONTROL,)))
    assert [json.loads(one["consensus"]) if one["consensus"] else None for one in table] == expected
    lines = [json.loads(line) for line in (tmp_path / "jsonl").read_text().splitlines()]
    assert [one["consensus"] for one in lines] == expected
    frame = pd.read_parquet(tmp_path / "parquet")
    assert [None if one is None else list(one) for one in frame["consensus"]] == expected
    assert list(frame["annotations"][0][0]["label"]) == ["rain", "gone", "noise"]
    loaded = datasets.load_from_disk(tmp_path / "datasets")
    assert loaded.features["consensus"].feature.names == list(CLASSES)
    assert list(loaded["consensus"]) == [[0, 2], [], None]
    assert list(loaded["predicted"]) == [[0, 2], [], []]


def test_a_file_without_rows_has_the_columns(tmp_path: Path) -> None:
    write("parquet", [], Questions((CONTROL,)), tmp_path / "new")
    assert list(pd.read_parquet(tmp_path / "new")) == columns(Questions((CONTROL,)))


def test_label_studio_is_given_the_consensus_as_its_form_would_send_it(model: Model, state: ProjectState) -> None:
    _, project = exported(model, state)
    reviewed = review(project, model, Reporter())  # type: ignore[arg-type]
    told = [
        label_studio_task(
            {"id": task, "data": {}, "annotations": [], "predictions": []}, Questions((CONTROL,)), reviewed.scored
        )
        for task in (1, 2, 3)
    ]
    assert [[one["result"] for one in task["predictions"]] for task in told] == [
        [[region("rain", "noise")]],
        [[]],
        [],
    ]


# -- doctor ------------------------------------------------------------------------------------------------------------


class Serving(Backend):
    """An ML backend whose model is of one class a task, or of several."""

    def __init__(self, several: bool) -> None:
        super().__init__("http://127.0.0.1:9")
        self._several = several

    def check(self) -> None:
        pass

    def model(self, project: str) -> dict[str, Any]:
        return {"model_version": "3", "classes": list(CLASSES), "multilabel": self._several}


@pytest.mark.parametrize("control", [CONTROL, SINGLE])
def test_doctor_tells_a_model_of_the_other_kind(control: Control) -> None:
    def examined(several: bool) -> Any:
        known = project_record(model_version="3", control=control.to_json())
        return server_checks.backend(7, lambda: Serving(several), Questions((control,)), known)

    assert examined(control.multiple).level == "ok"
    other = examined(not control.multiple)
    assert other.level == "warning"
    assert "--train always" in other.remedy
    assert ("was trained for one class per task" in other.cause) == control.multiple


def test_doctor_tells_what_becomes_of_a_set_with_a_choice_that_is_gone(model: Model, state: ProjectState) -> None:
    _, project = exported(model, state)
    found = content_checks.choices(project)
    assert found.level == "warning"
    assert "Such answers are left out of the set" in found.cause
