"""Reading CSV, XLSX, NDJSON and JSON files row by row with bounded memory; rows have the numbers that an editor shows.

CSV, NDJSON and JSON may be packed with gzip.
"""

from __future__ import annotations

import codecs
import gzip
import json
import re
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from decimal import Decimal
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import Any, BinaryIO, Protocol, Self, cast

import ijson

from infra.importing.csv_rows import csv_rows
from infra.importing.mapping_tree import BadMapping
from infra.importing.rows import HEADING_ROW_MAX, PACKED, BadFile, FileFormat, FileRow, open_bytes
from infra.importing.sheet_rows import plain_text, sheet_rows

LINE_BYTES_MAX = 4 * 1024 * 1024  # a longer line is no object
HEADING_LINES_MAX = 100
FIELD_DEPTH_MAX = 4
ENDINGS = (".csv", ".xlsx", ".ndjson", ".jsonl", ".json", ".csv.gz", ".ndjson.gz", ".json.gz")
TOO_DEEP = "is nested too deep"
NO_NUMBER = "has a number that is too large; write it in quotation marks"
JSON_DEPTH_MAX = 100
_DEEP = object()
# Numbers that Python does not read: the parser must not meet them, since it does not survive an error of Python.
_UNREADABLE = re.compile(rb"(?<![0-9])[0-9]{4000}|[\s:,\[][-0-9.]++[eE][+-]?[0-9]{16}")
JSON_PIECE_BYTES = 64 * 1024


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
            return _objects(path, _ndjson)
        case ".json":
            return _objects(path, _json_array)
        case other:
            raise BadFile(f"{path.name} ends in {other!r}; rows are read from {', '.join(ENDINGS)}")


def _objects(path: Path, rows_of: Callable[[Path, BinaryIO], Iterator[FileRow]]) -> Generator[Any]:
    """The columns are the fields of the first HEADING_LINES_MAX objects."""
    with open_bytes(path) as file:
        rows = rows_of(path, cast(BinaryIO, file))
        first = list(islice(rows, HEADING_LINES_MAX))
        if not any(row.cells for row in first):
            raise BadFile(f"{path.name} holds no JSON object; NDJSON is one a line, JSON an array of them")
        yield list(dict.fromkeys(name for row in first for name in row.cells))
        yield from first
        yield from rows


def _ndjson(path: Path, file: BinaryIO) -> Iterator[FileRow]:
    """One JSON object per line, numbered by lines."""
    for number, line in enumerate(iter(lambda: file.readline(LINE_BYTES_MAX), b""), 1):
        if line.strip():
            try:
                value = json.loads(line)
            except ValueError as error:  # of JSON or UTF-8; the text of the error quotes the line
                yield FileRow(number, {}, f"is not JSON ({type(error).__name__})")
            except RecursionError:
                yield FileRow(number, {}, TOO_DEEP)
            else:
                yield _object(number, value)


class _OneAtATime:
    """A file that hands out LINE_BYTES_MAX at most between two objects of an array."""

    def __init__(self, path: Path, file: BinaryIO, begin: bytes) -> None:
        self._path, self._file, self._begin = path, file, begin
        self.number, self._bytes_count = 1, 0

    def read(self, size: int = -1) -> bytes:
        """Raises BadFile in an object that is larger than LINE_BYTES_MAX."""
        if not size:  # ijson asks whether it reads bytes or text
            return b""
        data, self._begin = self._begin or self._file.read(min(size, JSON_PIECE_BYTES)), b""
        self._bytes_count += len(data)
        if self._bytes_count > LINE_BYTES_MAX:
            raise BadFile(f"{self._path.name}: object {self.number} is larger than {LINE_BYTES_MAX} bytes; split it")
        if _UNREADABLE.search(data):
            raise BadFile(f"{self._path.name}: in or behind object {self.number} {NO_NUMBER}")
        return data

    def following(self) -> None:
        """Begin with the next object."""
        self.number += 1
        self._bytes_count = 0


def _json_array(path: Path, file: BinaryIO) -> Iterator[FileRow]:
    """The objects of a JSON array, one at a time, numbered from 1. Raises BadFile where it is no JSON any more."""
    begin = file.read(JSON_PIECE_BYTES).removeprefix(codecs.BOM_UTF8).lstrip()
    if not begin.startswith(b"["):
        raise BadFile(f"{path.name} is no JSON array; write [{{...}}, {{...}}], or one object a line as .ndjson")
    source = _OneAtATime(path, file, begin)
    try:
        for value in _items(ijson.basic_parse(source, buf_size=JSON_PIECE_BYTES)):
            yield FileRow(source.number, {}, TOO_DEEP) if value is _DEEP else _object(source.number, value)
            source.following()
    except BadFile:
        raise
    except (ArithmeticError, ValueError, SystemError):  # such a number between two pieces of the file
        raise BadFile(f"{path.name}: in or behind object {source.number} {NO_NUMBER}") from None
    except ijson.JSONError:
        raise BadFile(f"{path.name}: in or behind object {source.number} is no JSON, or the file is cut off") from None


def _items(events: Iterator[tuple[str, Any]]) -> Iterator[Any]:
    """The items of a JSON array; _DEEP for one that is nested more than JSON_DEPTH_MAX levels deep.

    `ijson.items` names each level by its whole path, which is quadratic in the depth.
    """
    depth, is_deep, builder = 0, False, ijson.ObjectBuilder()
    for event, value in events:
        depth -= event in ("end_map", "end_array")
        if 0 < depth <= JSON_DEPTH_MAX:
            builder.event(event, float(value) if isinstance(value, Decimal) else value)
        is_deep = is_deep or depth > JSON_DEPTH_MAX
        if event in ("start_map", "start_array"):
            depth += 1
        elif depth == 1:
            yield _DEEP if is_deep else builder.value
            is_deep, builder = False, ijson.ObjectBuilder()


def _object(number: int, fields: Any) -> FileRow:
    if not isinstance(fields, dict):
        return FileRow(number, {}, "is no JSON object")
    try:
        return FileRow(number, dict(_cells("", fields, FIELD_DEPTH_MAX)))
    except RecursionError:
        return FileRow(number, {}, TOO_DEEP)
    except ValueError:
        return FileRow(number, {}, NO_NUMBER)


def _cells(prefix: str, fields: Mapping[str, Any], depth: int) -> Iterator[tuple[str, str]]:
    """The cells of an object: each field, and those of an object inside it as `outer.inner`, `depth` levels deep.

    Raises ValueError for a number that is not finite, RecursionError.
    """
    for name, value in fields.items():
        if isinstance(value, dict | list):
            yield prefix + name, json.dumps(value, ensure_ascii=False, allow_nan=False)
        elif isinstance(value, float) and not isfinite(value):
            raise ValueError
        else:
            yield prefix + name, "" if value is None else plain_text(value)
        if isinstance(value, dict) and depth:
            yield from _cells(f"{prefix}{name}.", value, depth - 1)
