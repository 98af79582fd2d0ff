"""Reading of documents from YAML files and of rows from CSV and XLSX; each fault has its line and a remedy.

A YAML file holds any number of documents: `kind`, `region`, `note` and `rows`, where rows are a mapping from key to
name or to fields, or a list of fields. Scalars stay text until the model of the row reads them, so that `0101` is a
code and `no` is a word. Anchors, repeated keys and deep nesting are fault.
"""

from __future__ import annotations

import csv
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import openpyxl
import yaml
from pydantic import ValidationError

from shared.reference.codec import describe_faults
from shared.reference.documents import DOCUMENT_BYTES_MAX, ROW_TYPES, Document, DocumentKind
from shared.reference.regions import NATION

FILE_BYTES_MAX = 32 * 1024 * 1024
YAML_DEPTH_MAX = 12
FAULTS_SHOWN_MAX = 50
_DOCUMENT_FIELDS = ("kind", "region", "note", "margin", "rows")


@dataclass(frozen=True)
class Fault:
    """A fault in a file: its line, 0 for the file as a whole, and a reason that contains the remedy."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}{f':{self.line}' if self.line else ''}: {self.reason}"


class LoadError(ValueError):
    """The files have faults, all of which are in `faults`. Nothing of the files is used."""

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = faults
        lines = [str(fault) for fault in faults[:FAULTS_SHOWN_MAX]]
        if len(faults) > FAULTS_SHOWN_MAX:
            lines.append(f"... and {len(faults) - FAULTS_SHOWN_MAX} more")
        super().__init__("\n".join(lines))


@dataclass
class LoadedDocuments:
    """Documents, and the file and line of each row by (document name, key)."""

    documents: list[Document] = field(default_factory=list)
    places: dict[tuple[str, str], tuple[str, int]] = field(default_factory=dict)


@dataclass
class _Node:
    """A node of the file before its row is typed: its fields and its line."""

    fields: Any
    line: int


def load_yaml(*paths: Path) -> LoadedDocuments:
    """The documents of YAML files. Raises LoadError with the faults of all files, OSError for an unreadable one."""
    loaded, faults = LoadedDocuments(), list[Fault]()
    for path in paths:
        _check_size(path)
        try:
            for node in _parse(path.read_bytes()):
                faults += _document(path.name, node, loaded)
        except _FileFault as fault:
            faults.append(Fault(path.name, fault.line, fault.reason))
    return _complete(loaded, faults)


def load_folder(folder: Path) -> LoadedDocuments:
    """The documents of all `*.yaml` files of a folder. Raises LoadError, also for a folder without any."""
    paths = sorted(folder.glob("*.yaml"))
    if not paths:
        raise LoadError([Fault(str(folder), 0, "holds no *.yaml file; name the folder that holds the documents")])
    return load_yaml(*paths)


def load_table(path: Path, kind: DocumentKind, region: str = NATION, note: str = "") -> LoadedDocuments:
    """One document from the rows of a CSV (UTF-8) or XLSX file, whose heading names the fields.

    `then.unit` names a field inside a field, `when.words[]` a list that is written `a; b`. Raises LoadError.
    """
    loaded, faults = LoadedDocuments(), list[Fault]()
    try:
        with closing(read_lines(path)) as table:
            heading = [cell.strip() for cell in next(table, (1, []))[1]]
            if not any(heading):
                raise _FileFault(1, "the first line must name the fields: " + ", ".join(ROW_TYPES[kind].model_fields))
            plain = [_Node(_unflatten(heading, cells, line), line) for line, cells in table if any(cells)]
    except _FileFault as fault:
        raise LoadError([Fault(path.name, fault.line, fault.reason)]) from None
    faults += _typed(path.name, 0, {"kind": kind, "region": region, "note": note}, plain, loaded)
    return _complete(loaded, faults)


def read_lines(path: Path) -> Generator[tuple[int, list[str]], None, None]:
    """The lines of a CSV or XLSX file as text, with their numbers from 1. Raises LoadError."""
    _check_size(path)
    try:
        yield from _cells(path)
    except _FileFault as fault:
        raise LoadError([Fault(path.name, fault.line, fault.reason)]) from None


def demo_documents() -> list[Document]:
    """The documents of the demo: two counties in two cities of one province."""
    with resources.as_file(resources.files("shared.reference") / "demo") as folder:
        return load_folder(folder).documents


class _FileFault(Exception):
    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line, self.reason = line, reason


def _check_size(path: Path) -> None:
    if path.stat().st_size > FILE_BYTES_MAX:
        raise LoadError([Fault(path.name, 0, f"is larger than {FILE_BYTES_MAX} bytes; split it")])


def _complete(loaded: LoadedDocuments, faults: list[Fault]) -> LoadedDocuments:
    if faults:
        raise LoadError(faults)
    return loaded


def _parse(data: bytes) -> Iterator[_Node]:
    """Each YAML document as dicts, lists and text, each node with its line."""
    stack: list[tuple[Any, list[Any]]] = []  # (container, [pending key])
    line = 0
    try:
        for event in yaml.parse(data, Loader=yaml.CBaseLoader):
            line = event.start_mark.line + 1 if event.start_mark else line
            if getattr(event, "anchor", None):
                raise _FileFault(line, "anchors and aliases (& and *) are not read; write the value out")
            match event:
                case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                    if len(stack) >= YAML_DEPTH_MAX:
                        raise _FileFault(line, f"nested more than {YAML_DEPTH_MAX} deep; a document is flat")
                    stack.append(({} if isinstance(event, yaml.MappingStartEvent) else [], [line]))
                case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                    value, (start, *_) = stack.pop()
                    node = _Node(value, start)
                    if not stack:
                        yield node
                    else:
                        _add_node(stack[-1], node)
                case yaml.ScalarEvent():
                    if not stack:
                        raise _FileFault(line, "is not a document; begin with `kind:` and `rows:`")
                    _add_node(stack[-1], _Node(event.value, line))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise _FileFault(mark.line + 1 if mark else line, f"is not YAML: {problem}") from None
    except UnicodeDecodeError:
        raise _FileFault(line, "is not UTF-8; save the file as UTF-8") from None


def _add_node(top: tuple[Any, list[Any]], node: _Node) -> None:
    container, pending = top
    if isinstance(container, list):
        container.append(node)
    elif len(pending) == 1:
        if not isinstance(node.fields, str):
            raise _FileFault(node.line, "a key must be a plain word, not a list or mapping")
        if node.fields in container:
            raise _FileFault(node.line, f"{node.fields} stands here a second time; remove one of the two")
        pending.append(node.fields)
    else:
        container[pending.pop()] = node


def _without_lines(node: _Node) -> Any:
    """The value of a node without lines."""
    match node.fields:
        case dict() as mapping:
            return {key: _without_lines(value) for key, value in mapping.items() if value.fields != ""}
        case list() as items:
            return [_without_lines(item) for item in items]
        case text:
            return text


def _document(file: str, node: _Node, loaded: LoadedDocuments) -> list[Fault]:
    fields = node.fields
    if not isinstance(fields, dict):
        return [Fault(file, node.line, "is a list; a document is a mapping with `kind:` and `rows:`")]
    if unknown := sorted(fields.keys() - set(_DOCUMENT_FIELDS)):
        reason = f"unknown {unknown[0]!r}; a document has kind, region, note, margin and rows"
        return [Fault(file, fields[unknown[0]].line, reason)]
    head = {key: _without_lines(value) for key, value in fields.items() if key != "rows"}
    if head.get("kind") not in list(DocumentKind):
        return [Fault(file, node.line, f"kind is {head.get('kind')!r}; it is one of {', '.join(DocumentKind)}")]
    rows = fields.get("rows")
    plain: list[_Node] = []
    match rows.fields if rows else None:
        case dict() as mapping:
            names = ROW_TYPES[DocumentKind(head["kind"])].model_fields
            for key, value in mapping.items():
                body = _without_lines(value)
                if not isinstance(body, dict) and "name" in names:
                    body = {"name": body}
                plain.append(_Node({next(iter(names)): key, **body} if isinstance(body, dict) else body, value.line))
        case list() as items:
            plain = [_Node(_without_lines(item), item.line) for item in items]
        case _:
            return [Fault(file, node.line, "has no rows; give `rows:` as a mapping from key to name or fields")]
    return _typed(file, node.line, head, plain, loaded)


def _typed(file: str, line: int, head: dict[str, Any], plain: list[_Node], loaded: LoadedDocuments) -> list[Fault]:
    kind = DocumentKind(head["kind"])
    rows, faults = [], []
    for number, row in enumerate(plain, 1):
        try:
            rows.append(ROW_TYPES[kind].model_validate(row.fields))
        except ValidationError as error:
            key = f", {str(next(iter(row.fields.values()), ''))[:60]!r}" if isinstance(row.fields, dict) else ""
            faults.append(Fault(file, row.line, f"row {number} of {kind}{key}: {describe_faults(error)}"))
    if faults:
        return faults
    try:
        document = Document(**{**head, "rows": tuple(rows)})
    except ValidationError as error:
        return [Fault(file, line, describe_faults(error))]
    if (size := len(document.encode())) > DOCUMENT_BYTES_MAX:
        reason = f"{document.name} has {size} bytes, at most {DOCUMENT_BYTES_MAX}: make one per county"
        return [Fault(file, line, reason)]
    seen: set[str] = set()
    for typed, source in zip(rows, plain, strict=True):
        if typed.key in seen:
            faults.append(Fault(file, source.line, f"{typed.key} stands twice in {document.name}; remove one"))
        seen.add(typed.key)
        loaded.places[document.name, typed.key] = (file, source.line)
    if any(other.name == document.name for other in loaded.documents):
        faults.append(Fault(file, line, f"{document.name} is given twice; put its rows into one document"))
    loaded.documents.append(document)
    return faults


def _cells(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The lines of a table as text, with their numbers from 1."""
    match path.suffix.lower():
        case ".csv":
            try:
                with path.open(encoding="utf-8-sig", newline="") as file:
                    reader = csv.reader(file, strict=True)
                    for cells in reader:
                        yield reader.line_num, cells
            except (UnicodeDecodeError, csv.Error) as error:
                raise _FileFault(0, f"is not CSV in UTF-8 ({error}); save it as `CSV UTF-8`") from None
        case ".xlsx":
            try:
                book = openpyxl.load_workbook(path, read_only=True, data_only=True)
            except Exception as error:  # zip, XML and openpyxl each raise classes of their own
                raise _FileFault(0, f"is not an XLSX workbook ({type(error).__name__})") from None
            try:
                sheet = book.worksheets[0]
                sheet.reset_dimensions()  # the size that a file claims may be wrong
                for number, row in enumerate(sheet.iter_rows(values_only=True), 1):
                    yield number, ["" if cell is None else _text(cell) for cell in row]
            finally:
                book.close()
        case other:
            raise _FileFault(0, f"has the ending {other!r}; rows are read from .csv and .xlsx, documents from .yaml")


def _text(cell: Any) -> str:
    """The text of a cell: a code that the sheet keeps as a number has no `.0`, and a truth value is in lower case."""
    if isinstance(cell, bool):
        return str(cell).lower()
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)


def _unflatten(heading: list[str], cells: list[str], line: int) -> dict[str, Any]:
    if len(cells) > len(heading) and any(cells[len(heading) :]):
        raise _FileFault(line, f"has {len(cells)} cells under {len(heading)} headings; remove the extra cells")
    row: dict[str, Any] = {}
    for name, cell in zip(heading, cells, strict=False):
        if not (text := cell.strip()) or not name:
            continue
        *outer, last = name.removesuffix("[]").split(".")
        inner = row
        for part in outer:
            inner = inner.setdefault(part, {})
        inner[last] = [item.strip() for item in text.split(";") if item.strip()] if name.endswith("[]") else text
    return row
