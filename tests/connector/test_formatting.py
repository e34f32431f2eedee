"""The time here: days and offsets through a change to summer time, in time zones that the test sets."""

import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from inspect import signature

import pytest
from dateutil.tz import tzlocal

from connector.annotations.records import Annotation
from connector.annotations.statistics import label_counts
from connector.diagnostics.status import status
from connector.formatting import now_here
from connector.reporting.report import report

# With their rules written out: no machine need know the names.
BERLIN = "CET-1CEST,M3.5.0,M10.5.0/3"
NEW_YORK = "EST5EDT,M3.2.0,M11.1.0"


@pytest.fixture
def live_in() -> Iterator[Callable[[str], None]]:
    """Moves the machine to another time zone until the test ends."""
    with pytest.MonkeyPatch.context() as patch:

        def move(zone: str) -> None:
            patch.setenv("TZ", zone)
            time.tzset()

        yield move
    time.tzset()


def utc(month: int, day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2026, month, day, hour, minute, tzinfo=timezone.utc)


def test_a_moment_has_the_offset_of_its_own_season(live_in: Callable[[str], None]) -> None:
    live_in(BERLIN)
    winter = utc(1, 10, 22, 30).astimezone(tzlocal())
    summer = (utc(7, 10, 22, 30) + timedelta(microseconds=7)).astimezone(tzlocal())
    assert (winter.isoformat(), winter.tzname()) == ("2026-01-10T23:30:00+01:00", "CET")
    assert (summer.isoformat(), summer.tzname()) == ("2026-07-11T00:30:00.000007+02:00", "CEST")


def test_the_hour_that_comes_twice_is_told_apart(live_in: Callable[[str], None]) -> None:
    live_in(BERLIN)
    moments = [utc(10, 25, 0, 30) + timedelta(hours=hours) for hours in range(3)]
    found = [moment.astimezone(tzlocal()) for moment in moments]
    assert [moment.isoformat()[11:] for moment in found] == ["02:30:00+02:00", "02:30:00+01:00", "03:30:00+01:00"]
    assert [moment.astimezone(timezone.utc) for moment in found] == moments


def test_now_is_now(live_in: Callable[[str], None]) -> None:
    live_in(NEW_YORK)
    before, found, after = datetime.now(timezone.utc), now_here(), datetime.now(timezone.utc)
    assert before <= found <= after
    assert found.utcoffset() in (timedelta(hours=-5), timedelta(hours=-4))


def test_labels_of_today_are_those_of_the_day_here_through_a_change_of_the_clocks(
    live_in: Callable[[str], None],
) -> None:
    live_in(BERLIN)
    now = utc(3, 29, 12).astimezone(tzlocal())  # a day that began an hour before summer time
    made = ["2026-03-28T22:30:00Z", "2026-03-28T23:30:00Z", "2026-03-29T11:00:00Z"]
    rows = [Annotation(place, 1, place, "A", False, False, at, False, at, 5.0) for place, at in enumerate(made)]
    assert label_counts(rows, now).today == 2


@pytest.mark.parametrize("command", [status, report])
def test_status_and_report_go_by_it(command: Callable[..., object]) -> None:
    assert signature(command).parameters["clock"].default is now_here
