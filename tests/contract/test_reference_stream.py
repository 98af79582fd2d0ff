"""What reference documents need of the streams, on the double in memory and on the real server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from shared.log.connection import connect
from shared.log.port import LogConflict
from shared.log.streams import Streams, ensure_topology
from shared.log.topology import REFERENCE, Topology, reference
from shared.reference.documents import Document, DocumentKind
from shared.reference.load import demo_documents
from shared.reference.publish import publish
from shared.reference.reference_data import NoDocument, ReferenceData
from shared.reference.reference_stream import MemoryReferenceStream, ReferenceStream
from shared.reference.units import UnitRow
from tests.support.log import AREAS
from tests.support.nats import NatsServer


@pytest_asyncio.fixture(params=["memory", "jetstream"])
async def stream(request: pytest.FixtureRequest) -> AsyncIterator[ReferenceStream]:
    if request.param == "memory":
        yield MemoryReferenceStream()
        return
    server: NatsServer = request.getfixturevalue("server")
    connection = await connect(server.url)
    await ensure_topology(connection, Topology(AREAS))
    yield Streams(connection)
    await connection.close()


async def test_the_guard_the_last_and_the_end(stream: ReferenceStream) -> None:
    subject = reference("units", "510104000000")
    assert await stream.last(REFERENCE, subject) is None
    assert await stream.end(REFERENCE) == 0
    await stream.publish(subject, b"one", expected=0)
    with pytest.raises(LogConflict):
        await stream.publish(subject, b"two", expected=0)
    await stream.publish(subject, b"two", expected=1)
    last = await stream.last(REFERENCE, subject)
    assert last is not None
    assert (last.subject, last.sequence, last.data) == (subject, 2, b"two")
    assert await stream.end(REFERENCE) == 2


async def test_the_demo_is_published_once_and_is_in_force_as_it_was_written(stream: ReferenceStream) -> None:
    documents = demo_documents()
    await publish(stream, documents)
    counts = await publish(stream, documents)
    reference_data, written = ReferenceData(), ReferenceData(documents)
    await reference_data.load(stream)
    assert (counts.published, counts.unchanged) == (0, len(documents))
    assert (
        reference_data.reference("rules", "510104022006")
        == f"rules:510104000000@{reference_data.rules('510104000000')[0].sequence}"
    )
    assert {unit.code: unit for unit in reference_data.units()} == {unit.code: unit for unit in written.units()}
    assert reference_data.person("jj-director") == written.person("jj-director")
    assert reference_data.regions.path("510104017001") == written.regions.path("510104017001")
    assert reference_data.refused == {}


async def test_a_version_that_is_no_longer_in_force_can_be_read_again(stream: ReferenceStream) -> None:
    def units(*names: str, region: str = "510104000000") -> Document:
        rows = tuple(UnitRow(code=f"{region}-{name}", name=name) for name in names)
        return Document(kind=DocumentKind.UNITS, region=region, rows=rows)

    for documents in ([units("a")], [units("x", region="510703000000")], [units("a", "b")]):
        await publish(stream, documents)
    reference_data = ReferenceData()
    await reference_data.load(stream)
    assert reference_data.references("510104000000") == ("units:510104000000@3",)
    for cited, names in (("units:510104000000@1", ["a"]), ("units:510104000000@3", ["a", "b"])):
        assert [row.name for row in (await reference_data.version(stream, cited)).rows] == names
    for never in ("units:510104000000@2", "units:510104000000@4", "units:510104000000@0", "units:510199000000@1"):
        with pytest.raises(NoDocument, match=f"{never} was never published"):
            await reference_data.version(stream, never)
