"""Numbers and times in the words of a report."""

from datetime import date

import pytest

from connector import formatting
from connector.active_learning.interval import Interval
from connector.reporting import numbers
from connector.reporting.numbers import NO_BREAK


@pytest.mark.parametrize(
    ("value", "words"),
    [(0, "0 %"), (1, "100 %"), (0.8213, "82 %"), (0.996, "99.6 %"), (0.99999, "99.9 %"), (0.00001, "0.1 %")],
)
def test_a_share_is_only_all_or_nothing_where_it_is(value: float, words: str) -> None:
    assert formatting.share(value) == words
    assert numbers.share(value) == words.replace(" ", NO_BREAK)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0.0 s"),
        (3.42, "3.4 s"),
        (9.96, "10 s"),
        (59.6, "60 s"),
        (119.6, "2 min 0 s"),
        (200, "3 min 20 s"),
        (5400, "1 h 30 min"),
    ],
)
def test_a_span_is_as_exact_as_it_is_short(seconds: float, words: str) -> None:
    assert numbers.span(seconds) == words.replace(" ", NO_BREAK)


def test_counts_have_separators_and_their_noun() -> None:
    assert numbers.count(1670) == "1,670"
    assert [formatting.count(number, "label") for number in (0, 1, 1670)] == ["0 labels", "1 label", "1,670 labels"]
    assert formatting.count(2, "class", "classes") == "2 classes"
    assert [formatting.verb(number) for number in (0, 1, 2)] == ["are", "is", "are"]


def test_the_next_opinion_is_counted_from_the_labels() -> None:
    asked = [formatting.next_opinion(labels) for labels in (0, 1, 2, 9, 10)]
    assert asked == ["first label", "second opinion", "third opinion", "tenth opinion", "opinion number 11"]


def test_nothing_is_less_than_zero_by_a_sign_alone() -> None:
    assert [numbers.decimal(value) for value in (-0.004, -0.006, 0.0, 0.7143)] == ["0.00", "-0.01", "0.00", "0.71"]


def test_intervals_say_from_where_to_where() -> None:
    estimate = Interval(0.8213, 0.7451, 0.8811)
    assert numbers.share_interval(estimate) == "82_% (75_to_88_%)".replace("_", NO_BREAK)
    assert numbers.percent(0.8213) == f"82.1{NO_BREAK}%"


def test_times_are_those_of_the_clock_that_wrote_them() -> None:
    assert numbers.when("2026-03-03T14:05:09.123456+01:00") == "3 March 2026, 14:05 UTC+01:00"
    assert numbers.when("2026-12-31T23:59:00Z") == "31 December 2026, 23:59 UTC"
    assert numbers.format_day(date(2026, 9, 1)) == "1 Sep"
