"""Files as programs really write them: damaged lines, spreadsheet cells, other encodings. No row is lost."""

from __future__ import annotations

import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from infra.importing.dry_run import judge_rows
from infra.importing.file_rows import check_columns, heading_of, read_rows
from infra.importing.imported_case import UnfitRow, imported_case
from infra.importing.mapping import ImportMapping
from infra.importing.mapping_tree import BadMapping
from infra.importing.plan import make_plan
from infra.importing.rows import BadFile, FileRow

NOW = datetime(2026, 11, 1, tzinfo=UTC)
COLUMNS = ("编号", "标题", "内容", "时间", "姓名", "电话", "答复", "答复时间")
CELLS = ("a1", "路灯不亮", "三盏路灯不亮", "2023/4/25 9:32", "居民甲", "13800000000", "已修复", "2023/4/28 10:00")
MAPPING = ImportMapping.model_validate({
    "source": "files", "id": "编号", "nature": "complaint", "region": "510104017000", "first_asked": "jj-window",
    "columns": {"title": "标题", "text": "内容", "time": "时间", "reporter": "姓名", "phone": "电话", "reply": "答复",
                "reply_time": "答复时间"},
    "settle": {"by": "first"},
})  # fmt: skip
CASES = Path(__file__).parents[3] / "shared" / "cases" / "import"


def line(number: int, **changed: str) -> str:
    """A good line of a CSV file, but for some cells by their column."""
    cells = dict(zip(COLUMNS, CELLS, strict=True)) | {"编号": f"a{number}"} | changed
    return ",".join(cells.values()) + "\n"


def csv_file(folder: Path, *lines: str, encoding: str = "utf-8") -> Path:
    path = folder / "a.csv"
    path.write_bytes("".join((",".join(COLUMNS) + "\n", *lines)).encode(encoding))
    return path


def sheet_file(folder: Path, *rows: tuple[Any, ...], **formats: str) -> Path:
    """A sheet; `formats` gives the number format of a cell by its name, as A2."""
    book = openpyxl.Workbook()
    for row in (COLUMNS, *rows):
        book.worksheets[0].append(row)
    for name, form in formats.items():
        book.worksheets[0][name].number_format = form
    book.save(folder / "a.xlsx")
    return folder / "a.xlsx"


def changed(mapping: ImportMapping = MAPPING, **values: Any) -> ImportMapping:
    return ImportMapping.model_validate(mapping.model_dump(exclude_unset=True) | values)


def rejected(path: Path, mapping: ImportMapping = MAPPING) -> dict[int, str]:
    """The column and the reason of each rejected row; all others became cases."""
    reasons = {}
    for row in read_rows(path, mapping):
        try:
            imported_case(row, mapping, NOW)
        except UnfitRow as unfit:
            reasons[row.number] = f"{unfit.column} {unfit.reason}".strip()
    return reasons


def numbers(path: Path) -> list[int]:
    return [row.number for row in read_rows(path, MAPPING)]


# Damaged lines


@pytest.mark.parametrize("at", [2, 3, 8, 9])
@pytest.mark.parametrize("closed_at", [None, 5, 9])
def test_an_unclosed_quotation_mark_costs_its_line_alone(tmp_path: Path, at: int, closed_at: int | None) -> None:
    """`closed_at`: a later line that has a quoted cell, whose mark would close the open one."""
    lines = [line(number) for number in range(2, 10)]
    if closed_at is not None:
        lines[closed_at - 2] = line(closed_at, 内容='"三盏路灯不亮"')
    lines[at - 2] = line(at, 内容='"三盏路灯不亮')
    path = csv_file(tmp_path, *lines)
    assert numbers(path) == list(range(2, 10))
    assert list(rejected(path)) == [at]
    assert "quotation mark" in rejected(path)[at] or "expected after" in rejected(path)[at]


def test_a_mark_that_closes_at_the_same_cell_of_a_later_line_is_seen(tmp_path: Path) -> None:
    lines = [line(number) for number in range(2, 9)]
    lines[1], lines[5] = line(3, 内容='"三盏路灯不亮'), line(7, 内容='三盏路灯不亮"')
    path = csv_file(tmp_path, *lines)
    assert sorted({*rejected(path), *numbers(path)}) == list(range(2, 9))
    assert "holds whole rows from line 4 on" in rejected(path)[3]


def test_a_cell_with_many_lines_is_one_cell(tmp_path: Path) -> None:
    text = '"第一行\n第二行, 有逗号\n\n""引文""\n末行"'
    path = csv_file(tmp_path, line(2, 内容=text), line(7))
    assert (numbers(path), rejected(path)) == ([2, 7], {})


