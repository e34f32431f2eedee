"""Label Studio's JSON as records, the latest labels among them, and the rows that count against an overlap."""

import hashlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.annotations.controls.choices import Choices
from connector.annotations.records import (
    Annotation,
    digest,
    latest_labels,
    lock_rows,
    read_annotation,
    read_task,
    read_text,
)

CONTROL = Choices(
    name="politeness",
    to_name="text",
    data_key="text",
    classes=("Polite", "rude"),
    spellings={"Polite": "Polite", "Impolite": "rude", "rude": "rude"},
)

unhurried = settings(deadline=None)  # machines that are busy with other tests take their time


def region(choice: Any = "Polite", **changes: Any) -> dict[str, Any]:
    choices = choice if isinstance(choice, list) else [choice]
    return {
        "id": "Hx3kPq",
        "from_name": "politeness",
        "to_name": "text",
        "type": "choices",
        "origin": "manual",
        "value": {"choices": choices},
        **changes,
    }


def raw_annotation(**changes: Any) -> dict[str, Any]:
    return {
        "id": 31,
        "task": 7,
        "project": 1,
        "completed_by": 5,
        "was_cancelled": False,
        "ground_truth": False,
        "lead_time": 3.4,
        "created_at": "2026-03-01T09:59:00.000000Z",
        "updated_at": "2026-03-01T10:00:00.000000Z",
        "result": [region()],
        **changes,
    }


def raw_task(**changes: Any) -> dict[str, Any]:
    return {
        "id": 7,
        "project": 1,
        "data": {"text": "Could you have a look?"},
        "meta": {},
        "is_labeled": True,
        "overlap": 1,
        "inner_id": 7,
        "updated_at": "2026-03-01T10:00:01.000000Z",
        "annotations": [raw_annotation()],
        "predictions": [],
        "drafts": [],
        **changes,
    }


def row(
    annotation: int,
    task: int = 1,
    annotator: int = 1,
    label: str | None = "Polite",
    at: str = "2026-03-01T10:00:00.000000Z",
    *,
    skipped: bool = False,
    ground_truth: bool = False,
) -> Annotation:
    return Annotation(annotation, task, annotator, None if skipped else label, skipped, ground_truth, at)


# -- reading ---------------------------------------------------------------------------------------------------------


def test_an_annotation_is_read_with_its_annotator_and_class() -> None:
    assert read_annotation(raw_annotation(), 7, CONTROL) == Annotation(
        31,
        7,
        5,
        "Polite",
        skipped=False,
        ground_truth=False,
        updated_at="2026-03-01T10:00:00.000000Z",
        created_at="2026-03-01T09:59:00.000000Z",
        lead_time=3.4,
    )


@pytest.mark.parametrize(
    ("completed_by", "annotator"),
    [(5, 5), ({"id": 5, "email": "a@example.org", "first_name": ""}, 5), (None, 0), ({"id": None}, 0)],
    ids=["id", "object", "deleted user", "object of a deleted user"],
)
def test_the_annotator_is_an_id_or_an_object(completed_by: Any, annotator: int) -> None:
    assert read_annotation(raw_annotation(completed_by=completed_by), 7, CONTROL).annotator == annotator


def test_a_skip_is_no_label_even_when_it_holds_a_result() -> None:
    read = read_annotation(raw_annotation(was_cancelled=True), 7, CONTROL)
    assert (read.skipped, read.label, read.unknown) == (True, None, False)


@pytest.mark.parametrize("result", [[], None], ids=["empty list", "null"])
def test_an_empty_result_is_no_label_and_no_skip(result: Any) -> None:
    read = read_annotation(raw_annotation(result=result), 7, CONTROL)
    assert (read.skipped, read.label, read.unknown) == (False, None, False)


def test_regions_of_other_controls_are_passed_over() -> None:
    stars = {"from_name": "stars", "to_name": "text", "type": "rating", "value": {"rating": 4}}
    other = region("Impolite", from_name="topic")
    comment = {"from_name": "politeness", "to_name": "text", "type": "textarea", "value": {"text": ["rude"]}}
    relation = {"from_id": "a", "to_id": "b", "type": "relation", "direction": "right"}
    read = read_annotation(raw_annotation(result=[stars, other, comment, relation, region("Polite")]), 7, CONTROL)
    assert read.label == "Polite"


