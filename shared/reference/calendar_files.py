"""Calendars of other programs as a calendar document: iCalendar (RFC 5545), and the JSON lists of days off in use.

Each entry of the file is either read or left out with a reason. Both are listed, since a day that is missing moves
every deadline behind it.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import icalendar
import yaml
from pydantic import ValidationError

from shared.reference.calendars import CalendarRow
from shared.reference.codec import describe_faults
from shared.reference.documents import Document, DocumentKind
from shared.reference.load import FILE_BYTES_MAX, Fault, LoadError
from shared.reference.regions import NATION

CALENDAR_ENDINGS = (".ics", ".json")
ENTRIES_COUNT_MAX = 10_000
EVENT_DAYS_MAX = 31
REPETITIONS_COUNT_MAX = 60
NAME_CHARS_MAX = 80
_WORKED = re.compile(r"班|补工|\bwork(ing)? ?days?\b|ALTERNATE-WORKDAY", re.IGNORECASE)
_OFF = re.compile(r"休|放假|假期|\bholidays?\b|\bdays? off\b|WORK-HOLIDAY", re.IGNORECASE)
_DAY = re.compile(r"([12][0-9]{3})-?([0-9]{2})-?([0-9]{2})(T00:00.*)?")
_OFF_FIELDS = ("isOffDay", "is_off_day", "holiday", "off", "isHoliday")
_YEARLY = frozenset({"FREQ", "INTERVAL", "COUNT", "UNTIL", "BYMONTH", "BYMONTHDAY", "WKST"})


@dataclass(slots=True)
class CalendarReading:
    """The days of a file: off, worked, and a line for each entry that was read or left out."""

    off: dict[date, str] = field(default_factory=dict)
    worked: dict[date, str] = field(default_factory=dict)
    read: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    notice: str = ""
    year: int | None = None  # that the file itself names
    repeated: set[date] = field(default_factory=set)  # by a rule, in a later year than the entry's own

    def take(self, name: str, days: Sequence[date], is_off: bool) -> None:
        """Read an entry."""
        (self.off if is_off else self.worked).update(dict.fromkeys(days, name))
        span = f"{days[0]}" if len(days) == 1 else f"{days[0]} to {days[-1]}, {len(days)} days"
        self.read.append(f"{span}: {'off' if is_off else 'worked'} ({name[:NAME_CHARS_MAX]})")

    def leave_out(self, name: str, reason: str) -> None:
        """Leave an entry out."""
        self.left_out.append(f"{name[:NAME_CHARS_MAX]}: {reason}")


class _LeftOut(Exception):
    """An entry cannot be read, for a reason."""


def read_calendar(path: Path, region: str = NATION) -> tuple[Document, CalendarReading]:
    """The calendar document of a file, and the entries that were read and left out. Raises LoadError."""
    if path.stat().st_size > FILE_BYTES_MAX:
        raise _fault(path, f"is larger than {FILE_BYTES_MAX} bytes; split it")
    data, reading = path.read_bytes(), CalendarReading()
    (_read_ics if path.suffix.lower() == ".ics" else _read_json)(path, data, reading)
    if len(reading.read) + len(reading.left_out) > ENTRIES_COUNT_MAX:
        raise _fault(path, f"has more than {ENTRIES_COUNT_MAX} entries; split it by years")
    strays = [day for day in (*reading.off, *reading.worked) if reading.year and not _belongs(day, reading.year)]
    for day in strays:
        name = reading.off.pop(day, None) or reading.worked.pop(day)
        reading.leave_out(f"{day} ({name})", f"is of another year than {reading.year}, which the file is for")
    if both := sorted(reading.off.keys() & reading.worked.keys()):
        raise _fault(path, f"{both[0]} is both off and worked; remove one of the two")
    for day in sorted(day for day in reading.worked if day.weekday() < 5):
        reading.leave_out(f"{day} ({reading.worked.pop(day)})", "is worked anyhow")
    if not reading.off and not reading.worked:
        left_out = "".join(f"\n  left out: {line}" for line in reading.left_out[:20])
        raise _fault(path, f"holds no day off and no day worked{left_out}")
    try:
        rows = tuple(_rows(reading, path.name))
        return Document(kind=DocumentKind.CALENDARS, region=region, note=path.name, rows=rows), reading
    except ValidationError as error:
        raise _fault(path, describe_faults(error)) from None


def calendar_yaml(document: Document) -> str:
    """A calendar document as YAML that `caseflow reference load` reads."""
    rows = {
        int(row.year): {
            **({} if row.published else {"published": False}),
            "notice": row.notice,
            "holidays": list(row.holidays),
            "makeup": list(row.makeup),
        }
        for row in document.rows
    }
    fields = {"kind": str(document.kind), "region": document.region, "note": document.note, "rows": rows}
    return yaml.safe_dump(fields, allow_unicode=True, sort_keys=False, default_flow_style=None, width=120)


def _belongs(day: date, year: int) -> bool:
    return day.year == year or (day.month == 12 and day.year == year - 1)


def _fault(path: Path, reason: str) -> LoadError:
    return LoadError([Fault(path.name, 0, reason)])


def _rows(reading: CalendarReading, file: str) -> Iterator[CalendarRow]:
    """A row for each year. Days of December alone belong to the New Year of the notice that names them."""
    years: dict[int, set[date]] = defaultdict(set)
    for day in (*reading.off, *reading.worked):
        years[day.year].add(day)
    for year in sorted(years):
        if year + 1 in years and all(day.month == 12 for day in years[year]):
            years[year + 1] |= years.pop(year)
    for year, days in sorted(years.items()):
        yield CalendarRow(
            year=str(year), published=not days <= reading.repeated, notice=(reading.notice or file)[:NAME_CHARS_MAX],
            holidays=tuple(sorted(days & reading.off.keys())), makeup=tuple(sorted(days & reading.worked.keys())),
        )  # fmt: skip


# iCalendar


def _read_ics(path: Path, data: bytes, reading: CalendarReading) -> None:
    try:
        calendars = icalendar.Calendar.from_ical(data, multiple=True)
        events = [event for calendar in calendars for event in calendar.walk("VEVENT")]
        reading.notice = next((str(name) for calendar in calendars if (name := calendar.get("X-WR-CALNAME"))), "")
    except (ValueError, IndexError, KeyError, TypeError) as error:
        raise _fault(path, f"is not iCalendar ({type(error).__name__}); export it as .ics anew") from None
    marks = [_marks_of(event) for event in events]
    is_marked = any(any(mark) for mark in marks)
    for event, (off, worked) in zip(events, marks, strict=True):
        name = str(event.get("SUMMARY", "")) or "an event without a name"
        try:
            days = _days_of(event)
            if is_marked and not (off or worked):
                raise _LeftOut("says neither that the day is off nor that it is worked")
            if off and worked:
                raise _LeftOut("says both that the day is off and that it is worked; write one of the two in its name")
            reading.take(name, days, is_off=not worked)
            if "RRULE" in event:
                reading.repeated.update(day for day in days if day.year > days[0].year)
        except _LeftOut as reason:
            reading.leave_out(name, str(reason))


def _marks_of(event: Any) -> tuple[bool, bool]:
    """Whether an event says that its days are off, and that they are worked.

    Its description often holds the notice with all days of the holiday, so it counts only where nothing else says it.
    """
    categories = [name for part in _listed(event.get("CATEGORIES")) for name in getattr(part, "cats", ())]
    own = "\n".join(map(str, [event.get("X-APPLE-SPECIAL-DAY", ""), *categories, event.get("SUMMARY", "")]))
    marks = _marks(own)
    return marks if any(marks) else _marks(str(event.get("DESCRIPTION", "")))


def _marks(text: str) -> tuple[bool, bool]:
    worked = bool(_WORKED.search(text))
    # 调休 is said of both days of an exchange: 调休上班 is worked.
    return bool(_OFF.search(text.replace("调休", "") if worked else text)), worked


def _days_of(event: Any) -> list[date]:
    """The days of an all-day event with its repetitions. Raises _LeftOut."""
    begin = _all_day(event, "DTSTART")
    if begin is None:
        raise _LeftOut("has no beginning")
    if str(event.get("STATUS", "")).upper() == "CANCELLED":
        raise _LeftOut("is cancelled")
    if "RECURRENCE-ID" in event or "RDATE" in event:
        raise _LeftOut("changes the repetitions of another event; write each of its days out")
    end = _all_day(event, "DTEND")
    if end is None:
        length = event.get("DURATION")
        end = begin + (length.dt if length is not None and isinstance(length.dt, timedelta) else timedelta(days=1))
    size = max((end - begin).days, 1)
    if size > EVENT_DAYS_MAX:
        raise _LeftOut(f"lasts {size} days, more than {EVENT_DAYS_MAX}; write its days out")
    excluded = {_date(value.dt) for part in _listed(event.get("EXDATE")) for value in part.dts}
    starts = [start for start in _starts(begin, event.get("RRULE")) if start not in excluded]
    if not starts:
        raise _LeftOut("all of its days are excluded")
    return [start + timedelta(days=offset) for start in starts for offset in range(size)]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _date(value: date | datetime) -> date:
    return value.date() if isinstance(value, datetime) else value


def _all_day(event: Any, name: str) -> date | None:
    value = event.get(name)
    if value is None:
        return None
    moment = getattr(value, "dt", None)
    if isinstance(moment, datetime):
        raise _LeftOut("has a time of day; a day off is a whole day (VALUE=DATE)")
    if not isinstance(moment, date):
        raise _LeftOut(f"its {name} is no date")
    return moment


def _starts(begin: date, rule: Any) -> Iterator[date]:
    """The first day of each repetition: yearly, with an end. Raises _LeftOut for any other rule."""
    if rule is None:
        yield begin
        return
    if isinstance(rule, list) or rule.get("FREQ") != ["YEARLY"] or set(rule) - _YEARLY:
        raise _LeftOut("repeats in another way than yearly on its date; write its days out")
    if rule.get("BYMONTH", [begin.month]) != [begin.month] or rule.get("BYMONTHDAY", [begin.day]) != [begin.day]:
        raise _LeftOut("repeats on another date than its own; write its days out")
    until, repetitions = rule.get("UNTIL", [None])[0], rule.get("COUNT", [None])[0]
    if until is None and repetitions is None:
        raise _LeftOut("repeats without end; give it UNTIL or COUNT, since no notice names days for ever")
    given = 0
    for year in count(begin.year, max(int(rule.get("INTERVAL", [1])[0]), 1)):
        if given == repetitions or year > date.max.year:
            return
        try:
            start = begin.replace(year=year)
        except ValueError:  # 29 February
            if year - begin.year > REPETITIONS_COUNT_MAX:
                return
            continue
        if until is not None and start > _date(until):
            return
        given += 1
        if given > REPETITIONS_COUNT_MAX:
            raise _LeftOut(f"repeats more than {REPETITIONS_COUNT_MAX} times; give it an earlier end")
        yield start


# JSON


def _read_json(path: Path, data: bytes, reading: CalendarReading) -> None:
    try:
        value: Any = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise _fault(path, f"is not JSON in UTF-8 ({type(error).__name__})") from None
    match value:
        case {"days": list() as entries}:  # {"year": 2026, "papers": [...], "days": [{"name", "date", "isOffDay"}]}
            year, papers = value.get("year"), value.get("papers")
            reading.year = year if isinstance(year, int) else None
            reading.notice = str(papers[0]) if isinstance(papers, list) and papers else ""
            _read_list(entries, reading)
        case list():  # [{"date", "localName", "types", "global"}], or ["2026-01-01", ...]
            _read_list(value, reading)
        case {"holidays": dict() | list() as off}:  # {"holidays": {...}, "workdays": {...}}
            _read_named(off, reading, is_off=True)
            _read_named(value.get("workdays", value.get("makeup", [])), reading, is_off=False)
        case {"holiday": dict() as entries}:  # {"holiday": {"01-01": {"holiday": true, "date": "2026-01-01"}}}
            _read_list(list(entries.values()), reading)
        case dict():  # {"2026-01-01": true, "2026-01-02": "元旦", "2026-01-04": {"isOffDay": false}}
            for key, entry in value.items():
                fields = entry if isinstance(entry, dict) else {"holiday": entry} if isinstance(entry, bool) else {}
                name = entry if isinstance(entry, str) else str(fields.get("name", key))
                if isinstance(entry, bool | str | dict):
                    _read_entry({**fields, "date": key, "name": name}, reading)
                else:
                    reading.leave_out(key, "says neither true nor false nor a name")
        case _:
            raise _fault(path, "is no list of days off; see docs/calendars.md for the forms that are read")


def _read_named(days: Mapping[str, Any] | Sequence[Any], reading: CalendarReading, is_off: bool) -> None:
    for day in days:
        name = days[day] if isinstance(days, Mapping) else day
        entry = day if isinstance(day, dict) else {"date": day, "name": str(name)}
        _read_entry({"isOffDay": is_off, **entry}, reading)


def _read_list(entries: Sequence[Any], reading: CalendarReading) -> None:
    for entry in entries:
        if isinstance(entry, dict):
            _read_entry(entry, reading)
        elif isinstance(entry, str):
            _read_entry({"date": entry}, reading)
        else:
            reading.leave_out(str(entry), "is no day")


def _read_entry(entry: Mapping[str, Any], reading: CalendarReading) -> None:
    text = str(entry.get("date", ""))
    name = str(entry.get("localName") or entry.get("name") or text)
    label = f"{text} {name}".strip() if name != text else text or "an entry without a date"
    day = _day(text)
    types, counties = entry.get("types"), entry.get("counties")
    if day is None:
        reading.leave_out(label, "has no date as 2026-01-01")
    elif isinstance(types, list) and "Public" not in types:
        reading.leave_out(label, f"is no public holiday but {', '.join(map(str, types))}")
    elif entry.get("global") is False or counties:
        reading.leave_out(label, "holds in parts of the country only; put it into a document of their own")
    else:
        is_off = next((entry[key] for key in _OFF_FIELDS if key in entry), True)
        if isinstance(is_off, bool):
            reading.take(name, [day], is_off)
        else:
            reading.leave_out(label, "says neither true nor false")


def _day(text: str) -> date | None:
    match = _DAY.fullmatch(text)
    try:
        return date(*(int(part) for part in match.groups()[:3])) if match else None
    except ValueError:
        return None
