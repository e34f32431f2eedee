"""How many seconds an answer is expected to take, and what a task is worth per second. Pure: arrays in, arrays out.

To choose by worth per cost is the return on investment of Haertel, Seppi, Ringger and Carroll ("Return on investment
for active learning", 2008). Settles, Craven and Friedland ("Active learning with real annotation costs", 2008) found
that times can be predicted from features of the tasks, and that annotators differ in speed. The seconds of annotator
j's answer to task i are modelled as

    log t_ij = m + v_j + b x_i + e_ij

with x_i, the logarithm of the length of the text less its median. So b = 0 means that all tasks take the same, and
b = 1 that a text of twice the length takes twice the time. The speed v_j is the median of what is left of the
annotator's logarithms, shrunk to zero as by PSEUDO_TIMES answers at the speed of the team. The slope b is Huber's
estimate ("Robust estimation of a location parameter", 1964) by iteratively reweighted least squares. Both are repeated
in turn. With its standard error s, the slope is shrunk to b max(0, 1 - (s / b)^2) as by James and Stein ("Estimation
with quadratic loss", 1961), and kept between 0 and 1. Few times or noisy ones thus say that all tasks take the same.

Times beyond LONGEST medians, such as pauses, count as so many, and those below the LONGEST-th part of the median as
that. Lengths beyond the central 95 % of those that were answered count as its ends.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from connector.active_learning.labels import Floats, Ints
from connector.annotations.statistics import LONGEST

LEAST_TIMES = 20  # answers with a time, below which all tasks take the same
PSEUDO_TIMES = 5.0  # answers which draw each annotator's speed to that of the team
CENTRAL = (0.025, 0.975)  # quantiles of the lengths that were answered
HUBER = 1.345  # scales: beyond, a residual counts less. It costs 5 % of efficiency if times are log-normal
ROUNDS, REWEIGHTINGS = 5, 10
LEAST = 1e-9


@dataclass(frozen=True)
class Answered:
    """Answers with a time, (m,) each.

    Attributes:
        annotator: numbers from 0.
        seconds: how long they took. Those that are not above 0 are left out.
        length: of the text, such as its characters. NaN: the content is no text. If some have a length, the others are
            left out.
    """

    annotator: Ints
    seconds: Floats
    length: Floats


@dataclass(frozen=True)
class TimeModel:
    """How long an answer takes.

    Attributes:
        typical: the seconds for a text of median length.
        slope: b, between 0 (all tasks take the same) and 1 (in proportion to the length).
        center: the logarithm of that median length.
        low, high: the logarithms of the shortest and the longest length that the model tells apart.
        answers: how many times it is from.
    """

    typical: float
    slope: float
    center: float
    low: float
    high: float
    answers: int

    def expected(self, length: Floats) -> Floats:
        """The expected seconds (n,) of an answer to texts of these lengths (n,). NaN: the content is no text."""
        x = np.log(np.maximum(np.where(np.isnan(length), math.exp(self.center), length), 1.0))
        return np.asarray(self.typical * np.exp(self.slope * (np.clip(x, self.low, self.high) - self.center)))


def fit(answered: Answered) -> TimeModel | None:
    """The model of the times. None: there are none."""
    timed = answered.seconds > 0
    has_length = not np.isnan(answered.length[timed]).all()
    if has_length:
        timed &= ~np.isnan(answered.length)
    if not timed.any():
        return None
    annotator, seconds = answered.annotator[timed], answered.seconds[timed]
    logs = np.log(seconds)
    middle = float(np.median(logs))
    logs = np.clip(logs, middle - math.log(LONGEST), middle + math.log(LONGEST))
    length = answered.length[timed]
    x = np.log(np.maximum(length, 1.0)) if has_length else np.zeros(len(logs))
    low, high = np.quantile(x, CENTRAL)
    center = float(np.median(x))
    x = np.clip(x, low, high) - center
    slope, error = 0.0, 0.0
    if has_length and len(logs) >= LEAST_TIMES and high - low > LEAST:
        for _ in range(ROUNDS):
            slope, error = _huber_slope(x, logs - _speeds(annotator, logs - slope * x)[annotator])
        slope = min(_shrunk(slope, error), 1.0)
    rest = logs - slope * x
    typical = float(np.median(rest - _speeds(annotator, rest)[annotator]))
    return TimeModel(math.exp(typical), slope, center, float(low), float(high), len(logs))


def worth_per_second(scores: Floats, highest: float, seconds: Floats) -> Floats:
    """What one more annotation of each task is worth per expected second (n,), the highest first.

    Args:
        scores: (n,) a strategy's scores, the lowest worth most.
        highest: the highest attainable score, of a task whose annotation is worth nothing.
        seconds: (n,) the expected seconds of an answer.
    """
    return np.asarray(np.maximum(highest - scores, 0.0) / seconds, np.float64)


def _speeds(annotator: Ints, rest: Floats) -> Floats:
    """v_j (n_annotators,) from the logarithms of times (m,) without what the texts explain."""
    order = np.argsort(annotator, kind="stable")
    numbers, starts, counts = np.unique(annotator[order], return_index=True, return_counts=True)
    medians = np.array([np.median(part) for part in np.split(rest[order], starts[1:])])
    speeds = np.zeros(int(annotator.max()) + 1)
    speeds[numbers] = counts / (counts + PSEUDO_TIMES) * (medians - np.median(rest))
    return speeds


def _huber_slope(x: Floats, y: Floats) -> tuple[float, float]:
    """The slope of y (m,) over x (m,) and its standard error, by Huber's estimate."""
    intercept, slope = float(np.median(y)), 0.0
    for _ in range(REWEIGHTINGS):
        rest = y - intercept - slope * x
        limit = HUBER * max(1.4826 * float(np.median(np.abs(rest))), LEAST)
        weight = np.minimum(1.0, limit / np.maximum(np.abs(rest), LEAST))
        mean_x, mean_y = np.average(x, weights=weight), np.average(y, weights=weight)
        spread = float(weight @ (x - mean_x) ** 2)
        slope = float(weight @ ((x - mean_x) * (y - mean_y))) / max(spread, LEAST)
        intercept = float(mean_y - slope * mean_x)
    rest = y - intercept - slope * x
    variance = float((np.clip(rest, -limit, limit) ** 2).sum()) / (len(x) - 2)
    inner = max(float((np.abs(rest) <= limit).mean()), LEAST)
    return slope, math.sqrt(variance / max(float(((x - x.mean()) ** 2).sum()), LEAST)) / inner


def _shrunk(slope: float, error: float) -> float:
    """The slope by James and Stein, at least 0: a longer text takes no less."""
    return slope * (1 - (error / slope) ** 2) if slope > error else 0.0
