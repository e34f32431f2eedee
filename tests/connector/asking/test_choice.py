"""Which tasks come first, and which are shown as examples."""

from __future__ import annotations

from typing import Any

import numpy as np
from support.scoring_factory import labelled, pulled

from connector.asking.choice import LONGEST_EXAMPLE, askable, choose_examples, in_order
from connector.sync.review import Review
from connector.sync.scoring import Scored


def review(**probs: list[float]) -> Review:
    return Review(Scored({}), pred_probs={int(task[1:]): np.array(values) for task, values in probs.items()})


def test_after_the_window_come_tasks_that_the_model_is_least_sure_of() -> None:
    project = pulled(*(labelled(task) for task in range(1, 7)))
    found = review(t1=[0.9, 0.1], t2=[0.4, 0.6], t3=[0.5, 0.5], t4=[0.99, 0.01], t5=[0.5, 0.5])
    assert in_order(range(1, 7), [4, 2], [found], project.questions) == [4, 2, 3, 5, 1, 6]
    assert in_order([1, 6, 3], [], [review()], project.questions) == [1, 3, 6]


def test_a_task_that_lacks_something_is_not_asked_for() -> None:
    project = pulled(
        labelled(1), labelled(2)._replace(digest=None, problem="no text"), labelled(3)._replace(problem="no image")
    )
    assert askable(project) == [1]


def chosen(
    *tasks: Any, quality: dict[int, float] | None = None, drawn: tuple[int, ...] = (), count: int = 4, said: str = ""
) -> list[Any]:
    """`said`: the consensus label of the tasks with a quality. "": what people gave."""
    consensus = {task.id: said or task.annotations[0].label or "" for task in tasks}
    scored = Scored({}, consensus=consensus, quality=quality or {})
    return [(task, one.label) for task, one in choose_examples(pulled(*tasks), scored, drawn, count).items()]


def test_examples_are_balanced_and_sure_ones_come_first() -> None:
    tasks = [
        labelled(1, "Polite", "Polite"),
        labelled(2, "Polite", "Polite", "Polite"),
        labelled(3, "Polite", "Impolite"),
        labelled(4, "Impolite", "Impolite"),
        labelled(5, "Impolite"),
        labelled(6, "Impolite"),
        labelled(7, "Polite", "Polite"),
    ]
    assert chosen(*tasks) == [(2, "Polite"), (4, "Impolite"), (1, "Polite"), (7, "Polite")]
    # One label is sure if its quality is.
    assert chosen(*tasks, quality={5: 0.96, 6: 0.94}) == [
        (2, "Polite"),
        (4, "Impolite"),
        (1, "Polite"),
        (5, "Impolite"),
    ]
    # But not if that is the quality of another label, which machines gave.
    assert (5, "Impolite") not in chosen(*tasks, quality={5: 0.96}, said="Polite")
    assert chosen(*tasks, drawn=(2, 4), count=2) == [(1, "Polite"), (7, "Polite")]
    assert chosen(*tasks, count=0) == []


def test_gold_tasks_and_long_or_equal_texts_are_no_examples() -> None:
    gold, long, copy, last = (labelled(task, "Polite", "Polite") for task in range(1, 5))
    gold = gold._replace(
        annotations=tuple(row._replace(ground_truth=row.id == gold.annotations[0].id) for row in gold.annotations)
    )
    first = labelled(5, "Polite", "Polite", "Polite")
    copy = copy._replace(digest=first.digest)
    project = pulled(gold, long, copy, last, first)
    texts = project.texts
    project.texts = lambda ids: {
        task: "x" * (LONGEST_EXAMPLE + 1) if task == 2 else text for task, text in texts(ids).items()
    }
    assert list(choose_examples(project, Scored({}), (), 4)) == [5, 4]
