"""Calendars as documents: what a row may say, which document has a year, and when the calendar is another one."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from pathlib import Path

import pytest

from shared.case.calendar import ZONE, Calendar, before, last_day_of, reckon
from shared.case.facts import Ends, TimeBase
from shared.reference.calendars import CalendarRow, calendar_of
from shared.reference.documents import Document, DocumentKind
from shared.reference.load import LoadError, demo_documents, load_table, load_yaml
from shared.reference.publish import PublishCounts, publish, with_years
from shared.reference.reference_data import NoDocument, ReferenceData
from shared.reference.reference_stream import MemoryReferenceStream
from shared.reference.regions import NATION
from shared.reference.validate import validate

CITY, COUNTY = "510100000000", "510104000000"
SPRING = [date(2027, 2, 5), date(2027, 2, 6)]


def calendars(*rows: dict[str, object], region: str = NATION, sequence: int = 0) -> Document:
    made = tuple(CalendarRow.model_validate(row) for row in rows)
    return Document(kind=DocumentKind.CALENDARS, region=region, rows=made, sequence=sequence)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("holidays: [2026-01-01]", "2026-01-01 is not in 2027; move it to the row of 2026"),
        ("makeup: [2027-02-08]", "2027-02-08 is worked anyhow: a make-up day is a Saturday or Sunday; remove it"),
        ("{holidays: [2027-02-06], makeup: [2027-02-06]}", "2027-02-06 is both off and worked; remove it from"),
        ("holidays: [2027-02-30]", "holidays.0: "),
        ("office: [13:00-13:00]", "office hours 13:00-13:00 have no length; round the clock is 00:00-24:00"),
        ("office: [22:00-06:00, 23:00-23:30]", "office hours 23:00-23:30 begin before the ones before them end"),
        ("office: [05:00-08:00, 22:00-06:00]", "over midnight until 06:00 go on after those of the next day begin"),
        ("office: [05-01..09-30 08:00-12:00]", "01-01 is in no season; add hours without a season, or one that has it"),
        ("office: [05-01..09-30 08:00-12:00, 09-30..04-30 09:00-12:00]", "09-30 is in two seasons, 05-01..09-30 and"),
        ("office: [05-01..09-31 08:00-12:00, 09:00-12:00]", "09-31 is no day of a year; write month and day"),
        ("office: [24:00-06:00]", "office.0: String should match"),
        ("office: [09:00-12:00, 11:30-17:00]", "office hours 11:30-17:00 begin before the ones before them end"),
        ("office: [13:00-17:00, 09:00-12:00]", "office hours 09:00-12:00 begin before the ones before them end"),
        ("office: [9-12]", "office.0: String should match"),
        ("holidays: [2026-11-30]", "2026-11-30 is not in 2027; move it to the row of 2026"),
        ("zone: Asia/Chengdu", "zone: no such time zone; write it as in Asia/Shanghai"),
        ("zone: ../etc", "zone: no such time zone"),
        ("free: [2027-02-06]", "free: is no field of it"),
    ],
)
def test_a_row_that_makes_no_sense_is_named(tmp_path: Path, row: str, said: str) -> None:
    file = tmp_path / "next.yaml"
    fields = row if row.startswith("{") else "{" + row + "}"
    file.write_text(f"kind: calendars\nrows:\n  2026: {{}}\n  2027: {fields}\n", "utf-8")
    with pytest.raises(LoadError) as caught:
        load_yaml(file)
    (fault,) = caught.value.faults
    assert str(fault).startswith("next.yaml:4: row 2 of calendars, '2027': ")
    assert said in fault.reason


def test_a_notice_may_name_the_december_before_its_year(tmp_path: Path) -> None:
    file = tmp_path / "2019.yaml"
    row = "{holidays: [2018-12-30, 2018-12-31, 2019-01-01], makeup: [2018-12-29]}"
    file.write_text(f"kind: calendars\nrows:\n  2018: {{holidays: [2018-01-01]}}\n  2019: {row}\n", "utf-8")
    calendar = calendar_of(load_yaml(file).documents)
    days = [date(2018, 12, 28), date(2018, 12, 29), date(2018, 12, 30), date(2018, 12, 31), date(2019, 1, 1)]
    assert [calendar.is_working(day) for day in days] == [True, True, False, False, False]
    file.write_text("kind: calendars\nrows:\n  2019: {holidays: [2018-11-30]}\n", "utf-8")
    with pytest.raises(LoadError, match="2018-11-30 is not in 2019"):
        load_yaml(file)


@pytest.mark.parametrize("year", ["27", "1027", "two"])
def test_a_year_has_four_digits(tmp_path: Path, year: str) -> None:
    file = tmp_path / "next.yaml"
    file.write_text(f"kind: calendars\nrows:\n  {year}: {{}}\n", "utf-8")
    with pytest.raises(LoadError, match=f"next.yaml:3: row 1 of calendars, '{year}': year: String should match"):
        load_yaml(file)


def test_a_table_of_days_is_a_calendar_too(tmp_path: Path) -> None:
    file = tmp_path / "next.csv"
    file.write_text("year,holidays[],makeup[],office[]\n2027,2027-02-06; 2027-02-05,2027-01-31,09:00-12:00\n", "utf-8")
    (document,) = load_table(file, DocumentKind.CALENDARS).documents
    (row,) = document.rows
    assert (row.holidays, row.makeup, row.hours) == (tuple(SPRING), (date(2027, 1, 31),), ((time(9), time(12)),))
    assert calendars({"year": "2027", "holidays": SPRING[::-1] + SPRING}).rows[0].holidays == tuple(SPRING)


def test_a_published_year_without_days_off_is_doubted() -> None:
    found = validate([calendars({"year": "2027"}, {"year": "2028", "published": False})])
    assert [(one.gravity, one.document, one.key) for one in found] == [("warning", f"calendars:{NATION}", "2027")]
    assert "leave the year out until its notice is published" in found[0].reason


def test_hours_over_midnight_are_doubted_and_no_others() -> None:
    row: dict[str, object] = {"year": "2027", "holidays": SPRING, "office": ["09:00-24:00"]}
    assert validate([calendars(row)]) == []
    (doubt,) = validate([calendars(row | {"office": ["17:00-09:00"]})])
    assert (doubt.gravity, "at 09:00 of the next day" in doubt.reason) == ("warning", True)


def test_the_nearest_document_that_has_a_year_says_what_is_off_in_it() -> None:
    national = calendars(
        {"year": "2026", "holidays": ["2026-10-01"], "office": ["09:00-17:00"]},
        {"year": "2027", "holidays": SPRING, "makeup": ["2027-01-31"]},
        sequence=3,
    )
    city = calendars({"year": "2027", "holidays": ["2027-06-01"], "office": ["08:00-12:00"]}, region=CITY, sequence=5)
    reference_data = ReferenceData([national, city])
    near, far = reference_data.calendar(COUNTY), reference_data.calendar("510703000000")
    assert (near.holidays, near.makeup) == (frozenset({date(2026, 10, 1), date(2027, 6, 1)}), frozenset())
    assert (far.holidays, far.makeup) == (frozenset({date(2026, 10, 1), *SPRING}), frozenset({date(2027, 1, 31)}))
    assert near.references == {2026: f"calendars:{NATION}@3", 2027: f"calendars:{CITY}@5"}
    assert near.reference_for(date(2028, 1, 1)) is None
    hours = [[calendar.office_on(date(year, 3, 1)) for year in (2026, 2027)] for calendar in (near, far)]
    whole_day, morning = ((time(9), time(17)),), ((time(8), time(12)),)
    assert hours == [[whole_day, morning], [whole_day, whole_day]], "those of a year hold from it on"
    assert (near.zone, near.published) == (ZONE, frozenset({2026, 2027}))
    assert reference_data.calendar("510104017001") is near
    assert reference_data.calendar_version == 5


def test_a_zone_holds_for_the_places_of_its_document() -> None:
    city = calendars({"year": "2026", "zone": "America/New_York"}, {"year": "2027"}, region=CITY)
    reference_data = ReferenceData([calendars({"year": "2026", "zone": "Europe/Amsterdam"}), city])
    assert [reference_data.calendar(region).zone for region in (COUNTY, "510703000000")] == [
        "America/New_York",
        "Europe/Amsterdam",
    ]


def test_without_documents_and_in_a_forecast_everything_is_provisional() -> None:
    assert ReferenceData().calendar(COUNTY).day_off(date(2026, 10, 1)) == "holiday (provisional)"
    assert ReferenceData().calendar_version == 0
    forecast = ReferenceData([calendars({"year": "2027", "holidays": SPRING, "published": False})]).calendar(NATION)
    assert forecast.provisional(SPRING[0])
    assert forecast.day_off(SPRING[0]) == "holiday (provisional)"
    assert forecast.day_off(date(2027, 1, 1)) == "holiday (provisional)"


async def test_publishing_a_year_is_a_new_calendar_and_the_old_one_can_be_read_again() -> None:
    stream, reference_data = MemoryReferenceStream(), ReferenceData()
    old = calendars({"year": "2026", "holidays": ["2026-10-01"]})
    await publish(stream, [old])
    await reference_data.load(stream)
    before, version = reference_data.calendar(COUNTY), reference_data.calendar_version
    assert before.provisional(SPRING[0])
    await publish(
        stream, [calendars({"year": "2026", "holidays": ["2026-10-01"]}, {"year": "2027", "holidays": SPRING})]
    )
    await reference_data.load(stream)
    after = reference_data.calendar(COUNTY)
    assert reference_data.calendar_version > version
    assert after.day_off(SPRING[0]) == "holiday"
    assert before.provisional(SPRING[0])
    cited = before.reference_for(date(2026, 1, 1))
    assert cited == f"calendars:{NATION}@1"
    assert [row.year for row in (await reference_data.version(stream, cited)).rows] == ["2026"]


async def test_a_version_stays_at_hand_and_one_that_never_was_is_named() -> None:
    stream, reference_data = MemoryReferenceStream(), ReferenceData()
    await publish(stream, [calendars({"year": "2026"}), calendars({"year": "2027"}, region=CITY)])
    document = await reference_data.version(stream, f"calendars:{CITY}@2")
    stream.messages.clear()
    assert await reference_data.version(stream, f"calendars:{CITY}@2") is document
    for wrong, said in (
        (f"calendars:{CITY}@1", "was never published"),
        (f"calendars:{CITY}@3", "was never published"),
        ("calendars:5101@2", "cites no document"),
        (f"moods:{CITY}@2", "cites no document"),
    ):
        with pytest.raises(NoDocument, match=said):
            await reference_data.version(stream, wrong)


def test_a_new_year_keeps_the_old_ones_and_a_correction_replaces_its_own() -> None:
    old = calendars({"year": "2026", "holidays": ["2026-10-01"]}, {"year": "2027", "published": False}, sequence=7)
    new = calendars({"year": "2028"}, {"year": "2027", "holidays": SPRING})
    merged = with_years(new, old)
    assert [(row.year, row.published) for row in merged.rows] == [("2026", True), ("2027", True), ("2028", True)]
    assert merged.by_key["2027"].holidays == tuple(SPRING)
    assert (merged.sequence, merged.name) == (7, f"calendars:{NATION}")


async def test_loading_it_again_changes_nothing() -> None:
    stream = MemoryReferenceStream()
    old, new = calendars({"year": "2026"}), calendars({"year": "2027", "holidays": SPRING})
    await publish(stream, [old])
    merged = with_years(new, old.model_copy(update={"sequence": 1}))
    assert await publish(stream, [merged]) == PublishCounts(1, 0, 2)
    assert await publish(stream, [with_years(new, merged.model_copy(update={"sequence": 2}))]) == PublishCounts(0, 1, 2)


def test_the_demo_has_every_year_of_the_package() -> None:
    calendar = ReferenceData(demo_documents()).calendar(COUNTY)
    assert calendar.published == set(range(2004, 2027))
    days = [
        date(2026, 1, 4),
        date(2026, 2, 14),
        date(2026, 2, 28),
        date(2026, 5, 9),
        date(2026, 9, 20),
        date(2026, 10, 10),
    ]
    assert sorted(day for day in calendar.makeup if day.year == 2026) == days  # facts: six make-up days, 33 days off
    assert sum(day.year == 2026 for day in calendar.holidays) == 33


def office(*texts: str, year: str = "2026") -> Calendar:
    """The calendar of a place with these office hours."""
    return calendar_of([calendars({"year": year, "office": list(texts)})])


NIGHT, ROUND_THE_CLOCK, UNTIL_MIDNIGHT = ("22:00-06:00",), ("00:00-24:00",), ("09:00-24:00",)
SEASONS = ("05-01..09-30 08:00-12:00", "10-01..04-30 10:00-12:00")


@pytest.mark.parametrize(
    ("texts", "start", "amount", "base", "due"),
    [
        (ROUND_THE_CLOCK, "2026-03-02 23:50", 1, TimeBase.HOURS, "2026-03-03 00:50"),
        (ROUND_THE_CLOCK, "2026-03-06 23:50", 1, TimeBase.HOURS, "2026-03-09 00:50"),  # Saturday and Sunday are off
        (ROUND_THE_CLOCK, "2026-03-02 10:00", 1, TimeBase.WORKING_DAYS, "2026-03-04 00:00"),
        (UNTIL_MIDNIGHT, "2026-03-02 23:30", 1, TimeBase.HOURS, "2026-03-03 09:30"),
        (UNTIL_MIDNIGHT, "2026-03-02 10:00", 2, TimeBase.WORKING_DAYS, "2026-03-05 00:00"),
        (NIGHT, "2026-03-02 23:50", 1, TimeBase.HOURS, "2026-03-03 00:50"),
        (NIGHT, "2026-03-06 23:50", 7, TimeBase.HOURS, "2026-03-09 22:50"),  # the night of Friday ends on Saturday
        (NIGHT, "2026-03-02 23:50", 1, TimeBase.WORKING_DAYS, "2026-03-04 06:00"),
        (SEASONS, "2026-04-30 11:00", 2, TimeBase.HOURS, "2026-05-01 09:00"),
        (SEASONS, "2026-09-30 11:00", 2, TimeBase.HOURS, "2026-10-01 11:00"),
        (SEASONS, "2026-12-31 11:00", 2, TimeBase.HOURS, "2027-01-04 11:00"),  # over new year, 2027 not published
        (("02-29..03-01 10:00-11:00", "08:00-12:00"), "2026-02-27 11:00", 2, TimeBase.HOURS, "2026-03-02 09:00"),
        (("02-28..02-29 10:00-11:00", "08:00-12:00"), "2024-02-28 10:30", 1, TimeBase.HOURS, "2024-02-29 10:30"),
        (("02-29..02-29 10:00-11:00", "08:00-12:00"), "2027-02-26 11:30", 1, TimeBase.HOURS, "2027-03-01 08:30"),
    ],
)
def test_hours_of_an_office_can_be_said(
    texts: tuple[str, ...], start: str, amount: int, base: TimeBase, due: str
) -> None:
    calendar = office(*texts, year=start[:4])

    def at(text: str) -> datetime:
        return datetime.fromisoformat(f"{text}+08:00")

    reckoned = reckon(at(start), amount, base, calendar, Ends.OFFICE)
    assert reckoned.due == at(due)
    assert reckoned.steps[-1].day_to == calendar.local(at(due)).isoformat(timespec="seconds")
    assert before(reckoned.due, amount, base, calendar, Ends.OFFICE) <= at(due)


def test_a_night_belongs_to_the_day_on_which_it_begins() -> None:
    calendar = office(*NIGHT)
    due = reckon(datetime(2026, 3, 2, 8, tzinfo=UTC), 2, TimeBase.WORKING_DAYS, calendar, Ends.OFFICE)
    assert (due.last_day, calendar.local(due.due).isoformat()) == (date(2026, 3, 4), "2026-03-05T06:00:00+08:00")
    assert last_day_of(due.due, calendar, Ends.OFFICE) == date(2026, 3, 4)
    warned = before(due.due, 1, TimeBase.WORKING_DAYS, calendar, Ends.OFFICE)
    assert calendar.local(warned).isoformat() == "2026-03-04T06:00:00+08:00"


def test_the_hours_of_another_year_move_nothing_of_this_one_and_are_cited_where_they_count() -> None:
    national = calendars({"year": "2026", "office": ["09:00-12:00", "13:00-17:00"]}, sequence=3)
    other = calendars({"year": "2027", "office": ["08:00-12:00", "12:30-15:30"]}, region=COUNTY, sequence=5)
    alone, both = calendar_of([national]), calendar_of([other, national])
    start = datetime(2026, 11, 27, 2, tzinfo=UTC)
    for base in (TimeBase.HOURS, TimeBase.WORKING_DAYS):
        assert reckon(start, 5, base, both, Ends.OFFICE).due == reckon(start, 5, base, alone, Ends.OFFICE).due
    assert both.cited(date(2026, 11, 27), date(2026, 12, 4), office=True) == (f"calendars:{NATION}@3",)
    cited = both.cited(date(2026, 12, 27), date(2027, 1, 4), office=True)
    assert cited == (f"calendars:{NATION}@3", f"calendars:{COUNTY}@5")
    assert both.office_on(date(2024, 1, 2)) == alone.office_on(date(2026, 1, 2)), "years before hours were stated"


def test_a_notice_may_name_days_of_the_new_year_before_its_year_begins() -> None:
    """The notice of 2019 has 30 and 31 December 2018 off and 29 December worked."""
    notice = calendars(
        {"year": "2019", "holidays": ["2018-12-30", "2018-12-31", "2019-01-01"], "makeup": ["2018-12-29"]}, sequence=2
    )
    calendar = calendar_of([notice, calendars({"year": "2018"}, sequence=1)])
    assert [calendar.is_working(date(2018, 12, day)) for day in (28, 29, 30, 31)] == [True, True, False, False]
    assert calendar.reference_for(date(2018, 12, 31)) == f"calendars:{NATION}@2"
    assert calendar.cited(date(2018, 12, 28), date(2018, 12, 31)) == (f"calendars:{NATION}@1", f"calendars:{NATION}@2")
