"""The summary of a sync: the keys that `--json` prints, and the sentences for people."""

import json
from dataclasses import replace

import pytest
from support.summary_factory import sync_summary

from connector.sync.people import PersonSummary, PersonWarning
from connector.sync.summary import (
    CodebookSummary,
    CostSummary,
    ModelSummary,
    WindowSummary,
    codebook_of_round,
    cost_of_round,
    format_summary,
)

KEYS = [
    "project",
    "round",
    "tasks",
    "annotations",
    "annotators",
    "labels_changed",
    "trained",
    "model_version",
    "model_agreement",
    "ground_truth_tasks",
    "ground_truth_accuracy",
    "forecast",
    "model_embedding",
    "model_embedding_since",
    "model_in_training",
    "audit",
    "queue_version",
    "window",
    "without_text",
    "unknown_choices",
    "unreadable_annotations",
    "left_out",
    "restored",
    "seconds",
    "ambiguous",
    "codebook",
    "people",
]


def test_the_keys_of_json_are_a_contract() -> None:
    made = sync_summary().to_json()
    assert list(made) == KEYS
    assert made["window"] == {"size": 20, "new": 15, "relabel": 5}
    assert (made["model_agreement"], made["ground_truth_tasks"], made["forecast"]) == (0.9, 0, None)


def test_a_dry_run_says_so_at_the_end() -> None:
    made = sync_summary(dry_run=True).to_json()
    assert list(made) == [*KEYS, "dry_run"]
    assert made["dry_run"] is True


def test_the_model_of_a_stored_round_comes_back() -> None:
    summary = sync_summary(
        model=ModelSummary(0.8, 3, 1.0, {"labels": 125, "gain": None}, "frozen", "2026-03-01T10:00:00+00:00", True)
    )
    assert ModelSummary.of_round(summary.to_json()) == summary.model
    assert ModelSummary.of_round(None) == ModelSummary(None, None, None, None)


def test_the_classes_of_a_stored_round_come_back() -> None:
    summary = sync_summary(ambiguous=12, codebook=[CodebookSummary("tone", ("Polite", "Impolite"), 7, 90)])
    stored = json.loads(json.dumps(summary.to_json()))
    assert (stored["ambiguous"], codebook_of_round(stored)) == (12, summary.codebook)
    assert codebook_of_round(None) == codebook_of_round({}) == []


def test_what_a_round_made_of_time_comes_back_and_is_no_key_without() -> None:
    summary = sync_summary(cost=CostSummary("", 120, 8.0, 40.0))
    stored = json.loads(json.dumps(summary.to_json()))
    assert stored["cost"] == {"ignored": "", "answers": 120, "low": 8.0, "high": 40.0}
    assert cost_of_round(stored) == summary.cost
    assert cost_of_round(None) is cost_of_round(sync_summary().to_json()) is None


@pytest.mark.parametrize(
    ("cost", "sentence"),
    [
        (CostSummary("", 90, 0.83, 4.2), "weighs time: an answer takes 0.83 to 4.2 s, by the length of the text"),
        (CostSummary("", 90, 12.0, 12.3), "weighs time: an answer takes about 12 s, by the length of the text"),
        (
            CostSummary("strategy"),
            "does not weigh time: the scores of this strategy do not say what an answer is worth",
        ),
        (CostSummary("scores"), "does not weigh time: there are no scores yet"),
        (
            CostSummary("kind", 30),
            "does not weigh time: the content is not text alone, so no length says how long an answer takes",
        ),
        (CostSummary("times", 3), "does not weigh time: only 3 answers have a time"),
        (
            CostSummary("length", 90),
            "does not weigh time: the times of answers do not depend on the length of the text",
        ),
    ],
)
def test_what_the_order_weighs_is_told(cost: CostSummary, sentence: str) -> None:
    summary = sync_summary(without_text=0, left_out=[])
    assert format_summary(replace(summary, cost=cost)) == f"{format_summary(summary)} The order {sentence}."


@pytest.mark.parametrize(
    ("trained", "version", "sentence"),
    [(True, "v3", "Trained model v3. "), (False, "v3", "Model v3. "), (False, None, "No model yet. ")],
)
def test_the_model_is_named(trained: bool, version: str | None, sentence: str) -> None:
    assert sentence in format_summary(sync_summary(trained=trained, model_version=version))


def test_a_summary_in_words_names_what_was_left_out() -> None:
    summary = sync_summary(
        round=2,
        annotations=3,
        annotators=1,
        tasks=1670,
        trained=False,
        model_version=None,
        size=4,
        relabel=1,
        left_out=["2 annotations with an answer that the config no longer has: 31, 35 ('Rude')"],
        seconds={"pull": 0.1},
    )
    assert format_summary(summary) == (
        "Project 7: nothing new since round 2. It restored sampling. Annotators keep the window of 4 tasks. 1,670 "
        "tasks, 3 annotations by 1 annotator. No model yet. Left out: 2 annotations with an answer that the config no "
        "longer has: 31, 35 ('Rude')."
    )
    assert "Would publish 4 tasks: 3 new" in format_summary(replace(summary, dry_run=True))
    assert "Left out" not in format_summary(replace(summary, left_out=[]))


def test_a_sync_with_nothing_new_is_no_published_window() -> None:
    nothing = sync_summary(trained=False, seconds={"pull": 0.1}, restored=[], without_text=0, left_out=[])
    assert format_summary(nothing) == (
        "Project 7: nothing new since round 3. Annotators keep the window of 20 tasks. 200 tasks, 60 annotations by 4 "
        "annotators. Model v3."
    )
    empty = replace(nothing, window=WindowSummary(0, 0, 0), annotations=0, annotators=0)
    assert format_summary(empty) == (
        "Project 7: nothing new since round 3. No task is left to ask for. 200 tasks, no annotations yet. Model v3."
    )


@pytest.mark.parametrize(
    ("spare", "sentence"),
    [
        (0, "Published 104 tasks: 100 new, 4 for a second opinion."),
        (1, "The last one is spare, beyond --window 103, so that annotators do not run out."),
        (4, "The last 4 are spare, beyond --window 100, so that annotators do not run out."),
    ],
)
def test_a_window_that_is_longer_than_asked_for_is_explained(spare: int, sentence: str) -> None:
    summary = sync_summary(size=104, relabel=4, without_text=0, left_out=[], spare=spare)
    assert format_summary(summary).endswith(sentence)
    assert "spare" not in summary.to_json()


def test_a_window_of_none_is_not_published() -> None:
    summary = sync_summary(size=0, relabel=0, without_text=0, left_out=[])
    assert format_summary(summary).endswith("Trained model v3. No task is left to ask for.")


def test_annotators_who_need_a_look_are_counted_once() -> None:
    calm = PersonSummary(1, "", 9, None, {}, None, 0, 0, None, None)
    slow = replace(calm, annotator=2, warnings=[PersonWarning("slow", 1000)])
    bad = replace(calm, annotator=3, control="topic", warnings=[PersonWarning("random", 1000)])
    summary = sync_summary(people=[calm, slow, bad, replace(bad, control="tone")])
    assert format_summary(summary).endswith(" 1 annotator needs a look: connector status --project 7 says why.")
    assert "a look" not in format_summary(replace(summary, people=[calm, slow]))
    assert len(summary.to_json()["people"]) == 4
    assert sync_summary().to_json()["people"] == []
