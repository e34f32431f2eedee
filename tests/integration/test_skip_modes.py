"""Second opinions and new tasks that people skip, under each of Label Studio's three rules for skipped tasks."""

from __future__ import annotations

import pytest
from support.label_studio_server import Annotators
from support.project_driver import StartProject, new, on_both_databases, second, texts

pytestmark = on_both_databases

OTHERS, ME, IGNORE = "REQUEUE_FOR_OTHERS", "REQUEUE_FOR_ME", "IGNORE_SKIPPED"
IGNORED = pytest.param(IGNORE, marks=pytest.mark.nightly)
MODES = pytest.mark.parametrize("mode", [OTHERS, ME, IGNORED])
MOST_TELLING = pytest.mark.parametrize("mode", [pytest.param(OTHERS, marks=pytest.mark.nightly), ME, IGNORED])


@MOST_TELLING
def test_second_opinion_on_a_task_that_somebody_skipped_goes_to_the_next_person_and_to_no_one_else(
    start: StartProject, people: Annotators, mode: str
) -> None:
    loop = start(texts(6), skip_queue=mode)
    first, skipper, third, fourth = people(4)
    t = loop.tasks
    loop.label(first, t[0])
    skipper.skip({"id": t[0]})
    loop.publish([*second(t[0]), *new(*t[1:])])
    # One label and one skip: the skip counts as a row unless it is queued again for others.
    assert loop.flags(t[0]) == [((2 if mode == OTHERS else 3), False)]

    assert loop.give(first) == t[1]
    assert loop.give(skipper) == t[2]
    assert loop.give(third) == t[0]
    assert loop.give(fourth) == t[3]
    loop.label(third, t[0])
    # Under REQUEUE_FOR_ME the two people who labelled it are fewer than the overlap: Label Studio leaves it open.
    assert loop.flags(t[0])[0][1] is (mode != ME)
    loop.label(fourth, t[3])
    assert loop.give(fourth) == t[4]

    before = loop.annotations()
    loop.sync()
    assert loop.flags(t[0])[0][1] is True
    loop.assert_published()
    assert loop.annotations() == before


@MOST_TELLING
def test_second_opinion_that_is_skipped_is_served_as_the_rule_says_and_to_the_next_person_once_it_is_asked_again(
    start: StartProject, people: Annotators, mode: str
) -> None:
    loop = start(texts(6), skip_queue=mode)
    first, second_person, third = people(3)
    t = loop.tasks
    loop.label(first, t[0])
    window = [*second(t[0]), *new(*t[2:])]
    loop.publish(window)
    assert loop.give(second_person) == t[0]
    second_person.skip({"id": t[0]})

    # Queued for others: the next one gets it at once. For me: nobody else does. Ignored: the skip has completed it.
    assert loop.give(third) == (t[0] if mode == OTHERS else t[2])
    assert loop.flags(t[0]) == [(2, mode == IGNORE)]
    if mode == OTHERS:
        loop.label(third, t[0])
        assert loop.flags(t[0]) == [(2, True)]
        return

    loop.label(third, t[2])
    loop.publish([*second(t[0]), *new(*t[3:])])
    assert loop.flags(t[0]) == [(3, False)]
    assert loop.give(third) == t[0]
    loop.label(third, t[0])
    loop.sync()
    assert loop.flags(t[0])[0][1] is True
    loop.assert_published()


@MODES
def test_skipped_new_task_goes_to_whom_the_rule_says_and_blocks_nobody(
    start: StartProject, people: Annotators, mode: str
) -> None:
    loop = start(texts(5), skip_queue=mode)
    first, other = people(2)
    t = loop.tasks
    loop.publish(new(t[3], t[1], t[4], t[0], t[2]))
    assert loop.give(first) == t[3]
    first.skip({"id": t[3]})
    assert loop.flags(t[3]) == [(1, mode == IGNORE)]

    assert loop.turn(first) == t[1]
    assert loop.turn(other) == (t[3] if mode == OTHERS else t[4])
    rest = [loop.turn(first) for _ in range(3)]
    if mode == OTHERS:
        assert rest == [t[4], t[0], t[2]]
    else:
        # At the end whoever skipped a task is asked again, where it is queued for them.
        assert rest == [t[0], t[2], t[3] if mode == ME else None]
    assert loop.give(other) is None


@MODES
def test_next_window_holds_a_skipped_new_task_only_where_others_are_to_get_it(
    start: StartProject, people: Annotators, mode: str
) -> None:
    loop = start(texts(6), skip_queue=mode)
    first, other, third = people(3)
    t = loop.tasks
    loop.label(other, t[0])
    first.skip({"id": t[1]})
    before = loop.annotations()
    done = loop.sync()

    assert sorted(loop.window) == (t[1:] if mode == OTHERS else t[2:])
    assert done["annotations"] == 1  # a skip is none
    assert done["annotators"] == 1
    served = [loop.turn(third) for _ in loop.window]
    assert served == loop.window
    assert {row["id"] for row in loop.rows() if row["is_labeled"]} >= set(loop.window)
    assert before.items() <= loop.annotations().items()


@MODES
def test_window_leaves_out_what_every_active_annotator_has_labelled_or_skipped(
    start: StartProject, people: Annotators, mode: str
) -> None:
    loop = start(texts(6), skip_queue=mode)
    first, other = people(2)
    t = loop.tasks
    first.skip({"id": t[0]})
    other.skip({"id": t[0]})
    loop.label(first, t[1])
    other.skip({"id": t[1]})
    loop.sync()
    assert sorted(loop.window) == t[2:]
    loop.assert_published()


def test_rule_changed_after_publishing_is_followed_by_the_next_sync(start: StartProject, people: Annotators) -> None:
    loop = start(texts(6), skip_queue=OTHERS)
    first, skipper, third = people(3)
    t = loop.tasks
    loop.label(first, t[0])
    skipper.skip({"id": t[0]})
    loop.publish([*second(t[0]), *new(*t[1:])])
    assert loop.flags(t[0]) == [(2, False)]

    loop.set(skip_queue=IGNORE)
    assert loop.give(third) == t[1], "a label and a skip are two rows now: the task is served to nobody"
    loop.sync()
    loop.assert_published()
    assert loop.state.reopened() == {}
    assert loop.flags(t[0])[0][1] is True
