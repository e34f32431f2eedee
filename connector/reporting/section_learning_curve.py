"""The section of a report on the learning curve: the rounds so far, and a replay beside them."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from connector.errors import UsageError
from connector.formatting import count, verb
from connector.reporting.content import CurvePoint, CurveSection, ReplayedStrategy
from connector.reporting.numbers import percent
from connector.reporting.report_data import NAME_LENGTH, shorten
from connector.simulation.metrics import RANDOM, Run, labels_to_reach, mean_curve

POINTS = 300
REPLAYABLE = 125  # connector simulate starts with 100 tasks and holds out a fifth of all for its test
_SHOWN_FIRST = "logistic"  # of several classifiers this one is drawn: the ML backend's default

_T = TypeVar("_T")


@dataclass(frozen=True)
class Replay:
    """The results of `connector simulate` with `classifier`: its default strategy, and random order if it has that.

    `data`: what was replayed, such as " of 896 texts". `control`: of several questions, the one that was replayed. "":
    there was one.
    """

    classifier: str
    strategies: list[ReplayedStrategy]
    data: str
    control: str = ""


def read_replay(folder: Path, project: int) -> Replay:
    """The replay in the folder's results.json. Raises UsageError if it is none, or one of another project."""
    path = folder / "results.json"
    remedy = "give the folder that connector simulate has written with --out"
    if not path.is_file():
        raise UsageError(f"{folder} holds no results.json: {remedy}.")
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
        default, runs = _name(results["default"]), [_run(run) for run in results["runs"]]
        if not runs:
            raise ValueError("there is no run in it")
        data = results.get("data") or {}
        replayed = f" of {count(int(data['tasks']), 'text')}" if "tasks" in data else ""
        control = str(data.get("control", ""))
        source = str((results.get("options") or {}).get("project"))  # not a number if a folder of data was replayed
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise UsageError(f"{path} is no result of connector simulate ({reason}): {remedy}.") from error
    if source != str(project):
        if source.isdecimal():
            raise UsageError(
                f"{path} is a replay of project {source}: make one of this project with connector simulate "
                f"--project {project}."
            )
        replayed += " (of other data)"
    classifiers = sorted({run["classifier"] for run in runs}, key=lambda name: (name != _SHOWN_FIRST, name))
    runs = [run for run in runs if run["classifier"] == classifiers[0]]
    strategies = {run["strategy"] for run in runs}
    if default not in strategies:
        default = min(strategies - {RANDOM}, default=RANDOM)
    names = [default, *({RANDOM} & strategies - {default})]
    strategies_drawn = [_replayed(name, [run for run in runs if run["strategy"] == name]) for name in names]
    return Replay(classifiers[0], strategies_drawn, replayed, control)


def _run(raw: Mapping[str, Any]) -> Run:
    """A run: strategy, classifier, and each round's labels and accuracy. Raises ValueError without rounds."""
    rounds = [{name: float(each[name]) for name in ("labels", "accuracy")} for each in raw["rounds"]]
    if not rounds or not all(math.isfinite(value) for each in rounds for value in each.values()):
        raise ValueError("a run has no rounds, or no numbers")
    return {"strategy": _name(raw["strategy"]), "classifier": _name(raw["classifier"]), "rounds": rounds}


def _name(value: Any) -> str:
    return shorten(str(value), NAME_LENGTH)


def _replayed(strategy: str, runs: Sequence[Run]) -> ReplayedStrategy:
    return ReplayedStrategy(strategy, len(runs), *mean_curve(run["rounds"] for run in runs))


def curve_section(
    rounds: Sequence[Mapping[str, Any]],
    replay: Replay | None,
    project: int,
    *,
    multiple: bool,
    replayable: int = 0,
    question: str = "",
) -> CurveSection:
    """The learning curve.

    Args:
        rounds: summaries of the rounds, oldest first.
        replay: a replay of the project, if there is one.
        project: Label Studio's id of the project.
        multiple: whether a task may have several classes.
        replayable: number of tasks with labels by two people.
        question: of several questions, the one that it is about.
    """
    points = [
        CurvePoint(
            round=summary["round"],
            at=summary["at"],
            labels=summary["labels"],
            agreement=summary.get("model_agreement"),
            accuracy=summary.get("ground_truth_accuracy"),
        )
        for summary in rounds
    ]
    drawn = [_thinned(strategy) for strategy in replay.strategies] if replay else []
    saved = _saved(replay.strategies) if replay else None
    return CurveSection(
        thin(points, POINTS), len(points), drawn, saved, _note(replay, project, multiple, replayable, question)
    )


def thin(values: Sequence[_T], most: int) -> list[_T]:
    """At most `most` of the values, evenly spread, including the first and the last."""
    if len(values) <= most:
        return list(values)
    return [values[index * (len(values) - 1) // (most - 1)] for index in range(most)]


def _thinned(replayed: ReplayedStrategy) -> ReplayedStrategy:
    return replace(
        replayed,
        labels=thin(replayed.labels, POINTS),
        mean=thin(replayed.mean, POINTS),
        deviation=thin(replayed.deviation, POINTS),
    )


def _saved(replayed: Sequence[ReplayedStrategy]) -> str:
    """How many labels random order needed for the accuracy that the first of the strategies reached at its end."""
    ours = replayed[0]
    if len(replayed) == 1:
        return f"The replay has {ours.strategy} only, so there is nothing to compare it with."
    random, target = replayed[1], ours.mean[-1]
    labels, random_labels = labels_to_reach(_rounds(ours), target), labels_to_reach(_rounds(random), target)
    reached = f"In the replay, {ours.strategy} reached an accuracy of {percent(target)} with {labels:,.0f} labels."
    if math.isfinite(random_labels):
        return f"{reached} Random order needed {random_labels:,.0f} labels for it."
    return (
        f"{reached} Random order did not reach it with {random.labels[-1]:,.0f} labels. "
        f"Its best accuracy was {percent(max(random.mean))}."
    )


def _rounds(replayed: ReplayedStrategy) -> list[dict[str, float]]:
    return [{"labels": labels, "accuracy": mean} for labels, mean in zip(replayed.labels, replayed.mean, strict=True)]


def _note(replay: Replay | None, project: int, multiple: bool, replayable: int, question: str) -> str:
    option = f" --control {shlex.quote(question)}" if question else ""
    if replay is not None:
        seeds = " and ".join(f"{replayed.seeds} of {replayed.strategy}" for replayed in replay.strategies)
        return (
            f"connector simulate made the replay{replay.data} with the classifier {replay.classifier}. The curves are "
            f"means of its runs ({seeds}), with one standard deviation around them. Accuracy is that on texts that no "
            "one labels."
        )
    if multiple:
        return "No comparison with random order: multiple-choice projects cannot be replayed."
    if replayable < REPLAYABLE:
        return (
            f"No comparison with random order yet: a replay needs {REPLAYABLE} tasks with labels of two people, 100 "
            f"for its start and a fifth of all for its test. {replayable:,} {verb(replayable, 'has', 'have')} "
            "them so far."
        )
    return (
        f"For a comparison with random order, replay the labels: {replayable:,} tasks have labels of two people, and "
        f"{REPLAYABLE} are enough. Run connector simulate --project {project}{option} --out simulated, and then this "
        "report with --simulated simulated."
    )
