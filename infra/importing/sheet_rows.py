"""XLSX sheets, row by row, with the cells as the sheet shows them (ECMA-376, part 1).

The read-only mode of openpyxl keeps one row and the shared strings in memory; faster readers hold the whole sheet
(100,000 rows: 34 MB against 247 MB). It does not tell merged cells, which stand behind the rows; they are read first.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Generator, Iterator, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

from infra.importing.mapping_tree import nearest_name_hint
from infra.importing.rows import BadFile, FileFormat, heading_row, table_row

UNPACKED_BYTES_MAX = 4 * 1024**3
UNPACKED_RATIO_MAX = 200
DIGITS_MAX = 15  # a sheet keeps no more digits of a number
_PART_BYTES = 1024 * 1024
_ESCAPE = re.compile("_x([0-9A-Fa-f]{4})_")  # a character that XML does not allow (22.9.2.19)
_DIGITS_FORMAT = re.compile(r"""(?:0|[-() .]|\\.|"[^"]*")*""")  # zeros and literal characters alone
_MERGED = re.compile(rb'<(?:\w+:)?mergeCell\s+ref="([A-Z]{1,3})([0-9]+):([A-Z]{1,3})([0-9]+)"')
_MERGED_BYTES_MAX = 64


def sheet_rows(path: Path, form: FileFormat) -> Generator[Any]:
    """The heading, then each FileRow of the first sheet or of the named one. Raises BadFile, OSError."""
    import openpyxl

    _refuse_bomb(path)
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except OSError:
        raise
    except Exception as error:  # zip, XML and openpyxl each raise classes of their own
        raise BadFile(f"{path.name} is not an XLSX workbook ({type(error).__name__})") from None
    try:
        if form.sheet is not None and form.sheet not in book.sheetnames:
            raise BadFile(f"{path.name} has no sheet {form.sheet!r}; {nearest_name_hint(form.sheet, book.sheetnames)}")
        sheet = book[form.sheet] if form.sheet else book.worksheets[0]
        sheet.reset_dimensions()  # the size that a file claims may be wrong
        merged = _MergedCells(path, getattr(sheet, "_worksheet_path"))  # noqa: B009  openpyxl has no public name for it
        heading: list[str] | None = None
        for number, row in enumerate(sheet.iter_rows(), 1):
            cells = ["" if cell.value is None else _text(cell) for cell in row]
            if heading is None and number == form.heading > 1 and not any(cells):
                raise BadFile(f"{path.name}: row {number} is empty; write another `heading:` in the mapping")
            if not any(cells) or number < form.heading:
                continue
            if heading is None:
                heading = heading_row(path, cells)
                yield heading
            else:
                yield table_row(number, heading, cells, _faults(row, cells, merged.columns(number)))
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
    if size > UNPACKED_BYTES_MAX or size > UNPACKED_RATIO_MAX * max(path.stat().st_size, _PART_BYTES):
        raise BadFile(f"{path.name} would unpack to {size} bytes; save it as CSV and split it")


class _MergedCells:
    """The cells of a sheet that are merged with the one above, asked for row by row from the first on."""

    def __init__(self, path: Path, part: str) -> None:
        self._ahead = sorted(_groups(path, part), key=lambda group: group[0].start, reverse=True)
        self._here: list[tuple[range, range]] = []

    def columns(self, number: int) -> set[int]:
        """The columns, from 0, of the merged cells of a row."""
        while self._ahead and self._ahead[-1][0].start <= number:
            self._here.append(self._ahead.pop())
        self._here = [group for group in self._here if number < group[0].stop]
        return {index for _, columns in self._here for index in columns}


def _groups(path: Path, part: str) -> Iterator[tuple[range, range]]:
    """The rows (without the first) and columns, from 0, of each group of cells that is merged over several rows."""
    from openpyxl.utils import column_index_from_string

    with zipfile.ZipFile(path) as archive, archive.open(part.lstrip("/")) as file:
        for match in _matches(iter(lambda: file.read(_PART_BYTES), b"")):
            left, top, right, bottom = match.groups()
            rows = range(int(top) + 1, int(bottom) + 1)
            if rows:
                first, last = (column_index_from_string(name.decode()) for name in (left, right))
                yield rows, range(first - 1, last)


def _matches(pieces: Iterator[bytes]) -> Iterator[re.Match[bytes]]:
    rest = b""
    for piece in pieces:
        data, end = rest + piece, 0
        for match in _MERGED.finditer(data):
            end = match.end()
            yield match
        rest = data[max(end, len(data) - _MERGED_BYTES_MAX) :]


def _faults(row: Sequence[Any], cells: list[str], merged: set[int]) -> dict[int, str]:
    """The reason for each cell that does not hold what the sheet shows, by index."""
    faults = {
        index: f"holds {cells[index]}, an error of the sheet"
        for index, cell in enumerate(row)
        if cells[index] and cell.data_type == "e"
    }
    for index, cell in enumerate(row):
        if isinstance(cell.value, int | float) and not cell.is_date and abs(cell.value) >= 10**DIGITS_MAX:
            faults[index] = (
                f"is a number of more than {DIGITS_MAX} digits, of which a sheet keeps {DIGITS_MAX}; write text"
            )
    return faults | dict.fromkeys(merged, "is merged with the cell above; unmerge the cells and fill each")


def _text(cell: Any) -> str:
    """A cell as the sheet shows it: an id with its zeros, no `.0` behind a whole number, a time in ISO 8601."""
    value = cell.value
    if isinstance(value, str):
        return _ESCAPE.sub(lambda escape: chr(int(escape[1], 16)), value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _in_format(value, cell.number_format)
    return plain_text(value)


def _in_format(value: float, number_format: str) -> str:
    """A number whose format is zeros and literal characters, as the format shows it; any other as its digits."""
    positive = number_format.partition(";")[0]
    if value < 0 or value != int(value) or "0" not in positive or not _DIGITS_FORMAT.fullmatch(positive):
        return plain_text(value)
    parts = re.findall(r'0|\\.|"[^"]*"|.', positive)
    if "." in parts:  # a decimal point, not a literal one
        return plain_text(value)
    digits = list(str(int(value)).rjust(parts.count("0"), "0"))
    shown = [digits.pop() if part == "0" else part.strip('"').removeprefix("\\") for part in reversed(parts)]
    first = len(shown) - 1 - parts.index("0")
    shown[first] = "".join(digits) + shown[first]  # digits beyond the format stand before its first
    return "".join(reversed(shown))


def plain_text(value: Any) -> str:
    """The text of a value: an id that is a number has no `.0`, a time is in ISO 8601."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime | date):
        return value.isoformat()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
