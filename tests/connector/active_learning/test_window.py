"""Who is active, which tasks may be asked, and the order and the end of the window."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.active_learning.window import (
    TAIL_MINIMUM,
    TAIL_PER_ANNOTATOR,
    Candidate,
    Distinct,
    Slot,
    active_annotators,
    choose_window,
    eligible,
)
from connector.annotations.records import Annotation, Task

OTHERS, ME, IGNORE = "REQUEUE_FOR_OTHERS", "REQUEUE_FOR_ME", "IGNORE_SKIPPED"
MODES = (OTHERS, ME, IGNORE)


def label(annotator: int, at: str = "2026-03-10T10:00:00.000000Z") -> Annotation:
    return Annotation(annotator, 1, annotator, "Polite", False, False, at)


def skip(annotator: int, at: str = "2026-03-10T10:00:00.000000Z") -> Annotation:
    return Annotation(annotator + 100, 1, annotator, None, True, False, at)


def empty(annotator: int) -> Annotation:
    return Annotation(annotator + 200, 1, annotator, None, False, False, "2026-03-10T10:00:00.000000Z")


def task(*rows: Annotation, is_labeled: bool | None = None, text: str | None = "Well?", number: int = 1) -> Task:
    closed = any(row.label is not None for row in rows) if is_labeled is None else is_labeled
    return Task(number, text, closed, 1, "2026-03-10T10:00:00.000000Z", rows)


def kind(one: Task, active: set[int], *, mode: str = OTHERS, maximum: int = 5) -> str:
    """Whether the task may be asked as "new" or "labelled", or is "out"."""
    counts = {one.id: len({row.annotator for row in one.annotations if row.label is not None})}
    new, labelled = eligible({one.id: one}, counts, active, max_annotations=maximum, skip_queue=mode)
    return "new" if new else "labelled" if labelled else "out"


# -- eligible --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_an_untouched_task_is_new(mode: str) -> None:
    assert kind(task(), {1, 2}, mode=mode) == "new"


@pytest.mark.parametrize("mode", MODES)
def test_a_labelled_task_may_be_asked_again_while_somebody_active_has_not_seen_it(mode: str) -> None:
    assert kind(task(label(1)), {1, 2}, mode=mode) == "labelled"


def test_a_task_that_all_active_annotators_have_labelled_or_skipped_is_left_out() -> None:
    assert kind(task(label(1), skip(2)), {1, 2}) == "out"
    assert kind(task(label(1), label(2), label(3)), {1, 2}) == "out"
    assert kind(task(skip(1), skip(2)), {1, 2}) == "out"
    assert kind(task(label(1), skip(2)), {1, 2, 3}) == "labelled"


def test_what_inactive_annotators_have_seen_does_not_matter() -> None:
    assert kind(task(label(8), label(9)), {1}) == "labelled"


def test_with_nobody_active_nothing_counts_as_seen_by_all() -> None:
    assert kind(task(), set()) == "new"
    assert kind(task(label(1)), set()) == "labelled"


@pytest.mark.parametrize(("labels", "expected"), [(4, "labelled"), (5, "out"), (6, "out")])
def test_no_task_is_asked_beyond_the_maximum(labels: int, expected: str) -> None:
    assert kind(task(*(label(annotator) for annotator in range(1, labels + 1))), {99}) == expected


def test_skips_are_not_annotations_in_the_maximum() -> None:
    assert kind(task(label(1), skip(2), skip(3)), {9}, maximum=2) == "labelled"


@pytest.mark.parametrize(("mode", "expected"), [(OTHERS, "new"), (ME, "out"), (IGNORE, "out")])
def test_a_task_with_skips_alone_is_new_only_where_others_are_asked(mode: str, expected: str) -> None:
    assert kind(task(skip(1), is_labeled=False), {1, 2}, mode=mode) == expected


@pytest.mark.parametrize("mode", MODES)
def test_a_labelled_task_that_somebody_skipped_may_be_asked_again_in_every_mode(mode: str) -> None:
    assert kind(task(label(1), skip(2)), {1, 2, 3}, mode=mode) == "labelled"


@pytest.mark.parametrize("mode", MODES)
def test_a_task_whose_answers_give_no_label_is_asked_of_others_up_to_the_maximum(mode: str) -> None:
    answered = task(empty(1), skip(3), is_labeled=True)
    assert kind(answered, {1, 2}, mode=mode) == "new"
    assert kind(answered, {1, 2}, mode=mode, maximum=1) == "out"
    assert kind(answered, {1, 3}, mode=mode) == "out"


def test_a_closed_task_without_a_label_is_not_new() -> None:
    assert kind(task(is_labeled=True), {1, 2}) == "out"


@pytest.mark.parametrize("rows", [(), (label(1),)], ids=["new", "labelled"])
def test_a_task_without_a_text_is_left_out(rows: tuple[Annotation, ...]) -> None:
    assert kind(task(*rows, text=None), {1, 2}) == "out"


def test_eligible_tasks_come_in_ascending_order() -> None:
    tasks = {number: task(number=number) for number in (9, 2, 5)}
    tasks |= {number: task(label(1), number=number) for number in (8, 3)}
    assert eligible(tasks, {8: 1, 3: 1}, {1, 2}, max_annotations=5, skip_queue=OTHERS) == ([2, 5, 9], [3, 8])


# -- active annotators -----------------------------------------------------------------------------------------------


def test_active_is_who_annotated_or_skipped_within_two_weeks_of_the_latest_annotation() -> None:
    rows = [
        label(1, "2026-03-20T10:00:00.000000Z"),
        skip(2, "2026-03-06T10:00:00.000000Z"),
        label(3, "2026-03-06T09:59:59.999999Z"),
        label(4, "2025-03-20T10:00:00.000000Z"),
    ]
    assert active_annotators(rows) == {1, 2}


def test_an_old_project_still_has_its_last_annotators() -> None:
    assert active_annotators([label(1, "2019-01-01T00:00:00Z"), label(2, "2019-01-02T00:00:00Z")]) == {1, 2}


def test_annotations_of_deleted_users_are_nobodys() -> None:
    assert active_annotators([label(0), label(1)]) == {1}
    assert active_annotators([label(0)]) == set()


def test_offsets_and_fractions_of_a_moment_are_understood() -> None:
    rows = [label(1, "2026-03-20T10:00:00+00:00"), label(2, "2026-03-20T10:00:00.500000+02:00")]
    assert active_annotators(rows) == {1, 2}


def test_without_annotations_nobody_is_active() -> None:
    assert active_annotators([]) == set()


# -- the window ------------------------------------------------------------------------------------------------------


def new(number: int, score: float) -> Candidate:
    return Candidate(number, score, relabel=False)


def again(number: int, score: float, **more: Any) -> Candidate:
    return Candidate(number, score, relabel=True, **more)


def test_the_lowest_score_comes_first_new_or_not() -> None:
    window = choose_window([new(1, 0.3), again(2, 0.1), new(3, 0.2)], 3, 0)
    assert window == [Slot(2, True), Slot(3, False), Slot(1, False)]


def test_ties_go_by_task_id() -> None:
    window = choose_window([new(9, 0.5), again(4, 0.5), new(7, 0.5)], 3, 0)
    assert [slot.task for slot in window] == [4, 7, 9]


def test_unfinished_tasks_come_first_by_their_scores() -> None:
    candidates = [new(1, 0.1), again(2, 0.9, unfinished=True), again(3, 0.8, unfinished=True), again(4, 0.2)]
    assert [slot.task for slot in choose_window(candidates, 4, 0)] == [3, 2, 1, 4]


def test_a_window_of_second_opinions_ends_in_new_tasks() -> None:
    candidates = [again(number, 0.1) for number in range(100)] + [new(number, 0.9) for number in range(100, 200)]
    window = choose_window(candidates, 20, 2)
    assert [slot.task for slot in window] == [*range(20), *range(100, 110)]


def test_the_tail_grows_with_the_active_annotators() -> None:
    candidates = [again(number, 0.1) for number in range(50)] + [new(number, 0.9) for number in range(100, 200)]
    window = choose_window(candidates, 20, 7)
    assert [slot.task for slot in window[20:]] == list(range(100, 121))


def test_new_tasks_that_end_the_window_anyway_count_as_tail() -> None:
    candidates = [again(number, 0.1) for number in range(5)] + [new(number, 0.9) for number in range(100, 200)]
    assert len(choose_window(candidates, 15, 3)) == 15
    assert len(choose_window(candidates, 12, 3)) == 15


def test_the_tail_takes_the_best_of_the_new_tasks_left() -> None:
    candidates = [again(number, 0.1) for number in range(3)]
    candidates += [new(number, 1 - number / 100) for number in range(10, 60)]
    assert [slot.task for slot in choose_window(candidates, 3, 0)[3:]] == list(range(59, 49, -1))


def test_with_fewer_new_tasks_than_a_tail_all_of_them_are_in_the_window() -> None:
    candidates = [again(number, 0.1) for number in range(50)] + [new(number, 0.9) for number in (100, 101)]
    assert [slot.task for slot in choose_window(candidates, 5, 4)] == [0, 1, 2, 3, 4, 100, 101]


def test_without_candidates_the_window_is_empty() -> None:
    assert choose_window([], 100, 3) == []


def all_but(*copies: int) -> Distinct:
    """The ML backend's answer if these tasks are near-duplicates of others."""
    return lambda tasks, count: [task for task in tasks if task not in copies][:count]


