"""Whether people follow preselected labels is counted from answers with one and blind ones."""

from __future__ import annotations

from connector.annotations.records import Annotation
from connector.state.project_state import ProjectState
from connector.state.rows import Shown
from connector.sync.prelabelled import Following, following

BEFORE, SINCE, UNTIL, AFTER = (f"2026-03-0{day}T10:00:00.000000Z" for day in range(1, 5))
DURING = "2026-03-02T12:00:00Z"


def answer(task: int, label: str | None, at: str, annotator: int = 1, *, ground_truth: bool = False) -> Annotation:
    return Annotation(10 * task + annotator, task, annotator, label, label is None, ground_truth, AFTER, created_at=at)


def test_an_answer_counts_as_seen_if_its_label_was_shown_when_it_was_made() -> None:
    shown = {1: [Shown("Polite", SINCE, UNTIL)], 2: [Shown("Polite", SINCE, None)]}
    rows = [
        answer(1, "Polite", DURING),
        answer(1, "Impolite", DURING, 2),
        answer(1, "Impolite", BEFORE, 3),
        answer(1, "Polite", AFTER, 4),
        answer(2, "Polite", AFTER),
        answer(2, None, AFTER, 2),
        answer(2, "Polite", AFTER, 3, ground_truth=True),
        answer(3, "Polite", AFTER),
        answer(4, "Polite", AFTER),
    ]
    labels = {1: "Polite", 2: "Polite", 3: "Impolite"}
    assert following(rows, shown, labels) == Following(shown=3, same=2, blind=3, blind_same=1)
    assert following(rows, {}, labels) is None


def test_it_is_told_once_there_are_enough_answers_of_both_kinds() -> None:
    assert Following(19, 19, 500, 300).words == ""
    assert Following(100, 95, 200, 160).words == (
        "people gave the label that they saw in 95 % of 100 answers, and without seeing it in 80 % of 200: they seem "
        "to follow it"
    )
    assert Following(100, 70, 200, 160).words.endswith("without seeing it in 80 % of 200")


def test_what_is_shown_is_remembered_from_window_to_window(state: ProjectState) -> None:
    state.store_shown({1: "Polite", 2: "Impolite"}, BEFORE)
    state.store_shown({2: "Impolite", 3: "Polite"}, SINCE)
    state.store_shown({2: "Polite"}, UNTIL)
    state.store_shown({}, AFTER)
    assert state.shown_labels() == {
        1: [Shown("Polite", BEFORE, SINCE)],
        2: [Shown("Impolite", BEFORE, UNTIL), Shown("Polite", UNTIL, AFTER)],
        3: [Shown("Polite", SINCE, UNTIL)],
    }
    state.forget_adoption()
    assert state.shown_labels() == {}
