"""Publishes documents to the REFERENCE stream, each only when it says something new, guarded by what stood before."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from shared.log import topology
from shared.reference.documents import DOCUMENT_BYTES_MAX, Document
from shared.reference.reference_stream import ReferenceStream


@dataclass(frozen=True)
class PublishCounts:
    """How far publishing is: documents published and unchanged, rows of both."""

    published: int = 0
    unchanged: int = 0
    rows: int = 0


class DocumentTooLarge(ValueError):
    """A document does not fit into one message."""


def with_years(document: Document, in_force: Document) -> Document:
    """A document of calendars with the years of the one in force that it does not have, in order.

    What was counted by a year is explained by it, so a new year does not take the old ones out of force.
    """
    rows = sorted((in_force.by_key | document.by_key).values(), key=lambda row: str(row.key))
    note = document.note or in_force.note
    return Document(kind=document.kind, region=document.region, note=note, rows=tuple(rows), sequence=in_force.sequence)


async def publish(
    stream: ReferenceStream,
    documents: Iterable[Document],
    progress: Callable[[PublishCounts, Document], None] | None = None,
) -> PublishCounts:
    """Publish what is new; may be interrupted and run again. `progress` is called after each document.

    A document that was edited from a published version (its `sequence`) is refused when that is no longer the last.
    An empty document takes the region's rows out of force. Raises LogConflict, LogUnavailable, DocumentTooLarge.
    """
    counts = PublishCounts()
    for document in documents:
        subject, data = topology.reference(document.kind, document.region), document.encode()
        if len(data) > DOCUMENT_BYTES_MAX:
            raise DocumentTooLarge(f"{document.name} has {len(data)} bytes, at most {DOCUMENT_BYTES_MAX}; split it")
        last = await stream.last(topology.REFERENCE, subject)
        same = last is not None and last.data == data
        if not same:
            await stream.publish(subject, data, expected=document.sequence or (last.sequence if last else 0))
        counts = PublishCounts(counts.published + (not same), counts.unchanged + same, counts.rows + len(document.rows))
        if progress:
            progress(counts, document)
    return counts
