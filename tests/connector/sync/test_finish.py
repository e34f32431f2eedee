"""Which labels of the model are accepted and count, what is asked for then, and how it is told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.scoring_factory import Model, labelled, probabilities, pulled

from connector.active_learning.audit import Audit, Drawn
from connector.active_learning.window import Slot
from connector.annotations.records import Task, digest
from connector.errors import UsageError
from connector.state.project_state import ProjectState
from connector.state.rows import Accepted, Finish
from connector.sync.accepted import FinishSummary, format_finish, share_of, still_accepted, without_label
from connector.sync.finish import find_acceptable
from connector.sync.options import SyncOptions
from connector.sync.scoring import Scored, choose

AUDITED, NEW = 40, 60
LIMIT = 0.2


def project_and_labels(*more: Task) -> tuple[Any, Scored, Audit]:
    """Forty audited tasks, and sixty without an answer, all of which the model knows."""
    said = {number: ("Polite", "Impolite")[number % 2] for number in range(1, AUDITED + NEW + 1)}
    tasks = [labelled(number, said[number]) for number in range(1, AUDITED + 1)]
    tasks += [labelled(number) for number in range(AUDITED + 1, AUDITED + NEW + 1)]
    project = pulled(*tasks, *more)
    sure = {number: 0.99 if number % 3 else 0.6 for number in project.tasks}
    probs = [
        [sure[number], 1 - sure[number]] if said.get(number, "Polite") == "Polite" else [1 - sure[number], sure[number]]
        for number in project.tasks
    ]
    labels = {(number, 1): said[number] for number in range(1, AUDITED + 1)}
    scored = Scored(
        labels,
        consensus={number: said[number] for number in range(1, AUDITED + 1)},
        scores=dict.fromkeys(project.tasks, 0.5),
        predicted={number: said.get(number, "Polite") for number in project.tasks},
        model_version="v1",
        probabilities=probabilities(np.array(probs), list(project.tasks)),
    )
    return project, scored, Audit(1.0, "seed", {number: Drawn(0, 1) for number in range(1, AUDITED + 1)})


def test_labels_of_tasks_that_nobody_has_seen_are_accepted() -> None:
    skipped = labelled(101, None)
    incomplete = labelled(102)._replace(problem="no image")
    project, scored, audit = project_and_labels(skipped, incomplete)
    found = find_acceptable(project, scored, audit, LIMIT)
    assert found.labels.keys() <= set(range(AUDITED + 1, AUDITED + NEW + 1))
    assert {number for number in range(AUDITED + 1, AUDITED + NEW + 1) if number % 3} <= found.labels.keys()
    assert found.finish is not None
    assert found.finish["bound"] <= LIMIT
    assert (found.audited, found.finish["model_version"]) == (AUDITED, "v1")
    for number, one in found.labels.items():
        assert one == (scored.predicted[number], pytest.approx(0.99 if number % 3 else 0.6), digest(f"Text {number}"))


def test_answers_against_the_model_make_it_accept_less() -> None:
    project, scored, audit = project_and_labels()
    all_of_them = find_acceptable(project, scored, audit, LIMIT)
    against = {
        key: {"Polite": "Impolite", "Impolite": "Polite"}[label] if key[0] % 2 else label
        for key, label in scored.labels.items()
    }
    contradicted = find_acceptable(project, replace(scored, labels=against), audit, LIMIT)
    assert len(contradicted.labels) < len(all_of_them.labels)
    assert contradicted.found is not None
    assert contradicted.labels or contradicted.found.bound > LIMIT


@pytest.mark.parametrize(
    ("changes", "limit", "why"),
    [
        ({}, 0.02, "takes at least 125 labelled tasks that were drawn at random, and project 7 has 40"),
        ({"probabilities": None}, LIMIT, "project 7 has no model"),
        ({"scores": {}}, LIMIT, "project 7 has no model"),
    ],
    ids=["too few", "no probabilities", "no scores"],
)
def test_without_an_audit_or_a_model_nothing_is_accepted(changes: dict[str, Any], limit: float, why: str) -> None:
    project, scored, audit = project_and_labels()
    with pytest.raises(UsageError, match=why):
        find_acceptable(project, replace(scored, **changes), audit, limit)


def test_only_labels_of_tasks_that_are_as_they_were_and_without_a_label_count() -> None:
    project = pulled(labelled(1), labelled(2, "Polite"), labelled(3), labelled(4, None), labelled(5))
    accepted = {number: Accepted("Polite", 0.9, digest(f"Text {number}")) for number in (1, 2, 4, 6)}
    accepted |= {3: Accepted("Polite", 0.9, digest("Another text")), 5: Accepted("Rude", 0.9, digest("Text 5"))}
    assert still_accepted(project, accepted).keys() == {1, 4}
    assert without_label(project) == 4


def test_people_are_asked_for_the_others_alone_and_for_what_lacks_labels() -> None:
    project = pulled(
        *(labelled(number) for number in range(1, 31)),
        *(labelled(number, "Polite", "Impolite") for number in range(31, 41)),
        labelled(41, "Polite"),
        labelled(42, "Polite", "Polite", "Polite"),
    )
    labels = {(number, one): "Polite" for number in range(31, 41) for one in (1, 2)} | {(41, 1): "Polite"}
    labels |= {(42, one): "Polite" for one in (1, 2, 3)}
    scored = Scored(labels, scores={number: 1.0 if number <= 30 else 0.0 for number in project.tasks})

    def window(accepted: Any, audit: Audit) -> list[Slot]:
        return choose(
            project,
            scored,
            Model(),  # type: ignore[arg-type]
            window=12,
            max_annotations=5,
            min_annotations=2,
            accepted=accepted,
            audit=audit,
        )

    accepted = set(range(1, 24))
    assert {slot.task for slot in window(None, Audit())} > set(range(31, 41))
    left = window(accepted, Audit())
    assert [slot.task for slot in left] == [41, *range(24, 31)]
    drawn = {slot.task for slot in window(accepted, Audit(0.5, "seed")) if slot.audit}
    assert len(drawn) == 6
    assert drawn & (accepted | set(range(31, 41)))
    assert not {slot.task for slot in window(accepted, Audit(0.5, "seed")) if not slot.audit} & accepted


def test_the_options_of_a_round_are_those_of_its_sync() -> None:
    options = SyncOptions(window=7, strategy="random", audit=0.3, gold=0.1, train="never", publish_consensus=True)
    stored = {"options": options.window_fingerprint("REQUEUE_FOR_OTHERS")}
    again = SyncOptions.of_round(stored, 1)
    assert replace(again, max_annotations_per_task=None) == options
    assert again.window_fingerprint("REQUEUE_FOR_OTHERS") == stored["options"]
    assert SyncOptions.of_round(stored, 9).max_annotations_per_task == 9
    assert SyncOptions.of_round(None, 1, dry_run=True) == SyncOptions(dry_run=True, max_annotations_per_task=5)


def test_accepted_and_published_labels_are_kept_by_version_until_they_are_forgotten(state: ProjectState) -> None:
    finish = Finish(at="now", max_error=0.1, bound=0.09, audited=30, model_version="v1")
    labels = {number: Accepted("Polite", 0.9, digest(str(number))) for number in range(1, 1200)}
    state.store_accepted(labels, finish)
    assert (state.accepted(), state.record().finish) == (labels, finish)
    state.store_accepted({5: labels[5]}, finish)
    assert state.accepted() == {5: labels[5]}
    state.store_published("a", {1: ("x", 0.5), 2: ("y", 0.25)})
    state.store_published("b", {1: ("z", 1.0)})
    state.store_published("a", {1: None})
    assert (state.published_labels("a"), state.published_labels("b")) == ({2: ("y", 0.25)}, {1: ("z", 1.0)})
    state.forget_published("a")
    assert (state.published_labels("a"), state.published_labels("b")) == ({}, {1: ("z", 1.0)})
    state.forget_adoption()
    assert (state.accepted(), state.published_labels("b"), state.record().finish) == ({}, {}, None)


DONE = FinishSummary(7, 0.05, 812, 0, 588, 0.0421, 164, 210, "v1", 100)
BY = "(with 95 % confidence, by 164 labelled tasks drawn at random of which the model is as sure)"
LEFT = "588 tasks are left for people. The window has 100 tasks."


@pytest.mark.parametrize(
    ("done", "told"),
    [
        (
            DONE,
            f"accepted the model's label for 812 tasks. At most 4.3 % of these labels are wrong {BY}. {LEFT} "
            "To take it back: connector finish --project 7 --reopen.",
        ),
        (
            replace(DONE, dry_run=True),
            f"would accept the model's label for 812 tasks. At most 4.3 % of these labels are wrong {BY}. "
            "588 tasks are left for people. The window would have 100 tasks.",
        ),
        (
            replace(DONE, accepted=0, before=1, bound=0.0731),
            f"no label of the model can be accepted. Where it is best, up to 7.4 % of its labels may be wrong {BY}, "
            "and --max-error is 5 %. Have more tasks labelled that are drawn at random (connector sync --project 7 "
            f"--audit 0.5), or give a higher --max-error. 1 label accepted before was given up. {LEFT}",
        ),
        (
            replace(DONE, accepted=0, bound=None, left=1, window=0),
            "every task has an answer, so there is nothing to accept. 1 task is left, but cannot be asked for.",
        ),
        (
            replace(DONE, max_error=None, accepted=0, before=812, bound=None),
            f"812 accepted labels of the model were given up. {LEFT}",
        ),
        (
            replace(DONE, max_error=None, accepted=0, bound=None, left=0, window=0),
            "no label of the model was accepted, so there is nothing to give up. No task is left for people.",
        ),
    ],
    ids=["accepted", "dry run", "none", "all answered", "reopened", "nothing to reopen"],
)
def test_finish_says_what_it_did_and_what_is_left(done: FinishSummary, told: str) -> None:
    assert format_finish(done) == f"Project 7: {told}"


@pytest.mark.parametrize(("value", "told"), [(0.02, "2 %"), (0.0201, "2.1 %"), (0.1, "10 %"), (0.005, "0.5 %")])
def test_bounds_are_rounded_up(value: float, told: str) -> None:
    assert share_of(value) == told
