"""`connector doctor` beside cleanlab, without servers: alike, unlike, nothing to compare, a sample of many tasks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from connector.active_learning import activelab
from connector.active_learning import cleanlab_scorer as oracle
from connector.active_learning.crowdlab import Floats, Labels
from connector.annotations.label_config import Control
from connector.annotations.records import Annotation, Task, digest
from connector.backend import Backend, Probabilities
from connector.diagnostics.finding import Finding
from connector.diagnostics.scorer_check import Both, Looking, scorer
from connector.errors import TryAgainLater
from connector.state.pull import Pulled

CLASSES = ("Polite", "Impolite", "Neutral")
CONTROL = Control("politeness", "text", "text", CLASSES, {name: name for name in CLASSES})
AT = "2026-03-01T10:00:00.000000Z"


class Wrong:
    """A scorer that is off by as much, on one of the tasks."""

    def __init__(self, by: float, place: int) -> None:
        self.by = by
        self.place = place

    heard_consensus = staticmethod(activelab.heard_consensus)

    def scores(self, labels: Labels, pred_probs: Floats, pred_probs_unlabeled: Floats) -> tuple[Floats, Floats]:
        labeled, unlabeled = activelab.scores(labels, pred_probs, pred_probs_unlabeled)
        every = np.concatenate([labeled, unlabeled])
        every[self.place] += self.by
        return every[: len(labeled)], every[len(labeled) :]


class Serving(Backend):
    """An ML backend with these probabilities, or an error in their stead."""

    def __init__(self, answer: Probabilities | Exception | None) -> None:
        super().__init__("http://127.0.0.1:9")
        self._answer = answer

    def check(self) -> None:
        pass

    put_items = Looking.put_items

    def probabilities(self, project: str) -> Probabilities | None:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


def project(n_tasks: int, labelled: int) -> Pulled:
    """Tasks 101, 102, …, the first of them labelled by three people out of six who often differ."""
    random = np.random.default_rng(1)
    tasks = {}
    for number in range(101, 101 + n_tasks):
        rows = tuple(
            Annotation(number * 10 + who, number, int(who), CLASSES[random.integers(3)], False, False, AT)
            for who in (random.choice(6, 3, replace=False) if number < 101 + labelled else ())
        )
        tasks[number] = Task(number, digest(f"Text {number}"), bool(rows), 1, AT, rows)
    return Pulled({"id": 7}, CONTROL, tasks, {}, changed=False, texts=lambda ids: {})


def model(n_tasks: int) -> Probabilities:
    """What a model says of the tasks; undecided about every tenth."""
    probs = np.random.default_rng(2).dirichlet(np.ones(3), n_tasks)
    probs[::10] = 1 / 3
    numbers = np.arange(101, 101 + n_tasks)
    return Probabilities("v1", CLASSES, numbers, probs, np.full(n_tasks, -1, np.int8))


def told(n_tasks: int, labelled: int, both: Both | None = None) -> Finding:
    return scorer(7, project(n_tasks, labelled), Serving(model(n_tasks)), both)


def test_the_largest_difference_is_told_in_silence(capfd: pytest.CaptureFixture[str]) -> None:
    found = told(60, 40)
    assert (found.check, found.level) == ("scorer", "ok")
    start, end = "Our scores are cleanlab's: the largest difference is ", " over 60 tasks."
    assert found.cause.startswith(start)
    assert found.cause.endswith(end)
    assert 0 <= float(found.cause[len(start) : -len(end)]) <= 1e-9
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("place", "task"), [(0, 101), (7, 108), (39, 140), (40, 141), (59, 160)])
def test_a_scorer_that_is_wrong_about_one_task_is_a_warning_that_names_it(place: int, task: int) -> None:
    right = told(60, 40, both := Both(activelab, activelab))
    assert (right.level, both.largest) == ("ok", 0.0)
    found = told(60, 40, both := Both(Wrong(1e-3, place)))
    assert found.level == "warning"
    assert f"over 60 tasks the largest difference is 0.001, of task {task} (" in found.cause
    mine, others = both.scores_there
    assert mine == pytest.approx(others + 1e-3, abs=1e-9)
    assert f"({mine:.9g}, cleanlab says {others:.9g})" in found.cause
    assert "CONNECTOR_SCORER=cleanlab" in found.remedy
    assert "connector sync --project 7" in found.remedy


@pytest.mark.parametrize(("by", "level"), [(1e-10, "ok"), (-1e-8, "warning"), (float("nan"), "warning")])
def test_what_counts_as_a_difference(by: float, level: str) -> None:
    assert told(30, 20, Both(Wrong(by, 5))).level == level


def test_of_many_labelled_tasks_a_sample_is_compared_the_same_every_time() -> None:
    found, seen = told(60, 40, both := Both(sample=10)), Both(sample=10)
    assert found.level == "ok"
    assert "over 30 tasks (10 of the 40 labelled ones, and all others)." in found.cause
    assert told(60, 40, seen) == found
    assert (both.labeled, both.of, both.unlabeled) == (10, 40, 20)


@pytest.mark.parametrize("place", [0, 9, 10, 29])
def test_a_task_of_a_sample_is_named_by_its_own_number(place: int) -> None:
    class Recording(Wrong):
        """Remembers what it was given."""

        def scores(self, labels: Labels, pred_probs: Floats, pred_probs_unlabeled: Floats) -> tuple[Floats, Floats]:
            if labels.n_tasks == 10:
                self.given = pred_probs
            return super().scores(labels, pred_probs, pred_probs_unlabeled)

    wrong = Recording(0.1, place)
    found = told(60, 40, Both(wrong, sample=10))
    task = int(found.cause.split("of task ")[1].split()[0])
    if place >= 10:
        assert task == 141 + place - 10
    else:
        np.testing.assert_allclose(wrong.given[place], model(60).pred_probs[task - 101], atol=1e-8)


@pytest.mark.parametrize("by", [0.0, 0.5])
def test_where_a_task_may_have_several_classes_each_is_compared(by: float) -> None:
    control = replace(CONTROL, multiple=True)
    random = np.random.default_rng(4)
    single = project(30, 20)
    tasks = {
        number: task._replace(
            annotations=tuple(
                row._replace(label=control.label_of([name for name in CLASSES if random.random() < 0.4]))
                for row in task.annotations
            )
        )
        for number, task in single.tasks.items()
    }
    probs = replace(model(30), pred_probs=random.random((30, 3)).round(1), multilabel=True, ids=np.arange(101, 126))
    probs = replace(probs, pred_probs=probs.pred_probs[:25], fold=probs.fold[:25])  # the others are undecided
    several = replace(single, control=control, tasks=tasks)
    found = scorer(7, several, Serving(probs), both := Both(Wrong(by, 3)))
    assert (both.labeled, both.of, both.unlabeled) == (20, 20, 10)
    if by:
        assert "the largest difference is 0.5, of task 104 (" in found.cause
    else:
        assert found.level == "ok", found.cause


def test_without_labels_or_a_model_or_a_backend_there_is_nothing_to_compare() -> None:
    def level_and_words(pulled: Pulled, answer: Probabilities | Exception | None) -> tuple[str, str]:
        found = scorer(7, pulled, Serving(answer))
        return found.level, found.cause

    assert level_and_words(project(5, 0), model(5)) == (
        "ok",
        "Nothing to compare with cleanlab: there are no labels yet.",
    )
    assert level_and_words(project(5, 3), None) == (
        "ok",
        "Nothing to compare with cleanlab: the ML backend has no model yet.",
    )
    away = "Nothing to compare with cleanlab while the ML backend gives no probabilities."
    assert level_and_words(project(5, 3), TryAgainLater("It is away.")) == ("ok", away)
    assert scorer(7, project(5, 3), None).cause == away


def test_a_scorer_like_the_others_in_a_sync(capfd: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(3)
    labels = Labels(np.arange(20) // 2, np.arange(20) % 2, random.integers(0, 3, 20), 10, 3)
    probs = random.dirichlet(np.ones(3), 14)
    both = Both(oracle)
    for got, wanted in zip(
        both.scores(labels, probs[:10], probs[10:]), oracle.scores(labels, probs[:10], probs[10:]), strict=True
    ):
        np.testing.assert_array_equal(got, wanted)
    np.testing.assert_array_equal(both.heard_consensus(labels, probs[:10]), oracle.heard_consensus(labels, probs[:10]))
    assert both.largest == 0.0
    assert capfd.readouterr() == ("", "")
