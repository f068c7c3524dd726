"""Photographs of every kind, ways to damage them, and files made to exhaust a decoder."""

from __future__ import annotations

import io
import struct
import zlib
from functools import cache

import numpy as np
import tifffile
from PIL import Image, ImageCms

_SIDE = 96
_PNG_HEAD = b"\x89PNG\r\n\x1a\n"
_BOMB_BYTES = 30 * 2**20
"""Size of the bombs that are made of many small pieces, just below the default limit of bytes."""


@cache
def valid_files() -> dict[str, bytes]:
    """Small sound files by name: every format and kind that is accepted, and of those that are refused."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:_SIDE, 0:_SIDE]
    smooth = np.stack([x * 2, y * 2, 255 - x - y], axis=-1)
    rgb = np.clip(smooth + rng.integers(-20, 20, smooth.shape), 0, 255).astype(np.uint8)
    picture = Image.fromarray(rgb)
    wide = (rgb[..., 0].astype(np.uint16) * 257) ^ 77
    return _jpegs(picture) | _pngs(picture, wide) | _webps(picture) | _tiffs(picture, rgb, wide) | _others(picture)


def _encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera"
    exif.get_ifd(0x8769)[0x9003] = "2024:01:01 00:00:00"
    return exif


def _profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()


def _jpegs(picture: Image.Image) -> dict[str, bytes]:
    return {
        "jpeg": _encoded(picture, "JPEG"),
        "jpeg_progressive": _encoded(picture, "JPEG", progressive=True, subsampling=0),
        "jpeg_grey": _encoded(picture.convert("L"), "JPEG"),
        "jpeg_cmyk": _encoded(picture.convert("CMYK"), "JPEG"),
        "jpeg_cmyk_progressive": _encoded(picture.convert("CMYK"), "JPEG", progressive=True),
        "jpeg_exif": _encoded(picture, "JPEG", exif=_exif()),
        "jpeg_icc": _encoded(picture, "JPEG", icc_profile=_profile()),
        "jpeg_restarts": _encoded(picture, "JPEG", restart_marker_blocks=2),
    }


def _pngs(picture: Image.Image, wide: np.ndarray) -> dict[str, bytes]:
    transparent = picture.convert("RGBA")
    transparent.putalpha(picture.getchannel("R"))
    grey, palette = picture.convert("L"), picture.quantize(16)
    rgb_wide = np.stack([wide, wide[::-1], wide.T], axis=-1)
    return {
        "png": _encoded(picture, "PNG"),
        "png_1": _encoded(picture.convert("1"), "PNG"),
        "png_grey": _encoded(grey, "PNG"),
        "png_16": _encoded(Image.fromarray(wide), "PNG"),
        "png_rgb_16": png(_SIDE, _SIDE, _rows(rgb_wide.astype(">u2")), depth=16),
        "png_palette": _encoded(palette, "PNG"),
        "png_palette_transparent": _encoded(palette, "PNG", transparency=3),
        "png_rgba": _encoded(transparent, "PNG"),
        "png_la": _encoded(transparent.convert("LA"), "PNG"),
        "png_interlaced": _interlaced(np.asarray(picture)),
        "png_animated": _encoded(picture, "PNG", save_all=True, append_images=[picture.rotate(90)]),
        "png_exif_icc": _encoded(picture, "PNG", exif=_exif(), icc_profile=_profile()),
    }


def _webps(picture: Image.Image) -> dict[str, bytes]:
    transparent = picture.convert("RGBA")
    transparent.putalpha(picture.getchannel("G"))
    return {
        "webp": _encoded(picture, "WEBP"),
        "webp_lossless": _encoded(picture, "WEBP", lossless=True),
        "webp_alpha": _encoded(transparent, "WEBP"),
        "webp_animated": _encoded(picture, "WEBP", save_all=True, append_images=[picture.rotate(90)] * 3),
        "webp_exif_icc": _encoded(picture, "WEBP", exif=_exif(), icc_profile=_profile()),
    }


def _tiffs(picture: Image.Image, rgb: np.ndarray, wide: np.ndarray) -> dict[str, bytes]:
    files = {
        f"tiff_{compression or 'plain'}": _encoded(picture, "TIFF", compression=compression)
        for compression in (None, "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits")
    }
    lab = picture.convert("LAB")
    return files | {
        "tiff_16": _encoded(Image.fromarray(wide), "TIFF"),
        "tiff_float": _encoded(Image.fromarray(wide.astype(np.float32) / 65535), "TIFF"),
        "tiff_int": _encoded(Image.fromarray(wide.astype(np.int32)), "TIFF"),
        "tiff_pages": _encoded(picture, "TIFF", save_all=True, append_images=[picture] * 2),
        "tiff_cmyk": _encoded(picture.convert("CMYK"), "TIFF"),
        "tiff_lab": _encoded(lab, "TIFF"),
        "tiff_fax": _encoded(picture.convert("1"), "TIFF", compression="group4"),
        "tiff_exif": _encoded(picture, "TIFF", exif=_exif()),
        "tiff_tiled": _tifffile(rgb, tile=(32, 32)),
        "tiff_tiled_deflate": _tifffile(rgb, tile=(32, 32), compression="zlib"),
        "tiff_planes": _tifffile(rgb.transpose(2, 0, 1).copy(), planarconfig="separate", photometric="rgb"),
        "tiff_big_endian": _tifffile(rgb, byteorder=">"),
        "tiff_bigtiff": _tifffile(rgb, bigtiff=True),
    }


def _tifffile(array: np.ndarray, bigtiff: bool = False, byteorder: str = "<", **options) -> bytes:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer, bigtiff=bigtiff, byteorder=byteorder) as writer:
        writer.write(array, **{"photometric": "rgb", **options})
    return buffer.getvalue()


def _others(picture: Image.Image) -> dict[str, bytes]:
    return {
        "bmp": _encoded(picture, "BMP"),
        "bmp_palette": _encoded(picture.quantize(200), "BMP"),
        "bmp_1": _encoded(picture.convert("1"), "BMP"),
        "gif": _encoded(picture, "GIF"),
        "ico": _encoded(picture, "ICO"),
        "heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200),
        "mp4": b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + bytes(200),
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg' width='99999' height='99999'/>",
        "pdf": b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\n%%EOF",
        "zip": b"PK\3\4\x14\0\0\0\0\0" + bytes(60) + b"PK\5\6" + bytes(18),
        "text": b"this is a letter, not a photograph\n" * 20,
    }


def chunk(name: bytes, body: bytes) -> bytes:
    """One PNG chunk with its checksum."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(
    width: int, height: int, rows: bytes, depth: int = 8, colour: int = 2, before: bytes = b"", lace: int = 0
) -> bytes:
    """A PNG of filtered rows, with further chunks `before` its pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, lace))
    return _PNG_HEAD + header + before + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")


def _rows(pixels: np.ndarray) -> bytes:
    return b"".join(b"\0" + row.tobytes() for row in pixels)


def _interlaced(rgb: np.ndarray) -> bytes:
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    rows = b"".join(_rows(np.ascontiguousarray(rgb[top::down, left::right])) for top, left, down, right in passes)
    return png(_SIDE, _SIDE, rows, lace=1)


# Mutations: each takes the bytes and a generator, and gives other bytes.


def _cut(data: bytes, rng: np.random.Generator) -> bytes:
    return data[: rng.integers(0, len(data))]


def _flip_bits(data: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(data)
    for place in rng.integers(0, len(data), rng.integers(1, 20)):
        changed[place] ^= 1 << int(rng.integers(0, 8))
    return bytes(changed)


def _flip_head_bits(data: bytes, rng: np.random.Generator) -> bytes:
    return _flip_bits(data[:200], rng) + data[200:]


def _replace_run(data: bytes, rng: np.random.Generator) -> bytes:
    place, length = int(rng.integers(0, len(data))), int(rng.integers(1, 64))
    return data[:place] + rng.bytes(length) + data[place + length :]


def _extreme_number(data: bytes, rng: np.random.Generator) -> bytes:
    """A 2- or 4-byte number, mostly in the head, becomes an extreme one: lengths, sides, counts, offsets."""
    place = int(rng.integers(0, min(len(data), 400 if rng.random() < 0.8 else len(data))))
    number = int(rng.choice([0, 1, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]))
    form = str(rng.choice(["<I", ">I", "<H", ">H"]))
    packed = struct.pack(form, number & (0xFFFF if form[1] == "H" else 0xFFFFFFFF))
    return data[:place] + packed + data[place + len(packed) :]


def _delete_run(data: bytes, rng: np.random.Generator) -> bytes:
    place = int(rng.integers(0, len(data)))
    return data[:place] + data[place + int(rng.integers(1, 200)) :]


def _repeat_run(data: bytes, rng: np.random.Generator) -> bytes:
    place, length = int(rng.integers(0, len(data))), int(rng.integers(1, 200))
    return data[:place] + data[place : place + length] * int(rng.integers(2, 50)) + data[place + length :]


_MUTATIONS = (
    _cut,
    _flip_bits,
    _flip_head_bits,
    _replace_run,
    _extreme_number,
    _extreme_number,
    _delete_run,
    _repeat_run,
)


def mutate(valid: dict[str, bytes], rng: np.random.Generator) -> tuple[str, bytes]:
    """One damaged file and the names of what was done to it; PNG checksums are mended in half of them."""
    name, other = (str(each) for each in rng.choice(sorted(valid), 2))
    data, done = valid[name], [name]
    for _ in range(int(rng.integers(1, 4))):
        if not data:
            break
        if rng.random() < 0.08:
            place, onward = rng.random(2)
            data = data[: int(place * len(data))] + valid[other][int(onward * len(valid[other])) :]
            done.append(f"splice({other})")
            continue
        mutation = _MUTATIONS[rng.integers(len(_MUTATIONS))]
        data = mutation(data, rng)
        done.append(mutation.__name__.lstrip("_"))
    if data.startswith(_PNG_HEAD) and rng.random() < 0.5:
        data = mend_checksums(data)
        done.append("checksums")
    return "+".join(done), data


def mend_checksums(data: bytes) -> bytes:
    """The PNG with right checksums, so that damage gets past them."""
    mended, position = bytearray(data), 8
    while position + 12 <= len(data):
        end = position + 8 + int.from_bytes(data[position : position + 4], "big")
        if end + 4 > len(data):
            break
        mended[end : end + 4] = struct.pack(">I", zlib.crc32(data[position + 4 : end]))
        position = end + 4
    return bytes(mended)


# Bombs: each takes the limit of pixels, and gives a file made to be costly.


def png_pixels_at_the_limit(max_pixels: int) -> bytes:
    side = int(max_pixels**0.5)
    return png(side, side, bytes((1 + 8 * side) * side), depth=16, colour=6)


def png_pixels_beyond(max_pixels: int) -> bytes:
    return png(60_000, 60_000, bytes(1000))


def png_more_pixels_than_stated(max_pixels: int) -> bytes:
    return png(32, 32, bytes(200_000_000))


def png_many_empty_chunks(max_pixels: int) -> bytes:
    return png(32, 32, bytes(97 * 32), before=chunk(b"IDAT", b"") * (_BOMB_BYTES // 12))


def png_many_private_chunks(max_pixels: int) -> bytes:
    return png(32, 32, bytes(97 * 32), before=chunk(b"prVt", b"") * (_BOMB_BYTES // 12))


def png_profiles(max_pixels: int) -> bytes:
    profile = chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(2**20 - 1), 9))
    return png(32, 32, bytes(97 * 32), before=profile * (_BOMB_BYTES // len(profile)))


def png_profile_unpacks_to_100_mib(max_pixels: int) -> bytes:
    return png(32, 32, bytes(97 * 32), before=chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(100 * 2**20), 9)))


def png_texts(max_pixels: int) -> bytes:
    text = chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(2**20 - 1), 9)[:-4] + b"oops")
    return png(32, 32, bytes(97 * 32), before=text * (_BOMB_BYTES // len(text)))


def png_international_texts(max_pixels: int) -> bytes:
    text = chunk(b"iTXt", b"x\0\1\0\0\0" + zlib.compress(bytes(2**20 - 1), 9))
    return png(32, 32, bytes(97 * 32), before=text * 200)


def _segment(code: int, body: bytes) -> bytes:
    return bytes([0xFF, code]) + struct.pack(">H", len(body) + 2) + body


def _jpeg(side: int, **options) -> bytes:
    return _encoded(Image.new("RGB", (side, side), (90, 120, 40)), "JPEG", **options)


def jpeg_scans(max_pixels: int) -> bytes:
    sound = _jpeg(int(max_pixels**0.5), progressive=True)
    scan = sound.rindex(b"\xff\xda")
    return sound[:scan] + sound[scan:-2] * (_BOMB_BYTES // max(1, len(sound) - scan)) + sound[-2:]


def jpeg_empty_scans(max_pixels: int) -> bytes:
    sound = _jpeg(int(max_pixels**0.5), progressive=True)
    scan = sound[sound.rindex(b"\xff\xda") :][:10]
    return sound[:-2] + scan * 100_000 + sound[-2:]


def jpeg_scans_within_the_limit(max_pixels: int) -> bytes:
    sound = _jpeg(int(max_pixels**0.5), progressive=True, subsampling=0)
    scan = sound.rindex(b"\xff\xda")
    return sound[:scan] + sound[scan:-2] * 50 + sound[-2:]


def jpeg_comments(max_pixels: int) -> bytes:
    sound = _jpeg(32)
    return sound[:2] + _segment(0xFE, b"") * (_BOMB_BYTES // 4) + sound[2:]


def jpeg_fill_bytes(max_pixels: int) -> bytes:
    sound = _jpeg(32)
    return sound[:2] + b"\xff" * _BOMB_BYTES + sound[2:]


def jpeg_fill_without_end(max_pixels: int) -> bytes:
    return b"\xff\xd8" + b"\xff" * _BOMB_BYTES


def jpeg_zeros_between_segments(max_pixels: int) -> bytes:
    sound = _jpeg(32)
    return sound[:2] + b"\xff\xfe\0\2" + bytes(_BOMB_BYTES) + sound[2:]


def jpeg_exif_in_500_pieces(max_pixels: int) -> bytes:
    sound = _jpeg(32)
    return sound[:2] + _segment(0xE1, b"Exif\0\0" + bytes(65_500)) * 450 + sound[2:]


def jpeg_profile_in_255_pieces(max_pixels: int) -> bytes:
    sound = _jpeg(32)
    pieces = b"".join(_segment(0xE2, b"ICC_PROFILE\0" + bytes([i, 255]) + bytes(65_000)) for i in range(1, 256))
    return sound[:2] + pieces + sound[2:]


def jpeg_restarts(max_pixels: int) -> bytes:
    sound = _jpeg(1000, restart_marker_blocks=1)
    return sound[:-2] + b"\xff\xd0" * (_BOMB_BYTES // 2) + sound[-2:]


def jpeg_cmyk_progressive_at_the_limit(max_pixels: int) -> bytes:
    side = int(max_pixels**0.5)
    return _encoded(Image.new("CMYK", (side, side), (9, 80, 7, 30)), "JPEG", progressive=True)


def jpeg_pixels_without_data(max_pixels: int) -> bytes:
    sound = bytearray(_jpeg(32))
    frame = sound.index(b"\xff\xc0")
    side = int(max_pixels**0.5)
    sound[frame + 5 : frame + 9] = struct.pack(">HH", side, side)
    return bytes(sound)


def webp_canvas_beyond(max_pixels: int) -> bytes:
    sound = bytearray(valid_files()["webp_animated"])
    sound[24:30] = (12_999).to_bytes(3, "little") * 2
    return bytes(sound)


def webp_at_the_limit(max_pixels: int) -> bytes:
    side = int(max_pixels**0.5)
    return _encoded(Image.new("RGBA", (side, side), (9, 80, 7, 30)), "WEBP", lossless=True, method=0, exif=_exif())


def webp_frames(max_pixels: int) -> bytes:
    frames = [Image.new("RGB", (32, 32), (i % 256, i // 256, 0)) for i in range(3000)]
    return _encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], method=0)


def tiff(entries: list[tuple[int, int, int, int]], tail: bytes = b"") -> bytes:
    """A little-endian TIFF of one directory at byte 8; `tail` follows it."""
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    return b"II*\0" + struct.pack("<I", 8) + directory + struct.pack("<I", 8) + tail


def _grey_tags(width: int, height: int, compression: int = 1) -> list[tuple[int, int, int, int]]:
    sides = [(256, 4, 1, width), (257, 4, 1, height)]
    return [*sides, (258, 3, 1, 8), (259, 3, 1, compression), (262, 3, 1, 1), (277, 3, 1, 1)]


def tiff_strip_offsets(max_pixels: int) -> bytes:
    many = 7_000_000
    tags = [*_grey_tags(1000, 1000), (273, 4, many, 200), (278, 4, 1, 1), (279, 4, 1, 1000)]
    return tiff(tags, bytes(200) + struct.pack("<I", 300) * many)


def tiff_rationals_in_exif(max_pixels: int) -> bytes:
    many = 3_000_000
    tags = [*_grey_tags(32, 32), (273, 4, 1, 300), (279, 4, 1, 1024), (34665, 4, 1, 150)]
    exif = struct.pack("<HHHIII", 1, 0x9000, 5, many, 400, 0)
    return tiff(tags, bytes(150 - 8 - 6 - 12 * len(tags)) + exif + bytes(250) + struct.pack("<II", 7, 3) * many)


def tiff_overlapping_tags(max_pixels: int) -> bytes:
    tags = [*_grey_tags(32, 32), (273, 4, 1, 300), (279, 4, 1, 1024)]
    return tiff(tags + [(40_000 + i, 1, 2**20, 1000) for i in range(20_000)], bytes(2**21))


def tiff_huge_tile(max_pixels: int) -> bytes:
    tags = [*_grey_tags(32, 32, 8), (322, 4, 1, 40_000), (323, 4, 1, 40_000), (324, 4, 1, 300), (325, 4, 1, 4000)]
    return tiff(tags, bytes(200) + zlib.compress(bytes(2**22)))


def tiff_huge_strip(max_pixels: int) -> bytes:
    side = int(max_pixels**0.5)
    tags = [*_grey_tags(side, side, 8), (273, 4, 1, 200), (278, 4, 1, 2**32 - 1), (279, 4, 1, 50_000)]
    return tiff(tags, bytes(100) + zlib.compress(bytes(side * side), 9))


def tiff_samples_per_pixel(max_pixels: int) -> bytes:
    tags = [tag for tag in _grey_tags(1000, 1000, 8) if tag[0] not in (258, 277)]
    tags += [(258, 3, 65_535, 400), (277, 3, 1, 65_535), (273, 4, 1, 200), (279, 4, 1, 5000)]
    return tiff(tags, bytes(300) + struct.pack("<H", 16) * 65_535)


def tiff_float_at_the_limit(max_pixels: int) -> bytes:
    side = int(max_pixels**0.5)
    return _encoded(Image.fromarray(np.full((side, side), -0.5, np.float32)), "TIFF", compression="tiff_lzw")


def tiff_rgb_16_in_one_strip(max_pixels: int) -> bytes:
    side = int(max_pixels**0.5)
    return _tifffile(np.zeros((side, side, 3), np.uint16), compression="zlib", rowsperstrip=side)


def bmp_run_lengths(max_pixels: int) -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, 2000, 2000, 1, 4, 2, 0, 0, 0, 16, 0)
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 118) + header + bytes(64) + b"\1\x12" * 4_000_000


def profile_garbage(max_pixels: int) -> bytes:
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[128:132] = b"\xff\xff\xff\xff"
    return _jpeg(500, icc_profile=bytes(profile) + bytes(3_000_000))


BOMBS = tuple(
    value
    for name, value in dict(globals()).items()
    if name.startswith(("png_", "jpeg_", "webp_", "tiff_", "bmp_", "profile_"))
)
