"""A row of a file, and the parts of a row that CSV and XLSX files share."""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import Protocol

SHEET_ERRORS = frozenset({
    "#N/A", "#REF!", "#VALUE!", "#DIV/0!", "#NAME?", "#NUM!", "#NULL!", "#SPILL!", "#CALC!", "#GETTING_DATA",
})  # fmt: skip
PACKED = ".gz"
HEADING_ROW_MAX = 20


class FileFormat(Protocol):
    """The part of a mapping that describes the form of its file."""

    @property
    def encoding(self) -> str: ...
    @property
    def delimiter(self) -> str: ...
    @property
    def sheet(self) -> str | None: ...
    @property
    def heading(self) -> int: ...


class BadFile(ValueError):
    """The file cannot be read as a table. The text has the reason and a remedy."""


@dataclass(frozen=True, slots=True)
class FileRow:
    """A row of the file: its number from 1, with the heading counted, and its cells as text by column, or its fault.

    `cell_faults` gives the reason for each cell that is no content, by column. `warning` concerns a row that is read.
    """

    number: int
    cells: dict[str, str]
    fault: str = ""
    cell_faults: Mapping[str, str] = field(default_factory=dict)
    warning: str = ""


def open_bytes(path: Path) -> gzip.GzipFile | BufferedReader:
    """The file, opened for reading; a packed file is unpacked in the course of it."""
    return gzip.open(path) if path.suffix.lower() == PACKED else path.open("rb")


def heading_row(path: Path, cells: Sequence[str]) -> list[str]:
    """The names of the columns. Raises BadFile for a name that stands twice."""
    heading = [cell.replace("\ufeff", "").strip() for cell in cells]  # some programs write a second byte order mark
    named = [name for name in heading if name]
    if len(set(named)) != len(named):
        double = next(name for name in named if named.count(name) > 1)
        raise BadFile(f"{path.name}: two columns are called {double!r}; rename one")
    return heading


def table_row(
    number: int, heading: Sequence[str], cells: Sequence[str], faults: Mapping[int, str] | None = None
) -> FileRow:
    """A row under a heading. `faults`: the reason for each cell that is no content, by its index."""
    if len(cells) > len(heading) and any(cells[len(heading) :]):
        return FileRow(number, {}, f"has {len(cells)} cells under {len(heading)} headings")
    named = {name: cell for name, cell in zip(heading, cells, strict=False) if name}
    by_column = {heading[index]: reason for index, reason in (faults or {}).items() if index < len(heading)}
    by_column |= {name: f"holds {cell}, an error of the sheet" for name, cell in named.items() if cell in SHEET_ERRORS}
    return FileRow(number, named, cell_faults=by_column)