def test_a_short_row_is_warned_of(tmp_path: Path) -> None:
    path = csv_file(tmp_path, line(2), "a3,标题,内容,2023/4/25 9:32,居民,138\n", "00000000,已修复\n")
    plan = make_plan(path, MAPPING, NOW)
    assert plan.warnings_count == 2
    assert plan.warnings[0].startswith("row 3 has 6 cells under 8 headings")
    assert list(rejected(path)) == [4]


def test_a_damaged_byte_costs_its_line_alone(tmp_path: Path) -> None:
    path = csv_file(tmp_path, *(line(number) for number in range(2, 200)))
    whole = path.read_bytes().split(b"\n")
    whole[119] = whole[119].replace("盏".encode(), b"\xe7\x9b", 1)
    path.write_bytes(b"\n".join(whole))
    assert rejected(path) == {120: "holds bytes in line 120 that are not utf-8"}


# What spreadsheets add to CSV


def test_a_line_that_states_the_delimiter_is_understood(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("sep=;\n" + (",".join(COLUMNS) + "\n" + line(3)).replace(",", ";"), "utf-8-sig")
    assert (numbers(path), rejected(path)) == ([3], {})


@pytest.mark.parametrize(("delimiter", "advice"), [(";", '";"'), ("\t", r'"\\t"'), ("|", r'"\|"')])
def test_another_delimiter_is_told_in_one_line(tmp_path: Path, delimiter: str, advice: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text((",".join(COLUMNS) + "\n" + line(2)).replace(",", delimiter), "utf-8")
    with pytest.raises(BadFile, match=f"write `delimiter: {advice}` in the mapping$"):
        check_columns(path, MAPPING)
    assert not rejected(path, changed(delimiter=delimiter))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
@pytest.mark.parametrize("marks", ["", "\ufeff"])
def test_a_byte_order_mark_names_the_encoding(tmp_path: Path, encoding: str, marks: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes((marks + ",".join(COLUMNS) + "\n" + line(2)).encode(encoding))
    assert heading_of(path, MAPPING) == list(COLUMNS)
    assert not rejected(path)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark_is_told_and_can_be_named(tmp_path: Path, encoding: str) -> None:
    path = csv_file(tmp_path, line(2), encoding=encoding)
    with pytest.raises(BadFile, match="utf-16"):
        heading_of(path, MAPPING)
    assert not rejected(path, changed(encoding=encoding))


@pytest.mark.parametrize(
    ("phone", "read"),
    [
        ('="02885551234"', "02885551234"), ("'13800000000", "13800000000"), ("１３８ ００００", "138 0000"),
        ("1.38E+10", None), ("1E9", None), ("不详", "不详"), ("028-85551234转12", "028-85551234转12"), ("", ""),
    ],
)  # fmt: skip
def test_phones_are_read_or_refused(tmp_path: Path, phone: str, read: str | None) -> None:
    path = csv_file(tmp_path, line(2, 电话=phone))
    if read is None:
        assert "has lost its digits" in rejected(path)[2]
    else:
        assert imported_case(next(iter(read_rows(path, MAPPING))), MAPPING, NOW).phone == read


# Cells of a sheet


@pytest.mark.parametrize("error", ["#N/A", "#REF!", "#VALUE!", "#DIV/0!", "#NAME?", "#NULL!", "#NUM!", "#SPILL!"])
@pytest.mark.parametrize("column", ["标题", "内容", "姓名", "答复"])
def test_an_error_cell_is_no_content(tmp_path: Path, error: str, column: str) -> None:
    cells = [error if name == column else cell for name, cell in zip(COLUMNS, CELLS, strict=True)]
    reason = f"{column} holds {error}, an error of the sheet"
    assert rejected(sheet_file(tmp_path, tuple(cells))) == {2: reason}
    assert rejected(csv_file(tmp_path, line(2, **{column: error}))) == {2: reason}


def test_an_error_in_a_column_that_no_mapping_names_is_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(",".join(COLUMNS) + ",行政村\n" + line(2).strip() + ",#N/A\n", "utf-8")
    assert not rejected(path)


@pytest.mark.parametrize(
    ("value", "form", "shown"),
    [
        (1, "000000", "000001"), (1234567, "000000", "1234567"), (2885551234, "00000000000", "02885551234"),
        (13800001111, "000-0000-0000", "138-0000-1111"), (7, '"No."000', "No.007"), (7, r"\A00", "A07"),
        (17.0, "General", "17"), (17.0, "0.00", "17"), (1.5, "00", "1.5"), (17, "@", "17"), (17, "#,##0", "17"),
    ],
)  # fmt: skip
def test_a_number_is_read_as_the_sheet_shows_it(tmp_path: Path, value: float, form: str, shown: str) -> None:
    path = sheet_file(tmp_path, (value, *CELLS[1:]), A2=form)
    assert next(iter(read_rows(path, MAPPING))).cells["编号"] == shown


def test_a_number_with_more_digits_than_a_sheet_keeps_is_refused(tmp_path: Path) -> None:
    path = sheet_file(tmp_path, (510104199001011234, *CELLS[1:]))
    assert "is a number of more than 15 digits" in rejected(path)[2]


def test_escapes_of_a_sheet_are_characters(tmp_path: Path) -> None:
    path = sheet_file(tmp_path, (*CELLS[:2], "第一行_x000D_\n第二行_x000D_末行_x005F_x_X0041_", *CELLS[3:]))
    rows = list(read_rows(path, MAPPING))
    assert imported_case(rows[0], MAPPING, NOW).text == "第一行\n第二行\n末行_x_X0041_"


def test_cells_that_are_merged_downwards_are_told(tmp_path: Path) -> None:
    path = sheet_file(tmp_path, CELLS, ("a2", *CELLS[1:]), ("a3", *CELLS[1:]))
    book = openpyxl.load_workbook(path)
    book.worksheets[0].merge_cells("D2:D3")
    book.worksheets[0].merge_cells("G4:H4")
    book.save(path)
    assert list(rejected(path)) == [3, 4]  # row 4: the reply has lost its time
    assert "时间 is merged with the cell above" in rejected(path)[3]


def test_a_title_above_the_heading_is_told_with_its_remedy(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    for row in (("2023年4月群众诉求汇总表",), (), COLUMNS, CELLS):
        book.worksheets[0].append(row)
    path = tmp_path / "a.xlsx"
    book.save(path)
    with pytest.raises(BadMapping, match=r"^row 3 of a\.xlsx names the columns; write `heading: 3` in the mapping$"):
        check_columns(path, MAPPING)
    lower = changed(heading=3)
    assert [row.number for row in read_rows(path, lower)] == [4]
    path = csv_file(tmp_path, line(4))
    path.write_text("汇总表,,,,,,,\n" + path.read_text("utf-8"), "utf-8")
    with pytest.raises(BadMapping, match="write `heading: 2`"):
        check_columns(path, MAPPING)
    assert not rejected(path, changed(heading=2))


def test_serial_numbers_are_times_when_the_mapping_says_so(tmp_path: Path) -> None:
    path = sheet_file(tmp_path, (*CELLS[:3], 45041.39731481481, *CELLS[4:]), ("a2", *CELLS[1:3], 45041, *CELLS[4:]))
    assert all("write `time_formats: [excel]`" in reason for reason in rejected(path).values())
    serial = changed(time_formats=("excel",))
    times = [imported_case(row, serial, NOW).at.isoformat() for row in read_rows(path, serial)]
    assert times == ["2023-04-25T09:32:08+08:00", "2023-04-25T00:00:00+08:00"]


# Identity


def test_columns_that_no_mapping_names_are_no_part_of_a_case() -> None:
    cells = dict(zip(COLUMNS, CELLS, strict=True))
    first, other, changed_text = (
        imported_case(FileRow(2, cells | more), MAPPING, NOW)
        for more in ({"浏览量": "1"}, {"浏览量": "51"}, {"浏览量": "1", "内容": "别的"})
    )
    assert first.source_cells == other.source_cells != changed_text.source_cells


# The files of others


@pytest.mark.parametrize(
    ("name", "more", "counts"),
    [
        ("quote.csv", {}, (198, 1)), ("errors.xlsx", {}, (0, 3)), ("x000d.xlsx", {}, (1, 0)),
        ("format.xlsx", {}, (2, 0)), ("sci.csv", {}, (2, 1)), ("broken2.csv", {}, (2, 3)), ("day1.csv", {}, (3, 0)),
        ("forms.csv", {}, (7, 0)), ("semi.csv", {"delimiter": ";"}, (1, 0)), ("sep.csv", {}, (1, 0)),
        ("utf16.csv", {"delimiter": "\t"}, (1, 0)), ("badbyte.csv", {}, (499, 1)), ("merged.xlsx", {}, (1, 1)),
        ("titlerow.xlsx", {"heading": 2}, (1, 0)), ("serial.xlsx", {"time_formats": ["excel"]}, (2, 0)),
        ("bombom.csv", {}, (1, 0)),
    ],
)  # fmt: skip
def test_files_that_others_reported(name: str, more: dict[str, Any], counts: tuple[int, int]) -> None:
    if not CASES.exists():
        pytest.skip("the folder with the files that others reported is not beside the checkout")
    path, mapping = CASES / name, changed(**more)
    check_columns(path, mapping)
    outcomes, _ = judge_rows(path, mapping, make_plan(path, mapping, NOW), NOW)
    assert (outcomes["registered"], outcomes["rejected"]) == counts


def test_a_sheet_without_its_parts_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x", "y")
    with pytest.raises(BadFile, match="is not an XLSX workbook"):
        heading_of(path, MAPPING)
