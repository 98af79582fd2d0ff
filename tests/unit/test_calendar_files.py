"""Calendars of other programs become calendar documents; each entry is read, or left out with a reason."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from infra.cli import app
from shared.reference.calendar_files import calendar_yaml, read_calendar
from shared.reference.load import LoadError, load_yaml

JJ = "510104000000"


def ics(*events: str, name: str = "节假日") -> str:
    """An iCalendar file of events, each given by its lines."""
    body = "".join(f"BEGIN:VEVENT\r\nUID:{number}\r\n{event}\r\nEND:VEVENT\r\n" for number, event in enumerate(events))
    head = f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nX-WR-CALNAME:{name}\r\n"
    return head + body.replace("|", "\r\n") + "END:VCALENDAR\r\n"


def day(text: str, name: str, more: str = "") -> str:
    return f"DTSTART;VALUE=DATE:{text}|SUMMARY:{name}{more}"


def days_of(tmp_path: Path, content: Any, name: str = "a.json") -> tuple[list[str], list[str], list[str]]:
    """The days off and worked of a file, and the reasons of what was left out."""
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content, ensure_ascii=False), "utf-8")
    document, reading = read_calendar(path, JJ)
    (tmp_path / "out.yaml").write_text(calendar_yaml(document), "utf-8")
    assert load_yaml(tmp_path / "out.yaml").documents == [document], "what is printed reads back as the same document"
    off = [str(day) for row in document.rows for day in row.holidays]
    return off, [str(day) for row in document.rows for day in row.makeup], reading.left_out


OFF, WORKED = ["2026-01-01", "2026-01-02", "2026-01-03"], ["2026-01-04"]
LISTS: dict[str, Any] = {
    "days with isOffDay": {"year": 2026, "papers": ["国办发明电"], "days": [
        *({"name": "元旦", "date": text, "isOffDay": True} for text in OFF),
        {"name": "元旦", "date": "2026-01-04", "isOffDay": False},
    ]},
    "by day, true and false": dict.fromkeys(OFF, True) | {"2026-01-04": False},
    "by day, objects": {text: {"isOffDay": True, "name": "元旦"} for text in OFF} | {"2026-01-04": {"isOffDay": False}},
    "holidays and workdays": {
        "holidays": dict.fromkeys(OFF, "New Year's Day,元旦,1"), "workdays": {"2026-01-04": "元旦"},
    },
    "lists of both": {"holidays": OFF, "workdays": WORKED},
    "by month and day": {"holiday": {
        **{text[5:]: {"holiday": True, "name": "元旦", "date": text} for text in OFF},
        "01-04": {"holiday": False, "name": "元旦后补班", "date": "2026-01-04"},
    }},
}  # fmt: skip


@pytest.mark.parametrize("form", LISTS)
def test_the_lists_in_use_are_read(tmp_path: Path, form: str) -> None:
    assert days_of(tmp_path, LISTS[form]) == (OFF, WORKED, [])


def test_a_list_of_public_holidays_leaves_out_what_holds_for_some_only(tmp_path: Path) -> None:
    entry = {"localName": "元旦", "name": "New Year's Day", "global": True, "counties": None, "types": ["Public"]}
    entries = [
        {**entry, "date": "2026-01-01"},
        {**entry, "date": "2026-02-01", "types": ["Bank", "School"]},
        {**entry, "date": "2026-03-01", "global": False, "counties": ["CN-XZ"]},
        {**entry, "date": "soon"}, {**entry, "date": "2026-02-30"}, 7,
    ]  # fmt: skip
    off, worked, left_out = days_of(tmp_path, entries)
    assert (off, worked) == (["2026-01-01"], [])
    reasons = ("no public holiday but Bank, School", "parts of the country", "has no date", "has no date", "is no day")
    assert len(left_out) == len(reasons)
    for line, reason in zip(left_out, reasons, strict=True):
        assert reason in line


def test_the_new_year_of_a_notice_may_begin_in_december(tmp_path: Path) -> None:
    texts = {"2018-12-30": True, "2018-12-31": True, "2019-01-01": True, "2018-12-29": False}
    entries = [{"name": "元旦", "date": text, "isOffDay": is_off} for text, is_off in texts.items()]
    path = tmp_path / "2019.json"
    path.write_text(json.dumps({"year": 2019, "days": [*entries, {"date": "2020-01-01", "isOffDay": True}]}))
    document, reading = read_calendar(path)
    (row,) = document.rows
    assert (row.year, len(row.holidays), row.makeup) == ("2019", 3, (date(2018, 12, 29),))
    assert reading.left_out == ["2020-01-01 (2020-01-01): is of another year than 2019, which the file is for"]


def test_events_of_a_calendar_program_are_read(tmp_path: Path) -> None:
    text = ics(
        day("20260215", "春节（休）", "|DTEND;VALUE=DATE:20260218"),
        day("20260214", "春节（班）"),
        day("20260501", "劳动节 休", "|DURATION:P2D"),
        day("20260303", "元宵节"),
        day("20261225", "圣诞", "|CATEGORIES:Public holiday"),
        day("20260910", "休息", "|STATUS:CANCELLED"),
        day("20260405", "清明 休", "|X-APPLE-SPECIAL-DAY:WORK-HOLIDAY"),
        "DTSTART:20260601T090000Z|SUMMARY:休 开会",
        "SUMMARY:休",
        day("20260701", "休长", "|DTEND;VALUE=DATE:20261001"),
    )
    off, worked, left_out = days_of(tmp_path, text, "a.ics")
    assert off == [
        "2026-02-15", "2026-02-16", "2026-02-17", "2026-04-05", "2026-05-01", "2026-05-02", "2026-12-25",
    ]  # fmt: skip
    assert worked == ["2026-02-14"]
    reasons = ("neither", "is cancelled", "has a time of day", "has no beginning", "lasts 92 days")
    assert len(left_out) == len(reasons)
    for line, reason in zip(left_out, reasons, strict=True):
        assert reason in line


NOTICE = "国庆节放假调休，共7天。9月27日、10月10日上班"


@pytest.mark.parametrize(
    ("name", "more", "read"),
    [
        ("国庆节 休", f"|DESCRIPTION:{NOTICE}", "off"),
        ("国庆节（班）", f"|DESCRIPTION:{NOTICE}", "worked"),
        ("国庆节", f"|CATEGORIES:Public holiday|DESCRIPTION:{NOTICE}", "off"),
        ("国庆节", f"|X-APPLE-SPECIAL-DAY:WORK-HOLIDAY|DESCRIPTION:{NOTICE}", "off"),
        ("国庆节", f"|X-APPLE-SPECIAL-DAY:ALTERNATE-WORKDAY|DESCRIPTION:{NOTICE}", "worked"),
        ("国庆节", f"|DESCRIPTION:{NOTICE}", "both"),
        ("国庆节", "|DESCRIPTION:放假", "off"),
        ("国庆节", "|DESCRIPTION:补班", "worked"),
        ("国庆节调休上班", "", "worked"),
        ("国庆节调休", "", "off"),
        ("国庆节放假，10日上班", "", "both"),
        ("国庆节（班）", "|CATEGORIES:Public holiday", "both"),
        ("国庆节 休", "|CATEGORIES:节日|CATEGORIES:ALTERNATE-WORKDAY", "both"),
    ],
)
def test_the_description_counts_only_where_nothing_else_says_it(
    tmp_path: Path, name: str, more: str, read: str
) -> None:
    text = ics(day("20261003", name, more), day("20260101", "元旦 休"))
    off, worked, left_out = days_of(tmp_path, text, "a.ics")
    assert ("2026-10-03" in off, "2026-10-03" in worked) == (read == "off", read == "worked")
    assert ["says both" in line for line in left_out] == [True] * (read == "both")


def test_without_any_mark_every_whole_day_is_off(tmp_path: Path) -> None:
    text = ics(day("20270101", "New Year"), day("20270501", "Labour Day"))
    assert days_of(tmp_path, text, "a.ics") == (["2027-01-01", "2027-05-01"], [], [])


@pytest.mark.parametrize(
    ("rule", "years"),
    [
        ("FREQ=YEARLY;UNTIL=20290101", [2026, 2027, 2028, 2029]),
        ("FREQ=YEARLY;COUNT=2", [2026, 2027]),
        ("FREQ=YEARLY;INTERVAL=2;COUNT=2;BYMONTH=1;BYMONTHDAY=1", [2026, 2028]),
        ("FREQ=YEARLY", "without end"),
        ("FREQ=YEARLY;BYMONTH=2;COUNT=2", "on another date"),
        ("FREQ=MONTHLY;COUNT=2", "another way than yearly"),
        ("FREQ=YEARLY;BYDAY=1MO;COUNT=2", "another way than yearly"),
        ("FREQ=YEARLY;COUNT=99", "more than 60 times"),
    ],
)
def test_a_yearly_day_with_an_end_is_read_and_any_other_rule_is_refused(
    tmp_path: Path, rule: str, years: list[int] | str
) -> None:
    path = tmp_path / "a.ics"
    path.write_text(ics(day("20260101", "元旦 休", f"|RRULE:{rule}"), day("20260501", "劳动节 休")), "utf-8")
    document, reading = read_calendar(path)
    if isinstance(years, str):
        assert years in reading.left_out[0]
        assert [row.year for row in document.rows] == ["2026"]
    else:
        assert [int(row.year) for row in document.rows] == years
        published = [row.published for row in document.rows]
        assert published == [year == 2026 for year in years], "a repetition is a forecast"


def test_an_excluded_repetition_is_not_read(tmp_path: Path) -> None:
    rule = "|RRULE:FREQ=YEARLY;COUNT=3|EXDATE;VALUE=DATE:20270101"
    assert days_of(tmp_path, ics(day("20260101", "休", rule)), "a.ics")[0] == ["2026-01-01", "2028-01-01"]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.json", "{", "is not JSON"),
        ("a.json", "7", "is no list of days off"),
        ("a.json", "[]", "holds no day off"),
        ("a.json", '{"2026-01-01": 2}', "says neither true nor false nor a name"),
        ("a.json", '[{"date": "2026-01-04"}, {"date": "2026-01-04", "isOffDay": false}]', "both off and worked"),
        ("a.ics", "no calendar", "is not iCalendar"),
        ("a.ics", ics(), "holds no day off"),
    ],
)
def test_a_file_without_days_is_told(tmp_path: Path, name: str, content: str, reason: str) -> None:
    (tmp_path / name).write_text(content, "utf-8")
    with pytest.raises(LoadError, match=reason):
        read_calendar(tmp_path / name)


def test_a_day_that_is_worked_anyhow_is_told(tmp_path: Path) -> None:
    left_out = days_of(tmp_path, {"2026-01-01": True, "2026-01-05": False})[2]
    assert left_out == ["2026-01-05 (2026-01-05): is worked anyhow"]


def test_the_command_prints_the_document_and_lists_each_entry(tmp_path: Path) -> None:
    file = tmp_path / "2027.ics"
    file.write_text(ics(day("20270101", "元旦（休）"), day("20270303", "元宵节")), "utf-8")
    done = CliRunner().invoke(app, ["reference", "calendar", str(file), "--region", JJ])
    assert done.exit_code == 0, done.stderr
    for line in ("read 2027-01-01: off (元旦（休）)", "left out 元宵节: says neither", "2027: 1 days off, 0 worked"):
        assert line in done.stderr
    (tmp_path / "2027.yaml").write_text(done.stdout, "utf-8")
    assert CliRunner().invoke(app, ["reference", "validate", str(tmp_path / "2027.yaml")]).exit_code == 0
