"""Looking for content where it must not stand in the clear, in every writing that a program may have put it in."""

from __future__ import annotations

from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import asyncpg

from infra.servers.folder import Folder
from shared.log.streams import Streams
from tests.support.stack import Stack

# No text of ours and no server's own holds these; each piece of content that a test sends has one of them in it.
CHINESE, LATIN, DIGITS = "龘靐齉爩", "Zqxjkvbrumpf", "17095551234"
CORES = (CHINESE, LATIN, DIGITS)


def forms(text: str) -> dict[str, bytes]:
    """The text as bytes in every writing that is looked for, by name."""
    utf8 = text.encode()
    escaped = "".join(f"\\u{ord(c):04x}" for c in text)
    found = {
        "UTF-8": utf8,
        "UTF-16 LE": text.encode("utf-16-le"),
        "UTF-16 BE": text.encode("utf-16-be"),
        "\\u escapes": escaped.encode(),
        "\\U escapes": escaped.upper().replace("\\U", "\\u").encode(),
        "hex": utf8.hex().encode(),
        "URL": quote(text, safe="").encode(),
        "url": quote(text, safe="").lower().encode(),
    }
    for offset in range(3):
        for name, encode in (("base64", b64encode), ("base64url", urlsafe_b64encode)):
            whole = encode(b"\0" * offset + utf8)
            # the first and last characters also hold bits of what stands beside it
            found[f"{name}+{offset}"] = whole[(offset * 8 + 5) // 6 : (offset + len(utf8)) * 8 // 6]
    return found


NEEDLES = {f"{core} as {name}": needle for core in CORES for name, needle in forms(core).items()}


@dataclass(frozen=True)
class Leak:
    """Content in the clear: where, and in which writing."""

    place: str
    writing: str


def leaks(places: Iterable[tuple[str, bytes]]) -> list[Leak]:
    """What of the content stands in the clear in these places (name, bytes)."""
    found = []
    for place, data in places:
        found += [Leak(place, name) for name, needle in NEEDLES.items() if needle in data]
    return found


def files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file below a folder, but those that hold nothing (sockets, files that end while we read)."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            try:
                yield str(path), path.read_bytes()
            except FileNotFoundError:
                continue


async def tables(stack: Stack) -> list[tuple[str, bytes]]:
    """Every table of the database as COPY writes it."""
    connection = await asyncpg.connect(stack.postgres_dsn())
    try:
        rows = await connection.fetch(
            "select schemaname, tablename from pg_tables where schemaname not in ('pg_catalog', 'information_schema')"
        )
        found = []
        for schema, name in rows:
            whole = bytearray()

            async def take(data: bytes, whole: bytearray = whole) -> None:
                whole.extend(data)

            await connection.copy_from_table(name, schema_name=schema, output=take)
            found.append((f"table {schema}.{name}", bytes(whole)))
        return found
    finally:
        await connection.close()


async def messages(stack: Stack) -> list[tuple[str, bytes]]:
    """Every message of every stream with its subject and headers, objects in their chunks and whole."""
    found: list[tuple[str, bytes]] = []
    async with stack.connection() as nats:
        names = (await nats.api("$JS.API.STREAM.NAMES", b"{}"))["streams"]
        streams = Streams(nats)
        for name in names:
            for one in await streams.read(name, ">"):
                whole = b"\n".join((one.subject.encode(), repr(one.headers).encode(), one.data))
                found.append((f"stream {name} at {one.sequence}", whole))
        found += [(f"object {name}", await streams.get(name) or b"") for name in await streams.names()]
    return found


async def everywhere(stack: Stack, more: Mapping[str, bytes]) -> list[Leak]:
    """Search the files, the tables, the streams, what the process printed, and `more` (name, bytes)."""
    return leaks([
        *files(Folder(stack.data.resolve()).root), *await tables(stack), *await messages(stack),
        ("what the process printed", stack.output.read_bytes()), *more.items(),
    ])  # fmt: skip
