"""Calendars as documents: what a row may say, which document has a year, and when the calendar is another one."""

from __future__ import annotations

from datetime import date, time
from pathlib import Path

import pytest

from shared.case.calendar import ZONE
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
        ("office: [13:00-12:00]", "office hours 13:00-12:00 run backwards; they end on the same day"),
        ("office: [09:00-12:00, 11:30-17:00]", "office hours 11:30-17:00 begin before the ones before them end"),
        ("office: [13:00-17:00, 09:00-12:00]", "office hours 09:00-12:00 begin before the ones before them end"),
        ("office: [9-12]", "office.0: String should match"),
        ("office: [09:00-24:00]", "office.0: String should match"),
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
    assert (near.office, far.office) == (((time(8), time(12)),), ((time(9), time(17)),))
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