def test_only_other_controls_is_no_label() -> None:
    read = read_annotation(raw_annotation(result=[region("Polite", from_name="topic")]), 7, CONTROL)
    assert (read.label, read.unknown) == (None, False)


def test_regions_of_the_control_count_if_they_agree() -> None:
    agreed = [region([]), region("Impolite"), region("rude")]
    assert read_annotation(raw_annotation(result=agreed), 7, CONTROL).label == "rude"
    differing = read_annotation(raw_annotation(result=[*agreed, region("Polite")]), 7, CONTROL)
    assert (differing.label, differing.problem) == (None, "it has 2 choices, and the control takes one")


@pytest.mark.parametrize("spelling", ["Impolite", "rude"], ids=["value", "alias"])
def test_value_and_alias_are_the_same_class(spelling: str) -> None:
    assert read_annotation(raw_annotation(result=[region(spelling)]), 7, CONTROL).label == "rude"


def test_a_choice_that_the_config_does_not_have_is_unknown_and_no_label() -> None:
    read = read_annotation(raw_annotation(result=[region("Neutral")]), 7, CONTROL)
    assert (read.label, read.unknown) == (None, True)


@pytest.mark.parametrize("choices", [["Polite", "Impolite"], [], [3], None])
def test_anything_but_one_plain_choice_is_no_label(choices: Any) -> None:
    read = read_annotation(raw_annotation(result=[region("x", value={"choices": choices})]), 7, CONTROL)
    assert (read.label, read.unknown) == (None, False)


def test_a_region_without_a_value_is_no_label() -> None:
    bare = {"from_name": "politeness", "to_name": "text", "type": "choices"}
    assert read_annotation(raw_annotation(result=[bare]), 7, CONTROL).label is None


def test_a_task_is_read_with_its_annotations() -> None:
    task = read_task(raw_task(annotations=[raw_annotation(), raw_annotation(id=32, completed_by=6)]), CONTROL)
    assert (task.id, task.digest, task.is_labeled, task.overlap) == (7, digest("Could you have a look?"), True, 1)
    assert task.updated_at == "2026-03-01T10:00:01.000000Z"
    assert [(one.id, one.task, one.annotator) for one in task.annotations] == [(31, 7, 5), (32, 7, 6)]


def test_the_annotations_of_a_task_stand_by_id_in_whatever_order_they_come() -> None:
    rows = [raw_annotation(id=number) for number in (32, 33, 31)]
    task = read_task(raw_task(annotations=rows), CONTROL)
    assert [row.id for row in task.annotations] == [31, 32, 33]
    assert task == read_task(raw_task(annotations=rows[::-1]), CONTROL)


@pytest.mark.parametrize(
    "data",
    [{}, {"other": "x"}, {"text": ""}, {"text": " \n\t"}, {"text": None}, {"text": []}, {"text": {}}],
)
def test_a_missing_or_blank_text_and_an_object_are_none(data: dict[str, Any]) -> None:
    assert read_text(raw_task(data=data), CONTROL) is None
    assert read_task(raw_task(data=data), CONTROL).digest is None


def test_a_text_keeps_its_outer_blanks() -> None:
    assert read_text(raw_task(data={"text": "  so \n"}), CONTROL) == "  so \n"


def test_a_lone_surrogate_leaves_the_rest_of_the_text() -> None:
    text = read_text(raw_task(data={"text": "caf\u00e9 \ud83d ok"}), CONTROL)
    assert text is not None
    assert text == "caf\u00e9 ? ok"
    assert digest(text)


def test_a_nul_leaves_the_rest_of_the_text() -> None:
    assert read_text(raw_task(data={"text": "caf\u00e9 \0 ok"}), CONTROL) == "caf\u00e9 ? ok"


def test_a_real_pair_of_surrogates_is_untouched() -> None:
    assert read_text(raw_task(data={"text": "fine \U0001f600"}), CONTROL) == "fine \U0001f600"


@unhurried
@given(st.text(alphabet=st.characters(), min_size=1))
def test_any_text_that_json_can_hold_has_a_digest(text: str) -> None:
    read = read_text(raw_task(data={"text": text}), CONTROL)
    assert (read is None) == (not text.strip())
    assert read is None or len(digest(read)) == 32


