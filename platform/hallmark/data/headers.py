"""What a file's own headers ask for, held against limits before a format library acts on them.

The format libraries trust counts that a file states about itself: scans, segments, chunks, tag values, tiles. A few
kilobytes can so ask for minutes or gigabytes. Only such counts are checked here; damage is left to the decoder.
"""

from __future__ import annotations

import re
import struct

from hallmark.errors import DecodeError

MAX_JPEG_SCANS = 64
"""Progressive encoders write about 10; each scan costs one pass over all pixels."""
MAX_JPEG_SEGMENTS = 4096
MAX_JPEG_STRAY_BYTES = 65_536
"""Bytes between the segments ahead of the first scan."""
MAX_PNG_CHUNKS = 50_000
MAX_PNG_COMPRESSED_NOTES = 256
"""Compressed texts and colour profiles, each of which may unpack to 1 MiB."""
MAX_TIFF_VALUES = 2**19
"""Numbers in the tags: offsets and sizes of 16 x 16 px tiles of a photograph of 64 million pixels, and some."""

_JPEG_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_SOS, _EOI, _SOI, _TEM = 0xDA, 0xD9, 0xD8, 0x01
_PNG_COMPRESSED = frozenset((b"iCCP", b"zTXt", b"iTXt"))
_TIFF_BYTE_TYPES = frozenset((1, 2, 6, 7))
_TIFF_POINTERS = frozenset((34665, 34853, 40965))  # EXIF, GPS and interoperability directories
_TILE_WIDTH, _TILE_LENGTH = 322, 323


def check_structure(data: bytes, max_pixels: int) -> None:
    """Refuse a file that asks for far more work or memory than any photograph of its size.

    Args:
        data: the encoded file, of any format.
        max_pixels: largest canvas or tile that may be set aside, pixels.

    Raises:
        DecodeError: `corrupt` for counts beyond reason, `too_many_pixels` for a WEBP canvas above `max_pixels`.
    """
    if data.startswith(b"\xff\xd8\xff"):
        _check_jpeg(data)
    elif data.startswith(b"\x89PNG\r\n\x1a\n"):
        _check_png(data)
    elif data.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        _check_tiff(data, max_pixels)
    elif data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        _check_webp(data, max_pixels)


def _check_jpeg(data: bytes) -> None:
    position, segments, scans, stray = 2, 0, 0, 0
    while marker := _JPEG_MARKER.search(data, position):
        code = data[marker.start() + 1]
        stray += 0 if scans else marker.start() - position
        if code == _EOI and scans:
            break
        segments += 1
        scans += code == _SOS
        position = marker.end() + (0 if code in (_EOI, _SOI, _TEM) else _length_at(data, marker.end()))
        _at_most("JPEG", "scans", scans, MAX_JPEG_SCANS)
        _at_most("JPEG", "segments", segments, MAX_JPEG_SEGMENTS)
        _at_most("JPEG", "stray bytes ahead of its pixels", stray, MAX_JPEG_STRAY_BYTES)
    else:
        stray += 0 if scans else len(data) - position
        _at_most("JPEG", "stray bytes ahead of its pixels", stray, MAX_JPEG_STRAY_BYTES)


def _length_at(data: bytes, position: int) -> int:
    return max(2, int.from_bytes(data[position : position + 2], "big"))


def _check_png(data: bytes) -> None:
    position, chunks, compressed = 8, 0, 0
    while position + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        if name == b"IEND":
            break
        chunks += 1
        compressed += name in _PNG_COMPRESSED
        position += 12 + length
        _at_most("PNG", "chunks", chunks, MAX_PNG_CHUNKS)
        _at_most("PNG", "compressed texts and profiles", compressed, MAX_PNG_COMPRESSED_NOTES)


def _check_webp(data: bytes, max_pixels: int) -> None:
    kind = data[12:16]
    if kind == b"VP8X" and len(data) >= 30:
        width = int.from_bytes(data[24:27], "little") + 1
        height = int.from_bytes(data[27:30], "little") + 1
    elif kind == b"VP8L" and len(data) >= 25:
        bits = int.from_bytes(data[21:25], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8 " and len(data) >= 30:
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    else:
        return
    if width * height > max_pixels:  # libwebp sets two canvases aside as soon as the file is opened
        raise DecodeError(
            "too_many_pixels",
            f"found {width} x {height} = {width * height} pixels; wanted at most {max_pixels} (max_pixels)",
        )


def _check_tiff(data: bytes, max_pixels: int) -> None:
    order = "<" if data[:2] == b"II" else ">"
    big = 43 in data[2:4]
    offset = order + ("Q" if big else "I")
    waiting, seen, values = [_unpack(offset, data, 8 if big else 4)], set(), 0
    while waiting:
        directory = waiting.pop()
        if directory is None or directory in seen:
            continue
        seen.add(directory)
        tile = {_TILE_WIDTH: 1, _TILE_LENGTH: 1}
        for tag, kind, count, value in _tiff_entries(data, directory, order, big):
            values += 0 if kind in _TIFF_BYTE_TYPES else count
            if tag in _TIFF_POINTERS:
                waiting.append(value)
            elif tag in tile:
                tile[tag] = value
        _at_most("TIFF", "numbers in its tags", values, MAX_TIFF_VALUES)
        _at_most("TIFF", "pixels in one tile", tile[_TILE_WIDTH] * tile[_TILE_LENGTH], max_pixels)


def _tiff_entries(data: bytes, directory: int, order: str, big: bool) -> list[tuple[int, int, int, int]]:
    """(tag, type, count, value) of each entry; the value is the first number where it is stored in the entry."""
    start, size = (directory + 8, 20) if big else (directory + 2, 12)
    entries = []
    for index in range(_unpack(order + ("Q" if big else "H"), data, directory) or 0):
        head = start + index * size
        if head + size > len(data):
            break
        tag, kind, count = struct.unpack_from(order + ("HHQ" if big else "HHI"), data, head)
        width = {1: "B", 3: "H"}.get(kind, "Q" if big and kind in (13, 16, 18) else "I")
        # Values that cannot lie in the file are skipped by the reader, and so set nothing aside.
        count = count if count <= len(data) else 0
        entries.append((tag, kind, count, _unpack(order + width, data, head + (12 if big else 8)) or 0))
    return entries


def _unpack(form: str, data: bytes, position: int) -> int | None:
    if position + struct.calcsize(form) > len(data):
        return None
    return struct.unpack_from(form, data, position)[0]


def _at_most(kind: str, what: str, found: int, wanted: int) -> None:
    if found > wanted:
        raise DecodeError(
            "corrupt",
            f"found a {kind} with {found} {what} or more; wanted at most {wanted}; export it anew",
        )
