"""What the order makes of the times of answers: which are read, what is told, and which tasks come first."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from support.scoring_factory import Model, labelled, pulled

from connector.active_learning.audit import Audit
from connector.active_learning.cost import LEAST_TIMES
from connector.active_learning.strategies import STRATEGIES
from connector.annotations.label_config import find_questions
from connector.annotations.records import Task
from connector.state.snapshot import TEXTS_AT_ONCE, ProjectSnapshot
from connector.sync.cost import weigh_time
from connector.sync.scoring import Scored, choose
from connector.sync.summary import CostSummary

ACTIVELAB = STRATEGIES["activelab"]
LABELLED, SHORT, LONG = range(1, 41), 100, 1000  # characters


def length(task: int) -> int:
    """Texts of odd tasks are ten times as long as those of even ones."""
    return LONG if task % 2 else SHORT


def timed(task: int, *, seconds: float | None = None, **changes: Any) -> Task:
    """A task with an answer that took a twentieth of a second per character, unless it is given."""
    made = labelled(task, "Polite" if task % 3 else "Impolite")
    took = length(task) / 20 if seconds is None else seconds
    return made._replace(annotations=tuple(row._replace(lead_time=took, **changes) for row in made.annotations))


def project(*tasks: Task) -> ProjectSnapshot:
    return replace(pulled(*tasks), texts=lambda ids: {task: "x" * length(task) for task in ids})


def scored(*tasks: Task, **scores: float) -> Scored:
    """Labels as the tasks have them, and these scores by "t7"."""
    labels = {(row.task, row.annotator): str(row.label) for task in tasks for row in task.annotations}
    return Scored(labels, scores={int(name[1:]): value for name, value in scores.items()})


ANSWERED = [timed(task) for task in LABELLED]


def test_expected_seconds_follow_the_length_of_the_text() -> None:
    found = scored(*ANSWERED, t1=0.5, t2=0.5, t51=0.5, t52=0.5)
    seconds = weigh_time(project(*ANSWERED, labelled(51), labelled(52)), found, ACTIVELAB)
    assert seconds == pytest.approx({1: 50.0, 2: 5.0, 51: 50.0, 52: 5.0}, rel=0.01)
    assert found.cost == CostSummary("", len(ANSWERED), 5.0, 50.0)


def test_a_long_text_comes_later_although_its_score_is_a_bit_lower() -> None:
    new = [labelled(task) for task in (51, 52, 53, 54)]
    whole = project(*ANSWERED, *new)
    scores = {f"t{task}": 0.99 for task in LABELLED} | {"t51": 0.52, "t52": 0.55, "t53": 0.51, "t54": 0.9}
    found = scored(*ANSWERED, **scores)
    seconds = weigh_time(whole, found, ACTIVELAB)

    def first(seconds: dict[int, float] | None, strategy: str = "activelab") -> list[int]:
        slots = choose(
            whole,
            found,
            Model(),  # type: ignore[arg-type]
            strategy=STRATEGIES[strategy],
            window=4,
            max_annotations=5,
            seconds=seconds,
        )
        return [slot.task for slot in slots[:4]]

    assert first(None) == [53, 51, 52, 54]
    # By worth per second: 0.45 / 5, 0.1 / 5, 0.49 / 50 and 0.48 / 50.
    assert first(seconds) == [52, 54, 53, 51]
    assert first({}) == first(None)
    assert first(seconds, "random-new") == first(None, "random-new")  # whose scores are no worth


def test_scores_stay_and_so_do_unfinished_and_audited_tasks() -> None:
    new = [labelled(task) for task in range(51, 91)]
    done = labelled(200, "Polite", "Polite")  # so that another annotator can be asked
    whole = project(*ANSWERED, *new, done)
    found = scored(*ANSWERED, done, t200=1.0, **{f"t{task}": 0.5 for task in [*LABELLED, *range(51, 91)]})
    before = dict(found.scores)
    seconds = weigh_time(whole, found, ACTIVELAB)
    assert found.scores == before

    def window(seconds: dict[int, float] | None, **options: Any) -> list[Any]:
        return choose(
            whole,
            found,
            Model(),  # type: ignore[arg-type]
            strategy=ACTIVELAB,
            max_annotations=5,
            seconds=seconds,
            **options,
        )

    wanted = [slot.task for slot in window(seconds, window=40, min_annotations=2)[:40]]
    assert set(wanted) == set(LABELLED)
    assert wanted[:20] == [task for task in LABELLED if length(task) == SHORT]
    plain, weighed = (
        {slot.task for slot in window(given, window=20, audit=Audit(0.25, "seed")) if slot.audit}
        for given in (None, seconds)
    )
    assert len(plain) == 5
    assert weighed == plain


def test_answers_without_a_label_or_of_a_ground_truth_have_no_time() -> None:
    others = [
        timed(101, seconds=9999.0, label=None, skipped=True),
        timed(102, seconds=9999.0, ground_truth=True),
        labelled(103, "Polite"),
        timed(104, seconds=0.0),
    ]
    found = scored(*ANSWERED, t1=0.5)
    weigh_time(project(*ANSWERED, *others), found, ACTIVELAB)
    assert found.cost is not None
    assert found.cost.answers == len(ANSWERED)


@pytest.mark.parametrize(
    ("strategy", "tasks", "scores", "ignored", "answers"),
    [
        ("random", ANSWERED, {"t1": 0.5}, "strategy", 0),
        ("activelab", ANSWERED, {}, "scores", 0),
        ("activelab", ANSWERED[: LEAST_TIMES - 1], {"t1": 0.5}, "times", LEAST_TIMES - 1),
        ("activelab", [labelled(1, "Polite")], {"t1": 0.5}, "times", 0),
        ("activelab", [timed(task, seconds=7.0) for task in LABELLED], {"t1": 0.5}, "length", 40),
    ],
    ids=["scores are no worth", "no scores", "few times", "no times", "alike"],
)
def test_why_time_is_not_weighed(
    strategy: str, tasks: list[Task], scores: dict[str, float], ignored: str, answers: int
) -> None:
    found = scored(*tasks, **scores)
    assert weigh_time(project(*tasks), found, STRATEGIES[strategy]) == {}
    assert found.cost == CostSummary(ignored, answers)


def test_images_take_the_same() -> None:
    config = (
        '<View><Image name="i" value="$image"/><Choices name="c" toName="i"><Choice value="Polite"/>'
        '<Choice value="Impolite"/></Choices></View>'
    )
    found = scored(*ANSWERED, t1=0.5)
    images = replace(project(*ANSWERED), questions=find_questions(config))
    assert weigh_time(images, found, ACTIVELAB) == {}
    assert found.cost == CostSummary("kind", len(ANSWERED))


def test_few_texts_are_in_memory_at_a_time() -> None:
    asked: list[int] = []

    def texts(ids: Iterable[int]) -> dict[int, str]:
        part = list(ids)
        asked.append(len(part))
        return {task: "x" * length(task) for task in part}

    many = range(1, 2 * TEXTS_AT_ONCE + 2)
    found = scored(*ANSWERED, **{f"t{task}": 0.5 for task in many})
    whole = replace(project(*ANSWERED, *(labelled(task) for task in many if task not in LABELLED)), texts=texts)
    assert len(weigh_time(whole, found, ACTIVELAB)) == len(many)
    assert asked == [len(ANSWERED), TEXTS_AT_ONCE, TEXTS_AT_ONCE, 1]
