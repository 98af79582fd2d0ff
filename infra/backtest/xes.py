"""Reading of a log in XES (IEEE 1849) trace by trace, with one trace in memory.

The parser is expat, since a log of a million events must not become a tree. Entities are refused where they are
declared, as in defusedxml: a log needs none, and a few of them can fill any memory or read other files.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn
from xml.parsers import expat

from infra.importing.file_rows import unpacking
from infra.importing.rows import BadFile, open_bytes

CHUNK_BYTES = 64 * 1024
TOKEN_BYTES_MAX = 4 * 1024 * 1024  # of one tag, with all its attributes
TRACE_EVENTS_MAX = 1_000_000
_DEPTH_MAX = 64
CELL_CHARS_MAX = 1000  # times, ids and activities are shorter; longer cells are cut
_DECLARED = re.compile(rb"""(?:\xef\xbb\xbf)?\s*<\?xml[^>]*\sencoding\s*=\s*["']([A-Za-z][A-Za-z0-9._-]*)["']""")
_READ_BY_EXPAT = frozenset({"utf-8", "utf8", "utf-16", "us-ascii", "ascii", "iso-8859-1"})
VALUES = frozenset({"string", "date", "int", "float", "boolean", "id"})


@dataclass(slots=True)
class Trace:
    """A case of the log: the line where it begins, its attributes, and those of its events, as text by key."""

    number: int
    cells: dict[str, str] = field(default_factory=dict)
    events: list[dict[str, str]] = field(default_factory=list)


def traces(path: Path) -> Iterator[Trace]:
    """The traces, in the order of the file. Raises BadFile."""
    with open_bytes(path) as file, unpacking(path):
        chunk = file.read(CHUNK_BYTES)
        reader = _Reader(path, _encoding(path, chunk))
        while chunk:
            yield from reader.feed(chunk)
            chunk = file.read(CHUNK_BYTES)
        yield from reader.feed(b"", last=True)
    if not reader.is_log:
        raise BadFile(f"{path.name} is no XES log: its root is not <log>")


def _encoding(path: Path, begin: bytes) -> str | None:
    """The declared encoding where expat does not read it by itself. Raises BadFile for one that nobody knows."""
    declared = _DECLARED.match(begin)
    if declared is None or (name := declared[1].decode().lower()) in _READ_BY_EXPAT:
        return None
    try:
        "".encode(name)  # also refuses a codec that makes no text
    except LookupError:
        raise BadFile(f"{path.name} is in the encoding {name!r}, which is not known; save it as UTF-8") from None
    return name


class _Reader:
    def __init__(self, path: Path, encoding: str | None) -> None:
        self._path, self._parser = path, expat.ParserCreate("utf-8" if encoding else None)
        self._decoder = codecs.getincrementaldecoder(encoding)() if encoding else None
        self._complete: list[Trace] = []
        self._trace: Trace | None = None
        self._event: dict[str, str] | None = None
        self._open_tags: list[str] = []
        self._bytes_pending = 0  # bytes since the last complete tag
        self.is_log = False
        parser = self._parser
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        parser.EntityDeclHandler = self._refuse
        parser.UnparsedEntityDeclHandler = self._refuse
        parser.ExternalEntityRefHandler = self._refuse
        parser.buffer_text = True

    def feed(self, chunk: bytes, last: bool = False) -> list[Trace]:
        """The traces that end in this chunk of the file. Raises BadFile."""
        self._bytes_pending += len(chunk)
        try:
            self._parser.Parse(self._decoder.decode(chunk, last).encode() if self._decoder else chunk, last)
        except UnicodeDecodeError as error:
            self._fail(f"near here the file is not {error.encoding} as it declares; save it as UTF-8")
        except expat.ExpatError as error:
            cut = error.code == expat.errors.codes[expat.errors.XML_ERROR_NO_ELEMENTS]
            cut = cut or (last and error.code in _CUT)
            reason = "ends early; copy it again" if cut else f"is not XML ({expat.errors.messages[error.code]})"
            raise BadFile(f"{self._path.name}:{error.lineno}: {reason}") from None
        if self._bytes_pending > TOKEN_BYTES_MAX:
            self._fail(f"one tag has more than {TOKEN_BYTES_MAX} bytes")
        complete, self._complete = self._complete, []
        return complete

    def _fail(self, reason: str) -> NoReturn:
        raise BadFile(f"{self._path.name}:{self._parser.CurrentLineNumber}: {reason}")

    def _refuse(self, *_: object) -> NoReturn:
        self._fail("declares entities, which a log has no use for; remove its DTD")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._bytes_pending = 0
        name = name.rpartition(":")[2]
        within = self._open_tags
        within.append(name)
        depth = len(within)
        if depth == 1:
            if name != "log":
                self._fail(f"is no XES log: its root is <{name[:40]}>, not <log>")
            self.is_log = True
        elif depth == 2 and name == "trace":
            self._trace = Trace(self._parser.CurrentLineNumber)
        elif self._trace is not None and depth == 3 and name == "event":
            self._event = {}
            self._trace.events.append(self._event)
            if len(self._trace.events) > TRACE_EVENTS_MAX:
                self._fail(f"a trace has more than {TRACE_EVENTS_MAX} events")
        elif depth > _DEPTH_MAX:
            self._fail(f"is nested more than {_DEPTH_MAX} deep")
        elif self._trace is not None and name in VALUES:
            cells = self._trace.cells if depth == 3 else self._event if depth == 4 else None
            key, value = attributes.get("key"), attributes.get("value")
            if cells is not None and key is not None and value is not None:
                cells[key] = value[:CELL_CHARS_MAX]

    def _end(self, name: str) -> None:
        self._bytes_pending = 0
        self._open_tags.pop()
        depth = len(self._open_tags)
        if self._trace is not None and depth == 1:
            self._complete.append(self._trace)
            self._trace = None
        elif self._event is not None and depth == 2:
            self._event = None


_CUT = {
    expat.errors.codes[code] for code in (expat.errors.XML_ERROR_UNCLOSED_TOKEN, expat.errors.XML_ERROR_PARTIAL_CHAR)
}
