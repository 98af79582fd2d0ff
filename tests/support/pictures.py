"""Pictures as phones write them, in each form that people send: with place, device, time, remarks, an orientation."""

from __future__ import annotations

import struct
from functools import cache
from io import BytesIO
from random import Random
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import ImageFileDirectory_v2

DEVICE, PLACE_MARK, TAKEN_AT = "PhoneMaker", b"PLACE-MARK", "2026:11:26 08:30:00"
LATITUDE, LONGITUDE = 30.5, 104.25
XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>" + PLACE_MARK + b"</x:xmpmeta>"


def exif(orientation: int = 6) -> Any:
    """EXIF with place, device, time, a remark and an orientation."""
    tags = Image.Exif()
    tags[0x0112], tags[0x010F], tags[0x0110] = orientation, DEVICE, "X1"
    tags.get_ifd(0x8769)[0x9003] = TAKEN_AT
    tags.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0" + PLACE_MARK
    tags.get_ifd(0x8825).update({1: "N", 2: (30.0, 30.0, 0.0), 3: "E", 4: (104.0, 15.0, 0.0), 27: PLACE_MARK})
    return tags


def drawn(size: tuple[int, int] = (48, 32)) -> Image.Image:
    """A picture in which every corner differs."""
    picture = Image.new("RGB", size)
    picture.putdata([(x * 5 % 256, y * 7 % 256, (x * y) % 256) for y in range(size[1]) for x in range(size[0])])
    return picture


def png_of_noise(seed: int = 0) -> bytes:
    """A PNG of some kilobytes without metadata."""
    out = BytesIO()
    Image.frombytes("RGB", (64, 64), Random(seed).randbytes(64 * 64 * 3)).save(out, "PNG")
    return out.getvalue()


@cache
def photo(form: str, orientation: int = 6) -> bytes:
    """A picture of a form (JPEG, progressive JPEG, PNG, WEBP, lossless WEBP, GIF, TIFF) with metadata."""
    out, tags, image = BytesIO(), exif(orientation), drawn()
    match form:
        case "JPEG":
            image.save(out, "JPEG", exif=tags, xmp=XMP, comment=PLACE_MARK, dpi=(300, 300))
            return out.getvalue() + b"film" + PLACE_MARK
        case "progressive":
            image.save(out, "JPEG", exif=tags, progressive=True)
        case "PNG":
            text = PngInfo()
            text.add_text("Comment", PLACE_MARK.decode())
            text.add_itxt("XML:com.adobe.xmp", XMP.decode())
            image.save(out, "PNG", exif=tags, pnginfo=text)
            return out.getvalue() + PLACE_MARK
        case "WEBP":
            image.save(out, "WEBP", exif=tags, xmp=XMP)
        case "lossless":
            image.save(out, "WEBP", exif=tags, lossless=True)
        case "GIF":
            frames = [image.rotate(90), image.rotate(180)]
            image.save(out, "GIF", comment=PLACE_MARK, save_all=True, append_images=frames, loop=0)
        case "TIFF":
            info = ImageFileDirectory_v2()
            info[270], info[271], info[272] = PLACE_MARK.decode(), DEVICE, "X1"
            info[274], info[305] = orientation, DEVICE
            info[0x8769], info[0x8825] = dict(tags.get_ifd(0x8769)), dict(tags.get_ifd(0x8825))
            image.save(out, "TIFF", tiffinfo=info)
        case _:
            raise ValueError(form)
    return out.getvalue()


def box(kind: bytes, *parts: bytes) -> bytes:
    """A box of ISO/IEC 14496-12."""
    body = b"".join(parts)
    return (8 + len(body)).to_bytes(4, "big") + kind + body


@cache
def heic(version: int = 1) -> bytes:
    """The boxes of a HEIC: a picture item and an EXIF item, addressed in the file (`version` of `iloc` 0 or 1)."""
    tags = b"\0\0\0\x06" + exif().tobytes()
    pixels = bytes(range(200))

    def infe(item: int, kind: bytes, type: bytes = b"") -> bytes:
        return box(b"infe", b"\2\0\0\0", item.to_bytes(2, "big"), b"\0\0", kind, b"\0" + type)

    def whole(begin: int) -> tuple[bytes, int]:
        places = b""
        offset = begin
        for item, size in enumerate(map(len, (pixels, tags, XMP)), 1):
            method = b"\0\0" if version else b""
            places += item.to_bytes(2, "big") + method + struct.pack(">HHII", 0, 1, offset, size)
            offset += size
        iloc = box(b"iloc", bytes((version, 0, 0, 0)), b"\x44\0\0\3", places)
        items = (infe(1, b"hvc1"), infe(2, b"Exif"), infe(3, b"mime", b"application/rdf+xml\0"))
        meta = box(b"meta", bytes(4), box(b"hdlr", bytes(24)), box(b"iinf", b"\0\0\0\0\0\3", *items), iloc)
        head = box(b"ftyp", b"heic\0\0\0\0mif1heic") + meta
        return head, len(head) + 8

    _, begin = whole(0)
    head, _ = whole(begin)
    return head + box(b"mdat", pixels, tags, XMP)


@cache
def film() -> bytes:
    """The boxes of an MP4 with its place in `udta`."""
    track = box(b"trak", box(b"tkhd", bytes(80)), box(b"udta", PLACE_MARK))
    moov = box(b"moov", box(b"mvhd", bytes(100)), track, box(b"udta", box(b"\xa9xyz", PLACE_MARK)))
    return box(b"ftyp", b"isom\0\0\2\0isommp42") + moov + box(b"mdat", bytes(range(256)))
