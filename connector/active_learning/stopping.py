"""The stopping criterion: how much more accurate the next labels would make the model. Pure.

Labels can remove a part of the disagreement between model and consensus. That part falls with the number n of labelled
tasks: it is the share REDUCIBLE / n. It was fitted to replayed runs on twelve corpora of two to eight classes with
1,500 to 2,000 texts each. docs/selection.md says how well it forecasts.
"""

from __future__ import annotations

from typing import Any

LABELS = 125  # ahead: five rounds of 25
PAYS = 0.002  # of accuracy: a smaller gain over so many labels may well be chance
REDUCIBLE = 43.0
LEAST_TASKS = 100  # where the runs began


def forecast(agreement: float | None, tasks: int) -> dict[str, Any]:
    """What the next LABELS labels would bring: `labels`, `gain` in accuracy (0.01 is a point) and `likely_to_pay`.

    `agreement`: the share of the labelled tasks, `tasks` in number, whose consensus label is the model's out-of-sample
    label. `gain` and `likely_to_pay` are None without it, or below LEAST_TASKS tasks.
    """
    if agreement is None or tasks < LEAST_TASKS:
        return {"labels": LABELS, "gain": None, "likely_to_pay": None}
    gain = REDUCIBLE * (1 - agreement) * (1 / tasks - 1 / (tasks + LABELS))
    return {"labels": LABELS, "gain": round(gain, 6), "likely_to_pay": gain > PAYS}


def sentence(advice: dict[str, Any] | None) -> str:
    """The forecast of a round as a sentence. None: the round has no forecast."""
    if advice is None or advice["gain"] is None:
        return f"Too early to say: this needs a model and {LEAST_TASKS} labelled tasks."
    points = 100 * advice["gain"]
    what = f"about {points:.1f} points" if points >= 0.05 else "less than 0.1 points"
    verdict = "are likely to pay" if advice["likely_to_pay"] else "will hardly pay"
    return f"More labels {verdict}: the next {advice['labels']} would make the model {what} more accurate."