def test_near_duplicates_wait_behind_all_others() -> None:
    candidates = [new(1, 0.1), new(2, 0.2), again(3, 0.3), new(4, 0.4), new(5, 0.5)]
    tasks = [slot.task for slot in choose_window(candidates, 3, 0, all_but(2, 3))]
    assert tasks == [1, 4, 5, 2]  # the tail, too
    assert [slot.task for slot in choose_window(candidates, 5, 0, all_but(2, 3))] == [1, 4, 5, 2, 3]


def test_the_tail_takes_near_duplicates_last() -> None:
    candidates = [again(1, 0.0), *(new(number, number / 100) for number in range(2, 30))]
    window = choose_window(candidates, 1, 0, all_but(2, 3, 20))
    assert [slot.task for slot in window] == [1, *range(4, 14)]


def test_unfinished_tasks_do_not_wait_for_each_other() -> None:
    asked: list[tuple[list[int], int]] = []

    def distinct(tasks: list[int], count: int) -> list[int]:
        asked.append((tasks, count))
        return tasks[1:][:count]

    candidates = [again(1, 0.9, unfinished=True), again(2, 0.8, unfinished=True), new(3, 0.1), new(4, 0.2)]
    assert [slot.task for slot in choose_window(candidates, 4, 0, distinct)] == [2, 1, 4, 3]
    assert asked == [([3, 4], 4 + TAIL_MINIMUM - 2)]
    choose_window(candidates[:2], 1, 0, distinct)
    assert len(asked) == 1


