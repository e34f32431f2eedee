"""How long an answer to each task is expected to take, from the annotators' times and the lengths of the texts."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from connector._compat import batched
from connector.active_learning.cost import LEAST_TIMES, Answered, fit
from connector.active_learning.labels import Floats
from connector.active_learning.strategies import Strategy
from connector.state.snapshot import TEXTS_AT_ONCE, ProjectSnapshot
from connector.sync.scoring import Scored
from connector.sync.summary import CostSummary

USUAL = (0.05, 0.95)  # quantiles of the expected seconds that people are shown


def weigh_time(pulled: ProjectSnapshot, scored: Scored, strategy: Strategy) -> dict[int, float]:
    """{task with a score: the expected seconds of an answer}. Empty if all take the same, and `scored.cost` says why.

    Args:
        pulled: the project as Label Studio has it now.
        scored: its scores. `cost` is filled in.
        strategy: how they were made.
    """
    if strategy.highest_score is None or not scored.scores:
        scored.cost = CostSummary("strategy" if strategy.highest_score is None else "scores")
        return {}
    is_text = not pulled.questions.has_media
    model = fit(_answered(pulled, is_text=is_text))
    answers = model.answers if model is not None else 0
    if model is None or not model.slope:
        ignored = "kind" if not is_text else "times" if answers < LEAST_TIMES else "length"
        scored.cost = CostSummary(ignored, answers)
        return {}
    tasks = list(scored.scores)
    expected = model.expected(_lengths(pulled, tasks))
    low, high = (round(float(value), 1) for value in np.quantile(expected, USUAL))
    scored.cost = CostSummary("", answers, low, high)
    return dict(zip(tasks, expected.tolist(), strict=True))


def _answered(pulled: ProjectSnapshot, *, is_text: bool) -> Answered:
    """The answers of people that have a time. Ground truth was imported, or looked at more than once."""
    rows = [
        row
        for task in pulled.tasks.values()
        for row in task.annotations
        if row.label is not None and not row.ground_truth and row.lead_time is not None and row.lead_time > 0
    ]
    number = {annotator: place for place, annotator in enumerate(sorted({row.annotator for row in rows}))}
    tasks = sorted({row.task for row in rows})
    found = _lengths(pulled, tasks) if is_text else np.full(len(tasks), np.nan)
    lengths = dict(zip(tasks, found.tolist(), strict=True))
    return Answered(
        np.array([number[row.annotator] for row in rows], np.int64),
        np.array([row.lead_time for row in rows], np.float64),
        np.array([lengths[row.task] for row in rows], np.float64),
    )


def _lengths(pulled: ProjectSnapshot, tasks: Iterable[int]) -> Floats:
    """The characters of each task's text (n,). NaN: it has none. Few texts are in memory at a time."""
    found: list[float] = []
    for part in batched(tasks, TEXTS_AT_ONCE):
        texts = pulled.texts(part)
        found += [float(len(texts[task])) if task in texts else np.nan for task in part]
    return np.array(found, np.float64)
