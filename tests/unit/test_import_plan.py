"""Rows as demands, and what they are to one another: double ids, repeats while the first case is open."""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from infra.importing.dry_run import judge_rows
from infra.importing.file_rows import read_rows
from infra.importing.file_times import BareDay
from infra.importing.imported_case import UnfitRow, imported_case, read_time
from infra.importing.mapping import ImportMapping, load_mapping
from infra.importing.plan import make_plan
from infra.importing.rows import FileRow
from shared.case.facts import Nature, Outcome

SUPPORT = Path(__file__).parents[1] / "support"
SAMPLE = SUPPORT / "messages.csv"
MAPPING = load_mapping(SUPPORT / "messages.yaml")
NOW = datetime(2024, 1, 1, tzinfo=UTC)
HEADING = ["编号", "留言人", "标题", "时间", "内容", "答复", "答复时间"]


def line(number: int = 2, **cells: str) -> FileRow:
    whole = dict(zip(HEADING, ["1", "U", "题", "2021/3/1 9:00:00", "文", "复", "2021/3/2 9:00:00"], strict=True))
    return FileRow(number, whole | cells)


def test_a_row_says_what_it_says() -> None:
    first = imported_case(next(iter(read_rows(SAMPLE, MAPPING))), MAPPING, NOW)
    assert (first.number, first.id, first.reporter, first.region) == (2, "101", "U1", "510104000000")
    assert first.text == "甲1区桂园小区的物业不公示收费标准，\n电梯也坏了半个月。"  # the padding of the page is gone
    assert first.at.isoformat() == "2021-03-01T09:05:00+08:00"
    assert (first.nature, first.outcome) == (Nature.COMPLAINT, Outcome.SOLVED)


@pytest.mark.parametrize(
    ("cell", "found"),
    [
        ("2019/4/25 9:32:09", "2019-04-25T09:32:09+08:00"),
        ("2019-04-08T08:37:20", "2019-04-08T08:37:20+08:00"),
        ("2019-04-08 08:37", "2019-04-08T08:37:00+08:00"),
        ("2019年4月8日 08:37", "2019-04-08T08:37:00+08:00"),
        ("2019.4.8", "2019-04-08T23:59:59+08:00"),
        ("2019-04-08T08:37:20.5Z", "2019-04-08T08:37:20+00:00"),
        ("2019-04-08T08:37:20+02:00", "2019-04-08T06:37:20+00:00"),
    ],
)
def test_times_are_read(cell: str, found: str) -> None:
    assert read_time("t", cell, MAPPING, BareDay.LAST) == datetime.fromisoformat(found)


@pytest.mark.parametrize("cell", ["", "gestern", "2019/2/30", "2019/4/25 25:00:00", "43564.4", "25/4/2019"])
def test_what_is_no_time_is_refused(cell: str) -> None:
    with pytest.raises(UnfitRow):
        read_time("t", cell, MAPPING, BareDay.FIRST)


def test_a_form_of_its_own_is_read_when_given() -> None:
    mapping: ImportMapping = MAPPING.model_copy(update={"time_formats": ("%d/%m/%Y", "%d/%m/%Y %H:%M")})
    assert read_time("t", "25/4/2019", mapping, BareDay.LAST).isoformat() == "2019-04-25T23:59:59+08:00"
    assert read_time("t", "25/4/2019 7:05", mapping, BareDay.FIRST).isoformat() == "2019-04-25T07:05:00+08:00"


@pytest.mark.parametrize(
    ("cells", "column", "reason"),
    [
        ({"标题": " \t "}, "标题", "is empty"),
        ({"标题": "长" * 201}, "标题", "has 201 characters, at most 200"),
        ({"内容": "长" * 10_001}, "内容", "has 10001 characters"),
        ({"内容": "a\x00b"}, "内容", "holds a NUL character"),
        ({"内容": "\ud800"}, "内容", "holds half a character"),
        ({"编号": ""}, "编号", "is empty"),
        ({"编号": "9" * 129}, "编号", "has 129 characters"),
        ({"留言人": "名" * 301}, "留言人", "has 301 characters"),
        ({"时间": "2099/1/1 0:00:00"}, "时间", "lies in the future"),
        ({"答复时间": ""}, "答复时间", "is empty"),
        ({"答复时间": "2021/2/1 9:00:00"}, "答复时间", "lies before 时间"),
    ],
)
def test_what_cannot_be_a_case_says_why_and_shows_nothing(cells: dict[str, Any], column: str, reason: str) -> None:
    with pytest.raises(UnfitRow) as unfit:
        imported_case(line(**cells), MAPPING, NOW)
    assert unfit.value.column == column
    assert reason in unfit.value.reason
    assert len(unfit.value.reason) < 80  # a reason quotes no cell