CANDIDATES = st.lists(
    st.tuples(st.integers(1, 500), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0]), st.booleans(), st.booleans()).map(
        lambda one: Candidate(one[0], one[1], relabel=one[2], unfinished=one[2] and one[3])
    ),
    unique_by=lambda one: one.task,
    max_size=80,
)


@given(CANDIDATES, st.integers(1, 60), st.integers(0, 8))
def test_the_best_are_never_dropped_or_reordered(candidates: list[Candidate], size: int, active: int) -> None:
    best = sorted(candidates, key=lambda one: (not one.unfinished, one.score, one.task))[:size]
    window = choose_window(candidates, size, active)
    assert window[: len(best)] == [Slot(one.task, one.relabel) for one in best]


@given(CANDIDATES, st.integers(1, 60), st.integers(0, 8))
def test_what_lengthens_the_window_is_only_as_many_new_tasks_as_the_tail_lacks(
    candidates: list[Candidate], size: int, active: int
) -> None:
    wanted = max(TAIL_MINIMUM, TAIL_PER_ANNOTATOR * active)
    window = choose_window(candidates, size, active)
    added = window[size:]
    assert not any(slot.relabel for slot in added)
    assert len({slot.task for slot in window}) == len(window)
    assert {slot.task for slot in window} <= {one.task for one in candidates}
    ending = next((place for place, slot in enumerate(reversed(window)) if slot.relabel), len(window))
    assert not added or ending <= wanted


@given(CANDIDATES, st.integers(1, 60), st.integers(0, 8))
def test_the_window_ends_in_the_tail_or_holds_every_new_task(
    candidates: list[Candidate], size: int, active: int
) -> None:
    wanted = max(TAIL_MINIMUM, TAIL_PER_ANNOTATOR * active)
    window = choose_window(candidates, size, active)
    ending = next((place for place, slot in enumerate(reversed(window)) if slot.relabel), len(window))
    every_new = {one.task for one in candidates if not one.relabel}
    assert ending >= wanted or every_new <= {slot.task for slot in window}


@given(CANDIDATES, st.integers(1, 60), st.integers(0, 8), st.randoms())
def test_the_window_does_not_depend_on_the_order_of_candidates(
    candidates: list[Candidate], size: int, active: int, random: Any
) -> None:
    shuffled = list(candidates)
    random.shuffle(shuffled)
    assert choose_window(shuffled, size, active) == choose_window(candidates, size, active)


@given(CANDIDATES, st.integers(1, 60), st.integers(0, 8), st.sets(st.integers(1, 500)))
def test_near_duplicates_change_the_order_and_nothing_else(
    candidates: list[Candidate], size: int, active: int, copies: set[int]
) -> None:
    window = choose_window(candidates, size, active, all_but(*copies))
    plain = choose_window(candidates, size, active)
    assert len({slot.task for slot in window}) == len(window) >= min(size, len(candidates))
    if not copies & {candidate.task for candidate in candidates if not candidate.unfinished}:
        assert window == plain
    unfinished = {candidate.task for candidate in candidates if candidate.unfinished}
    late = [slot.task in copies and slot.task not in unfinished for slot in window[:size]]
    assert late == sorted(late)
