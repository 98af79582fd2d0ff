"""EXIF and TIFF: the directories of tags behind a picture's place, time, device and orientation (TIFF 6.0, EXIF 2.32).

A directory that is damaged gives what can be read; nothing in it is trusted, and no walk is longer than its bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

ORIENTATION = 0x0112
EXIF_DIRECTORY, GPS_DIRECTORY = 0x8769, 0x8825
_MAKE, _MODEL, _TAKEN_AT, _CHANGED_AT = 0x010F, 0x0110, 0x9003, 0x0132
_LATITUDE_REF, _LATITUDE, _LONGITUDE_REF, _LONGITUDE = 1, 2, 3, 4
_VALUE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
ENTRY_BYTES = 12
TAG_CHARS_MAX = 200
DIRECTORIES_MAX = 64
ByteOrder = Literal["little", "big"]


@dataclass(frozen=True, slots=True)
class Exif:
    """The part of the tags that people ask for. `orientation` is 1 to 8, 1 for upright."""

    orientation: int = 1
    taken_at: str | None = None
    device: str | None = None
    latitude: float | None = None
    longitude: float | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """A tag of a directory: where its entry begins, and where the bytes of its value lie."""

    tag: int
    type: int
    at: int
    value: range


def byte_order(tiff: bytes | bytearray) -> ByteOrder | None:
    """The order of bytes that the header of a TIFF states, None when it is no TIFF."""
    return {b"II*\0": "little", b"MM\0*": "big"}.get(bytes(tiff[:4]))  # type: ignore[return-value]


def entries(tiff: bytes | bytearray, at: int, order: ByteOrder) -> Iterator[Entry]:
    """The tags of the directory that begins at `at`, without those whose value lies outside of the bytes."""
    count = int.from_bytes(tiff[at : at + 2], order)
    for start in range(at + 2, min(at + 2 + count * ENTRY_BYTES, len(tiff) - ENTRY_BYTES + 1), ENTRY_BYTES):
        tag, type = (int.from_bytes(tiff[start + offset : start + offset + 2], order) for offset in (0, 2))
        size = _VALUE_BYTES.get(type, 1) * int.from_bytes(tiff[start + 4 : start + 8], order)
        begin = start + 8 if size <= 4 else int.from_bytes(tiff[start + 8 : start + 12], order)
        if begin + size <= len(tiff):
            yield Entry(tag, type, start, range(begin, begin + size))


def number(tiff: bytes | bytearray, entry: Entry, order: ByteOrder) -> int:
    """The first number of a value."""
    size = _VALUE_BYTES.get(entry.type, 1)
    return int.from_bytes(tiff[entry.value.start : entry.value.start + size], order)


def read_exif(tiff: bytes) -> Exif:
    """The tags of a TIFF that people ask for."""
    order = byte_order(tiff)
    if order is None:
        return Exif()
    main = {entry.tag: entry for entry in entries(tiff, int.from_bytes(tiff[4:8], order), order)}

    def directory(tag: int) -> dict[int, Entry]:
        if tag not in main:
            return {}
        return {entry.tag: entry for entry in entries(tiff, number(tiff, main[tag], order), order)}

    def text(entry: Entry | None) -> str:
        data = tiff[entry.value.start : entry.value.stop] if entry else b""
        return data.partition(b"\0")[0].decode("utf-8", "replace").strip()[:TAG_CHARS_MAX]

    def degrees(entry: Entry | None, reference: str, negative: str) -> float | None:
        if entry is None or len(entry.value) != 24:
            return None
        values = struct.unpack(f"{'<' if order == 'little' else '>'}6I", tiff[entry.value.start : entry.value.stop])
        parts = [over / under if under else 0.0 for over, under in zip(values[::2], values[1::2], strict=True)]
        angle = parts[0] + parts[1] / 60 + parts[2] / 3600
        return round(-angle if reference == negative else angle, 6)

    exif, gps = directory(EXIF_DIRECTORY), directory(GPS_DIRECTORY)
    orientation = number(tiff, main[ORIENTATION], order) if ORIENTATION in main else 1
    device = " ".join(filter(None, (text(main.get(_MAKE)), text(main.get(_MODEL)))))
    return Exif(
        orientation=orientation if 1 <= orientation <= 8 else 1,
        taken_at=text(exif.get(_TAKEN_AT)) or text(main.get(_CHANGED_AT)) or None,
        device=device or None,
        latitude=degrees(gps.get(_LATITUDE), text(gps.get(_LATITUDE_REF)), "S"),
        longitude=degrees(gps.get(_LONGITUDE), text(gps.get(_LONGITUDE_REF)), "W"),
    )


def orientation_only(orientation: int) -> bytes:
    """A TIFF with the orientation as its only tag."""
    return struct.pack(">2sHIHHHIHHI", b"MM", 42, 8, 1, ORIENTATION, 3, 1, orientation, 0, 0)
