"""The report's learning curve: rounds thinned, a replay compared with random order, folders that hold none."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from connector.errors import UsageError
from connector.reporting.section_learning_curve import POINTS, REPLAYABLE, Replay, curve_section, read_replay, thin
from connector.simulation.results import results_json

Rounds = Sequence[tuple[float, float]]


def run(strategy: str, seed: int, rounds: Rounds, classifier: str = "logistic") -> dict[str, Any]:
    told = [{"labels": labels, "accuracy": accuracy, "consensus_accuracy": None} for labels, accuracy in rounds]
    return {"strategy": strategy, "classifier": classifier, "seed": seed, "rounds": told}


def replayed(folder: Path, *runs: Mapping[str, Any], default: str = "ours") -> Path:
    """A folder as `connector simulate` leaves it."""
    more = {"data": {"tasks": 1670}, "options": {"project": "7"}}
    (folder / "results.json").write_text(results_json(default, runs, **more))
    return folder


def read(folder: Path) -> Replay:
    return read_replay(folder, 7)


OURS = [run("ours", 0, [(200, 0.6), (300, 0.7), (400, 0.8)]), run("ours", 1, [(200, 0.6), (300, 0.8), (400, 0.9)])]


def test_rounds_are_points_and_many_are_thinned() -> None:
    rounds = [
        {
            "round": number,
            "at": f"2026-03-01T10:00:{number % 60:02}+00:00",
            "annotations": 11 * number,
            "labels": 10 * number,
        }
        for number in range(1, 1001)
    ]
    rounds[0] |= {"model_agreement": 0.7, "ground_truth_accuracy": 0.8}
    found = curve_section(rounds, None, 7, multiple=False, replayable=REPLAYABLE)
    assert (len(found.points), found.rounds) == (POINTS, 1000)
    first, last = found.points[0], found.points[-1]
    assert (first.round, first.labels, first.agreement, first.accuracy) == (1, 10, 0.7, 0.8)
    assert (last.round, last.labels, last.agreement, last.accuracy) == (1000, 10_000, None, None)
    steps = [later.round - one.round for one, later in zip(found.points, found.points[1:], strict=False)]
    assert set(steps) == {3, 4}
    assert (found.replayed, found.saved) == ([], None)
    assert "connector simulate --project 7 --out simulated" in found.note
    assert "125 tasks have labels of two people, and 125 are enough" in found.note
    assert "cannot be replayed" in curve_section([], None, 7, multiple=True).note


def test_a_replay_is_recommended_once_there_is_enough_for_it() -> None:
    note = curve_section([], None, 7, multiple=False, replayable=REPLAYABLE - 1).note
    assert "a replay needs 125 tasks with labels of two people" in note
    assert note.endswith(" 124 have them so far.")
    assert "connector simulate" not in note


def test_a_replay_of_another_project_is_refused(tmp_path: Path) -> None:
    replayed(tmp_path, *OURS)
    with pytest.raises(UsageError) as told:
        read_replay(tmp_path, 8)
    assert str(told.value) == (
        f"{tmp_path}/results.json is a replay of project 7: make one of this project with connector simulate "
        "--project 8."
    )


@pytest.mark.parametrize("more", [{}, {"options": {"project": "simulate"}}])
def test_a_replay_of_a_folder_of_data_is_called_so(tmp_path: Path, more: Any) -> None:
    (tmp_path / "results.json").write_text(results_json("ours", OURS, data={"tasks": 1670}, **more))
    note = curve_section([], read_replay(tmp_path, 7), 7, multiple=False).note
    assert note.startswith("connector simulate made the replay of 1,670 texts (of other data) with the")


def test_few_values_stay_as_they_are() -> None:
    assert thin([1, 2, 3], 3) == [1, 2, 3]
    assert thin([1, 2, 3, 4, 5], 3) == [1, 3, 5]
    assert thin([], 3) == []


def test_a_replay_is_the_mean_and_deviation_over_its_seeds(tmp_path: Path) -> None:
    random = [run("random", 0, [(200, 0.6), (300, 0.65), (400, 0.7)])]
    other = [run("margin", 0, [(200, 0.9), (400, 0.99)]), run("ours", 0, [(200, 0.1)], classifier="auto")]
    found = curve_section([], read(replayed(tmp_path, *OURS, *random, *other)), 7, multiple=False)
    ours, by_chance = found.replayed
    assert (ours.strategy, ours.seeds, ours.labels) == ("ours", 2, [200, 300, 400])
    assert ours.mean == pytest.approx([0.6, 0.75, 0.85])
    assert ours.deviation == pytest.approx([0, 0.05, 0.05])
    assert (by_chance.strategy, by_chance.seeds) == ("random", 1)
    assert found.saved == (
        "In the replay, ours reached an accuracy of 85.0\u00a0% with 400 labels. Random order did not reach it with "
        "400 labels. Its best accuracy was 70.0\u00a0%."
    )
    assert "of 1,670 texts" in found.note
    assert "logistic" in found.note


def test_what_random_order_would_have_needed(tmp_path: Path) -> None:
    random = run("random", 0, [(200, 0.6), (1000, 0.8), (2000, 0.9)])
    found = curve_section([], read(replayed(tmp_path, *OURS, random)), 7, multiple=False)
    assert found.saved == (
        "In the replay, ours reached an accuracy of 85.0\u00a0% with 400 labels. Random order needed 1,500 labels for "
        "it."
    )


def test_a_replay_without_random_order_or_its_default(tmp_path: Path) -> None:
    found = curve_section([], read(replayed(tmp_path, *OURS)), 7, multiple=False)
    assert found.saved == "The replay has ours only, so there is nothing to compare it with."
    found = curve_section([], read(replayed(tmp_path, *OURS, default="another")), 7, multiple=False)
    assert [line.strategy for line in found.replayed] == ["ours"]
    alone = run("random", 0, [(200, 0.6)], classifier="auto")
    found = curve_section([], read(replayed(tmp_path, alone, default="another")), 7, multiple=False)
    assert [line.strategy for line in found.replayed] == ["random"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "holds no results.json: give the folder that connector simulate has written with --out"),
        ("", "is no result of connector simulate"),
        ("[]", "is no result of connector simulate"),
        ("{}", "'default' is missing"),
        (json.dumps({"default": "ours", "runs": []}), "there is no run in it"),
        (json.dumps({"default": "ours", "runs": [{"strategy": "ours"}]}), "is missing"),
        (json.dumps({"default": "ours", "runs": [run("ours", 0, [])]}), "a run has no rounds, or no numbers"),
        (json.dumps({"default": "ours", "runs": [run("ours", 0, [(1, float("nan"))])]}), "or no numbers"),
        (json.dumps({"default": "ours", "runs": [7]}), "is no result of connector simulate"),
        (
            json.dumps({"default": "ours", "runs": OURS, "data": {"tasks": float("inf")}}),
            "is no result of connector simulate",
        ),
        ("\udcff", "is no result of connector simulate"),
        ("[" * 100_000, "is no result of connector simulate"),
    ],
)
def test_a_folder_without_a_replay_is_told(tmp_path: Path, content: str | None, words: str) -> None:
    if content is not None:
        (tmp_path / "results.json").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(UsageError) as told:
        read_replay(tmp_path, 7)
    assert words in str(told.value)
    assert str(tmp_path) in str(told.value)


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no results"):
        read_replay(tmp_path / "none", 7)
