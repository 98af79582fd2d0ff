"""CSV, XLSX and NDJSON give the same rows; what is no row is a fault of that row, what is no table is told at once."""

from __future__ import annotations

import csv
import gzip
import json
import re
import time
import tracemalloc
import zipfile
from datetime import datetime
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.importing.file_rows import heading_of, read_rows
from infra.importing.imported_case import clean_cell
from infra.importing.mapping import ImportMapping, load_mapping
from infra.importing.rows import BadFile

SUPPORT = Path(__file__).parents[1] / "support"
MAPPING = load_mapping(SUPPORT / "messages.yaml")
COLUMNS = ["编号", "标题"]


def table(path: Path, rows: list[list[Any]]) -> Path:
    """The rows under COLUMNS as a file of the kind that its ending says."""
    match path.suffix:
        case ".csv":
            with path.open("w", encoding="utf-8-sig", newline="") as file:
                csv.writer(file).writerows([COLUMNS, *rows])
        case ".xlsx":
            book = openpyxl.Workbook()
            for row in [COLUMNS, *rows]:
                book.worksheets[0].append(row)
            book.save(path)
        case ".json":
            objects = [dict(zip(COLUMNS, row, strict=True)) for row in rows]
            path.write_text("\ufeff" + json.dumps(objects, ensure_ascii=False, indent=1), "utf-8")
        case _:
            lines = (json.dumps(dict(zip(COLUMNS, row, strict=True)), ensure_ascii=False) for row in rows)
            path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


@pytest.mark.parametrize("name", ["a.csv", "a.xlsx", "a.ndjson", "a.json"])
def test_the_kinds_of_file_are_alike(tmp_path: Path, name: str) -> None:
    path = table(tmp_path / name, [[17, "第一行\n第二行"], [18, ",\"'"], ["0019", "\t空白 "]])
    assert heading_of(path, MAPPING) == COLUMNS
    assert [line.cells for line in read_rows(path, MAPPING)] == [
        {"编号": "17", "标题": "第一行\n第二行"},
        {"编号": "18", "标题": ",\"'"},
        {"编号": "0019", "标题": "\t空白 "},
    ]


def test_a_sheet_keeps_codes_and_times(tmp_path: Path) -> None:
    path = table(tmp_path / "a.xlsx", [[17.0, datetime(2019, 4, 8, 8, 37, 20)], [None, None], [True, 1.5]])
    lines = list(read_rows(path, MAPPING))
    assert [(line.number, *line.cells.values()) for line in lines] == [
        (2, "17", "2019-04-08T08:37:20"),
        (4, "true", "1.5"),
    ]


