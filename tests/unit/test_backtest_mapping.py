"""A back-test's mapping is read strictly: what is wrong is named with its line and what to write instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.backtest.mapping import load_backtest
from infra.importing.file_rows import check_columns
from infra.importing.mapping_tree import BadMapping
from infra.importing.rows import BadFile

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "docs" / "mappings" / "backtest").glob("*.yaml"))
GOOD = """\
source: sample
id: Case
time_zone: Europe/Amsterdam
registered: Start
settled: End
due: Due
warn: {amount: 2, base: calendar_days}
limits:
  - {amount: 8, base: hours, when: {column: Agency, is: NYPD}}
  - amount: 60
    base: calendar_days
    ends: clock
leave_out:
  - {column: Due, empty: true, why: no due date}
"""
HEADING = ["Case", "Start", "End", "Due", "Agency"]


def told(tmp_path: Path, old: str, new: str) -> str:
    """What is said about the good mapping with one change."""
    assert old in GOOD
    file = tmp_path / "m.yaml"
    file.write_text(GOOD.replace(old, new), "utf-8")
    with pytest.raises(BadMapping) as error:
        load_backtest(file).check(HEADING)
    return str(error.value)


@pytest.mark.parametrize("file", SHIPPED, ids=lambda path: path.name)
def test_mappings_that_ship_can_be_read(file: Path) -> None:
    assert load_backtest(file).source == file.stem.removesuffix("-xes")


def test_all_shipped_are_there() -> None:
    assert len(SHIPPED) >= 6


def test_the_good_one_is_good(tmp_path: Path) -> None:
    file = tmp_path / "m.yaml"
    file.write_text(GOOD, "utf-8")
    mapping = load_backtest(file)
    mapping.check(HEADING)
    assert [limit.amount for limit in mapping.limits] == [8, 60]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("settled: End", "setled: End", "m.yaml:5: unknown 'setled'; did you mean 'settled'?"),
        ("settled: End\n", "", "settled is missing: the stage handle ends with it"),
        ("registered: Start\n", "", "registered is missing: name the column"),
        ("due: Due\n", "due: Dou\n", "due: the file has no column 'Dou'; did you mean 'Due'?"),
        ("time_zone: Europe/Amsterdam", "time_zone: Mars/Base", "m.yaml:3: time_zone: 'Mars/Base' is no time zone"),
        ("time_zone: Europe/Amsterdam\n", "", "time_zone is missing; see docs/backtest.md"),
        ("base: hours,", "base: hour,", "m.yaml:9: limits.0.base"),
        ("amount: 60", "amount: 0", "m.yaml:10: limits.1.amount"),
        ("base: calendar_days\n    ends", "base: working_days\n    ends", "limits.1: working_days need a calendar"),
        ("ends: clock", "ends: office", "limits.1: ends: office needs opening hours"),
        ("ends: clock", "office: [9-12]", "limits.1: office: write opening hours as 09:00-12:00"),
        ("ends: clock", "office: ['13:00-18:00', '09:00-12:00']", "opening hours come in order"),
        ("ends: clock", "holidays: [2024-12-25]", "limits.1: holidays: say `calendar: weekends`"),
        ("is: NYPD", "is: '/N(/'", "limits.0.when.is: /N(/ is no regular expression"),
        ("column: Agency, is: NYPD", "column: Agency", "limits.0.when: say what the cell must be"),
        ("column: Agency", "column: Agent", "limits.0.when: the file has no column 'Agent'; did you mean 'Agency'?"),
        ("settled: End", "settled: {activity: closed}", "settled: activities are of event logs: write `rows: events`"),
        ("settled: End", "settled: {which: last}", "m.yaml:5: settled: give a column, or the names of activities"),
        ("why: no due date", "wy: x", "m.yaml:14: unknown 'leave_out.0.wy'; did you mean 'why'?"),
        ("source: sample", "source: sample\npauses: [{stops: Due, goes_on: Stop}]", "pauses.0.goes_on: the file has"),
        ("source: sample", "source: sample\nstage: report", "stage: report has no moments in a file"),
        ("source: sample", "source: sample\nlate: always", "m.yaml:2: late.by"),
        ("source: sample", "source: sample\nlate: {column: Late}", "`column` goes with `is`"),
        ("source: sample", "source: sample\nnature: sorrow", "nature: 'sorrow' is none of consultation"),
        ("source: sample", "source: sample\nencoding: klingon", "'klingon' is no encoding; write one like utf-8"),
        ("source: sample", "source: sample\nid: x", "m.yaml:3: is not YAML (id stands twice)"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert expected in told(tmp_path, old, new)


def test_a_mapping_must_say_what_is_due(tmp_path: Path) -> None:
    file = tmp_path / "m.yaml"
    file.write_text("source: s\nid: a\ntime_zone: UTC\nregistered: b\nsettled: c\n", "utf-8")
    with pytest.raises(BadMapping, match="give `due`, the column of due dates, or `limits`"):
        load_backtest(file)


def test_another_delimiter_is_guessed(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(GOOD, "utf-8")
    (tmp_path / "a.csv").write_text("Case;Start;End;Due;Agency\n", "utf-8")
    with pytest.raises(BadFile, match='write `delimiter: ";"` in the mapping'):
        check_columns(tmp_path / "a.csv", load_backtest(tmp_path / "m.yaml"))
