"""Reading CSV, XLSX and NDJSON files row by row with bounded memory; rows have the numbers that an editor shows.

CSV and NDJSON may be packed with gzip.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, Self

from infra.importing.csv_rows import csv_rows
from infra.importing.mapping_tree import BadMapping
from infra.importing.rows import HEADING_ROW_MAX, PACKED, BadFile, FileFormat, FileRow, open_bytes
from infra.importing.sheet_rows import plain_text, sheet_rows

LINE_BYTES_MAX = 4 * 1024 * 1024  # a longer line is no object
HEADING_LINES_MAX = 100
FIELD_DEPTH_MAX = 4
ENDINGS = (".csv", ".xlsx", ".ndjson", ".jsonl", ".csv.gz", ".ndjson.gz")


class ColumnsMapping(FileFormat, Protocol):
    """A mapping that names columns of its file."""

    def check(self, heading: Sequence[str]) -> None: ...
    def model_copy(self, *, update: Mapping[str, Any]) -> Self: ...


def heading_of(path: Path, form: FileFormat) -> list[str]:
    """The columns of the file. Raises BadFile."""
    with closing(_lines(path, form)) as lines, unpacking(path):
        return next(lines)


def check_columns(path: Path, mapping: ColumnsMapping) -> None:
    """Check that the file has the columns of a mapping. Raises BadMapping with a remedy for each fault, BadFile."""
    try:
        mapping.check(heading_of(path, mapping))
    except BadMapping as error:
        for row in range(1, HEADING_ROW_MAX + 1):
            if _names_all(path, mapping.model_copy(update={"heading": row})):
                hint = f"row {row} of {path.name} names the columns; write `heading: {row}` in the mapping"
                raise BadMapping(hint) from None
        raise error


def _names_all(path: Path, mapping: ColumnsMapping) -> bool:
    try:
        mapping.check(heading_of(path, mapping))
    except (BadMapping, BadFile):
        return False
    return True


def read_rows(path: Path, form: FileFormat) -> Iterator[FileRow]:
    """All rows that are not empty. Raises BadFile at the end of the readable part."""
    with closing(_lines(path, form)) as lines, unpacking(path):
        next(lines)
        yield from lines


def kind_of(path: Path) -> str:
    """The ending that tells the kind of the file, without `.gz`."""
    return Path(path.stem if path.suffix.lower() == PACKED else path).suffix.lower()


@contextmanager
def unpacking(path: Path) -> Iterator[None]:
    """Turn the errors of a truncated or damaged packed file into BadFile."""
    try:
        yield
    except EOFError:
        raise BadFile(f"{path.name} is cut off: the packed data ends early; copy it again") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise BadFile(f"{path.name} cannot be unpacked ({error}); copy it again") from None


def _lines(path: Path, form: FileFormat) -> Generator[Any]:
    """The heading, then each FileRow."""
    match kind_of(path):
        case ".csv":
            return csv_rows(path, form)
        case ".xlsx" if path.suffix.lower() == ".xlsx":
            return sheet_rows(path, form)
        case ".ndjson" | ".jsonl":
            return _ndjson(path)
        case other:
            raise BadFile(f"{path.name} ends in {other!r}; rows are read from {', '.join(ENDINGS)}")


def _ndjson(path: Path) -> Generator[Any]:
    """One JSON object per line. The columns are the fields of the first HEADING_LINES_MAX objects."""
    with open_bytes(path) as file:
        numbered = enumerate(iter(lambda: file.readline(LINE_BYTES_MAX), b""), 1)
        lines = (_object(number, line) for number, line in numbered if line.strip())
        first = list(islice(lines, HEADING_LINES_MAX))
        if not any(line.cells for line in first):
            raise BadFile(f"{path.name} holds no JSON object on its first lines; NDJSON is one a line")
        yield list(dict.fromkeys(name for line in first for name in line.cells))
        yield from first
        yield from lines


def _object(number: int, data: bytes) -> FileRow:
    try:
        fields = json.loads(data)
    except ValueError as error:  # of JSON or UTF-8; the text of the error quotes the line
        return FileRow(number, {}, f"is not JSON ({type(error).__name__})")
    except RecursionError:
        return FileRow(number, {}, "is nested too deep")
    if not isinstance(fields, dict):
        return FileRow(number, {}, "is no JSON object")
    return FileRow(number, dict(_cells("", fields, FIELD_DEPTH_MAX)))


def _cells(prefix: str, fields: Mapping[str, Any], depth: int) -> Iterator[tuple[str, str]]:
    """The cells of an object: each field, and those of an object inside it as `outer.inner`, `depth` levels deep."""
    for name, value in fields.items():
        if isinstance(value, dict | list):
            yield prefix + name, json.dumps(value, ensure_ascii=False)
        else:
            yield prefix + name, "" if value is None else plain_text(value)
        if isinstance(value, dict) and depth:
            yield from _cells(f"{prefix}{name}.", value, depth - 1)
