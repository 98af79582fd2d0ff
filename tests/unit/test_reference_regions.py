"""The region tree and the import of the national table, with its traps."""

from __future__ import annotations

import gzip
from datetime import date
from pathlib import Path

import pytest

from shared.reference.documents import Document, DocumentKind
from shared.reference.load import LoadError, demo_documents
from shared.reference.region_import import nbs_documents, succeed
from shared.reference.region_tree import RegionTree
from shared.reference.regions import RegionRow

TABLES = {
    "provinces": ["35,福建省", "44,广东省"],
    "cities": ["3505,泉州市", "4401,市辖区", "4419,东莞市"],
    "areas": ["350527,金门县", "440103,荔湾区", "441900,东莞市"],
    "streets": ["350527000,金门县", "440103001,沙面街道", "441900003,东城街道"],
    "villages": ["350527000000,金门县", "440103001001,翠洲社区居委会", "441900003001,岗贝社区居委会"],
}


def folder(path: Path, **changes: list[str]) -> Path:
    for table, rows in {**TABLES, **changes}.items():
        text = "code,name,x\n" + "".join(f"{row},y\n" for row in rows)
        if table == "villages":
            (path / "villages.csv.gz").write_bytes(gzip.compress(text.encode()))
        else:
            (path / f"{table}.csv").write_text(text, "utf-8")
    return path


def tree(documents: list[Document]) -> RegionTree:
    found = RegionTree(counties_open_count_max=1)
    for document in documents:
        found.put(document)
    return found


def test_one_document_per_province_and_county_with_full_codes(tmp_path: Path) -> None:
    documents = {document.region: [row.code for row in document.rows] for document in nbs_documents(folder(tmp_path))}
    assert documents == {
        "350000000000": ["350000000000", "350500000000", "350527000000"],
        "440000000000": ["440000000000", "440100000000", "440103000000", "441900000000"],
        "440103000000": ["440103001000", "440103001001"],
        "441900000000": ["441900003000", "441900003001"],
    }


@pytest.mark.clause("4")
def test_paths_and_parents(tmp_path: Path) -> None:
    regions = tree(list(nbs_documents(folder(tmp_path))))
    assert regions.path("440103001001") == "广东省/荔湾区/沙面街道/翠洲社区居委会"
    assert regions.path("441900003001") == "广东省/东莞市/东城街道/岗贝社区居委会"
    assert regions.path("440999000000") == "广东省/440999000000"
    assert regions.parent("441900003000") == "441900000000"
    assert regions.parent("440000000000") is None
    assert "440103001001" in regions
    assert "440103001002" not in regions


@pytest.mark.parametrize(
    ("table", "rows", "said"),
    [
        ("villages", ["440103001001,甲", "440103001001,乙"], "villages.csv.gz:3: 440103001001 does not come after"),
        ("villages", ["440103009001,甲"], "villages.csv.gz:2: 440103009001 lies in 440103009, which is not in streets"),
        ("villages", ["440104001001,甲"], "villages.csv.gz:2: 440104001001 lies in 440104, which has no township"),
        ("villages", ["990104001001,甲"], "villages.csv.gz:2: 990104001001 lies in 990104, which has no township"),
        (
            "streets",
            ["350527000,金门县", "350528001,甲"],
            "streets.csv:3: 350528001 lies in 350528, which is not in areas",
        ),
        ("areas", ["450103,甲"], "areas.csv:2: 450103 lies in 4501, which is in no table above"),
        ("cities", ["4401,"], "cities.csv:2: 4401 has no name"),
        ("cities", ["44010,甲"], "cities.csv:2: code '44010' is not 4 digits"),
    ],
)
def test_a_bad_row_of_the_table_is_named(tmp_path: Path, table: str, rows: list[str], said: str) -> None:
    with pytest.raises(LoadError) as caught:
        list(nbs_documents(folder(tmp_path, **{table: rows})))
    assert said in str(caught.value)


def test_a_table_that_is_missing_or_cut_off_is_named(tmp_path: Path) -> None:
    source = folder(tmp_path)
    packed = source / "villages.csv.gz"
    packed.write_bytes(packed.read_bytes()[:-12])
    with pytest.raises(LoadError, match=r"villages.csv.gz:\d+: cannot be read"):
        list(nbs_documents(source))
    packed.unlink()
    with pytest.raises(LoadError, match=r"holds neither villages.csv nor villages.csv.gz"):
        list(nbs_documents(source))


def regions(*rows: RegionRow) -> Document:
    return Document(kind=DocumentKind.REGIONS, region="510104000000", rows=rows)


def test_a_new_edition_keeps_what_vanished_with_its_end() -> None:
    day = date(2024, 1, 1)
    a, b, c = (RegionRow(code=f"51010400{number}000", name=name) for number, name in ((1, "甲"), (2, "乙"), (3, "丙")))
    edition = succeed(regions(a, b), regions(b, c), day)
    assert [(row.code[8], row.valid_from, row.valid_to) for row in edition.rows] == [
        ("1", None, day),
        ("2", None, None),
        ("3", day, None),
    ]


def test_a_merged_region_leads_to_its_successors_by_date() -> None:
    day = date(2020, 6, 1)
    one, two = (
        RegionRow(code=f"51010400{n}000", name="旧", valid_to=day, successors=("510104003000",)) for n in (1, 2)
    )
    three = RegionRow(code="510104003000", name="新", valid_from=day)
    found = tree([regions(one, two, three)])
    assert [row.name for row in found.in_force("510104001000", date(2020, 5, 31))] == ["旧"]
    assert [row.name for row in found.in_force("510104001000", day)] == ["新"]
    assert found.in_force("510104009000", day) == []
    assert not found.valid_at("510104003000", date(2020, 5, 31))


def test_successors_without_an_end_are_refused() -> None:
    with pytest.raises(ValueError, match="give valid_to"):
        RegionRow(code="510104001000", name="甲", successors=("510104002000",))


def test_a_county_that_cannot_be_read_hides_no_other() -> None:
    regions = tree([document for document in demo_documents() if document.kind is DocumentKind.REGIONS])
    regions.put_encoded("510104000000", b'{"kind":"regions","rows":[{"code":"x"}]}')
    assert "510104017001" not in regions
    assert regions.path("510104017001") == "四川省/成都市/锦江区/510104017001"
    assert "510703001003" in regions


@pytest.mark.clause("4")
def test_the_demo_has_two_counties_of_two_cities_down_to_the_village() -> None:
    documents = [document for document in demo_documents() if document.kind is DocumentKind.REGIONS]
    regions = tree(documents)
    assert regions.path("510104017001") == "四川省/成都市/锦江区/锦官驿街道/水井坊社区居委会"
    assert regions.path("510703000000") == "四川省/绵阳市/涪城区"
    above = [regions.parent(row.code) for document in documents for row in document.rows]
    assert [above.count(code) for code in ("510104000000", "510703000000")] == [11, 13]
