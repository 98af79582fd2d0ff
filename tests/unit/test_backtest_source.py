"""A file as cases: tables and logs alike, whatever is missing, double, out of order or written oddly."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from infra.backtest.historic_file import HistoricCase, HistoricFile
from infra.backtest.mapping import BacktestMapping
from infra.importing.mapping_tree import BadMapping
from infra.importing.rows import BadFile

pytestmark = pytest.mark.slow

TABLE: dict[str, Any] = {
    "source": "table", "id": "id", "time_zone": "Europe/Amsterdam", "registered": "start", "settled": "end",
    "due": "due",
}  # fmt: skip
LOG: dict[str, Any] = {
    "source": "log", "rows": "events", "id": "id", "time_zone": "Europe/Amsterdam", "time": "time", "activity": "act",
    "settled": {"activity": "pay", "which": "last"}, "due": "due",
}  # fmt: skip


def mapped(base: dict[str, Any], **more: Any) -> BacktestMapping:
    return BacktestMapping.model_validate(base | more)


def read(path: Path, mapping: BacktestMapping) -> tuple[list[HistoricCase], HistoricFile]:
    source = HistoricFile(path, mapping)
    return sorted(source.cases(), key=lambda case: case.number), source


def csv(path: Path, *lines: str, encoding: str = "utf-8") -> Path:
    path.write_bytes("\n".join((*lines, "")).encode(encoding))
    return path


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def test_rows_become_cases(tmp_path: Path) -> None:
    path = csv(
        tmp_path / "a.csv", "id,start,end,due", "7,2024-03-01 10:00,2024-03-05,2024-03-04T12:00Z", "8,2024-03-02,,"
    )
    first, second = read(path, mapped(TABLE))[0]
    assert (first.number, first.id, first.began) == (2, "7", at("2024-03-01T10:00+01:00"))
    assert first.ended == first.file_end == at("2024-03-05T23:59:59.999999+01:00")
    assert first.dues == ((first.began, at("2024-03-04T12:00Z")),)
    assert first.file_due == at("2024-03-04T12:00Z")
    assert (second.ended, second.dues, second.file_due) == (None, (), None)
    assert [moment is None for moment in second.moments] == [False, False, False, True, True]


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.xlsx", "a.ndjson", "a.ndjson.gz"])
def test_the_kinds_of_tables_are_alike(tmp_path: Path, name: str) -> None:
    rows = [["id", "start", "end", "due"], ["7", "2024-03-01T10:00:00", "", "2024-03-04T12:00:00"]]
    path = tmp_path / name
    if name == "a.xlsx":
        book = openpyxl.Workbook()
        book.worksheets[0].append(rows[0])
        book.worksheets[0].append([7, datetime(2024, 3, 1, 10), None, datetime(2024, 3, 4, 12)])
        book.save(path)
    else:
        text = "\n".join(",".join(row) for row in rows) + "\n"
        if "ndjson" in name:
            text = json.dumps(dict(zip(*rows, strict=True))) + "\n"
        path.write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
    (case,) = read(path, mapped(TABLE))[0]
    assert (case.id, case.began, case.dues[0][1]) == ("7", at("2024-03-01T10:00+01:00"), at("2024-03-04T12:00+01:00"))


def test_what_cannot_be_played_is_left_out_with_its_reason(tmp_path: Path) -> None:
    rows = {
        "1,2024-03-01,,2024-03-04": "",
        "1,2024-03-02,,2024-03-04": "id stands in an earlier row already",
        ",2024-03-01,,2024-03-04": "id is empty",
        "2,soon,,2024-03-04": "start is no time; give its form in time_formats",
        "3,,,2024-03-04": "start says no time when it was registered",
        "4,2024-03-01,2024-02-30,2024-03-04": "end is no time that exists",
        "5,2024-03-01,,,,x": "row has 6 cells under 4 headings",
        '6,"x"y,,': "row is not CSV (',' expected after '\"')",
        "7,2024-03-01,,NULL": "no due date",
    }
    path = csv(tmp_path / "a.csv", "id,start,end,due", *rows)
    out = {"column": "due", "empty": True, "why": "no due date"}
    cases, source = read(path, mapped(TABLE, leave_out=[out]))
    assert [case.id for case in cases] == ["1"]
    reasons = [why for why in rows.values() if why]
    assert set(source.counts.left_out) == set(reasons)
    assert (source.counts.rows, source.counts.cases, sum(source.counts.left_out.values())) == (9, 9, 8)


def test_encodings_delimiters_and_marks(tmp_path: Path) -> None:
    lines = "编号;start;end;due", "一;2024-03-01;;2024-03-04"
    for encoding in ("utf-8-sig", "gb18030", "utf-16"):
        path = csv(tmp_path / f"{encoding}.csv", *lines, encoding=encoding)
        said = "utf-8" if encoding == "utf-8-sig" else encoding
        (case,) = read(path, mapped(TABLE, id="编号", delimiter=";", encoding=said))[0]
        assert case.id == "一"
    with pytest.raises(BadFile, match="write `encoding: gb18030`"):
        read(tmp_path / "gb18030.csv", mapped(TABLE, id="编号", delimiter=";"))


def test_moments_out_of_order_are_put_right_and_told(tmp_path: Path) -> None:
    path = csv(tmp_path / "a.csv", "id,start,mid,end,due", "1,2024-03-05,2024-03-04,2024-03-01,2024-03-09")
    (case,) = read(path, mapped(TABLE, signed="mid"))[0]
    assert set(case.moments) == {at("2024-03-05T00:00+01:00")}
    assert case.ended == at("2024-03-01T23:59:59.999999+01:00")
    assert case.odd == ("end_before_begin", "moments_out_of_order")


def test_of_several_columns_the_first_that_says_something(tmp_path: Path) -> None:
    lines = (
        "id,start,resolved,closed,due",
        "1,2024-03-01,,2024-03-03T00:00Z,",
        "2,2024-03-01,2024-03-02T00:00Z,2024-03-03,",
    )
    cases, _ = read(csv(tmp_path / "a.csv", *lines), mapped(TABLE, settled=["resolved", "closed"]))
    assert [case.ended for case in cases] == [at("2024-03-03T00:00Z"), at("2024-03-02T00:00Z")]


def test_a_clock_time_of_the_change_is_told(tmp_path: Path) -> None:
    path = csv(tmp_path / "a.csv", "id,start,end,due", "1,2024-03-31 02:30,2024-10-27 02:30,2024-12-01")
    assert read(path, mapped(TABLE))[0][0].odd == ("local_time_comes_twice", "local_time_does_not_exist")


EVENTS: Sequence[str] = (
    "id,act,time,due", "b,make,2024-03-02 09:00,", "a,pay,2024-03-20 09:00,2024-04-01",
    "a,make,2024-03-01 09:00,2024-03-15",
    "a,pay,2024-03-10 09:00,2024-03-15", "b,pay,,",
)  # fmt: skip


def test_events_of_a_case_may_lie_anywhere_in_the_file(tmp_path: Path) -> None:
    cases, source = read(csv(tmp_path / "a.csv", *EVENTS), mapped(LOG))
    assert [case.id for case in cases] == ["b", "a"]
    case = cases[1]
    assert case.began == at("2024-03-01T09:00+01:00")
    assert case.ended == at("2024-03-20T09:00+01:00")
    assert case.dues == ((case.began, at("2024-03-16T00:00+01:00")), (case.ended, at("2024-04-02T00:00+02:00")))
    assert case.odd == ("due_moved", "events_out_of_order")
    assert source.counts.last == case.ended
    first = mapped(LOG, settled={"activity": ["/^p/"], "which": "first"})
    assert read(csv(tmp_path / "a.csv", *EVENTS), first)[0][1].ended == at("2024-03-10T09:00+01:00")


def test_an_activity_counts_when_its_row_says_so(tmp_path: Path) -> None:
    lines = "id,act,time,life", "a,make,2024-03-01,start", "a,make,2024-03-02,complete", "a,pay,2024-03-03,complete"
    make = {"activity": "make", "when": {"column": "life", "is": "complete"}}
    limits = [{"amount": 1, "base": "hours"}]
    (case,) = read(csv(tmp_path / "a.csv", *lines), mapped(LOG, due=None, limits=limits, signed=make))[0]
    assert case.moments[:3] == (
        at("2024-03-01T00:00+01:00"),
        at("2024-03-01T00:00+01:00"),
        at("2024-03-02T00:00+01:00"),
    )
    out = {"column": "act", "is": "make", "why": "was made"}
    cases, source = read(csv(tmp_path / "a.csv", *lines), mapped(LOG, due=None, limits=limits, leave_out=[out]))
    assert (cases, source.counts.left_out) == ([], {"was made": 1})


def test_a_stage_that_never_began(tmp_path: Path) -> None:
    lines = "id,act,time,due", "a,make,2024-03-01,2024-03-02", "a,pay,2024-03-03,"
    (case,) = read(csv(tmp_path / "a.csv", *lines), mapped(LOG, signed={"activity": "notify"}))[0]
    assert case.odd == ("stage_never_began",)
    assert case.moments[2] == case.ended


def test_an_event_without_a_readable_time_leaves_its_case_out(tmp_path: Path) -> None:
    cases, source = read(csv(tmp_path / "a.csv", *EVENTS, "b,pay,tomorrow,", ",pay,2024-03-01,"), mapped(LOG))
    assert [case.id for case in cases] == ["a"]
    assert sum(source.counts.left_out.values()) == 1
    assert source.counts.dropped == {"has no id": 1}


def test_the_word_of_the_file(tmp_path: Path) -> None:
    path = csv(
        tmp_path / "a.csv", "id,start,end,due,late", "1,2024-03-01,,,yes", "2,2024-03-01,,,no", "3,2024-03-01,,,"
    )
    late = {"column": "late", "is": ["yes", "ja"]}
    assert [case.stated_late for case in read(path, mapped(TABLE, late=late))[0]] == [True, False, None]


def test_a_log_that_lacks_an_attribute(tmp_path: Path) -> None:
    path = tmp_path / "a.xes"
    event = '<event><string key="act" value="pay"/><date key="time" value="2024-03-01T00:00:00+01:00"/></event>'
    path.write_text(f'<log><trace><string key="name" value="a"/>{event}</trace></log>', "utf-8")
    with pytest.raises(BadMapping, match="the file has no column 'case:nam'; did you mean 'case:name'"):
        read(path, mapped(LOG, id="case:nam", due=None, limits=[{"amount": 1, "base": "hours"}]))
