"""A search for content in the clear, in each encoding that a program may use."""

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

# No text of the product or of a server holds these. Each piece of content that a test sends holds one of them.
CHINESE, LATIN, DIGITS = "龘靐齉爩", "Zqxjkvbrumpf", "17095551234"
CORES = (CHINESE, LATIN, DIGITS)


def forms(text: str) -> dict[str, bytes]:
    """The text as bytes, by the name of the encoding."""
    utf8 = text.encode()
    escaped = "".join(f"\\u{ord(c):04x}" for c in text)
    by_encoding = {
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
            # the first and last characters also hold bits of the neighbouring bytes
            by_encoding[f"{name}+{offset}"] = whole[(offset * 8 + 5) // 6 : (offset + len(utf8)) * 8 // 6]
    return by_encoding


NEEDLES = {f"{core} as {name}": needle for core in CORES for name, needle in forms(core).items()}


@dataclass(frozen=True)
class Leak:
    """Content in the clear: the name of its source, and its encoding."""

    source: str
    encoding: str


def leaks(sources: Iterable[tuple[str, bytes]]) -> list[Leak]:
    """The content that is in the clear in these sources (name, bytes)."""
    return [Leak(source, name) for source, data in sources for name, needle in NEEDLES.items() if needle in data]


def files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file below a folder, without sockets, links and files that disappear meanwhile."""
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
        contents = []
        for schema, name in rows:
            whole = bytearray()

            async def take(data: bytes, whole: bytearray = whole) -> None:
                whole.extend(data)

            await connection.copy_from_table(name, schema_name=schema, output=take)
            contents.append((f"table {schema}.{name}", bytes(whole)))
        return contents
    finally:
        await connection.close()


async def messages(stack: Stack) -> list[tuple[str, bytes]]:
    """Every message of every stream with its subject and headers; objects in chunks and whole."""
    contents: list[tuple[str, bytes]] = []
    async with stack.connection() as nats:
        names = (await nats.api("$JS.API.STREAM.NAMES", b"{}"))["streams"]
        streams = Streams(nats)
        for name in names:
            for message in await streams.read(name, ">"):
                whole = b"\n".join((message.subject.encode(), repr(message.headers).encode(), message.data))
                contents.append((f"stream {name} at {message.sequence}", whole))
        contents += [(f"object {name}", await streams.get(name) or b"") for name in await streams.names()]
    return contents


async def everywhere(stack: Stack, more: Mapping[str, bytes]) -> list[Leak]:
    """Search the files, the tables, the streams, the output of the process, and `more` (name, bytes)."""
    return leaks([
        *files(Folder(stack.data.resolve()).root), *await tables(stack), *await messages(stack),
        ("output of the process", stack.output.read_bytes()), *more.items(),
    ])  # fmt: skip
