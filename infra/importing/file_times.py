"""Times of a file as moments in UTC, with forms, zones, days without an hour, and skipped or repeated clock times."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from enum import StrEnum

_LOOSE = re.compile(
    r"(\d{4})[-/.年](\d{1,2})[-/.月](\d{1,2})日?"
    r"(?:[T ]+(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?)?\s*(Z|[+-]\d{2}:?\d{2})?"
)
_ISO = re.compile(r"\d{4}-|\d{8}(T|$)")
_MIDNIGHT = re.compile(r"([^T ]+)[T ]24:?00(?::?00(?:[.,]0+)?)?(Z|[+-]\d{2}(?::?\d{2})?)?")
_SERIAL = re.compile(r"[2-6]\d{4}(\.\d+)?")
_HOURS = re.compile("%[HIcXsT]")
UNIX = {"unix": 1.0, "unix_ms": 0.001}  # in place of a form: seconds or milliseconds since 1970
EXCEL = "excel"  # in place of a form: days since 1899-12-30, as a spreadsheet counts them
EXCEL_DAY_MAX = 2_958_465.0  # 9999-12-31
LAST = time(23, 59, 59, 999_999)
YEAR_MIN, YEAR_MAX = 1000, 9000  # years outside of these are placeholders


class BareDay(StrEnum):
    """The meaning of a day without an hour: its first moment, its last, or 24:00 (Civil Code, article 203)."""

    FIRST = "first"
    LAST = "last"
    OVER = "over"


class TimeOddity(StrEnum):
    """The oddities of a time of the file."""

    TWICE = "comes_twice"
    SKIPPED = "does_not_exist"


class BadTime(ValueError):
    """The cell is no time. The text has the reason, without the content of the cell."""


@dataclass(frozen=True, slots=True)
class FileMoment:
    """A moment of the file in UTC, with its oddity, if any."""

    at: datetime
    odd: TimeOddity | None = None


@dataclass(frozen=True, slots=True)
class TimeReader:
    """Reads the times of a file. A repeated clock time is its first occurrence, or its `second`.

    A clock time that summer time skips is read with the offset before the change, so it lies as far after the change.
    """

    zone: tzinfo
    formats: tuple[str, ...] = ()
    second: bool = False

    def read(self, cell: str, bare_day: BareDay) -> FileMoment:
        """A cell as a moment. Raises BadTime."""
        try:
            time_read = self._by_format(cell) or _iso(cell) or _loose(cell)
            if not YEAR_MIN <= time_read.year <= YEAR_MAX:
                raise BadTime("is no time that exists; a placeholder is named under `empty`")
            if not isinstance(time_read, datetime):
                time_read = _of_day(time_read, bare_day)
            if time_read.tzinfo is not None:
                return FileMoment(time_read.astimezone(UTC))
            return self._local(time_read)
        except (ValueError, OverflowError) as error:
            raise error if isinstance(error, BadTime) else BadTime("is no time that exists") from None

    def _by_format(self, cell: str) -> datetime | date | None:
        for form in self.formats:
            if (scale := UNIX.get(form)) is not None:
                if re.fullmatch(r"-?\d{1,16}(\.\d+)?", cell):
                    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=float(cell) * scale)
                continue
            if form == EXCEL:
                if (serial := _serial(cell)) is not None:
                    return serial
                continue
            try:
                time_read = datetime.strptime(cell, form)
            except ValueError:
                continue
            return time_read if _HOURS.search(form) else time_read.date()
        return None

    def _local(self, clock: datetime) -> FileMoment:
        moment = clock.replace(tzinfo=self.zone, fold=self.second)
        at = moment.astimezone(UTC)
        if moment.replace(fold=0).utcoffset() == moment.replace(fold=1).utcoffset():
            return FileMoment(at)
        if at.astimezone(self.zone).replace(tzinfo=None, fold=0) == clock:
            return FileMoment(at, TimeOddity.TWICE)
        return FileMoment(clock.replace(tzinfo=self.zone, fold=0).astimezone(UTC), TimeOddity.SKIPPED)


def _serial(cell: str) -> datetime | date | None:
    """A serial number of a spreadsheet, to the nearest second; a whole number is a day."""
    if not re.fullmatch(r"\d{1,7}(\.\d+)?", cell) or not 1 <= float(cell) <= EXCEL_DAY_MAX:
        return None
    day = datetime(1899, 12, 30)
    return day + timedelta(seconds=round(float(cell) * 86_400)) if "." in cell else (day + timedelta(int(cell))).date()


def _of_day(day: date, bare_day: BareDay) -> datetime:
    if bare_day is BareDay.OVER:
        return datetime.combine(day + timedelta(days=1), time.min)
    return datetime.combine(day, LAST if bare_day is BareDay.LAST else time.min)


def _iso(cell: str) -> datetime | date | None:
    """A time in ISO 8601, in its extended or its basic form. 24:00 is the beginning of the next day."""
    if not _ISO.match(cell):
        return None
    midnight = _MIDNIGHT.fullmatch(cell)
    try:
        if midnight:
            return datetime.fromisoformat(f"{midnight[1]}T00:00{midnight[2] or ''}") + timedelta(days=1)
        return date.fromisoformat(cell) if len(cell) <= 10 else datetime.fromisoformat(cell)
    except ValueError:
        return None


def _loose(cell: str) -> datetime | date:
    match = _LOOSE.fullmatch(cell)
    if match is None:
        if _SERIAL.fullmatch(cell):
            raise BadTime("is a serial number of a spreadsheet; write `time_formats: [excel]`")
        raise BadTime("is no time; give its form in time_formats")
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    on = date(int(year), int(month), int(day))
    if hour is None:
        return on
    clock = time(int(hour), int(minute), int(second or 0), int((fraction or "0")[:6].ljust(6, "0")))
    if zone:
        offset = datetime.strptime(zone.replace(":", ""), "%z").tzinfo
        return datetime.combine(on, clock, offset)
    return datetime.combine(on, clock)
