"""Which tasks the audit draws, where they stand in the window, and what is told of it."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from connector.active_learning.audit import LEAST_AUDITED, Audit, Drawn, audit_words
from connector.active_learning.window import Slot
from connector.annotations.records import Annotation, Task

AT = "2026-03-01T10:00:00Z"


def task(number: int, answers: int = 0) -> Task:
    rows = tuple(Annotation(10 * number + at, number, at, "Polite", False, False, AT) for at in range(answers))
    return Task(number, "digest", False, 1, AT, rows)


def test_without_a_share_none_is_drawn() -> None:
    assert Audit().draw(range(1, 100), (), 50) == []
    assert Audit(share=1.0).draw([], (), 50) == []


@given(st.sets(st.integers(1, 10_000), min_size=20, max_size=60), st.text(max_size=5))
def test_the_next_tasks_drawn_are_the_same_until_they_are_answered(pool: set[int], seed: str) -> None:
    audit = Audit(0.5, seed)
    first = audit.draw(pool, (), 20)
    assert first == audit.draw(pool, (), 20)
    assert len(first) in (10, 11)
    rest = audit.draw(pool, first[:1], 20)
    assert rest[:9] == first[1:10]


def test_tasks_imported_later_catch_up_with_all_others() -> None:
    drawn: Counter[bool] = Counter()
    for seed in range(400):
        audit = Audit(0.5, str(seed))
        audited = audit.draw(range(1, 51), (), 20)[:10]
        for _ in range(2):
            audited += audit.draw(range(1, 101), audited, 20)[:10]
        drawn.update(number > 50 for number in audited)
    assert 0.48 < drawn[True] / drawn.total() < 0.52


def test_a_small_share_is_drawn_as_often_as_it_says() -> None:
    sizes = [len(Audit(0.05, str(seed)).draw(range(1000), range(seed % 7), 25)) for seed in range(2000)]
    assert set(sizes) == {1, 2}
    assert 1.2 < sum(sizes) / len(sizes) < 1.3


@given(st.integers(1, 40), st.integers(0, 10), st.integers(0, 10))
def test_the_audit_stands_among_the_first_places_and_the_others_keep_their_order(
    size: int, few: int, tail: int
) -> None:
    few = min(few, size)
    window = [Slot(number, relabel=False) for number in range(size - few + tail)]
    audited = [Slot(1000 + number, relabel=False, audit=True) for number in range(few)]
    found = Audit(0.1, "seed").among(window, audited, size)
    assert [slot for slot in found if not slot.audit] == window
    assert [slot for slot in found[:size] if slot.audit] == audited


def test_places_in_the_window_are_no_pattern() -> None:
    window = [Slot(number, relabel=False) for number in range(19)]
    places: Counter[int] = Counter()
    for number in range(2000):
        audited = [Slot(1000 + number, relabel=False, audit=True)]
        places[Audit(0.1, "seed").among(window, audited, 20).index(audited[0])] += 1
    assert set(places) == set(range(20))
    assert max(places.values()) < 2 * min(places.values())


def test_answered_are_those_with_more_answers_than_when_they_were_drawn() -> None:
    tasks = {1: task(1), 2: task(2, 1), 3: task(3, 1), 4: task(4, 3)}
    audit = Audit(drawn={1: Drawn(0, 1), 2: Drawn(0, 1), 3: Drawn(1, 1), 4: Drawn(2, 1), 5: Drawn(0, 1)})
    assert audit.answered(tasks) == {2, 4}  # the fifth was deleted


def test_labels_of_the_audit_alone() -> None:
    audit = Audit(drawn={1: Drawn(0, 2), 2: Drawn(0, 2), 3: Drawn(1, 2), 4: Drawn(0, 2)})
    # The second got one more since, the third had one before, and the fourth has none yet.
    assert audit.only({1: 2, 2: 3, 3: 2, 5: 1}) == {1}


def test_words() -> None:
    found = {
        "audited": 43,
        "model": {"value": 0.84, "low": 0.79, "high": 0.88},
        "consensus": {"value": 0.953, "low": 0.92, "high": 0.97},
        "project": {"value": 0.91, "low": 0.88, "high": 0.94},
    }
    assert audit_words(found) == (
        "the labels are right for 91 % (88 to 94 %) of the tasks: the consensus labels for 95 % (92 to 97 %), and the "
        "model's, of all tasks, for 84 % (79 to 88 %) (by 43 labelled tasks drawn at random)"
    )
    early = found | {"audited": LEAST_AUDITED - 1}
    assert audit_words(early) == "too early to say: 9 of the 10 tasks that an audit needs are labelled"