def test_numbers_are_those_of_the_file(tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", [[1, "两\n行"], [2, "x"]])
    assert [line.number for line in read_rows(path, MAPPING)] == [2, 4]


def test_one_bad_row_stops_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.ndjson"
    good = '{"编号": 2, "标题": null}'.encode()
    path.write_bytes(b"\n".join([good, b"[1]", b"nope", b"\xff", b"", good]))
    lines = list(read_rows(path, MAPPING))
    assert [line.number for line in lines if line.fault] == [2, 3, 4]
    assert [line.number for line in lines if not line.fault] == [1, 6]
    assert lines[-1].cells == {"编号": "2", "标题": ""}
    path = tmp_path / "a.csv"
    path.write_text('编号,标题\n1,a,b,c\n2,"x"y\n3,c\n', "utf-8")
    assert [(line.number, bool(line.fault)) for line in read_rows(path, MAPPING)] == [(2, True), (3, True), (4, False)]


def test_a_field_inside_another_one_has_a_name(tmp_path: Path) -> None:
    path = tmp_path / "a.ndjson"
    deep: Any = 1
    for _ in range(9):
        deep = {"x": deep}
    objects = [{"编号": 1, "人": {"姓名": "甲", "电话": {"家": 7}}, "a": ["b"]}, {"编号": 2, "人": None, "d": deep}]
    path.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in objects), "utf-8")
    first, second = read_rows(path, MAPPING)
    named = ("编号", "人.姓名", "人.电话.家", "a")
    assert [first.cells[name] for name in named] == ["1", "甲", "7", '["b"]']
    assert second.cells["人"] == ""
    assert "d.x.x.x.x" in second.cells
    assert "d.x.x.x.x.x.x" not in second.cells
    assert "人.电话.家" in heading_of(path, MAPPING)


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("a.csv", b"", "is empty"),
        ("a.csv", "编号,标题\n1,甲\n".encode("gb18030"), "write `encoding: gb18030`"),
        (
            "a.csv",
            b"id,title\n1," + "甲".encode("gb18030") + b"\n",
            "near line 2 is not utf-8 (invalid bytes); write `encoding: gb18030`",
        ),
        ("a.csv", "编号,编号\n".encode(), "two columns are called '编号'"),
        ("a.xls", b"x", "rows are read from .csv"),
        ("a.xlsx", b"PK", "is not an XLSX workbook"),
        ("a.xlsx", b"", "is not an XLSX workbook"),
        ("a.ndjson", b"", "holds no JSON object"),
        ("a.ndjson", b"[]\n", "holds no JSON object"),
        ("a.json", b"[]", "holds no JSON object"),
        ("a.json", b'{"rows": []}', "is no JSON array; write [{...}, {...}]"),
        ("a.json", b'[{"a": 1}, {"a": 2}', "in or behind object 3 is no JSON, or the file is cut off"),
        ("a.json", b'[{"a": 1}, {"a" 2}]', "in or behind object 2 is no JSON"),
        ("a.json", b'[{"a": 1}] x', "is no JSON"),
        ("a.json", b'[{"a": 1}, {"a": ' + b"1" * 5_000 + b"}]", "in or behind object 1 has a number that is too large"),
        ("a.json", b'[{"a": 1}, {"a": 1e9999999999999999999999}]', "has a number that is too large"),
        ("a.json", b'[{"a": 1}, {"a": "' + b"x" * 5 * 1024 * 1024 + b'"}]', "object 2 is larger than"),
    ],
)
def test_what_is_no_table_is_told(tmp_path: Path, name: str, data: bytes, told: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(BadFile, match=re.escape(told)):
        list(read_rows(path, MAPPING))


def test_gb18030_is_read_when_said(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("编号,标题\n1,𠮷甲\n".encode("gb18030"))
    mapping: ImportMapping = MAPPING.model_copy(update={"encoding": "gb18030"})
    assert [line.cells["标题"] for line in read_rows(path, mapping)] == ["𠮷甲"]


def test_another_delimiter_and_a_packed_file(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress("\ufeff编号;标题\n1;甲,乙\n".encode()))
    mapping: ImportMapping = MAPPING.model_copy(update={"delimiter": ";"})
    assert [line.cells for line in read_rows(path, mapping)] == [{"编号": "1", "标题": "甲,乙"}]


@pytest.mark.parametrize("name", ["a.csv.gz", "a.ndjson.gz"])
def test_a_packed_file_that_is_cut_off_is_told(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    rows = "编号,标题\n" if "csv" in name else ""
    rows += "".join(f'{{"编号": {n}, "标题": "{n * n}"}}\n' if "nd" in name else f"{n},{n * n}\n" for n in range(9_000))
    whole = gzip.compress(rows.encode())
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadFile, match="is cut off"):
        list(read_rows(path, MAPPING))
    path.write_bytes(b"no gzip")
    with pytest.raises(BadFile, match="cannot be unpacked"):
        list(read_rows(path, MAPPING))


def test_a_sheet_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("xl/sharedStrings.xml", "w") as part:
        for _ in range(205):
            part.write(b" " * 1024 * 1024)
    with pytest.raises(BadFile, match="would unpack"):
        heading_of(path, MAPPING)


def test_one_bad_object_of_an_array_stops_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.json.gz"
    deep = "[" * 20_000 + "]" * 20_000
    text = f'[{{"编号": 1.50, "标题": {{"短": true}}}}, 7, {{"编号": {deep}}}, {{"编号": "4"}}]'
    path.write_bytes(gzip.compress(text.encode()))
    rows = list(read_rows(path, MAPPING))
    assert [(row.number, row.fault) for row in rows] == [
        (1, ""), (2, "is no JSON object"), (3, "is nested too deep"), (4, ""),
    ]  # fmt: skip
    assert (rows[0].cells["编号"], rows[0].cells["标题.短"]) == ("1.5", "true")


@given(st.text("\r\n \t\u2003\v甲", max_size=12))
def test_a_clean_cell_has_no_empty_lines_and_single_blanks(cell: str) -> None:
    blanks = re.sub(r"[ \t\u3000\xa0]+", " ", cell)
    assert clean_cell(cell) == re.sub(r"\s*[\r\n]\s*", "\n", blanks).strip()


def test_blanks_of_a_cell_are_read_once() -> None:
    begin = time.process_time()
    assert clean_cell("甲" + "\u2003" * 60_000 + "乙") == "甲" + "\u2003" * 60_000 + "乙"
    assert time.process_time() - begin < 1, "a run that is tried anew for each of its blanks takes 20 s"


@pytest.mark.parametrize("name", ["a.json", "a.ndjson"])
@pytest.mark.parametrize(
    ("number", "text"),
    [
        ("1" * 30, "1" * 30), ("9223372036854775808", "9223372036854775808"), ("1.50", "1.5"), ("2.0", "2"),
        ("1e2", "100"), ("1e999", None), ("-1e999", None), ('{"b": 1e999}', None), ("[1e999]", None),
    ],
)  # fmt: skip
def test_a_number_costs_its_own_row_at_most(tmp_path: Path, name: str, number: str, text: str | None) -> None:
    path = tmp_path / name
    objects = [f'{{"a": {value}}}' for value in ("1", number, "3")]
    path.write_text(f"[{', '.join(objects)}]" if name == "a.json" else "\n".join(objects))
    first, second, third = read_rows(path, MAPPING)
    assert (first.cells["a"], third.cells["a"]) == ("1", "3")
    assert second.cells.get("a") == text
    assert ("number that is too large" in second.fault) == (text is None)


def test_the_memory_of_a_deep_object_is_linear_in_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    deep = '{"a":' * 20_000 + "1" + "}" * 20_000
    path.write_text(f'[{deep}, {"[" * 20_000 + "]" * 20_000}, {{"a": {"[" * 90 + "]" * 90}}}]')
    tracemalloc.start()
    rows = list(read_rows(path, MAPPING))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [row.fault for row in rows] == ["is nested too deep", "is nested too deep", ""]
    assert peak < 4 * 1024 * 1024


@pytest.mark.parametrize("name", ["a.csv", "a.json"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    rows = ((str(number), "字" * 500) for number in range(20_000))
    with path.open("w", encoding="utf-8", newline="") as file:
        if name == "a.csv":
            csv.writer(file).writerows([COLUMNS, *rows])
        else:
            objects = (json.dumps(dict(zip(COLUMNS, row, strict=True)), ensure_ascii=False) for row in rows)
            file.write("[" + next(objects))
            file.writelines(", " + text for text in objects)
            file.write("]")
    tracemalloc.start()
    assert sum(1 for _ in read_rows(path, MAPPING)) == 20_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * 1024 * 1024 < path.stat().st_size
