"""Gold tasks: which ones, where in the window, and that their answers are no news about them."""

import pytest
from support.scoring_factory import Model, labelled, pulled

from connector.active_learning.audit import Audit
from connector.active_learning.window import Slot
from connector.annotations.records import Task
from connector.progress import Reporter
from connector.state.project_state import ProjectState
from connector.sync.gold import gold_tasks, with_gold
from connector.sync.scoring import Scored, choose, score

ACTIVE = {1, 2, 3, 4}


def with_truth(task: Task, label: str = "Polite") -> Task:
    """The task with a ground truth that user 9 has imported."""
    first = labelled(task.id, label).annotations[0]
    truth = first._replace(id=task.id * 10 + 9, annotator=9, ground_truth=True)
    return task._replace(annotations=(*task.annotations, truth))


def test_those_that_most_have_not_seen_come_first_then_ground_truths() -> None:
    project = pulled(
        labelled(1, "Polite", "Polite", "Polite"),
        labelled(2, "Polite", "Polite", "Impolite"),
        labelled(3, "Polite", "Polite"),
        with_truth(labelled(4)),
        with_truth(labelled(5, "Impolite", None, "Polite")),
        with_truth(labelled(6, "Polite", "Polite", "Polite", "Polite")),
    )
    assert gold_tasks(project, {}, ACTIVE, 5) == [4, 5, 1]  # everyone has seen task 6
    assert gold_tasks(project, {1: 0.9}, ACTIVE, 5) == [4, 5]
    assert gold_tasks(project, {}, ACTIVE, 3) == [4, 5]  # a unanimous task has enough labels
    assert gold_tasks(project, {}, set(), 5) == []


def test_they_stand_at_even_distances() -> None:
    window = [Slot(task, relabel=False) for task in range(100, 112)]
    places = [place for place, slot in enumerate(with_gold(window, [7, 8], 10)) if slot.gold]
    assert places == [2, 7]
    assert with_gold(window, [], 10) == window


@pytest.mark.parametrize(("share", "expected"), [(0.0, set()), (0.05, {200}), (0.2, {200, 201})])
def test_a_share_of_the_window_is_gold(share: float, expected: set[int]) -> None:
    new = [labelled(number) for number in range(1, 61)]
    done = [labelled(number, "Polite", "Impolite") for number in range(100, 120)]
    project = pulled(*new, *done, *(with_truth(labelled(number)) for number in (200, 201)))
    labels = {(task.id, one): "Polite" for task in done for one in (1, 2)}
    scored = Scored(labels, scores={number: float(number) for number in project.tasks})
    window = choose(project, scored, Model(), window=10, max_annotations=5, gold=share)  # type: ignore[arg-type]
    assert {slot.task for slot in window[:10] if slot.task >= 200} == expected
    assert all(slot.relabel for slot in window if slot.task in expected)
    assert len({slot.task for slot in window}) == len(window)


@pytest.mark.parametrize(("audit", "gold"), [(1.0, 0.05), (0.6, 0.5), (0.96, 0.1)])
def test_an_audit_and_gold_share_the_window(audit: float, gold: float) -> None:
    done = [labelled(number, "Polite", "Impolite") for number in range(100, 160)]
    project = pulled(*(labelled(number) for number in range(1, 61)), *done, *map(with_truth, map(labelled, (200, 201))))
    labels = {(task.id, one): "Polite" for task in done for one in (1, 2)}
    scored = Scored(labels, scores={number: float(number) for number in project.tasks})
    window = choose(
        project,
        scored,
        Model(),  # type: ignore[arg-type]
        window=20,
        max_annotations=5,
        gold=gold,
        audit=Audit(audit, "seed"),
    )
    assert len(window) <= 20 + 12
    assert sum(slot.audit for slot in window) <= 20
    assert {200, 201} & {slot.task for slot in window[:20]}
    assert not any(slot.relabel for slot in window[20:])


def test_answers_on_gold_are_no_news_about_it(state: ProjectState) -> None:
    project = pulled(with_truth(labelled(1, "Impolite", "Impolite")), labelled(2, "Impolite"))
    judged = score(project, Model(), state, Reporter(), gold=True)  # type: ignore[arg-type]
    assert judged.labels == {(1, 9): "Polite", (2, 1): "Impolite"}
    counted = score(project, Model(), state, Reporter())  # type: ignore[arg-type]
    assert len(counted.labels) == 4
