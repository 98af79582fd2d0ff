"""What is in force: the nearest document, its version, and who stands in for whom."""

from __future__ import annotations

import asyncio

import pytest

from shared.log.port import LogConflict
from shared.reference.library import NoDocument, ReferenceData
from shared.reference.load import demo_documents
from shared.reference.memory import MemoryReferenceStream
from shared.reference.models import Document, Kind, PersonRow, UnitKind, UnitRow
from shared.reference.publish import Counts, publish

COUNTY, OTHER = "510104000000", "510703000000"


def units(*names: str, region: str = COUNTY) -> Document:
    rows = tuple(UnitRow(code=f"{region}-{name}", name=name) for name in names)
    return Document(kind=Kind.UNITS, region=region, rows=rows)


async def test_only_what_changed_is_published_and_cited_by_its_sequence() -> None:
    shelf = MemoryReferenceStream()
    assert await publish(shelf, [units("a"), units("b", region=OTHER)]) == Counts(2, 0, 2)
    assert await publish(shelf, [units("a"), units("b", "c", region=OTHER)]) == Counts(1, 1, 3)
    library = ReferenceData()
    await library.load(shelf)
    assert [library.reference("units", region) for region in (COUNTY, "510703001003")] == [
        f"units:{COUNTY}@1",
        f"units:{OTHER}@3",
    ]


async def test_an_edit_of_an_older_version_is_refused() -> None:
    shelf = MemoryReferenceStream()
    await publish(shelf, [units("a"), units("b")])
    edited = units("c").model_copy(update={"sequence": 1})
    with pytest.raises(LogConflict):
        await publish(shelf, [edited])


async def test_publishing_goes_on_where_it_was_interrupted() -> None:
    shelf, documents = MemoryReferenceStream(), demo_documents()
    told: list[int] = []

    def stop(counts: Counts, document: Document) -> None:
        told.append(counts.published)
        if counts.published == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await publish(shelf, documents, stop)
    counts = await publish(shelf, documents)
    assert told == [1, 2, 3, 4, 5]
    assert (counts.published, counts.unchanged) == (len(documents) - 5, 5)


async def test_following_keeps_it_current_and_an_empty_document_takes_out_of_force() -> None:
    shelf, library = MemoryReferenceStream(), ReferenceData()
    await publish(shelf, [units("a", "b")])
    await library.load(shelf)
    following = asyncio.create_task(library.follow(shelf))
    await publish(shelf, [units("b"), units(region=OTHER)])
    async with asyncio.timeout(5):
        while library.sequence < 3:
            await asyncio.sleep(0)
    following.cancel()
    assert [library.has_unit(f"{COUNTY}-{name}") for name in "ab"] == [False, True]
    assert library.references(COUNTY) == (f"units:{COUNTY}@2",)


async def test_a_document_that_cannot_be_read_leaves_the_one_before_in_force() -> None:
    shelf, library = MemoryReferenceStream(), ReferenceData()
    await publish(shelf, [units("a")])
    for subject, data in ((f"units.{COUNTY}", b'{"kind":"units","rows":[{"code":"x"}]}'), (f"moods.{COUNTY}", b"{}")):
        await shelf.publish(f"reference.{subject}", data)
    await shelf.publish(f"reference.units.{OTHER}", units("a").encode())
    await library.load(shelf)
    assert library.has_unit(f"{COUNTY}-a")
    assert library.sequence == 4
    assert set(library.refused) == {f"units:{COUNTY}", f"moods:{COUNTY}", f"units:{OTHER}"}
    await publish(shelf, [units("c")])
    await library.load(shelf)
    assert f"units:{COUNTY}" not in library.refused


def test_the_nearest_document_is_in_force_and_none_says_what_to_do() -> None:
    library = ReferenceData(demo_documents())
    assert [document.region for document in library.rules("510104022006")] == [COUNTY, "0" * 12]
    assert [document.region for document in library.limits(OTHER)] == ["0" * 12]
    assert library.document(Kind.RULES, "330100000000") == library.document(Kind.RULES, "0" * 12)
    with pytest.raises(NoDocument, match="no units are in force for 330100000000"):
        library.reference("units", "330100000000")
    assert [one.partition("@")[0] for one in library.references(COUNTY)] == [
        "posts:000000000000", f"people:{COUNTY}", f"units:{COUNTY}", f"rules:{COUNTY}", "limits:510100000000",
    ]  # fmt: skip


def test_who_stands_in() -> None:
    def person(id: str, deputy: str | None, active: bool) -> PersonRow:
        return PersonRow.model_validate(
            {"id": id, "name": id, "unit": f"{COUNTY}-centre", "post": "p", "deputy": deputy, "active": active}
        )

    rows = (person("a", "b", False), person("b", "c", False), person("c", None, True), person("d", "d", False))
    library = ReferenceData([Document(kind=Kind.PEOPLE, region=COUNTY, rows=rows)])
    assert [(one.id if one else None) for one in map(library.stand_in, "abcdx")] == ["c", "c", "c", None, None]
    assert [one.id for one in library.people_of(f"{COUNTY}-centre")] == ["c"]


@pytest.mark.clause("7.1")
def test_centres_and_grids_are_units_and_every_region_has_a_centre_above() -> None:
    library = ReferenceData(demo_documents())
    centre, grid = library.unit("510104017001-centre"), library.unit("510104017001-grid001")
    assert centre is not None
    assert grid is not None
    assert (centre.kind, grid.kind) == (UnitKind.CENTRE, UnitKind.GRID)
    above = library.centre_of("510199000000")
    assert above is not None
    assert above.name == "成都市综治中心"
    assert library.subject_path("0109") == "城乡建设/住房保障与房地产"
