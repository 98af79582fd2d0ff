"""Pictures lose their metadata, keep their pixels and their orientation; one with damaged parts is refused."""

from __future__ import annotations

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps, ImageSequence

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
