"""Pictures lose their metadata, keep their pixels and their orientation; one with damaged parts is refused."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable
from io import BytesIO
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps, ImageSequence

from services.intake import exif
from services.intake import pictures as cleaning
from services.intake.pictures import DamagedPicture, Picture, clean_picture
from shared.kit.picture_metadata import PictureMetadata
from tests.support import pictures
from tests.support.pictures import DEVICE, LATITUDE, LONGITUDE, PLACE_MARK, TAKEN_AT

FORMS = ("JPEG", "progressive", "PNG", "WEBP", "lossless", "GIF", "TIFF")
WITH_EXIF = tuple(form for form in FORMS if form != "GIF")


def cleaned(data: bytes, media_type: str = "image/jpeg") -> Picture:
    picture = clean_picture(data, media_type)
    assert picture is not None
    return picture


def frames(data: bytes) -> list[bytes]:
    with Image.open(BytesIO(data)) as image:
        return [frame.convert("RGBA").tobytes() for frame in ImageSequence.Iterator(image)]


@pytest.mark.parametrize("form", FORMS)
def test_place_device_time_and_remarks_go_and_every_pixel_stays(form: str) -> None:
    data = pictures.photo(form)
    picture = cleaned(data)
    for mark in (PLACE_MARK, DEVICE.encode(), TAKEN_AT.encode()):
        assert mark not in picture.data
    assert frames(picture.data) == frames(data)
    with Image.open(BytesIO(picture.data)) as image:
        assert set(image.getexif()) & {0x010F, 0x0110, 0x8825, 0x8769} == set()
        assert not image.getexif().get_ifd(0x8825)


@pytest.mark.parametrize("form", WITH_EXIF)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_shown_the_same_way_up(form: str, orientation: int) -> None:
    data = pictures.photo(form, orientation)
    with Image.open(BytesIO(data)) as before, Image.open(BytesIO(cleaned(data).data)) as after:
        assert after.getexif().get(0x0112, 1) == orientation
        assert ImageOps.exif_transpose(after).tobytes() == ImageOps.exif_transpose(before).tobytes()


@pytest.mark.parametrize("form", WITH_EXIF)
def test_the_record_says_place_time_and_device_and_reads_back(form: str) -> None:
    record = cleaned(pictures.photo(form)).record()
    assert record is not None
    assert (record.latitude, record.longitude, record.taken_at) == (LATITUDE, LONGITUDE, TAKEN_AT)
    assert record.device == f"{DEVICE} X1"
    assert PictureMetadata.model_validate_json(record.model_dump_json()) == record


@pytest.mark.parametrize("form", FORMS)
def test_a_clean_picture_stays_as_it_is(form: str) -> None:
    once = cleaned(pictures.photo(form))
    twice = cleaned(once.data)
    assert twice.data == once.data
    assert twice.record() is None


@pytest.mark.parametrize("version", [0, 1])
def test_heic_keeps_its_length_and_picture_and_loses_exif_and_xmp(version: int) -> None:
    data = pictures.heic(version)
    picture = cleaned(data, "image/heic")
    assert len(picture.data) == len(data)
    assert PLACE_MARK not in picture.data
    assert DEVICE.encode() not in picture.data
    assert bytes(range(200)) in picture.data
    record = picture.record()
    assert record is not None
    assert (record.latitude, record.longitude) == (LATITUDE, LONGITUDE)
    assert cleaned(picture.data).record() is None


def test_a_film_loses_the_place_of_its_tracks_and_its_own() -> None:
    data = pictures.film()
    picture = cleaned(data, "video/mp4")
    assert PLACE_MARK not in picture.data
    assert len(picture.data) == len(data)
    assert picture.data.endswith(bytes(range(256)))
    assert cleaned(picture.data).record() is None


def test_a_record_has_a_bound_and_names_what_it_does_not_hold() -> None:
    record = cleaned(pictures.photo("JPEG") + b"f" * 1_000_000).record()
    assert record is not None
    trailer = next(part for part in record.parts if part.kind == "trailer")
    assert (trailer.data, trailer.size_bytes > 1_000_000) == (None, True)


@pytest.mark.parametrize(
    ("data", "media_type", "outcome"),
    [
        (b"%PDF-1.7", "application/pdf", "as it came"),
        (b"BM1234", "image/bmp", "as it came"),
        (b"<svg/>", "image/svg+xml", "as it came"),
        (b"no picture", "image/jpeg", "refused"),
        (b"no picture", "image/heic", "refused"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "image/png", "refused"),
        (b"\xff\xd8\xff\xe1\xff\xff", "image/jpeg", "refused"),
        (b"\xff\xd8\xff\xd9", "image/jpeg", "refused"),
        (b"GIF89a", "image/gif", "refused"),
        (b"RIFF\xff\xff\xff\x00WEBP", "image/webp", "refused"),
        (b"MM\0*\xff\xff\xff\xff", "image/tiff", "refused"),
        (pictures.photo("PNG")[:-300], "image/png", "refused"),
        (pictures.photo("progressive")[:-2], "image/jpeg", "cleaned"),  # cut off in its scan: it shows so far
        (pictures.photo("PNG"), "application/octet-stream", "cleaned"),  # the bytes decide
        (pictures.photo("JPEG"), "image/png", "cleaned"),
    ],
)
def test_a_file_is_cleaned_refused_or_stays(data: bytes, media_type: str, outcome: str) -> None:
    try:
        picture = clean_picture(data, media_type)
    except DamagedPicture:
        assert outcome == "refused"
    else:
        assert outcome == ("as it came" if picture is None else "cleaned")


@given(st.sampled_from([*FORMS, "heic", "film"]), st.floats(0, 1), st.binary(max_size=8), st.booleans())
def test_damage_anywhere_is_refused_or_cleaned_and_never_crashes(form: str, at: float, value: bytes, cut: bool) -> None:
    whole = {"heic": pictures.heic, "film": pictures.film}.get(form, lambda: pictures.photo(form))()
    index = int(at * len(whole))
    data = whole[:index] + value + (b"" if cut else whole[index + len(value) :])
    try:
        picture = clean_picture(data, "image/jpeg")
    except DamagedPicture:
        return
    if picture is not None:
        again = clean_picture(picture.data, "image/jpeg")
        assert again is not None
        assert again.data == picture.data


@pytest.mark.parametrize("data", [
    b"\xff\xd8\xff" + b"\xff" * 2_000_000,
    b"\xff\xd8\xff\xe0\x00\x02" + b"\xff\xfe\x00\x02" * 500_000,
    b"GIF89a" + bytes(7) + b"\x21\xfe" + b"\x01a" * 1_000_000 + b"\0;",
])  # fmt: skip
def test_a_picture_of_endless_parts_is_refused(data: bytes) -> None:
    with pytest.raises(DamagedPicture):
        clean_picture(data, "image/jpeg")


def _box(type: bytes, body: bytes) -> bytes:
    return (len(body) + 8).to_bytes(4, "big") + type + body


def _nested(type: bytes, depth: int) -> bytes:
    return b"".join((8 * left).to_bytes(4, "big") + type for left in range(depth, 0, -1))


def _heif(*items: bytes, sizes: bytes = b"\0\0", rest: bytes = b"") -> bytes:
    infe = _box(b"infe", b"\2\0\0\0" + b"\0\1\0\0Exif\0")
    iinf = _box(b"iinf", b"\0\0\0\0\0\1" + infe)
    iloc = _box(b"iloc", b"\0\0\0\0" + sizes + len(items).to_bytes(2, "big") + b"".join(items))
    return _box(b"ftyp", b"heic\0\0\0\0mif1") + _box(b"meta", b"\0\0\0\0" + iinf + iloc) + rest


def _tiff(*entries: tuple[int, int, int], rest: bytes = b"") -> bytes:
    """A TIFF of entries with a tag, a count of bytes and their begin."""
    rows = [
        tag.to_bytes(2, "big") + b"\0\1" + size.to_bytes(4, "big") + at.to_bytes(4, "big") for tag, size, at in entries
    ]
    return b"MM\0*" + (8).to_bytes(4, "big") + len(rows).to_bytes(2, "big") + b"".join(rows) + bytes(4) + rest


_JPEG_START, _GIF_START = b"\xff\xd8\xff\xda\0\2", b"GIF89a" + bytes(7)
_EMPTY_EXIF = b"\xff\xe1\0\x08Exif\0\0"
HOSTILE: dict[str, Callable[[], bytes]] = {
    "JPEG: fill bytes before a stuffed one": lambda: _JPEG_START + b"\xff" * 24_000 + b"\0\xff\xd9",
    "JPEG: fill bytes before no marker": lambda: b"\xff\xd8\xff" + b"\xff" * 9_000 + b"\0",
    "JPEG: scans": lambda: b"\xff\xd8" + b"\xff\xda\0\2" * 1_500 + b"\xff\xd9",
    "JPEG: remarks, then EXIF": lambda: b"\xff\xd8" + b"\xff\xfe\0\2" * 2_000 + _EMPTY_EXIF * 1_250,
    "JPEG: EXIF that stays, then more": lambda: b"\xff\xd8" + _EMPTY_EXIF * 1_000,
    "PNG: empty chunks": lambda: pictures.photo("PNG")[:33] + (bytes(4) + b"teXt" + bytes(4)) * 1_000,
    "PNG: EXIF": lambda: pictures.photo("PNG")[:33] + (bytes(4) + b"eXIf" + bytes(4)) * 1_000,
    "GIF: empty extensions": lambda: _GIF_START + b"\x21\xf9\0" * 2_000 + b";",
    "GIF: short sub-blocks": lambda: _GIF_START + b"\x21\xfe" + b"\1a" * 3_000 + b"\0;",
    "WebP: empty chunks": lambda: b"RIFF" + (9_000).to_bytes(4, "little") + b"WEBP" + b"ALPH\0\0\0\0" * 1_100,
    "WebP: EXIF": lambda: b"RIFF" + (9_000).to_bytes(4, "little") + b"WEBP" + b"EXIF\0\0\0\0" * 1_100,
    "HEIF: extents that take no byte": lambda: _heif(*[b"\0\2\0\0\xff\xff"] * 45),
    "HEIF: extents of the whole file": lambda: _heif(*[b"\0\1\0\0\xff\xff"] * 45, rest=b"x" * 12_000),
    "HEIF: one extent that every item has": lambda: _heif(
        *[b"\0\1\0\0\0\1" + bytes(4)] * 1_500, sizes=b"\x40\0", rest=b"x" * 12_000
    ),
    "HEIF: brands": lambda: _box(b"ftyp", b"".join(number.to_bytes(4, "big") for number in range(1_500))),
    "HEIF: metadata boxes": lambda: _heif(rest=_heif(b"\0\1\0\0\0\1")[20:] * 200),
    "film: nested boxes": lambda: _box(b"ftyp", b"mp42\0\0\0\0") + _nested(b"moov", 3_000),
    "film: nested tracks": lambda: _box(b"ftyp", b"mp42\0\0\0\0") + _box(b"moov", _nested(b"trak", 2_500)),
    "film: empty boxes": lambda: _box(b"ftyp", b"mp42\0\0\0\0") + _box(b"free", b"") * 1_500,
    "TIFF: tags that share a value": lambda: _tiff(*[(270, 10_000, 13_000)] * 1_000, rest=b"x" * 12_000),
    "TIFF: tags of EXIF that share a directory": lambda: _tiff(
        *[(34665, 4, 13_000)] * 1_000, rest=b"\xff\xff\x01\x0e\0\1" * 2_500
    ),
    "TIFF: EXIF whose tags share a value": lambda: _tiff(
        (34665, 4, 26), rest=_tiff(*[(37500, 10_000, 13_000)] * 1_000, rest=b"x" * 12_000)[8:]
    ),
    "TIFF: tags of directories that share a list": lambda: _tiff(*[(330, 10_000, 13_000)] * 1_000, rest=b"x" * 12_000),
    "TIFF: directories that overlap": lambda: _tiff(
        (330, 256, 26),
        rest=b"".join((282 + 12 * n).to_bytes(4, "big") for n in range(64)) + b"\x01\xf4\0\0\0\0" * 2_000,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_the_work_and_the_memory_of_a_hostile_picture_are_linear_in_its_bytes(name: str) -> None:
    data, lines_count = HOSTILE[name](), 0
    assert len(data) <= 50_000

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal lines_count
        if frame.f_code.co_filename not in (cleaning.__file__, exif.__file__):
            return None
        lines_count += 1
        if lines_count > 40 * len(data) + 4_000:
            raise AssertionError(f"more than {lines_count} lines for {len(data)} bytes")
        return trace

    tracemalloc.start()
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        picture = clean_picture(data, "image/jpeg")
    except DamagedPicture:
        picture = None
    finally:
        sys.settrace(before)
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak_bytes <= 60 * len(data) + 1_000_000
    assert picture is None or sum(len(part) for _, part in picture.removed) <= len(data)


def test_no_pattern_of_a_picture_tries_a_run_of_bytes_twice() -> None:
    """A search begins anew at each byte of a run that its pattern may repeat; a match gives the run back bit by bit."""
    patterns = [pattern.pattern for pattern in vars(cleaning).values() if hasattr(pattern, "pattern")]
    assert patterns
    assert [pattern for pattern in patterns if b"+" in pattern.replace(b"++", b"") or b"*" in pattern] == []
    assert b"+" not in cleaning._AFTER_SCAN.pattern
