"""What of a project gives no label, in sentences."""

from connector.annotations.left_out import LeftOut
from connector.annotations.records import Annotation, Task

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
