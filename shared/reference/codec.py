"""From plain rows to typed ones, and from the bytes of a published document back to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from shared.case.base import Region
from shared.reference.documents import ROW_TYPES, Document, DocumentKind, Publication
from shared.reference.regions import NATION
from shared.reference.row import ReferenceRow


class RowError(ValueError):
    """A row that does not fit its kind: its number, from 1, and the faults in words."""

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(f"row {number}: {reason}")
        self.number, self.reason = number, reason


# Plain words for faults that pydantic describes in terms of Python.
_PLAIN_WORDS = {
    "missing": "is missing; add it",
    "extra_forbidden": "is no field of it; remove it or correct its name",
    "tuple_type": "is not a list; write it in brackets, [a, b]",
    "model_type": "has no fields; write them in braces, {name: value}",
    "int_parsing": "is not a whole number",
    "bool_parsing": "is neither true nor false",
}


def describe_faults(error: ValidationError) -> str:
    """The faults as `field: reason (got value)`, joined by semicolons.

    Values are quoted, at most 60 characters of each, since reference documents hold nothing private.
    """
    faults = []
    for fault in error.errors(include_url=False, include_context=False):
        field = ".".join(str(part) for part in fault["loc"])
        value = "" if isinstance(fault["input"], dict) else f" (got {str(fault['input'])[:60]!r})"
        reason = _PLAIN_WORDS.get(fault["type"], fault["msg"].removeprefix("Value error, "))
        faults.append(f"{field + ': ' if field else ''}{reason}{value}")
    return "; ".join(faults)


def make_rows(kind: DocumentKind, rows: Sequence[Any]) -> Iterator[ReferenceRow]:
    """Typed rows from plain ones, in order. Raises RowError at the first row with a fault."""
    model = ROW_TYPES[kind]
    for number, row in enumerate(rows, 1):
        try:
            yield model.model_validate(row)
        except ValidationError as error:
            raise RowError(number, describe_faults(error)) from None


def decode_document(data: bytes, sequence: int) -> Document:
    """The document in a published message. Raises ValueError (RowError, ValidationError) when it holds none."""
    envelope = _Envelope.model_validate_json(data)
    return Document(
        kind=envelope.kind,
        region=envelope.region,
        note=envelope.note,
        margin=envelope.margin,
        rows=tuple(make_rows(envelope.kind, envelope.rows)),
        publication=envelope.publication,
        sequence=sequence,
    )


def decode_head(data: bytes, sequence: int) -> Document:
    """The document in a published message without its rows, which stay undecoded. Raises ValueError."""
    envelope = _Envelope.model_validate_json(data)
    return Document(
        kind=envelope.kind,
        region=envelope.region,
        note=envelope.note,
        rows=(),
        publication=envelope.publication,
        sequence=sequence,
    )


class _Envelope(BaseModel):
    """A document whose rows are still plain. Fields of a newer program are tolerated."""

    kind: DocumentKind
    region: Region = NATION
    note: str = ""
    margin: int | None = None
    rows: list[dict[str, Any]] = []
    publication: Publication | None = None
