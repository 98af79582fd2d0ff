"""Publishing documents to the REFERENCE stream: only new content, guarded by the version that it replaces."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from shared.log import topology
from shared.reference.codec import decode_document
from shared.reference.documents import DOCUMENT_BYTES_MAX, Document
from shared.reference.reference_stream import ReferenceStream


@dataclass(frozen=True)
class PublishCounts:
    """The progress of publishing: documents published, documents unchanged, rows of both."""

    published: int = 0
    unchanged: int = 0
    rows: int = 0


class DocumentTooLarge(ValueError):
    """A document is larger than one message may be."""


def with_years(document: Document, in_force: Document) -> Document:
    """A document of calendars, completed by the years of the document in force that it lacks, in order of years.

    Deadlines are explained by the years that they were counted with, so a new year must not end an old one.
    """
    rows = sorted((in_force.by_key | document.by_key).values(), key=lambda row: str(row.key))
    note = document.note or in_force.note
    return Document(kind=document.kind, region=document.region, note=note, rows=tuple(rows), sequence=in_force.sequence)


def _content(data: bytes) -> bytes:
    """What a published document says; a document that cannot be read says something else than any other."""
    try:
        return decode_document(data, 0).content()
    except ValueError:
        return data


async def publish(
    stream: ReferenceStream,
    documents: Iterable[Document],
    progress: Callable[[PublishCounts, Document], None] | None = None,
) -> PublishCounts:
    """Publish documents with new content; may be interrupted and run again. `progress` is called after each document.

    Another publisher or reason alone is no new content. A document with a `sequence` was edited from that version, so
    it is refused when a newer version stands. A document without rows takes the rows of its region out of force.
    Raises LogConflict, LogUnavailable, DocumentTooLarge.
    """
    counts = PublishCounts()
    for document in documents:
        subject, data = topology.reference(document.kind, document.region), document.encode()
        if len(data) > DOCUMENT_BYTES_MAX:
            raise DocumentTooLarge(f"{document.name} has {len(data)} bytes, at most {DOCUMENT_BYTES_MAX}; split it")
        last = await stream.last(topology.REFERENCE, subject)
        same = last is not None and (last.data == data or _content(last.data) == document.content())
        if not same:
            await stream.publish(subject, data, expected=document.sequence or (last.sequence if last else 0))
        counts = PublishCounts(counts.published + (not same), counts.unchanged + same, counts.rows + len(document.rows))
        if progress:
            progress(counts, document)
    return counts
