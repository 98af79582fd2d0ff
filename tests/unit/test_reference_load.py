"""Bad rows are named with file, line, reason and what to do; good ones become documents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openpyxl
import pytest

from shared.reference.codec import decode_document
from shared.reference.documents import Document, DocumentKind
from shared.reference.limits import LimitRow
from shared.reference.load import LoadError, demo_documents, load_folder, load_table, load_yaml
from shared.reference.people import PersonRow
from shared.reference.subject_import import import_subjects
from shared.reference.units import GridRow

UNITS = """kind: units
region: 510104000000
rows:
  510104000000-housing: {name: 住建局}
"""
LADDER = """kind: ladders
rows:
  a: {after: 1, base: hours, act: urge, acts: 谁, basis: {mark: C, text: 自定}, """


def written(folder: Path, text: str | bytes, name: str = "facts.yaml") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(LoadError) as caught:
        load_yaml(path)
    return str(caught.value)


def test_a_document_keeps_its_codes_as_text(tmp_path: Path) -> None:
    text = "kind: subjects\nrows:\n  01: 城乡建设\n  0101: no\n"
    (document,) = load_yaml(written(tmp_path, text)).documents
    assert [(row.code, row.name) for row in document.rows] == [("01", "城乡建设"), ("0101", "no")]


def test_rows_may_be_a_list_and_places_are_remembered(tmp_path: Path) -> None:
    text = "kind: units\nregion: 510104000000\nrows:\n- {code: 510104000000-housing, name: 住建局}\n"
    loaded = load_yaml(written(tmp_path, text))
    assert loaded.places == {("units:510104000000", "510104000000-housing"): ("facts.yaml", 4)}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind: unit\nrows: {}\n", "facts.yaml:1: kind is 'unit'; it is one of regions, centres, units"),
        ("kind: units\nrow: {}\n", "facts.yaml:2: unknown 'row'"),
        ("kind: units\n", "facts.yaml:1: has no rows"),
        ("- kind: units\n", "facts.yaml:1: is a list"),
        ("units\n", "facts.yaml:1: is not a document"),
        ("kind: units\nrows: {a: [}\n", "facts.yaml:2: is not YAML"),
        (
            UNITS + "  510104000000-housing: {name: 又}\n",
            "facts.yaml:5: 510104000000-housing stands here a second time",
        ),
        (UNITS + "  510104-land: {name: 国土}\n", "facts.yaml:5: row 2 of units, '510104-land': code:"),
        (UNITS + "  510104000000-land: {name: 国土, colour: red}\n", "facts.yaml:5: row 2 of units"),
        (UNITS + "  510104000000-land: {kind: department}\n", "name: is missing; add it"),
        (UNITS + "---\n" + UNITS, "units:510104000000 is given twice"),
        ("kind: units\nregion: 5101\nrows: {}\n", "region: String should match"),
        ("kind: units\nrows: &a {}\nnote: *a\n", "facts.yaml:2: anchors and aliases"),
        ("kind: units\nrows: " + "[" * 20 + "]" * 20, "nested more than 12 deep"),
        (b"kind: units\nnote: \xff\nrows: {}\n", "is not"),
        ("kind: units\nrows: {[a]: b}\n", "a key must be a plain word"),
        ("kind: ladders\nrows:\n  a: 提醒\n", "facts.yaml:3: row 1 of ladders: has no fields; write them in braces"),
        (
            LADDER + "informs: unit}\n",
            "facts.yaml:3: row 1 of ladders, 'a': informs: is not a list; write it in brackets",
        ),
        (LADDER + "who: unit}\n", "who: is no field of it; remove it or correct its name (got 'unit')"),
        (LADDER + "after: two}\n", "facts.yaml:3: after stands here a second time"),
        (LADDER + "every: two}\n", "every: is not a whole number (got 'two')"),
        ("kind: proposals\nrows:\n  people: {at_least: 3, basis: 某}\n", "basis: has no fields; write them in braces"),
    ],
)
def test_a_fault_names_file_line_and_reason(tmp_path: Path, text: str | bytes, said: str) -> None:
    assert said in refusal(written(tmp_path, text))


def test_every_fault_of_every_file_is_named_at_once(tmp_path: Path) -> None:
    bad = "kind: units\nregion: 510104000000\nrows:\n  x: {name: a}\n  y: {name: b}\n"
    with pytest.raises(LoadError) as caught:
        load_yaml(written(tmp_path, bad, "one.yaml"), written(tmp_path, bad, "two.yaml"))
    assert [(fault.file, fault.line) for fault in caught.value.faults] == [
        ("one.yaml", 4), ("one.yaml", 5), ("two.yaml", 4), ("two.yaml", 5),
    ]  # fmt: skip


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="holds no"):
        load_folder(tmp_path)


@pytest.mark.parametrize("ending", ["csv", "xlsx"])
def test_rows_of_a_table(tmp_path: Path, ending: str) -> None:
    lines: list[list[Any]] = [
        ["code", "name", "households", "people", "workers[]"],
        [510104017001001, "一网格", 400, 1000.0, "a; b"],
        ["510104017001002", "二网格", 300, 900, None],
    ]
    path = tmp_path / f"grids.{ending}"
    if ending == "csv":
        path.write_text("\ufeff" + "\n".join(",".join(str(c or "").removesuffix(".0") for c in line) for line in lines))
    else:
        book = openpyxl.Workbook()
        sheet = book.worksheets[0]
        for line in lines:
            sheet.append(line)
        book.save(path)
    (document,) = load_table(path, DocumentKind.GRIDS, "510104000000").documents
    assert [(row.code, row.people, row.workers) for row in document.rows] == [
        ("510104017001001", 1000, ("a", "b")),
        ("510104017001002", 900, ()),
    ]


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("g.csv", b"", "the first line must name the fields: code, name, households"),
        ("g.csv", b"code,name\n1,2,3\n", "g.csv:2: has 3 cells under 2 headings"),
        ("g.csv", b"code,name\n1,\xff\n", "is not CSV in UTF-8"),
        ("g.csv", b"code,name\n12,x\n", "g.csv:2: row 1 of grids, '12'"),
        ("g.xlsx", b"PK nothing", "is not an XLSX workbook"),
        ("g.ods", b"", "has the ending '.ods'"),
    ],
)
def test_a_bad_table_says_what_to_do(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    with pytest.raises(LoadError) as caught:
        load_table(written(tmp_path, data, name), DocumentKind.GRIDS)
    assert said in str(caught.value)


def test_the_demo_comes_back_from_its_bytes() -> None:
    for document in demo_documents():
        again = decode_document(document.encode(), 7)
        assert (again.rows, again.reference) == (document.rows, f"{document.name}@7")


def test_a_document_holds_rows_of_its_kind_only() -> None:
    with pytest.raises(ValueError, match="rows of units are UnitRow"):
        Document(kind=DocumentKind.UNITS, rows=({"code": "x"},))


def test_a_person_is_where_the_unit_is_unless_said() -> None:
    row = PersonRow.model_validate({"id": "a", "name": "甲", "unit": "510104000000-centre", "post": "director"})
    assert row.region == "510104000000"


@pytest.mark.clause("11.7")
@pytest.mark.parametrize(
    ("households", "people", "workers", "rural", "count"),
    [
        (300, 2000, "a", False, 0), (500, 2000, "a", False, 0), (299, 2000, "a", False, 1), (501, 1000, "a", False, 0),
        (501, 1500, "a", False, 1), (60, 200, "a", True, 0), (400, 1000, "", False, 1), (10, 10, "", False, 2),
    ],
)  # fmt: skip
def test_a_grid_warns(households: int, people: int, workers: str, rural: bool, count: int) -> None:
    grid = GridRow(
        code="510104017001001", name="网格", households=households, people=people, workers=tuple(workers), rural=rural
    )
    assert len(grid.warnings()) == count


@pytest.mark.parametrize(
    ("change", "said"),
    [({"warn": 5}, "would warn at the start"), ({"extend_max": 3}, "go together"), ({"amount": 0}, "greater than 0")],
)
def test_a_limit_that_makes_no_sense_is_refused(change: dict[str, int], said: str) -> None:
    fields = {"id": "x", "stage": "sign", "amount": 5, "base": "hours", "basis": {"mark": "M", "text": "x"}, **change}
    with pytest.raises(ValueError, match=said):
        LimitRow.model_validate(fields)


def test_subjects_keep_their_codes_when_the_tree_grows(tmp_path: Path) -> None:
    first = import_subjects(written(tmp_path, "一级,二级,三级\n民政,优抚,\n民政,其他,\n", "s.csv"))
    assert {row.code: row.name for row in first.rows} == {"01": "民政", "0101": "优抚", "0199": "其他"}
    more = import_subjects(written(tmp_path, "一级,二级,三级\n环保,噪声,\n民政,殡葬,公墓\n", "s.csv"), first)
    assert {row.code: row.name for row in more.rows} == {
        "01": "民政", "0101": "优抚", "0102": "殡葬", "010201": "公墓", "0199": "其他", "02": "环保", "0201": "噪声",
    }  # fmt: skip


def test_too_many_subjects_at_one_place_are_refused(tmp_path: Path) -> None:
    text = "一级\n" + "".join(f"第{number}\n" for number in range(99))
    with pytest.raises(LoadError, match=r"s\.csv:100: '第98' is the 99th subject"):
        import_subjects(written(tmp_path, text, "s.csv"))
