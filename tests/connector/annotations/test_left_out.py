"""What of a project gives no label, in sentences."""

from connector.annotations.left_out import LeftOut
from connector.annotations.records import Annotation, Task, latest_labels, without_labels_of

AT = "2026-03-01T10:00:00Z"


def row(number: int, label: str | None = None, *, skipped: bool = False, problem: str = "") -> Annotation:
    return Annotation(number, 1, 1, label, skipped, False, AT, problem=problem)


def test_annotations_without_an_answer_in_the_control_are_counted() -> None:
    rows = (row(1, "A"), row(2), row(3, skipped=True), row(4, problem="its value is null"), row(5))
    left_out = LeftOut.of([Task(1, "digest", True, 1, AT, rows)])
    assert left_out.unanswered == [2, 5]
    assert left_out.sentences("z") == [
        "1 annotation with an answer that cannot be read: 4 (its value is null)",
        "2 annotations without an answer in 'z': 2, 5",
    ]
    hidden = left_out.sentences("z", hides=True)
    assert "2 annotations without an answer in 'z' that the form shows: 2, 5" in hidden
    assert "without an answer" not in " ".join(LeftOut.of([Task(1, "digest", True, 1, AT, rows[:1])]).sentences("z"))


def test_annotators_who_are_left_out_give_no_labels_and_their_annotations_stay() -> None:
    rows = (row(1, "A"), row(2, "B")._replace(annotator=2), row(3, skipped=True)._replace(annotator=2))
    truth = row(4, "B")._replace(annotator=2, ground_truth=True)
    unknown = row(5, problem="'C'")._replace(annotator=2, unknown=True)
    task = Task(1, "digest", True, 1, AT, (*rows, truth, unknown))
    assert without_labels_of(task, {7}) is task
    left = without_labels_of(task, {2})
    assert [one.id for one in left.annotations] == [1, 2, 3, 4, 5]
    assert [one.excluded for one in left.annotations] == [False, True, False, False, True]
    assert latest_labels(left.annotations) == {(1, 1): "A", (1, 2): "B"}  # someone has marked that one as right
    assert not any(one.unreadable or one.unknown for one in left.annotations)
    found = LeftOut.of([left])
    assert (found.excluded, found.unanswered, found.unknown) == ([2, 5], [], {})
    assert found.sentences("z") == ["2 annotations by annotators whom init --exclude leaves out: 2, 5"]
    assert without_labels_of(left, {2}) == left
