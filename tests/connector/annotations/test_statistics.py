"""How long labels take."""

from __future__ import annotations

import pytest

from connector.annotations.records import Annotation
from connector.annotations.statistics import LONGEST, seconds_per_label

AT = "2026-11-30T10:00:00Z"


def rows(*seconds: float | None, label: str | None = "Polite") -> list[Annotation]:
    return [
        Annotation(number, number, 1, label, False, False, AT, lead_time=time)
        for number, time in enumerate(seconds, start=1)
    ]


def test_the_mean_of_known_times() -> None:
    assert seconds_per_label([*rows(2.0, 4.0, 6.0, None, 0.0), *rows(100.0, label=None)]) == pytest.approx(4.0)


def test_whoever_went_to_lunch_counts_as_ten_medians() -> None:
    assert seconds_per_label(rows(3.0, 4.0, 5_000.0)) == pytest.approx((3 + 4 + LONGEST * 4) / 3)


def test_without_times_nothing_is_said() -> None:
    assert seconds_per_label(rows(None, None)) is None
