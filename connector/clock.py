"""The time here, in a zone that knows summer time."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone, tzinfo


class LocalZone(tzinfo):
    """This machine's time zone at any moment: `datetime.astimezone()` holds on to one moment's offset from UTC."""

    def utcoffset(self, when: datetime | None) -> timedelta | None:
        return None if when is None else _here(when).utcoffset()

    def dst(self, when: datetime | None) -> timedelta | None:
        return None

    def tzname(self, when: datetime | None) -> str | None:
        return None if when is None else _here(when).tzname()

    def fromutc(self, when: datetime) -> datetime:
        seconds = when.replace(tzinfo=timezone.utc, microsecond=0).timestamp()
        # It also tells the second of the hours that come twice in autumn.
        here = datetime.fromtimestamp(seconds)
        return here.replace(microsecond=when.microsecond, tzinfo=self)


def now_here() -> datetime:
    """Now, as an aware datetime whose time zone says of other moments, too, on which day they were here."""
    return datetime.now(LocalZone())


def _here(when: datetime) -> datetime:
    return when.replace(tzinfo=None).astimezone()
