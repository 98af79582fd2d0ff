"""A file row by row with bounded memory: CSV, XLSX and NDJSON alike, each row with its number as an editor shows it.

CSV and NDJSON may be packed with gzip.

A sheet is read by openpyxl in its read-only mode, which keeps one row and the sheet's shared strings in memory; readers
that are faster hold the whole sheet (100,000 rows: 34 MB against 247 MB).
"""

from __future__ import annotations

import csv
import gzip
import json
import zipfile
import zlib
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from io import BufferedReader, TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from infra.importing.mapping_tree import nearest_name_hint

LINE_BYTES_MAX = 4 * 1024 * 1024  # a line longer than this is no row of ours
HEADING_LINES_MAX = 100
UNPACKED_BYTES_MAX = 4 * 1024**3
UNPACKED_RATIO_MAX = 200
PACKED = ".gz"
ENDINGS = (".csv", ".xlsx", ".ndjson", ".jsonl", ".csv.gz", ".ndjson.gz")
csv.field_size_limit(LINE_BYTES_MAX)


class FileFormat(Protocol):
    """What a mapping says of how its file is written."""

    @property
    def encoding(self) -> str: ...
    @property
    def delimiter(self) -> str: ...
    @property
    def sheet(self) -> str | None: ...


class BadFile(ValueError):
    """The file cannot be read as a table at all; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class FileRow:
    """One row of the file: its number from 1 (the heading is one too), its cells as text by column, or its fault."""

    number: int
    cells: dict[str, str]
    fault: str = ""


def heading_of(path: Path, form: FileFormat) -> list[str]:
    """The columns of the file. Raises BadFile."""
    with closing(_lines(path, form)) as lines, unpacking(path):
        return next(lines)


def read_rows(path: Path, form: FileFormat) -> Iterator[FileRow]:
    """Every row that is not empty. Raises BadFile where the file ends to be readable."""
    with closing(_lines(path, form)) as lines, unpacking(path):
        next(lines)
        yield from lines


def kind_of(path: Path) -> str:
    """The ending that says what the file is, without `.gz`."""
    return Path(path.stem if path.suffix.lower() == PACKED else path).suffix.lower()


def open_bytes(path: Path) -> gzip.GzipFile | BufferedReader:
    """The file, unpacked as it is read."""
    return gzip.open(path) if path.suffix.lower() == PACKED else path.open("rb")


@contextmanager
def unpacking(path: Path) -> Iterator[None]:
    """A packed file that is cut off or damaged is a bad file."""
    try:
        yield
    except EOFError:
        raise BadFile(f"{path.name} is cut off: the packed data ends early; copy it again") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise BadFile(f"{path.name} cannot be unpacked ({error}); copy it again") from None


def _lines(path: Path, form: FileFormat) -> Generator[Any]:
    """The heading first, then each Line."""
    match kind_of(path):
        case ".csv":
            return _csv(path, form)
        case ".xlsx" if path.suffix.lower() == ".xlsx":
            return _xlsx(path, form.sheet)
        case ".ndjson" | ".jsonl":
            return _ndjson(path)
        case other:
            raise BadFile(f"{path.name} ends in {other!r}; rows are read from {', '.join(ENDINGS)}")


def _csv(path: Path, form: FileFormat) -> Generator[Any]:
    encoding = form.encoding
    with TextIOWrapper(open_bytes(path), "utf-8-sig" if encoding == "utf-8" else encoding, newline="") as file:
        reader = csv.reader(file, strict=True, delimiter=form.delimiter)
        heading: list[str] | None = None
        while True:
            number = reader.line_num + 1
            try:
                cells = next(reader, None)
            except csv.Error as error:
                if heading is None:
                    raise BadFile(f"{path.name}:{number}: is not CSV ({error}); save it as `CSV UTF-8`") from None
                yield FileRow(number, {}, f"is not CSV ({error})")
                continue
            except UnicodeDecodeError as error:
                raise _undecodable(path, number, encoding, error) from None
            if cells is None:
                break
            if heading is None:
                heading = _heading(path, cells)
                yield heading
            elif any(cells):
                yield _line(number, heading, cells)
    if heading is None:
        raise BadFile(f"{path.name} is empty; its first line must name the columns")


def _undecodable(path: Path, number: int, encoding: str, error: UnicodeDecodeError) -> BadFile:
    other = "gb18030" if encoding == "utf-8" else "utf-8"
    return BadFile(
        f"{path.name}: near line {number} is not {encoding} ({error.reason}); write `encoding: {other}` in the mapping,"
        " or save the file as UTF-8"
    )


def _xlsx(path: Path, sheet: str | None) -> Generator[Any]:
    import openpyxl

    _refuse_bomb(path)
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except OSError:
        raise
    except Exception as error:  # zip, XML and openpyxl each raise classes of their own
        raise BadFile(f"{path.name} is not an XLSX workbook ({type(error).__name__})") from None
    try:
        if sheet is not None and sheet not in book.sheetnames:
            raise BadFile(f"{path.name} has no sheet {sheet!r}; {nearest_name_hint(sheet, book.sheetnames)}")
        chosen = book[sheet] if sheet else book.worksheets[0]
        chosen.reset_dimensions()  # the size that a file claims may be wrong
        heading: list[str] | None = None
        for number, row in enumerate(chosen.iter_rows(values_only=True), 1):
            cells = ["" if cell is None else _text(cell) for cell in row]
            if not any(cells):
                continue
            if heading is None:
                heading = _heading(path, cells)
                yield heading
            else:
                yield _line(number, heading, cells)
        if heading is None:
            raise BadFile(f"{path.name}: the sheet is empty; its first line must name the columns")
    finally:
        book.close()


def _refuse_bomb(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(part.file_size for part in archive.infolist())
    except zipfile.BadZipFile:
        raise BadFile(f"{path.name} is not an XLSX workbook; save it as .xlsx, not .xls") from None
    if size > UNPACKED_BYTES_MAX or size > UNPACKED_RATIO_MAX * max(path.stat().st_size, 1024 * 1024):
        raise BadFile(f"{path.name} would unpack to {size} bytes; save it as CSV and split it")


def _text(cell: Any) -> str:
    """A cell as it was meant: an id that the sheet keeps as a number has no `.0`, a time is written in ISO 8601."""
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, datetime | date):
        return cell.isoformat()
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)


def _ndjson(path: Path) -> Generator[Any]:
    """One JSON object a line. The columns are the fields of the first HEADING_LINES_MAX objects."""
    with open_bytes(path) as file:
        lines = (
            _object(*one) for one in enumerate(iter(lambda: file.readline(LINE_BYTES_MAX), b""), 1) if one[1].strip()
        )
        first = list(islice(lines, HEADING_LINES_MAX))
        if not any(line.cells for line in first):
            raise BadFile(f"{path.name} holds no JSON object on its first lines; NDJSON is one a line")
        yield list(dict.fromkeys(name for line in first for name in line.cells))
        yield from first
        yield from lines


def _object(number: int, data: bytes) -> FileRow:
    try:
        fields = json.loads(data)
    except ValueError as error:  # json and utf-8 alike; never with its text, which quotes the line
        return FileRow(number, {}, f"is not JSON ({type(error).__name__})")
    except RecursionError:
        return FileRow(number, {}, "is nested too deep")
    if not isinstance(fields, dict):
        return FileRow(number, {}, "is no JSON object")
    cells = {}
    for name, value in fields.items():
        if isinstance(value, dict | list):
            value = json.dumps(value, ensure_ascii=False)
        cells[name] = "" if value is None else _text(value)
    return FileRow(number, cells)


def _heading(path: Path, cells: Sequence[str]) -> list[str]:
    heading = [cell.strip() for cell in cells]
    named = [name for name in heading if name]
    if len(set(named)) != len(named):
        double = next(name for name in named if named.count(name) > 1)
        raise BadFile(f"{path.name}: two columns are called {double!r}; rename one")
    return heading


def _line(number: int, heading: Sequence[str], cells: Sequence[str]) -> FileRow:
    if len(cells) > len(heading) and any(cells[len(heading) :]):
        return FileRow(number, {}, f"has {len(cells)} cells under {len(heading)} headings")
    return FileRow(number, {name: cell for name, cell in zip(heading, cells, strict=False) if name})