def test_a_day_alone_is_no_reply_before_the_message() -> None:
    demand = imported_case(line(答复时间="2021/3/1"), MAPPING, NOW)
    assert demand.replied_at is not None
    assert demand.replied_at > demand.at


def test_the_sample_adds_up() -> None:
    plan = make_plan(SAMPLE, MAPPING, NOW)
    assert plan.rows == 12
    assert plan.doubles == {13: 4}
    assert list(plan.repeats) == [6]  # the same complaint while it was open; row 7 came after the reply
    assert plan.repeated == {2}
    counts, _ = judge_rows(SAMPLE, MAPPING, plan, NOW)
    assert counts == {"registered": 7, "attached": 1, "rejected": 4}


def test_a_repeat_may_stand_before_its_case(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = [["2", "U", "题 ", "2021/3/1 12:00:00", "b", "", ""], ["1", "U", "题", "2021/3/1 9:00:00", "a", "", ""]]
        csv.writer(file).writerows([HEADING, *rows])
    plan = make_plan(path, MAPPING, NOW)
    first = imported_case(list(read_rows(path, MAPPING))[1], MAPPING, NOW)
    assert plan.repeats == {2: first.case("sample")}


def with_status(tmp_path: Path, *rows: tuple[str, str]) -> tuple[Path, ImportMapping]:
    """A file of rows with a status and a reply, and a mapping that settles the closed ones."""
    path = tmp_path / "a.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*HEADING, "状态"])
        for number, (status, reply) in enumerate(rows):
            replied_at = "2021/3/2 9:00:00" if reply else ""
            writer.writerow([str(number), "U", "题", "2021/3/1 9:00:00", "文", reply, replied_at, status])
    assert MAPPING.settle is not None
    settle = MAPPING.settle.model_copy(update={"when": {"状态": ("Closed", "已办结")}})
    return path, MAPPING.model_copy(update={"settle": settle})


def test_a_row_is_settled_when_its_status_says_so(tmp_path: Path) -> None:
    rows = [("Closed", "复"), (" 已办结 ", "复"), ("Open", "复"), ("处理中", ""), ("", "复"), ("Closed", "")]
    path, mapping = with_status(tmp_path, *rows)
    cases = [imported_case(row, mapping, NOW) for row in read_rows(path, mapping)]
    assert [case.settled for case in cases] == [True, True, False, False, False, False]
    assert [case.replied_at is None for case in cases] == [False, False, False, True, False, True]
    plan = make_plan(path, mapping, NOW)
    assert list(plan.statuses()) == [
        "1 rows stay open: 状态 is Open, which settle.when does not name",
        "1 rows stay open: 状态 is 处理中, which settle.when does not name",
        "1 rows stay open: 状态 is empty, which settle.when does not name",
        "1 rows that settle.when names stay open: they have no reply",
    ]
    assert set(plan.repeats) == {3, 4, 5, 6, 7}, "a row is repeated while it is open, or in the moment it is replied to"


def test_statuses_are_named_within_a_bound(tmp_path: Path) -> None:
    path, mapping = with_status(tmp_path, *((f"第{number}种{'长' * 60}", "") for number in range(50)))
    plan = make_plan(path, mapping, NOW)
    assert sum(plan.open_rows.values()) == 50
    assert len(plan.open_rows) == 21
    assert plan.open_rows["状态", "another value"] == 30


def test_who_gives_no_name_repeats_nobody(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([HEADING, *([str(n), "", "题", "2021/3/1 9:00:00", "文", "", ""] for n in range(3))])
    assert make_plan(path, MAPPING, NOW).repeats == {}


def test_commands_of_a_row_never_change() -> None:
    """Frozen: an import of today must recognise what one of years ago sent."""
    demand = imported_case(line(), MAPPING, NOW)
    assert demand.command_id("sample", "register") == "eafdb430-337b-5c36-a542-7f7be52b7db9"
