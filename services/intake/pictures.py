"""Pictures without their metadata: place, device, times and remarks are taken out, the picture itself stays bit by bit.

No picture is decoded, so no picture is too large for the memory. A part is kept when the display needs it (pixels,
colours, movement, orientation); every other part is taken out, known or not. JPEG, PNG, GIF and WebP lose those parts;
in HEIC, AVIF, MP4 and TIFF, whose parts are addressed by their position, zeros are written over them.

The work and the memory are linear in the bytes of the file: a file whose parts are more than its bytes, or hold more
bytes than it has, lets its parts share bytes and is damaged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from zlib import crc32

from services.intake import exif
from shared.kit.picture_metadata import MetadataPart, PictureMetadata

PARTS_COUNT_MAX = 400_000  # pictures of cameras have some thousands at most
BOX_DEPTH_MAX = 8
RECORD_BYTES_MAX = 256 * 1024
_PNG, _EXIF_MARK, _XMP_MARK = b"\x89PNG\r\n\x1a\n", b"Exif\0\0", b"http://ns.adobe.com/"
_PICTURE_TYPES = frozenset(
    f"image/{name}" for name in ("jpeg", "jpg", "png", "gif", "webp", "heic", "heif", "avif", "tiff")
)


class DamagedPicture(ValueError):
    """A picture whose parts cannot be told apart, so that its metadata cannot be taken out."""


@dataclass(slots=True)
class Picture:
    """A picture without its metadata, and the parts that were taken out: their kind and their bytes.

    `file_bytes` is the size of the file that it is made of.
    """

    format: str
    file_bytes: int
    data: bytes = b""
    removed: list[tuple[str, bytes]] = field(default_factory=list)
    exif: exif.Exif | None = None
    _parts_count: int = 0
    _cleaned_bytes: int = 0

    def count(self, parts: int = 1) -> None:
        """Count parts that were read. Raises DamagedPicture where they are more than the file can have."""
        self._parts_count += parts
        if self._parts_count > min(PARTS_COUNT_MAX, self.file_bytes):
            raise DamagedPicture

    def clean(self, size: int) -> None:
        """Count bytes that are to be taken out. Raises DamagedPicture where they are more than the file has."""
        self._cleaned_bytes += size
        if self._cleaned_bytes > self.file_bytes:
            raise DamagedPicture

    def remove(self, kind: str, data: bytes) -> None:
        """Note a part that was taken out."""
        self.removed.append((kind, data))

    def remove_exif(self, tiff: bytes) -> bytes | None:
        """Note EXIF that was taken out; the EXIF to be kept in its place, None when the picture stands upright.

        Only the first EXIF of a picture counts, as in every viewer.
        """
        if self.exif is not None:
            self.remove("exif", tiff)
            return None
        tags = exif.read_exif(tiff)
        remaining = exif.orientation_only(tags.orientation) if tags.orientation != 1 else None
        if tiff != remaining:
            self.remove("exif", tiff)
            self.exif = tags
        return remaining

    def record(self) -> PictureMetadata | None:
        """The record of the parts, None when nothing was taken out."""
        if not self.removed:
            return None
        parts, room = [], RECORD_BYTES_MAX
        for kind, data in self.removed[:100]:
            fits = len(data) <= room
            room -= len(data) if fits else 0
            parts.append(MetadataPart.model_construct(kind=kind, size_bytes=len(data), data=data if fits else None))
        tags = self.exif or exif.Exif()
        return PictureMetadata(
            format=self.format, taken_at=tags.taken_at, device=tags.device, latitude=tags.latitude,
            longitude=tags.longitude, parts=tuple(parts),
        )  # fmt: skip


def clean_picture(data: bytes, media_type: str) -> Picture | None:
    """The picture in a file without its metadata; None for a file that is no picture. Raises DamagedPicture.

    The first bytes of the file decide what it is. The media type of a picture over other bytes is a damaged picture.
    """
    for is_format, clean in _FORMATS:
        if is_format(data):
            try:
                return clean(data)
            except IndexError:
                raise DamagedPicture from None
    if media_type.lower() in _PICTURE_TYPES:
        raise DamagedPicture
    return None


# JPEG (ITU-T T.81): segments of a marker and a length; behind the header of a scan, bytes up to the next marker

_MARKER = re.compile(rb"\xff++([^\x00])", re.DOTALL)
_AFTER_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)  # fill bytes before it stay with the scan
_EOI, _SOS, _COMMENT = 0xD9, 0xDA, 0xFE
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})
_APPS = range(0xE0, 0xF0)
_JPEG_KEPT = ((0xE0, b"JFIF\0"), (0xE2, b"ICC_PROFILE\0"), (0xEE, b"Adobe"))


def _jpeg(data: bytes) -> Picture:
    picture, output, at, scans = Picture("jpeg", len(data)), [data[:2]], 2, 0
    while marker := _MARKER.match(data, at):
        code, at = marker[1][0], marker.end()
        picture.count()
        if code == _EOI or code in _ALONE:
            output.append(bytes((0xFF, code)))
            if code == _EOI:
                break
            continue
        end = at + int.from_bytes(data[at : at + 2], "big")
        if end < at + 2 or end > len(data):
            raise DamagedPicture
        body, at = data[at + 2 : end], end
        if remaining := _jpeg_segment(picture, code, body):
            output.append(bytes((0xFF, code)) + (len(remaining) + 2).to_bytes(2, "big") + remaining)
        if code == _SOS:
            scans += 1
            following = _AFTER_SCAN.search(data, at)
            end = following.start() if following else len(data)
            output.append(data[at:end])
            at = end
            if following is None:  # cut off in its last scan: it shows as far as it goes
                break
    else:
        raise DamagedPicture
    if not scans:
        raise DamagedPicture
    if at < len(data):
        picture.remove("trailer", data[at:])
    picture.data = b"".join(output)
    return picture


def _jpeg_segment(picture: Picture, code: int, body: bytes) -> bytes | None:
    """The segment as it is to be kept, None when it is taken out."""
    if code == _COMMENT:
        picture.remove("comment", body)
        return None
    if code not in _APPS:
        return body
    if code == 0xE1 and body.startswith(_EXIF_MARK):
        remaining = picture.remove_exif(body[len(_EXIF_MARK) :])
        return _EXIF_MARK + remaining if remaining else None
    if any(code == app and body.startswith(mark) for app, mark in _JPEG_KEPT):
        thumbnail = body[14:] if code == 0xE0 else b""
        if not thumbnail:
            return body
        picture.remove("thumbnail", thumbnail)
        return body[:12] + b"\0\0"
    picture.remove("xmp" if body.startswith(_XMP_MARK) else "iptc" if code == 0xED else f"app{code - 0xE0}", body)
    return None


# PNG (ISO/IEC 15948): chunks of a length, a type, a body and a checksum

_PNG_KEPT = frozenset((
    b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"cHRM", b"gAMA", b"iCCP", b"sBIT", b"sRGB", b"cICP", b"mDCV", b"cLLI",
    b"bKGD", b"hIST", b"pHYs", b"sPLT", b"acTL", b"fcTL", b"fdAT",
))  # fmt: skip


def _png(data: bytes) -> Picture:
    picture, output, at, type = Picture("png", len(data)), [_PNG], len(_PNG), b""
    while type != b"IEND":
        size, type = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        end = at + 12 + size
        picture.count()
        if end > len(data) or (at == len(_PNG)) != (type == b"IHDR"):
            raise DamagedPicture
        body = data[at + 8 : end - 4]
        if type in _PNG_KEPT:
            output.append(data[at:end])
        elif type == b"eXIf":
            if remaining := picture.remove_exif(body):
                output.append(
                    len(remaining).to_bytes(4, "big") + type + remaining + crc32(type + remaining).to_bytes(4, "big")
                )
        else:
            xmp = body.startswith(b"XML:com.adobe.xmp")
            picture.remove("xmp" if xmp else type.decode("latin-1"), body)
        at = end
    if at < len(data):
        picture.remove("trailer", data[at:])
    picture.data = b"".join(output)
    return picture


# GIF (GIF89a): blocks; an extension has sub-blocks of up to 255 bytes, the last one is empty

_GIF_KEPT = (b"NETSCAPE2.0", b"ANIMEXTS1.0", b"ICCRGBG1012")


def _gif(data: bytes) -> Picture:
    picture, at = Picture("gif", len(data)), 13 + _palette_bytes(data[10])
    output = [data[:at]]
    while data[at] != 0x3B:
        begin = at
        picture.count()
        if data[at] == 0x2C:
            body = at + 10 + _palette_bytes(data[at + 9]) + 1
        elif data[at] == 0x21:
            body = at + 2
        else:
            raise DamagedPicture
        at = body
        while data[at]:
            at += 1 + data[at]
            picture.count()
        at += 1
        label = data[begin + 1] if data[begin] == 0x21 else 0
        named = data[body + 1 : body + 12]
        if label == 0xFE or (label == 0xFF and named not in _GIF_KEPT):
            picture.remove("xmp" if named == b"XMP DataXMP" else "comment" if label == 0xFE else "app", data[begin:at])
        else:
            output.append(data[begin:at])
    output.append(b";")
    if at + 1 < len(data):
        picture.remove("trailer", data[at + 1 :])
    picture.data = b"".join(output)
    return picture


def _palette_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


# WebP (RFC 9649): chunks of RIFF, padded to an even length; VP8X says which ones there are

_WEBP_KEPT = frozenset((b"VP8 ", b"VP8L", b"VP8X", b"ANIM", b"ANMF", b"ALPH", b"ICCP"))
_WEBP_EXIF, _WEBP_XMP = 0x08, 0x04


def _webp(data: bytes) -> Picture:
    picture, output, at = Picture("webp", len(data)), bytearray(data[:12]), 12
    whole = 8 + int.from_bytes(data[4:8], "little")
    if whole > len(data) + 1:  # the padding of the last chunk may be missing
        raise DamagedPicture
    flags_at, has_exif = None, False
    while at + 8 <= min(whole, len(data)):
        picture.count()
        type, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        body = data[at + 8 : at + 8 + size]
        if len(body) < size:
            raise DamagedPicture
        at += 8 + size + size % 2
        remaining: bytes | None = body
        if type == b"EXIF":
            remaining = picture.remove_exif(body.removeprefix(_EXIF_MARK))
            has_exif = has_exif or remaining is not None
        elif type not in _WEBP_KEPT:
            picture.remove("xmp" if type == b"XMP " else type.decode("latin-1"), body)
            remaining = None
        if remaining is not None:
            flags_at = len(output) + 8 if type == b"VP8X" else flags_at
            output += type + len(remaining).to_bytes(4, "little") + remaining + b"\0" * (len(remaining) % 2)
    if len(output) == 12:
        raise DamagedPicture
    if whole < len(data):
        picture.remove("trailer", data[whole:])
    if flags_at is not None:
        output[flags_at] = output[flags_at] & ~(_WEBP_EXIF | _WEBP_XMP) | (_WEBP_EXIF if has_exif else 0)
    output[4:8] = (len(output) - 8).to_bytes(4, "little")
    picture.data = bytes(output)
    return picture


# HEIC, AVIF, MP4, QuickTime (ISO/IEC 14496-12, 23008-12): boxes within boxes, addressed by their position in the file

_HEIF_BRANDS = frozenset((b"heic", b"heix", b"hevc", b"hevx", b"mif1", b"msf1", b"avif", b"avis"))
_METADATA_BOXES = frozenset((b"udta", b"meta", b"uuid"))
_BOXES_OF_BOXES = frozenset((b"moov", b"trak"))
_ITEM_KINDS = {b"Exif": "exif", b"mime": "xmp", b"uri ": "uri"}


@dataclass(frozen=True, slots=True)
class _Box:
    type: bytes
    begin: int
    body: int
    end: int


def _boxes(picture: Picture, data: bytearray, begin: int, end: int) -> Iterator[_Box]:
    while begin + 8 <= end:
        picture.count()
        size, body = int.from_bytes(data[begin : begin + 4], "big"), begin + 8
        if size == 1:
            size, body = int.from_bytes(data[begin + 8 : begin + 16], "big"), begin + 16
        type = bytes(data[begin + 4 : begin + 8])
        stop = begin + size if size else end
        if stop > end and type == b"mdat":
            stop = end  # a film that was cut off
        if not body <= stop <= end:
            raise DamagedPicture
        yield _Box(type, begin, body, stop)
        begin = stop


def _iso_media(data: bytes) -> Picture:
    output, picture = bytearray(data), Picture("film", len(data))
    first = next(_boxes(picture, output, 0, len(output)))
    brands_at = range(first.body, first.end, 4)
    picture.count(len(brands_at))
    is_heif = any(data[at : at + 4] in _HEIF_BRANDS for at in brands_at if at != first.body + 4)  # the version
    if is_heif:
        picture.format = "heif"
    for box in _boxes(picture, output, 0, len(output)):
        if box.type == b"meta" and is_heif:
            _clean_items(picture, output, box)
        elif box.type in _METADATA_BOXES:
            _free(picture, output, box)
        elif box.type in _BOXES_OF_BOXES:
            _clean_film(picture, output, box, BOX_DEPTH_MAX)
    picture.data = bytes(output)
    return picture


def _clean_film(picture: Picture, output: bytearray, outer: _Box, depth: int) -> None:
    if not depth:
        raise DamagedPicture
    for box in _boxes(picture, output, outer.body, outer.end):
        if box.type in _METADATA_BOXES:
            _free(picture, output, box)
        elif box.type in _BOXES_OF_BOXES:
            _clean_film(picture, output, box, depth - 1)


def _free(picture: Picture, output: bytearray, box: _Box) -> None:
    picture.remove(box.type.decode("latin-1"), bytes(output[box.body : box.end]))
    output[box.begin + 4 : box.begin + 8] = b"free"
    output[box.body : box.end] = bytes(box.end - box.body)


def _clean_items(picture: Picture, output: bytearray, meta: _Box) -> None:
    """Write zeros over the items of a HEIF with EXIF or XMP. Its orientation belongs to the picture item."""
    boxes = {box.type: box for box in _boxes(picture, output, meta.body + 4, meta.end)}
    if b"iinf" not in boxes or b"iloc" not in boxes:
        return
    kinds = dict(_item_kinds(picture, output, boxes[b"iinf"]))
    base = boxes[b"idat"].body if b"idat" in boxes else 0
    for item, in_idat, begin, size in _extents(picture, output, boxes[b"iloc"]):
        if item not in kinds:
            continue
        begin += base if in_idat else 0
        if begin + size > len(output):
            raise DamagedPicture
        size = size or len(output) - begin
        picture.clean(size)
        part = bytes(output[begin : begin + size])
        if any(part):
            picture.remove(kinds[item], part)
            if kinds[item] == "exif" and len(part) > 4:
                picture.exif = exif.read_exif(part[4 + int.from_bytes(part[:4], "big") :])
            output[begin : begin + len(part)] = bytes(len(part))


def _item_kinds(picture: Picture, data: bytearray, iinf: _Box) -> Iterator[tuple[int, str]]:
    begin = iinf.body + (6 if data[iinf.body] == 0 else 8)
    for infe in _boxes(picture, data, begin, iinf.end):
        version = data[infe.body]
        if version < 2:
            continue
        id_bytes = 2 if version == 2 else 4
        at = infe.body + 4
        kind = _ITEM_KINDS.get(bytes(data[at + id_bytes + 2 : at + id_bytes + 6]))
        if kind is not None:
            yield int.from_bytes(data[at : at + id_bytes], "big"), kind


def _extents(picture: Picture, data: bytearray, iloc: _Box) -> Iterator[tuple[int, bool, int, int]]:
    """Of each extent of an item: the item's id, whether it counts from `idat`, its begin and its size in bytes."""
    version, at = data[iloc.body], iloc.body + 4

    def take(size: int) -> int:
        nonlocal at
        if at + size > iloc.end:
            raise DamagedPicture
        at += size
        return int.from_bytes(data[at - size : at], "big")

    sizes = take(2)
    offset_bytes, size_bytes, base_bytes, index_bytes = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    for _ in range(take(2 if version < 2 else 4)):
        picture.count()
        item = take(2 if version < 2 else 4)
        method = take(2) & 15 if version else 0
        take(2)
        base = take(base_bytes)
        for _ in range(take(2)):
            picture.count()  # an extent may take no byte
            if version:
                take(index_bytes)
            offset = take(offset_bytes)
            yield item, method == 1, base + offset, take(size_bytes)


