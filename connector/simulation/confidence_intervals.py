"""95 % confidence intervals of means of a few independent runs, of their ratios, and of shares. Pure: no I/O."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, stdev

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A value and half the width of its 95 % confidence interval, None for a single run."""

    value: float
    margin: float | None


def mean(values: Sequence[float]) -> Estimate:
    """The mean of independent values, with Student's t interval."""
    if len(values) < 2:
        return Estimate(fmean(values), None)
    from scipy.stats import t as student  # scipy.stats takes a second to import

    _, quantile = student.interval(CONFIDENCE, len(values) - 1)
    return Estimate(fmean(values), float(quantile) * stdev(values) / math.sqrt(len(values)))


def ratio(above: Sequence[float], below: Sequence[float]) -> Estimate:
    """The mean of `above` divided by the mean of `below`, paired.

    The margin is that of the residuals above - ratio * below: Cochran, Sampling Techniques (1977), chapter 6. Raises
    ZeroDivisionError if the mean of `below` is zero.
    """
    value = fmean(above) / fmean(below)
    margin = mean([numerator - value * denominator for numerator, denominator in zip(above, below, strict=True)]).margin
    return Estimate(value, None if margin is None else margin / abs(fmean(below)))


def wilson(share: float, trials: int) -> tuple[float, float]:
    """The interval of a share of at least one trial: Wilson, "Probable inference, the law of succession" (1927).

    Unlike Student's interval it is within [0, 1], and it is not a point for a share of 0 or 1.
    """
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    shrunk = 1 + z * z / trials
    centre = (share + z * z / (2 * trials)) / shrunk
    margin = z / shrunk * math.sqrt(share * (1 - share) / trials + (z / (2 * trials)) ** 2)
    # At a share of 0 or 1, one end is that share, except for rounding.
    return (max(0.0, centre - margin) if share else 0.0), (min(1.0, centre + margin) if share < 1 else 1.0)
