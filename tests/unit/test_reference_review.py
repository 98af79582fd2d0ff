"""Before publishing: rows that go are named, a change of the own rights is seen, also one by a detour."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from shared.reference.codec import decode_document
from shared.reference.documents import Document, DocumentKind, Publication
from shared.reference.publish import PublishCounts, publish
from shared.reference.reference_data import ReferenceData
from shared.reference.reference_stream import MemoryReferenceStream
from shared.reference.review import changed_powers, removed_rows, with_admin
from tests.support.policy_life import document

CENTRE, OTHER = "510104000000-centre", "510703000000-centre"
POSTS = {
    "admin": {"code": "admin", "title": "系统管理员", "rights": ["admin"]},
    "chief": {"code": "chief", "title": "主任", "rights": ["read", "extend"]},
    "clerk": {"code": "clerk", "title": "窗口", "rights": ["register"]},
}
PEOPLE = {
    "x": {"id": "x", "name": "甲", "unit": CENTRE, "post": "admin", "deputy": "z"},
    "z": {"id": "z", "name": "乙", "unit": CENTRE, "post": "clerk"},
    "p": {"id": "p", "name": "丙", "unit": CENTRE, "post": "clerk", "deputy": "x"},
    "q": {"id": "q", "name": "丁", "unit": CENTRE, "post": "chief", "deputy": "p"},
}


def documents(people: dict[str, Any] | None = None, posts: dict[str, Any] | None = None) -> list[Document]:
    """Posts and people, with these fields of rows changed; a row that is changed to None goes."""

    def rows(given: dict[str, Any], changed: dict[str, Any] | None) -> list[dict[str, Any]]:
        merged = {key: None if (changed or {}).get(key, {}) is None else row | (changed or {}).get(key, {})
                  for key, row in given.items()}  # fmt: skip
        return [row for row in merged.values() if row is not None]

    return [
        document(DocumentKind.POSTS, 1, *rows(POSTS, posts)),
        document(DocumentKind.PEOPLE, 2, *rows(PEOPLE, people)),
    ]


# x publishes: what changes -> whose power changes for x; "" is nobody's, so x may publish it alone
CHANGES: tuple[tuple[str, dict[str, Any], dict[str, Any], str], ...] = (
    ("nothing", {}, {}, ""),
    ("x gets another post", {"x": {"post": "chief"}}, {}, "x: post admin → chief"),
    ("x moves to another unit", {"x": {"unit": OTHER}}, {}, f"x: unit {CENTRE} → {OTHER}"),
    ("x gets a wider region", {"x": {"region": "510100000000"}}, {}, "x: region"),
    ("the post of x gets a right", {}, {"admin": {"rights": ["admin", "export"]}}, "x: rights admin → admin export"),
    ("the post of x goes", {}, {"admin": None}, "x: rights admin → "),
    ("x need not stand aside any more", {"x": {"stands_aside_from": [OTHER]}}, {}, "x: stands_aside_from"),
    ("x becomes inactive", {"x": {"active": False}}, {}, "x: active true → false"),
    ("x becomes the deputy of z", {"z": {"deputy": "x"}}, {}, "z: deputy - → x"),
    ("somebody for whom x stands in is away", {"p": {"away_from": "2026-06-01"}}, {}, "p: away / → 2026-06-01/"),
    ("somebody further up the line is away", {"q": {"away_from": "2026-06-01"}}, {}, "q: away"),
    ("somebody for whom x stands in leaves", {"p": {"active": False}}, {}, "p: active"),
    ("somebody for whom x stands in gets a post", {"p": {"post": "chief"}}, {}, "p: post clerk → chief"),
    ("a post further up the line gets a right", {}, {"chief": {"rights": ["read", "extend", "order"]}}, "q: rights"),
    ("somebody gets a deputy in the line of x", {"z": {"deputy": "p"}}, {}, "z: deputy"),
    ("x is away", {"x": {"away_from": "2026-06-01"}}, {}, ""),
    ("x gets another deputy", {"x": {"deputy": None}}, {}, ""),
    ("somebody for whom x stands in gets another deputy", {"p": {"deputy": "z"}}, {}, "p: deputy x → -"),
    ("z gets another post", {"z": {"post": "chief"}}, {}, ""),
    ("x gets another name", {"x": {"name": "戊"}}, {}, ""),
    ("a post gets another title", {}, {"admin": {"title": "管理员"}}, ""),
)  # fmt: skip


@pytest.mark.clause("9.5b")
@pytest.mark.parametrize(("_", "people", "posts", "change"), CHANGES, ids=[name for name, *_ in CHANGES])
def test_a_change_of_the_own_rights_is_seen(_: str, people: Any, posts: Any, change: str) -> None:
    changes = changed_powers(documents(), documents(people, posts), "x")
    assert bool(changes) is bool(change)
    assert not change or any(text.startswith(change) for text in changes), changes


def test_rows_that_a_document_takes_away_are_named() -> None:
    (_, people), (_, fewer) = documents(), documents({"z": None, "q": None})
    assert removed_rows(people, fewer) == ["z", "q"]
    assert removed_rows(people, people) == removed_rows(None, people) == removed_rows(fewer, people) == []


@pytest.mark.parametrize(
    ("people", "posts", "is_there"),
    [({}, {}, True), ({"x": {"active": False}}, {}, False), ({"x": None}, {}, False), ({}, {"admin": None}, False)],
)
def test_a_publisher_is_asked_for_once_somebody_has_the_right(people: Any, posts: Any, is_there: bool) -> None:
    assert with_admin(ReferenceData(documents(people, posts))) is is_there


PUBLICATION = Publication(publisher="x", post="admin", reason="换岗", at=datetime(2026, 6, 1, tzinfo=UTC))


async def test_a_version_says_who_published_it_and_an_older_one_does_not() -> None:
    stream = MemoryReferenceStream()
    older = documents()[1].model_copy(update={"sequence": 0})
    assert await publish(stream, [older]) == PublishCounts(1, 0, 4)
    signed = older.model_copy(update={"publication": PUBLICATION})
    assert await publish(stream, [signed]) == PublishCounts(0, 1, 4), "the same content is not published again"
    changed = documents({"z": None})[1].model_copy(update={"sequence": 0, "publication": PUBLICATION})
    assert await publish(stream, [changed]) == PublishCounts(1, 0, 3)
    other = changed.model_copy(update={"publication": PUBLICATION.model_copy(update={"publisher": "z"})})
    assert await publish(stream, [other]) == PublishCounts(0, 1, 3)
    assert [decode_document(message.data, 1).publication for message in stream.messages] == [None, PUBLICATION]
    assert b"publication" not in stream.messages[0].data
    reference_data = ReferenceData()
    await reference_data.load(stream)
    assert [document.publication for document in reference_data.documents()] == [PUBLICATION]
