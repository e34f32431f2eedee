"""Means of a few independent runs, and shares, with their 95 % confidence intervals. Pure."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, stdev

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A value and half the width of its 95 % confidence interval; None where one run alone tells of no deviation."""

    value: float
    margin: float | None


def mean(values: Sequence[float]) -> Estimate:
    """The mean of independent values, with Student's t interval."""
    if len(values) < 2:
        return Estimate(fmean(values), None)
    return Estimate(fmean(values), t_quantile(len(values) - 1) * stdev(values) / math.sqrt(len(values)))


def ratio(above: Sequence[float], below: Sequence[float]) -> Estimate:
    """Mean of `above` divided by mean of `below`, paired.

    The margin is that of the residuals above - ratio * below: Cochran, Sampling Techniques (1977), chapter 6. Raises
    ZeroDivisionError where the mean of `below` is zero.
    """
    value = fmean(above) / fmean(below)
    margin = mean([one - value * other for one, other in zip(above, below, strict=True)]).margin
    return Estimate(value, None if margin is None else margin / abs(fmean(below)))


def wilson(share: float, trials: int) -> tuple[float, float]:
    """The interval of a share of at least one trial: Wilson, "Probable inference, the law of succession" (1927).

    Unlike Student's it lies within [0, 1], and is no point where the share is 0 or 1.
    """
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    shrunk = 1 + z * z / trials
    centre = (share + z * z / (2 * trials)) / shrunk
    margin = z / shrunk * math.sqrt(share * (1 - share) / trials + (z / (2 * trials)) ** 2)
    # At a share of 0 or 1 an end is that share, but for rounding.
    return (max(0.0, centre - margin) if share else 0.0), (min(1.0, centre + margin) if share < 1 else 1.0)


@functools.cache
def t_quantile(df: int, confidence: float = CONFIDENCE) -> float:
    """The t that a variable of Student's distribution with `df` degrees of freedom exceeds in size with 1 - confidence.

    Bisection of the closed forms for whole numbers of degrees of freedom.
    """
    low, high = 0.0, 1.0
    while _within(high, df) < confidence:
        high *= 2
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, df) < confidence else (low, middle)
    return high


def _within(t: float, df: int) -> float:
    """P(|T| <= t): Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4."""
    theta = math.atan(t / math.sqrt(df))
    odd = df % 2
    term = math.cos(theta) if odd else 1.0
    total = 0.0
    for k in range(df // 2):  # powers of the cosine: df - 2 at most
        total += term
        term *= math.cos(theta) ** 2 * (2 * k + 1 + odd) / (2 * k + 2 + odd)
    if not odd:
        return math.sin(theta) * total
    return 2 / math.pi * (theta + math.sin(theta) * total)
