"""What undo says and counts: only what it has checked."""

from collections.abc import Iterator
from typing import Any

import pytest

from connector.progress import Reporter
from connector.queue.task_flags import restore_tasks
from connector.queue.undo import UndoResult, format_undo
from connector.state.project_state import Original, State

KEPT = "All annotations are kept."
CRON = "If cron runs connector sync for the project, remove that line."


@pytest.mark.parametrize(
    ("done", "sentences"),
    [
        (
            UndoResult(7, settings=["sampling"], second_opinions=1, predictions=9, removed=["the Data Manager's tabs"]),
            [
                "Project 7 is as init found it. Undo restored sampling.",
                "It closed 1 second opinion and removed the window's predictions, the Data Manager's tabs.",
                KEPT,
                CRON,
            ],
        ),
        (
            UndoResult(7, tasks=2, retrieved_predictions=40),
            [
                "Project 7 is as init found it. Undo restored no setting and the overlap of 2 tasks.",
                "It closed 0 second opinions and removed 40 predictions that the ML backend made on request.",
                KEPT,
                CRON,
            ],
        ),
        (
            UndoResult(7, taken_over=True, still_open=4, version_gone="activelab-20260301-100000-000000"),
            [
                "Project 7 is as this init found it. Another state database ran it before, and only that one knows the "
                "settings before its own init. Undo restored no setting.",
                "It closed 0 second opinions and removed nothing.",
                KEPT,
                "4 labelled tasks are open for more labels than the project asks for. They were so at init, "
                "because another connector had asked for second opinions.",
                "The window 'activelab-20260301-100000-000000' of the other connector is removed, too, and with it the "
                "project's model version.",
                CRON,
            ],
        ),
        (
            UndoResult(7, replaced=15),
            [
                "Project 7 is as init found it, but for 15 predictions with the name of the connector's labels, which "
                "a sync deleted. Undo restored no setting.",
                "It closed 0 second opinions and removed nothing.",
                KEPT,
                CRON,
            ],
        ),
        (
            UndoResult(7, still_open=1, version_gone="theirs", other_predictions={"b": 1200, "a": 3}),
            [
                "Project 7 is as init found it. Undo restored no setting.",
                "It closed 0 second opinions and removed nothing.",
                KEPT,
                "1 labelled task is open for more labels than the project asks for. It was so at init.",
                "The model version 'theirs' is gone from Label Studio, so the project has none.",
                "Predictions that are not the connector's and were made since init stay: a (3), b (1,200). To "
                "delete them, use Settings, Predictions in Label Studio.",
                CRON,
            ],
        ),
        (
            UndoResult(7, settings=["sampling"], different=["sampling"]),
            [
                "Project 7 is restored, but Label Studio still has another sampling. Undo restored sampling.",
                "It closed 0 second opinions and removed nothing.",
                KEPT,
                CRON,
            ],
        ),
        (
            UndoResult(7, already=True),
            ["Project 7 is not set up in this state database: there is nothing to undo."],
        ),
        (
            UndoResult(7, forgotten=True),
            ["The state database has forgotten project 7. Label Studio was not changed.", CRON],
        ),
    ],
    ids=["all", "retrieved", "taken over", "replaced", "left", "different", "already", "forgotten"],
)
def test_undo_says_what_it_did_and_what_it_left(done: UndoResult, sentences: list[str]) -> None:
    assert format_undo(done) == " ".join(sentences)


class Tasks:
    """Label Studio with these tasks, as init found them."""

    def __init__(self, *rows: dict[str, Any]) -> None:
        self._rows = list(rows)

    def tasks(self, project: int) -> Iterator[list[dict[str, Any]]]:
        yield self._rows


@pytest.mark.parametrize(
    ("overlap", "is_labeled", "annotators", "truths", "maximum", "still_open"),
    [
        (2, False, 1, 0, 1, 1),
        (1, False, 0, 1, 1, 1),  # Label Studio does not count a ground truth
        (2, False, 1, 1, 2, 1),
        (2, False, 1, 0, 2, 0),  # the project itself asks for another
        (1, True, 0, 1, 1, 0),
        (1, False, 0, 0, 1, 0),
        (3, False, 1, 0, 2, 1),
    ],
)
def test_labelled_tasks_that_stay_open_are_counted(
    overlap: int, is_labeled: bool, annotators: int, truths: int, maximum: int, still_open: int
) -> None:
    rows = [
        {
            "completed_by": person,
            "was_cancelled": False,
            "ground_truth": person >= annotators,
            "updated_at": "2026-03-01",
        }
        for person in range(annotators + truths)
    ]
    raw = {"id": 1, "overlap": overlap, "is_labeled": is_labeled, "annotations": rows}
    project = {
        "id": 7,
        "maximum_annotations": maximum,
        "overlap_cohort_percentage": 100,
        "skip_queue": "REQUEUE_FOR_OTHERS",
    }
    database = State("sqlite://")
    state = database.project("http://studio", 7)
    gateway: Any = Tasks(raw)
    with state.lock(), Reporter().stage("tasks", "Restoring") as stage:
        state.originals = lambda: {1: Original(overlap, is_labeled, len(rows))}  # type: ignore[method-assign]
        assert restore_tasks(project, gateway, state, stage).open == still_open
    database.close()
