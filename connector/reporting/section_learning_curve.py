"""The part of a report on the learning curve: the rounds so far, and a replay's figures beside them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from connector.errors import UsageError
from connector.reporting.content import Curve, CurvePoint, Replayed
from connector.simulation.metrics import RANDOM, Run, labels_to_reach, mean_curve

POINTS = 300
REPLAYABLE = 125  # connector simulate starts with 100 tasks, and keeps a fifth of them all for its test
_SHOWN_FIRST = "logistic"  # the classifier that is drawn where several were replayed: the ML backend's own default

_T = TypeVar("_T")


@dataclass(frozen=True)
class Replay:
    """What `connector simulate` found out with `classifier`: its default strategy, and random order where it is there.

    `data`: of how many texts, in words.
    """

    classifier: str
    lines: list[Replayed]
    data: str


def read_replay(folder: Path, project: int) -> Replay:
    """The replay whose results.json lies in the folder; raises UsageError where it is none, or of another project."""
    path = folder / "results.json"
    wanted = "give the folder that connector simulate has written with --out"
    if not path.is_file():
        raise UsageError(f"{folder} holds no results.json: {wanted}.")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        default, runs = str(found["default"]), [_run(one) for one in found["runs"]]
        if not runs:
            raise ValueError("there is no run in it")
        data = found.get("data") or {}
        words = f" of {int(data['tasks']):,} texts" if "tasks" in data else ""
        source = str((found.get("options") or {}).get("project"))  # no number where it was given a folder of data
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise UsageError(f"{path} is no result of connector simulate ({reason}): {wanted}.") from error
    if source != str(project):
        if source.isdecimal():
            raise UsageError(
                f"{path} is a replay of project {source}: give one of this, by connector simulate --project {project}."
            )
        words += " (of other data)"
    classifiers = sorted({run["classifier"] for run in runs}, key=lambda name: (name != _SHOWN_FIRST, name))
    runs = [run for run in runs if run["classifier"] == classifiers[0]]
    strategies = {run["strategy"] for run in runs}
    if default not in strategies:
        default = min(strategies - {RANDOM}, default=RANDOM)
    names = [default, *({RANDOM} & strategies - {default})]
    lines = [_line(name, [run for run in runs if run["strategy"] == name]) for name in names]
    return Replay(classifiers[0], lines, words)


def _run(found: Mapping[str, Any]) -> Run:
    """A run as it must be: strategy, classifier, and labels and accuracy of each round."""
    rounds = [{name: float(one[name]) for name in ("labels", "accuracy")} for one in found["rounds"]]
    if not rounds or not all(math.isfinite(value) for one in rounds for value in one.values()):
        raise ValueError("a run has no rounds, or no numbers")
    return {"strategy": str(found["strategy"]), "classifier": str(found["classifier"]), "rounds": rounds}


def _line(strategy: str, runs: Sequence[Run]) -> Replayed:
    return Replayed(strategy, len(runs), *mean_curve(run["rounds"] for run in runs))


def curve(
    rounds: Sequence[Mapping[str, Any]], replay: Replay | None, project: int, *, multiple: bool, replayable: int = 0
) -> Curve:
    """What the report tells of the rounds, oldest first, and of a replay; `replayable`: tasks with two labels."""
    points = [
        CurvePoint(
            round=one["round"],
            at=one["at"],
            labels=one.get("labels", one["annotations"]),  # a round of an older connector may lack these
            agreement=one.get("model_agreement"),
            accuracy=one.get("ground_truth_accuracy"),
        )
        for one in rounds
    ]
    drawn = [_thinned(line) for line in replay.lines] if replay else []
    saved = _saved(replay.lines) if replay else None
    return Curve(thin(points, POINTS), len(points), drawn, saved, _note(replay, project, multiple, replayable))


def thin(values: Sequence[_T], most: int) -> list[_T]:
    """At most so many of the values, evenly spread, the first and the last among them."""
    if len(values) <= most:
        return list(values)
    return [values[index * (len(values) - 1) // (most - 1)] for index in range(most)]


def _thinned(line: Replayed) -> Replayed:
    return Replayed(
        line.strategy, line.seeds, thin(line.labels, POINTS), thin(line.mean, POINTS), thin(line.deviation, POINTS)
    )


def _saved(lines: Sequence[Replayed]) -> str:
    """How many labels random order would have needed for what the first of the lines reached at its end."""
    ours = lines[0]
    if len(lines) == 1:
        return f"The replay holds {ours.strategy} alone: there is nothing to compare it with."
    random, target = lines[1], ours.mean[-1]
    needed, had = labels_to_reach(_rounds(random), target), labels_to_reach(_rounds(ours), target)
    said = f"In the replay {ours.strategy} reached an accuracy of {100 * target:.1f} % with {had:,.0f} labels;"
    if math.isfinite(needed):
        return f"{said} random order needed {needed:,.0f} for it."
    best = max(random.mean)
    return f"{said} random order never got there with its {random.labels[-1]:,.0f}: {100 * best:.1f} % was its best."


def _rounds(line: Replayed) -> list[dict[str, float]]:
    return [{"labels": labels, "accuracy": mean} for labels, mean in zip(line.labels, line.mean, strict=True)]


def _note(replay: Replay | None, project: int, multiple: bool, replayable: int) -> str:
    if replay is not None:
        seeds = " and ".join(f"{line.seeds} of {line.strategy}" for line in replay.lines)
        return (
            f"The replay{replay.data} is by connector simulate with the classifier {replay.classifier}: means of its "
            f"runs ({seeds}), and one standard deviation around them. Accuracy is that on texts that nobody labels."
        )
    if multiple:
        return "What random order would have needed cannot be told: multiple choice cannot be replayed."
    if replayable < REPLAYABLE:
        return (
            f"What random order would have needed can be told once {REPLAYABLE} tasks have labels of two people: 100 "
            f"for a replay to start with, and a fifth for its test. {replayable:,} have so far."
        )
    return (
        f"What random order would have needed is told by a replay of the labels that are there ({replayable:,} tasks "
        f"have those of two people, {REPLAYABLE} are enough): connector simulate --project {project} --out simulated, "
        "and then this report with --simulated simulated."
    )
