"""Rows of read models: one frozen dataclass for a table is its column list, its SQL types and its conflict set.

A statement that writes such rows names them and leaves the lists out:

    -- name: write_work
    -- rows: WorkRow
    -- Put cases as they now are; a row that is older than the one that stands changes nothing.
    insert into work (<columns>) select <values> from unnest(<arrays>) as given (<columns>)
    on conflict (subject) do update set <updates> where work.sequence < excluded.sequence

`<columns>` are the names in the order of the fields, `<arrays>` the parameters with their types, `<values>` the
expressions that turn a parameter into its column, `<updates>` the columns that a newer row replaces. A test compares
each declaration with the table that the migrations make.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from functools import cache
from operator import attrgetter
from typing import Annotated, Any, get_args, get_origin, get_type_hints


@dataclass(frozen=True, slots=True)
class ColumnType:
    """The type of a column, the type that is sent for it, and the expression over the sent value."""

    type: str
    sent: str = ""
    expression: str = "{}"


String = Annotated[str, ColumnType("text")]
StringOrNone = Annotated[str | None, ColumnType("text")]
Id = Annotated[str, ColumnType("uuid")]
Integer = Annotated[int, ColumnType("integer")]
BigInteger = Annotated[int, ColumnType("bigint")]
SmallInteger = Annotated[int, ColumnType("smallint")]
Boolean = Annotated[bool, ColumnType("boolean")]
Time = Annotated[datetime, ColumnType("timestamp with time zone", "timestamptz")]
TimeOrNone = Annotated[datetime | None, ColumnType("timestamp with time zone", "timestamptz")]
Json = Annotated[str, ColumnType("jsonb", "text", "{}::jsonb")]
# Codes joined by spaces, since an array of arrays does not unnest.
Codes = Annotated[str, ColumnType("text[]", "text", "string_to_array({}, ' ')")]

FIXED = "fixed"  # mark of a column that is written with the first row and never changes, as in Annotated[Id, FIXED]


@cache
def columns_of(row: type[Any]) -> dict[str, ColumnType]:
    """The columns of a row class by name, in the order of its fields. Raises TypeError for a field without a type."""
    hints = get_type_hints(row, include_extras=True)
    columns: dict[str, ColumnType] = {}
    for field in fields(row):
        column = next((mark for mark in _marks(hints[field.name]) if isinstance(mark, ColumnType)), None)
        if column is None:
            raise TypeError(f"{row.__name__}.{field.name} has no column type; use one of shared/kit/rows.py")
        columns[field.name] = column
    return columns


def fixed_columns_of(row: type) -> frozenset[str]:
    """The columns that are written with the first row and never change."""
    hints = get_type_hints(row, include_extras=True)
    return frozenset(field.name for field in fields(row) if FIXED in _marks(hints[field.name]))


def _marks(hint: Any) -> tuple[Any, ...]:
    return get_args(hint)[1:] if get_origin(hint) is Annotated else ()


def parts_of(row: type, first: int = 1) -> Mapping[str, str]:
    """The parts of a statement that writes rows of this class; `first` is the number of its first parameter."""
    columns, fixed = columns_of(row), fixed_columns_of(row)
    key = next(iter(columns))
    numbered = enumerate(columns.values(), first)
    return {
        "columns": ", ".join(columns),
        "arrays": ", ".join(f"${number}::{column.sent or column.type}[]" for number, column in numbered),
        "values": ", ".join(column.expression.format(name) for name, column in columns.items()),
        "updates": ", ".join(f"{name} = excluded.{name}" for name in columns if name != key and name not in fixed),
    }


def arrays_of(rows: Sequence[Any]) -> list[list[Any]]:
    """Rows of one class as one list for each column, in the order of the fields; [] for no rows."""
    if not rows:
        return []
    values = attrgetter(*columns_of(rows[0].__class__))
    return [list(column) for column in zip(*map(values, rows), strict=True)]
