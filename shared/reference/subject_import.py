"""Import of the subject tree from a table with a column of names per level; each name gets two digits of a code."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from itertools import takewhile
from pathlib import Path

from shared.reference.documents import Document, DocumentKind
from shared.reference.load import Fault, LoadError, read_lines
from shared.reference.regions import NATION
from shared.reference.subjects import SubjectRow

OTHER = "其他"
OTHER_CODE = "99"
CHILDREN_COUNT_MAX = 98  # 01 to 98; 99 is `other`


def import_subjects(path: Path, known: Document | None = None, region: str = NATION, note: str = "") -> Document:
    """The tree of a CSV or XLSX file with one column per level and a heading.

    A subject of the document `known` keeps its code, since cases and rules refer to it, also when the table no longer
    names it. Raises LoadError.
    """
    rows: dict[str, str] = {row.code: row.name for row in known.rows} if known else {}
    codes = {(code[:-2], name): code for code, name in rows.items()}
    with closing(read_lines(path)) as lines:
        next(lines, None)
        for line, cells in lines:
            code = ""
            for name in takewhile(bool, (cell.strip() for cell in cells[:3])):
                if (code, name) not in codes:
                    codes[code, name] = _next(code, name, list(rows), path, line)
                    rows[codes[code, name]] = name
                code = codes[code, name]
    if not rows:
        raise LoadError([Fault(path.name, 0, "names no subject; give one column per level under a heading")])
    typed = tuple(SubjectRow(code=code, name=name) for code, name in sorted(rows.items()))
    return Document(kind=DocumentKind.SUBJECTS, region=region, note=note, rows=typed)


def _next(parent: str, name: str, codes: Sequence[str], path: Path, line: int) -> str:
    """The code of a new subject below `parent`. Raises LoadError when the level is full."""
    own = [int(code[-2:]) for code in codes if code[:-2] == parent]
    if name == OTHER and int(OTHER_CODE) not in own:
        return parent + OTHER_CODE
    number = max((number for number in own if number <= CHILDREN_COUNT_MAX), default=0) + 1
    if number > CHILDREN_COUNT_MAX:
        reason = f"{name[:40]!r} is the {number}th subject at its place; a place has at most {CHILDREN_COUNT_MAX}"
        raise LoadError([Fault(path.name, line, reason)])
    return f"{parent}{number:02}"
