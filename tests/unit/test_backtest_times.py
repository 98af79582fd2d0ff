"""Times of a file: their forms, days without an hour, clock times that are skipped or come twice."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from infra.importing.file_times import BadTime, BareDay, TimeOddity, TimeReader

pytestmark = pytest.mark.slow

AMSTERDAM = TimeReader(ZoneInfo("Europe/Amsterdam"))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


@pytest.mark.parametrize(
    ("cell", "moment"),
    [
        ("2011-10-11 13:42:22.688000+02:00", "2011-10-11T11:42:22.688+00:00"),
        ("2011-10-11T13:42:22.688", "2011-10-11T11:42:22.688+00:00"),
        ("2011-12-11 13:42", "2011-12-11T12:42:00+00:00"),
        ("2011-12-11T13:42:00Z", "2011-12-11T13:42:00+00:00"),
        ("2011-12-11 13:42:00.123456789", "2011-12-11T12:42:00.123456+00:00"),
        ("2019/4/25 9:32:09.5", "2019-04-25T07:32:09.500+00:00"),
        ("2019/4/25 9:32:09 +0800", "2019-04-25T01:32:09+00:00"),
        ("2019年4月25日", "2019-04-24T22:00:00+00:00"),
    ],
)
def test_forms_that_are_read_without_being_told(cell: str, moment: str) -> None:
    assert AMSTERDAM.read(cell, BareDay.FIRST).at == at(moment)


def test_forms_that_are_told_come_first() -> None:
    times = TimeReader(ZoneInfo("America/New_York"), ("%m/%d/%Y %I:%M:%S %p", "%d.%m.%Y"))
    assert times.read("04/05/2019 09:55:45 PM", BareDay.FIRST).at == at("2019-04-05T21:55:45-04:00")
    assert times.read("05.04.2019", BareDay.OVER).at == at("2019-04-06T00:00:00-04:00")
    unix = TimeReader(ZoneInfo("Asia/Shanghai"), ("unix_ms",))
    assert unix.read("1318333342688", BareDay.FIRST).at == at("2011-10-11T11:42:22.688+00:00")


def test_a_day_alone_is_what_is_meant_by_it() -> None:
    assert AMSTERDAM.read("2024-03-30", BareDay.FIRST).at == at("2024-03-30T00:00+01:00")
    assert AMSTERDAM.read("2024-03-31", BareDay.LAST).at == at("2024-03-31T23:59:59.999999+02:00")
    assert AMSTERDAM.read("2024-03-31", BareDay.OVER).at == at("2024-04-01T00:00+02:00")  # 24:00 (Civil Code, 203)


def test_a_clock_time_that_comes_twice() -> None:
    first = AMSTERDAM.read("2024-10-27 02:30:00", BareDay.FIRST)
    assert (first.at, first.odd) == (at("2024-10-27T02:30+02:00"), TimeOddity.TWICE)
    second = TimeReader(ZoneInfo("Europe/Amsterdam"), second=True).read("2024-10-27 02:30:00", BareDay.FIRST)
    assert (second.at, second.odd) == (at("2024-10-27T02:30+01:00"), TimeOddity.TWICE)
    assert AMSTERDAM.read("2024-10-27 03:00:00", BareDay.FIRST).odd is None


@pytest.mark.parametrize("second", [False, True])
def test_a_clock_time_that_is_skipped(second: bool) -> None:
    reading = TimeReader(ZoneInfo("Europe/Amsterdam"), second=second).read("2024-03-31 02:30:00", BareDay.FIRST)
    assert (reading.at, reading.odd) == (at("2024-03-31T03:30+02:00"), TimeOddity.SKIPPED)


@pytest.mark.parametrize(
    "cell", ["", "soon", "2024-02-30", "2024-01-01 25:00", "9999-12-31T23:59:59Z", "0001-01-01", "31/12/2024"]
)
def test_what_is_no_time_is_told_without_its_text(cell: str) -> None:
    with pytest.raises(BadTime) as error:
        AMSTERDAM.read(cell, BareDay.OVER)
    assert "is no time" in str(error.value)
    assert not cell or cell not in str(error.value)
