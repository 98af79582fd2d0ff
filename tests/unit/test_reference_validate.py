"""Documents that do not fit together are found, with the row and what to do."""

from __future__ import annotations

from typing import Any

import pytest

from shared.case.rights import SEPARATED, Right, separation_conflict
from shared.reference.documents import ROW_TYPES, Document, DocumentKind
from shared.reference.load import demo_documents
from shared.reference.people import PostRow
from shared.reference.region_tree import RegionTree
from shared.reference.validate import Gravity, validate

DEMO = demo_documents()
COUNTY, FAR = "510104000000", "999904000000"
BASIS = {"mark": "C", "text": "测试"}


def with_row(kind: DocumentKind, region: str, fields: dict[str, Any]) -> list[str]:
    """The findings about a row added to (or replacing one in) a document of the demo."""
    row = ROW_TYPES[kind].model_validate(fields)
    documents = []
    for document in DEMO:
        if (document.kind, document.region) == (kind, region):
            rows = tuple({**document.by_key, row.key: row}.values())
            document = document.model_copy(update={"rows": rows})
            document = Document(**{name: getattr(document, name) for name in ("kind", "region", "note", "rows")})
        documents.append(document)
    return [str(finding) for finding in validate(documents) if finding.key == row.key]


def test_the_demo_fits_together_and_warns_of_two_grids() -> None:
    findings = validate(DEMO)
    assert [(finding.gravity, finding.key) for finding in findings] == [
        (Gravity.WARNING, "510104017001003"),
        (Gravity.WARNING, "510703001003002"),
    ]


@pytest.mark.clause("7.2")
@pytest.mark.parametrize("county", ["510104000000", "510703000000"])
def test_the_demo_has_the_departments_that_the_standard_names(county: str) -> None:
    slugs = {
        row.slug
        for document in DEMO
        if document.kind is DocumentKind.UNITS
        for row in document.rows
        if row.region == county
    }
    assert slugs >= {
        "police", "justice", "civil-affairs", "labour", "petitions", "court", "land", "housing", "environment", "union",
        "youth", "women", "education", "health", "railway", "market", "urban", "land-mediation",
    }  # fmt: skip


ENDED = {"code": "510104999000", "name": "戊", "valid_to": "2024-01-01", "successors": ["510104998000"]}
PERSON = {"id": "x", "name": "甲", "unit": f"{COUNTY}-centre", "post": "director"}
RULE = {"id": "x", "basis": BASIS}
LIMIT = {"id": "x", "stage": "sign", "amount": 1, "base": "hours", "basis": BASIS}
RUNG = {"id": "x", "after": 9, "base": "working_days", "act": "urge", "acts": "谁", "basis": BASIS}


