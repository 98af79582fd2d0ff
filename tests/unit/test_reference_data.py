"""What is in force: the nearest document, its version, and who stands in for whom."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from shared.log.port import LogConflict
from shared.reference.documents import Document, DocumentKind
from shared.reference.load import demo_documents
from shared.reference.people import PersonRow
from shared.reference.publish import PublishCounts, publish
from shared.reference.reference_data import NoDocument, ReferenceData
from shared.reference.reference_stream import MemoryReferenceStream
from shared.reference.units import UnitKind, UnitRow

COUNTY, OTHER = "510104000000", "510703000000"
NOW = datetime(2026, 6, 10, 4, tzinfo=UTC)


def units(*names: str, region: str = COUNTY) -> Document:
    rows = tuple(UnitRow(code=f"{region}-{name}", name=name) for name in names)
    return Document(kind=DocumentKind.UNITS, region=region, rows=rows)


async def test_only_what_changed_is_published_and_cited_by_its_sequence() -> None:
    stream = MemoryReferenceStream()
    assert await publish(stream, [units("a"), units("b", region=OTHER)]) == PublishCounts(2, 0, 2)
    assert await publish(stream, [units("a"), units("b", "c", region=OTHER)]) == PublishCounts(1, 1, 3)
    reference_data = ReferenceData()
    await reference_data.load(stream)
    assert [reference_data.reference("units", region) for region in (COUNTY, "510703001003")] == [
        f"units:{COUNTY}@1",
        f"units:{OTHER}@3",
    ]


async def test_an_edit_of_an_older_version_is_refused() -> None:
    stream = MemoryReferenceStream()
    await publish(stream, [units("a"), units("b")])
    edited = units("c").model_copy(update={"sequence": 1})
    with pytest.raises(LogConflict):
        await publish(stream, [edited])


async def test_publishing_goes_on_where_it_was_interrupted() -> None:
    stream, documents = MemoryReferenceStream(), demo_documents()
    counts_published: list[int] = []

    def stop(counts: PublishCounts, document: Document) -> None:
        counts_published.append(counts.published)
        if counts.published == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await publish(stream, documents, stop)
    counts = await publish(stream, documents)
    assert counts_published == [1, 2, 3, 4, 5]
    assert (counts.published, counts.unchanged) == (len(documents) - 5, 5)


async def test_following_keeps_it_current_and_an_empty_document_takes_out_of_force() -> None:
    stream, reference_data = MemoryReferenceStream(), ReferenceData()
    await publish(stream, [units("a", "b")])
    await reference_data.load(stream)
    following = asyncio.create_task(reference_data.follow(stream))
    await publish(stream, [units("b"), units(region=OTHER)])
    async with asyncio.timeout(5):
        while reference_data.sequence < 3:
            await asyncio.sleep(0)
    following.cancel()
    assert [reference_data.has_unit(f"{COUNTY}-{name}") for name in "ab"] == [False, True]
    assert reference_data.references(COUNTY) == (f"units:{COUNTY}@2",)


async def test_a_document_that_cannot_be_read_leaves_the_one_before_in_force() -> None:
    stream, reference_data = MemoryReferenceStream(), ReferenceData()
    await publish(stream, [units("a")])
    for subject, data in ((f"units.{COUNTY}", b'{"kind":"units","rows":[{"code":"x"}]}'), (f"moods.{COUNTY}", b"{}")):
        await stream.publish(f"reference.{subject}", data)
    await stream.publish(f"reference.units.{OTHER}", units("a").encode())
    await reference_data.load(stream)
    assert reference_data.has_unit(f"{COUNTY}-a")
    assert reference_data.sequence == 4
    assert set(reference_data.refused) == {f"units:{COUNTY}", f"moods:{COUNTY}", f"units:{OTHER}"}
    await publish(stream, [units("c")])
    await reference_data.load(stream)
    assert f"units:{COUNTY}" not in reference_data.refused


def test_the_nearest_document_is_in_force_and_none_says_what_to_do() -> None:
    reference_data = ReferenceData(demo_documents())
    assert [document.region for document in reference_data.rules("510104022006")] == [COUNTY, "0" * 12]
    assert [document.region for document in reference_data.limits(OTHER)] == ["0" * 12]
    assert reference_data.document(DocumentKind.RULES, "330100000000") == reference_data.document(
        DocumentKind.RULES, "0" * 12
    )
    with pytest.raises(NoDocument, match="no units are in force for 330100000000"):
        reference_data.reference("units", "330100000000")
    assert [one.partition("@")[0] for one in reference_data.references(COUNTY)] == [
        "posts:000000000000", f"people:{COUNTY}", f"units:{COUNTY}", f"rules:{COUNTY}", "limits:510100000000",
    ]  # fmt: skip


def test_who_stands_in() -> None:
    def person(id: str, deputy: str | None, active: bool) -> PersonRow:
        return PersonRow.model_validate(
            {"id": id, "name": id, "unit": f"{COUNTY}-centre", "post": "p", "deputy": deputy, "active": active}
        )

    rows = (person("a", "b", False), person("b", "c", False), person("c", None, True), person("d", "d", False))
    reference_data = ReferenceData([Document(kind=DocumentKind.PEOPLE, region=COUNTY, rows=rows)])
    stand_ins = [reference_data.stand_in(id, NOW) for id in "abcdx"]
    assert [(person.id if person else None) for person in stand_ins] == ["c", "c", "c", None, None]
    assert [one.id for one in reference_data.people_of(f"{COUNTY}-centre")] == ["c"]


@pytest.mark.clause("7.1")
def test_centres_and_grids_are_units_and_every_region_has_a_centre_above() -> None:
    reference_data = ReferenceData(demo_documents())
    centre, grid = reference_data.unit("510104017001-centre"), reference_data.unit("510104017001-grid001")
    assert centre is not None
    assert grid is not None
    assert (centre.kind, grid.kind) == (UnitKind.CENTRE, UnitKind.GRID)
    above = reference_data.centre_of("510199000000")
    assert above is not None
    assert above.name == "成都市综治中心"