def test_the_digest_is_blake2b_of_the_utf8_text() -> None:
    assert digest("caf\u00e9") == hashlib.blake2b(b"caf\xc3\xa9", digest_size=16).hexdigest()


# -- the latest labels -----------------------------------------------------------------------------------------------


def test_each_annotator_has_a_label_on_each_task() -> None:
    rows = [row(1, 1, 1), row(2, 1, 2, "rude"), row(3, 2, 1, "rude")]
    assert latest_labels(rows) == {(1, 1): "Polite", (1, 2): "rude", (2, 1): "rude"}


def test_the_row_updated_last_wins_whatever_its_id_and_place() -> None:
    early = row(9, label="Polite", at="2026-03-01T10:00:00.000000Z")
    late = row(4, label="rude", at="2026-03-02T10:00:00.000000Z")
    assert latest_labels([early, late]) == latest_labels([late, early]) == {(1, 1): "rude"}


def test_of_two_rows_updated_at_once_the_later_made_wins() -> None:
    assert latest_labels([row(5, label="rude"), row(4, label="Polite")]) == {(1, 1): "rude"}


def test_a_moment_without_a_fraction_is_earlier_than_one_with() -> None:
    whole = row(9, label="Polite", at="2026-03-01T10:00:00Z")
    later = row(4, label="rude", at="2026-03-01T10:00:00.250000Z")
    assert latest_labels([whole, later]) == {(1, 1): "rude"}


def test_a_later_skip_empty_answer_or_unknown_choice_does_not_hide_a_label() -> None:
    rows = [
        row(1, label="rude", at="2026-03-01T10:00:00.000000Z"),
        row(2, skipped=True, at="2026-03-02T10:00:00.000000Z"),
        row(3, label=None, at="2026-03-03T10:00:00.000000Z"),
    ]
    assert latest_labels(rows) == {(1, 1): "rude"}


def test_only_skips_give_no_labels() -> None:
    assert latest_labels([row(1, skipped=True), row(2, annotator=2, skipped=True)]) == {}


ROWS = st.lists(
    st.builds(
        row,
        st.integers(1, 10_000),
        st.integers(1, 3),
        st.integers(1, 3),
        st.sampled_from(["Polite", "rude", None]),
        st.integers(10, 30).map(lambda day: f"2026-03-{day}T10:00:00.000000Z"),
        skipped=st.booleans(),
    ),
    unique_by=lambda one: one.id,
)


@unhurried
@given(ROWS, st.randoms())
def test_latest_labels_do_not_depend_on_the_order_of_rows(rows: list[Annotation], random: Any) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert latest_labels(shuffled) == latest_labels(rows)


@unhurried
@given(ROWS)
def test_latest_labels_are_labels_that_were_given(rows: list[Annotation]) -> None:
    given_labels = {(one.task, one.annotator, one.label) for one in rows if one.label is not None}
    latest = latest_labels(rows)
    assert {(task, annotator, label) for (task, annotator), label in latest.items()} <= given_labels
    assert set(latest) == {(task, annotator) for task, annotator, _ in given_labels}


# -- rows that count against the overlap -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("skip_queue", "expected"), [("REQUEUE_FOR_OTHERS", 2), ("REQUEUE_FOR_ME", 4), ("IGNORE_SKIPPED", 4)]
)
def test_skips_count_in_every_mode_but_requeue_for_others_and_ground_truth_never(
    skip_queue: str, expected: int
) -> None:
    rows = [
        row(1),
        row(2, annotator=2, label=None),
        row(3, annotator=3, skipped=True),
        row(4, annotator=4, skipped=True),
        row(5, annotator=5, ground_truth=True),
        row(6, annotator=6, ground_truth=True, skipped=True),
    ]
    assert lock_rows(rows, skip_queue) == expected


def test_two_rows_of_one_annotator_count_twice() -> None:
    assert lock_rows([row(1), row(2)], "REQUEUE_FOR_OTHERS") == 2


def test_a_task_without_rows_counts_none() -> None:
    assert lock_rows([], "REQUEUE_FOR_OTHERS") == 0


# -- writing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", CONTROL.classes)
def test_a_prelabel_reads_back_as_its_class(label: str) -> None:
    assert read_annotation(raw_annotation(result=CONTROL.result(label)), 7, CONTROL).label == label