# TIFF (TIFF 6.0): directories of tags, addressed by their position in the file

_TIFF_REMOVED = frozenset((
    269, 270, 271, 272, 285, 305, 306, 315, 316, 700, 33432, 33550, 33723, 33922, 34264, 34377, 34665, 34735, 34736,
    34737, 34853, 36867, 36868, 37500, 37510, 40091, 40092, 40093, 40094, 40095, 42016, 42032, 42033, 42034, 42035,
    42036, 42037, 50708, 50735, 50740, 50827,
))  # fmt: skip
_SUB_DIRECTORIES = 330


def _tiff(data: bytes) -> Picture:
    order = exif.byte_order(data)
    assert order is not None
    output, picture = bytearray(data), Picture("tiff", len(data), exif=exif.read_exif(data))
    waiting, seen = [int.from_bytes(data[4:8], order)], set[int]()
    while waiting:
        at = waiting.pop()
        if at in seen or not at:
            continue
        if at + 6 > len(data) or len(seen) > exif.DIRECTORIES_MAX:
            raise DamagedPicture
        seen.add(at)
        count = int.from_bytes(output[at : at + 2], order)
        picture.count(count)
        end = at + 2 + count * exif.ENTRY_BYTES
        if end + 4 > len(data):
            raise DamagedPicture
        remaining = []
        for entry in exif.entries(output, at, order):
            if entry.tag in _TIFF_REMOVED:
                picture.clean(len(entry.value))
                picture.remove(f"tag {entry.tag}", bytes(output[entry.value.start : entry.value.stop]))
                if entry.tag in (exif.EXIF_DIRECTORY, exif.GPS_DIRECTORY):
                    _empty_directory(picture, output, exif.number(output, entry, order), order)
                if len(entry.value) > 4:
                    output[entry.value.start : entry.value.stop] = bytes(len(entry.value))
                continue
            remaining.append(bytes(output[entry.at : entry.at + exif.ENTRY_BYTES]))
            if entry.tag == _SUB_DIRECTORIES:
                if len(waiting) + len(entry.value) // 4 > exif.DIRECTORIES_MAX:
                    raise DamagedPicture
                values = output[entry.value.start : entry.value.stop]
                waiting += [int.from_bytes(values[index : index + 4], order) for index in range(0, len(values), 4)]
        following = bytes(output[end : end + 4])
        waiting.append(int.from_bytes(following, order))
        directory = len(remaining).to_bytes(2, order) + b"".join(remaining) + following
        output[at : end + 4] = directory.ljust(end + 4 - at, b"\0")
    picture.data = bytes(output)
    return picture


def _empty_directory(picture: Picture, output: bytearray, at: int, order: exif.ByteOrder) -> None:
    picture.count(int.from_bytes(output[at : at + 2], order))
    for entry in list(exif.entries(output, at, order)):
        picture.clean(len(entry.value))
        output[entry.value.start : entry.value.stop] = bytes(len(entry.value))
        output[entry.at : entry.at + exif.ENTRY_BYTES] = bytes(exif.ENTRY_BYTES)
    output[at : at + 2] = bytes(len(output[at : at + 2]))


_FORMATS: tuple[tuple[Callable[[bytes], bool], Callable[[bytes], Picture]], ...] = (
    (lambda data: data.startswith(b"\xff\xd8\xff"), _jpeg),
    (lambda data: data.startswith(_PNG), _png),
    (lambda data: data[:6] in (b"GIF87a", b"GIF89a"), _gif),
    (lambda data: data[:4] == b"RIFF" and data[8:12] == b"WEBP", _webp),
    (lambda data: data[4:8] == b"ftyp", _iso_media),
    (lambda data: exif.byte_order(data) is not None, _tiff),
)
