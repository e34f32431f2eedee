"""How many more labels it takes until a target share of a project's labels is right. Pure, and free of NumPy.

Labels of the project are consensus labels where there are any, and the model's elsewhere. With t of T tasks labelled,
c of the consensus labels and u of the model's labels on unlabelled tasks being wrong, m more tasks leave wrong

    ((t + m) c + (T - t - m) u r(m)) / T,    r(m) = 1 - REDUCIBLE (1 / t - 1 / (t + m))

where r is what the model gains by learning from more tasks, as in `stopping`. A task takes as many labels as one did in
the last window. docs/selection.md says how well it forecasts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

from connector.active_learning.audit import LEAST_AUDITED
from connector.active_learning.stopping import REDUCIBLE
from connector.formatting import count, share

STEPS = 400  # numbers of tasks that are tried


@dataclass(frozen=True)
class Target:
    """A target and what it takes.

    Attributes:
        target: the share of the project's labels that are to be right.
        met: whether they are: the lower end of the 95 % interval is at least the target. None: it is too early to say.
        least: how many more labels it takes, if as many are right as the interval's upper end says.
        most: the same by its lower end.
        least_hours, most_hours: how long that takes. None without times of labels.

    `least` and `most` are None where one label for each task would not do.
    """

    target: float
    met: bool | None
    least: int | None = None
    most: int | None = None
    least_hours: float | None = None
    most_hours: float | None = None


def target_of_round(
    found: Mapping[str, Any], target: float, stored: Mapping[str, Any], seconds: float | None
) -> Target:
    """What a target takes by the audit `found` of a round, `stored` as the state database has it."""
    window = stored["window"]
    return target_of(found, target, new=window["new"], further=window["relabel"], seconds=seconds)


def target_of(
    found: Mapping[str, Any], target: float, *, new: int = 1, further: int = 0, seconds: float | None = None
) -> Target:
    """What a target takes.

    Args:
        found: an `accuracy.Accuracy` as a mapping.
        target: above 0, and at most 1.
        new: how many labels of the last window were asked for on new tasks.
        further: how many on labelled ones.
        seconds: how long a label takes. None: unknown.
    """
    if found["audited"] < LEAST_AUDITED:
        return Target(target, None)
    project = found["project"]
    if project["low"] >= target:
        return Target(target, True, 0, 0, 0.0, 0.0)
    each = 1 + further / new if new else 1.0
    least, most = (_labels(found, project[end] - project["value"], target, each) for end in ("high", "low"))
    hours = [None if labels is None or seconds is None else labels * seconds / 3600 for labels in (least, most)]
    return Target(target, False, least, most, *hours)


def _labels(found: Mapping[str, Any], shift: float, target: float, each: float) -> int | None:
    """The labels until the target is met if all accuracies are higher by `shift`. `each`: labels for a new task."""
    labelled, tasks = int(found["labelled"]), int(found["tasks"])
    project, consensus = (found[name]["value"] + shift for name in ("project", "consensus"))
    left = tasks - labelled
    wrong = max(0.0, 1 - consensus)
    of_model = max(0.0, tasks * (1 - project) - labelled * wrong) / left if left else 0.0
    for step in range(STEPS + 1):
        more = ceil(left * step / STEPS)
        learnt = min(1.0, REDUCIBLE * (1 / labelled - 1 / (labelled + more)))
        expected = (labelled + more) * wrong + (left - more) * of_model * (1 - learnt)
        if expected <= tasks * (1 - target) + 1e-9:
            return ceil(more * each)
    return None


def unknown_words(*, multiple: bool, audited: bool) -> str:
    """Why nobody knows how many labels are right.

    Args:
        multiple: whether labels are sets.
        audited: whether windows have tasks that were drawn at random.
    """
    if multiple:
        return "unknown: labels that are sets of choices have no estimate"
    if audited:
        return (
            f"too early to say: it takes a model, and a sync after {LEAST_AUDITED} tasks that were drawn at random are "
            "labelled"
        )
    return "unknown without an audit. connector sync --audit 0.1 draws a tenth of each window at random for it"


def target_words(found: Target) -> str:
    """What a target takes, as a sentence."""
    target = f"target of {share(found.target)}"
    if found.met is None:
        return f"It is too early to say whether the {target} is met."
    if found.met:
        return f"The {target} is met."
    more = (
        "more than one label for each task, because too many consensus labels may be wrong: connector init "
        "--min-annotations-per-task asks for more."
    )
    if found.least is None:
        return f"The {target} takes {more}"
    least = _rounded(found.least)
    if found.most is None and not least:
        return f"The {target} may be met. To be sure, it may take {more}"
    if found.most is None:
        return f"The {target} takes at least about {count(least, 'more label')}{_work(found.least_hours)}."
    most = _rounded(found.most)
    if not least:
        work = _work(found.most_hours)
        return f"The {target} may be met. To be sure, it takes up to about {count(most, 'more label')}{work}."
    labels = count(most, "more label") if least == most else f"{least:,} to {count(most, 'more label')}"
    return f"The {target} takes about {labels}{_work(found.least_hours, found.most_hours)}."


def _rounded(labels: int) -> int:
    """To the next 10 above, or from 1,000 on the next 100."""
    step = 10 if labels < 1_000 else 100
    return ceil(labels / step) * step


def _work(*hours: float | None) -> str:
    """ ", 4 to 7 hours of work" for 4 and 7. Nothing if they are not known."""
    known = [value for value in hours if value is not None]
    if not known:
        return ""
    unit, size = ("hour", 1.0) if known[-1] >= 1.5 else ("minute", 1 / 60)
    least, most = (max(1, round(value / size)) for value in (known[0], known[-1]))
    return f", {f'{least:,} to ' if least < most else ''}{count(most, unit)} of work"