@pytest.mark.parametrize(
    ("kind", "region", "fields", "message"),
    [
        ("units", COUNTY, {"code": "510105000000-housing", "name": "乙"}, "lies outside 510104000000"),
        ("units", COUNTY, {"code": "510104999000-housing", "name": "乙"}, "region 510104999000 is in no document"),
        ("units", COUNTY, {"code": f"{COUNTY}-centre", "name": "乙"}, "list it in centres or grids only"),
        ("people", COUNTY, {**PERSON, "unit": f"{COUNTY}-none"}, "unit 510104000000-none does not exist"),
        ("people", COUNTY, {**PERSON, "post": "none"}, "post none does not exist"),
        ("people", COUNTY, {**PERSON, "post": "village-clerk"}, "does not exist at this level"),
        ("people", COUNTY, {**PERSON, "deputy": "sc-admin"}, "kept apart from those of"),
        ("people", COUNTY, {**PERSON, "deputy": "nobody"}, "deputy nobody is not"),
        ("people", COUNTY, {**PERSON, "deputy": "x"}, "deputies go round: x → x"),
        ("people", COUNTY, {**PERSON, "id": "jj-deputy", "deputy": "jj-director"}, "jj-deputy → jj-director →"),
        ("people", COUNTY, {**PERSON, "region": "510703000000"}, "lies outside 510104000000"),
        ("people", COUNTY, {**PERSON, "post": "records-officer", "deputy": "jj-director"}, "that are kept apart"),
        ("people", COUNTY, {**PERSON, "id": "fc-window"}, "stands in people:510104000000 too"),
        ("people", COUNTY, {**PERSON, "stands_aside_from": ["nobody"]}, "neither a unit nor a person"),
        ("grids", COUNTY, {"code": f"{COUNTY}001", "name": "丙", "households": 400, "people": 999}, "not a village"),
        ("rules", COUNTY, {**RULE, "then": {"unit": f"{COUNTY}-none"}}, "unit 510104000000-none does not exist"),
        ("rules", COUNTY, {**RULE, "then": {"unit": "{county}-none"}}, "{county}-none names no unit anywhere"),
        ("rules", COUNTY, {**RULE, "then": {"unit": "{county}-court", "subject": "88"}}, "subject 88 is not"),
        ("rules", COUNTY, {**RULE, "when": {"region": ["33"]}, "then": {"unit": "{county}-court"}}, "region 33 is"),
        ("subjects", "0" * 12, {"code": "8801", "name": "丁"}, "its parent 88 is not in the tree"),
        ("limits", "0" * 12, {**LIMIT, "extend_max": 1, "extend_by": "handler"}, "may not extend"),
        ("limits", "0" * 12, {**LIMIT, "extend_max": 1, "extend_by": "nobody"}, "post nobody does not exist"),
        ("limits", "0" * 12, {**LIMIT}, "sign stands before it and covers all of its cases"),
        ("limits", "0" * 12, {**LIMIT, "when": {"nature": ["help"]}}, "sign stands before it"),
        ("limits", "0" * 12, {**LIMIT, "when": {"subject": ["88"]}}, "subject 88 is not in the tree"),
        ("ladders", "0" * 12, {**RUNG, "when": {"subject": ["88"]}}, "subject 88 is not in the tree"),
        ("ladders", "0" * 12, {**RUNG, "after": 5}, "after 5 is not more than the 5 of up"),
        ("ladders", "0" * 12, {**RUNG, "base": "hours"}, "counts in hours, up before it in working_days"),
        ("ladders", "0" * 12, {**RUNG, "id": "remind", "every": 1}, "so urge is never reached"),
        ("ladders", "0" * 12, RUNG, "is the last rung and does not repeat"),
        ("ladders", "0" * 12, {**RUNG, "stages": ["sign"]}, "remind stands before it and covers all"),
        ("ladders", "0" * 12, {**RUNG, "act": "escalate"}, "not inform centre_above, government, party_committee"),
        ("posts", "0" * 12, {"code": "x", "title": "空岗", "rights": []}, "nobody holds this post"),
        ("posts", "0" * 12, {"code": "x", "title": "档案", "rights": ["hold", "erase"]}, "holds hold and erase"),
        ("regions", COUNTY, ENDED, "its successor 510104998000 is in no document"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_found(kind: str, region: str, fields: dict[str, Any], message: str) -> None:
    findings = with_row(DocumentKind(kind), region, fields)
    assert any(message in finding for finding in findings), findings


def test_a_law_that_stands_after_a_general_limit_is_not_hidden_by_it() -> None:
    law = {**LIMIT, "when": {"nature": ["help"]}, "basis": {"mark": "L", "text": "某法 第一条"}}
    assert with_row(DocumentKind.LIMITS, "0" * 12, law) == []
    again = {**law, "when": {"nature": ["report"]}}
    assert "sign-petition stands before it" in with_row(DocumentKind.LIMITS, "0" * 12, again)[0]


def test_a_finding_about_several_rows_names_the_line_too() -> None:
    rows = [
        ROW_TYPES[DocumentKind.LADDERS].model_validate({**RUNG, "id": id, "act": "urge", "every": 1}) for id in "ab"
    ]
    document = Document(kind=DocumentKind.LADDERS, rows=tuple(rows))
    places = {(document.name, "a"): ("a.yaml", 3), (document.name, "b"): ("a.yaml", 4)}
    found = [(finding.key, finding.line) for finding in validate([document], places)]
    assert found == [("b", 4), ("a", 3)]


def test_a_document_for_a_region_that_is_not_there_is_warned_of_once() -> None:
    rows = [
        ROW_TYPES[DocumentKind.PROPOSALS].model_validate({"id": id, "at_least": 2, "basis": BASIS})
        for id in ("people", "repeats")
    ]
    found = [
        validate([*DEMO, Document(kind=DocumentKind.PROPOSALS, region=region, rows=tuple(rows))])
        for region in (COUNTY, FAR)
    ]
    assert [len(one) - len(validate(DEMO)) for one in found] == [0, 1]
    assert "region 999904000000 is in no document" in found[1][-1].reason


def test_a_law_without_its_article_is_warned_of() -> None:
    law = {**LIMIT, "stage": "report", "basis": {"mark": "L", "text": "某法"}}
    assert "names no article" in with_row(DocumentKind.LIMITS, "0" * 12, law)[0]


def test_a_county_alone_is_checked_against_the_regions_in_force() -> None:
    tree = RegionTree()
    for document in DEMO:
        if document.kind is DocumentKind.REGIONS:
            tree.put(document)
    county = [one for one in DEMO if one.kind is DocumentKind.UNITS and one.region == COUNTY]
    assert any("in no document" in finding.reason for finding in validate(county))
    assert validate(county, regions=tree) == []


@pytest.mark.clause("9.5b")
def test_administrator_operator_and_auditor_are_apart() -> None:
    for power in SEPARATED:
        assert separation_conflict(frozenset({power})) is None
        assert "of its own" in (separation_conflict(SEPARATED) or "")
        assert "split the post" in (separation_conflict(frozenset({power, Right.HANDLE})) or "")
    with pytest.raises(ValueError, match="split the post"):
        PostRow(code="x", title="全能", rights=(Right.ADMIN, Right.CLOSE))
