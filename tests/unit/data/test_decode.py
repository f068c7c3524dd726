"""Decoding: every mode to upright sRGB, limits before pixels, and nothing but DecodeError for bad bytes."""

from __future__ import annotations

import io
import pickle
import struct
import subprocess
import sys
import zlib
from functools import cache
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageFile

from hallmark.config import validate
from hallmark.data.decode import BACKGROUND_GREY, DecodeLimits, decode, sniff_format
from hallmark.data.headers import (
    MAX_JPEG_SCANS,
    MAX_JPEG_SEGMENTS,
    MAX_JPEG_STRAY_BYTES,
    MAX_PNG_CHUNKS,
    MAX_PNG_COMPRESSED_NOTES,
    MAX_TIFF_VALUES,
)
from hallmark.errors import ConfigError, DecodeError

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP")
REASONS = {"empty", "too_many_bytes", "too_many_pixels", "too_small", "unknown_format", "corrupt"}
HEIGHT, WIDTH = 24, 40
SMALL = DecodeLimits(max_pixels=1_000_000)


def _picture() -> np.ndarray:
    """Smooth, with four corners that differ, so that JPEG keeps it and every turn of it is seen."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float64)
    channels = (20 + 200 * x / WIDTH, 30 + 190 * y / HEIGHT, 240 - 110 * (x / WIDTH + y / HEIGHT))
    return np.stack(channels, axis=-1).astype(np.uint8)


def _encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


@cache
def _valid(kind: str) -> bytes:
    return _encoded(Image.fromarray(_picture()), kind, **({"lossless": True} if kind == "WEBP" else {}))


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


def _assert_refused(data: bytes, reason: str, limits: DecodeLimits = SMALL) -> str:
    with pytest.raises(DecodeError) as refused:
        decode(data, limits)
    assert refused.value.reason == reason
    assert "found" in str(refused.value)
    assert "wanted" in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_gives_the_pixels(kind):
    image = decode(_valid(kind))
    assert image.shape == (HEIGHT, WIDTH, 3)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert image.flags.writeable
    assert sniff_format(_valid(kind)) == kind
    if kind == "JPEG":
        assert _distance(image, _picture()) < 3
    else:
        np.testing.assert_array_equal(image, _picture())


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(kind, orientation):
    upright = _picture()
    # What a camera stores, by the EXIF table: the stored array whose tagged turn gives the upright one.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}}.get(kind, {})
    image = decode(_encoded(Image.fromarray(np.ascontiguousarray(stored)), kind, exif=exif, **options))
    assert image.shape == upright.shape
    assert _distance(image, upright) < 3


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_unknown_orientation_and_broken_exif_leave_the_photograph_as_it_is():
    exif = Image.Exif()
    exif[0x0112] = 77
    picture = Image.fromarray(_picture())
    np.testing.assert_array_equal(decode(_encoded(picture, "PNG", exif=exif)), _picture())
    broken = _encoded(picture, "PNG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff")
    np.testing.assert_array_equal(decode(broken), _picture())


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk(kind):
    image = decode(_encoded(Image.fromarray(_picture()).convert("CMYK"), kind))
    assert _distance(image, _picture()) < 4


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_not_clipped(kind):
    values = np.linspace(0, 65535, HEIGHT * WIDTH).astype(np.uint16).reshape(HEIGHT, WIDTH)
    image = decode(_encoded(Image.fromarray(values), kind))
    np.testing.assert_array_equal(image, np.rint(values / 257).astype(np.uint8)[..., None].repeat(3, axis=-1))


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        (np.array([0.0, 0.5, 1.0]), [0, 128, 255]),
        (np.array([0.0, 10.0, 255.0]), [0, 10, 255]),
        (np.array([0.0, 257.0, 65535.0]), [0, 1, 255]),
        (np.array([-1.0, 0.0, 1.0]), [0, 128, 255]),
        (np.array([-3.0, -3.0, -3.0]), [0, 0, 0]),
    ],
)
def test_floating_point_grey(values, wanted):
    rows = np.tile(values.repeat(8).astype(np.float32), (20, 1))
    image = decode(_encoded(Image.fromarray(rows), "TIFF"))
    np.testing.assert_array_equal(image[0, ::8, 0], wanted)
    np.testing.assert_array_equal(image[..., 0], image[..., 2])


def test_whole_number_grey():
    rows = np.tile(np.array([0, 257, 65535]).repeat(8).astype(np.int32), (20, 1))
    np.testing.assert_array_equal(decode(_encoded(Image.fromarray(rows), "TIFF"))[0, ::8, 0], [0, 1, 255])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_grey_that_is_not_finite_is_refused(bad):
    values = np.zeros((20, 20), np.float32)
    values[3, 4] = bad
    assert "not finite" in _assert_refused(_encoded(Image.fromarray(values), "TIFF"), "corrupt")


def test_transparency_lies_over_mid_grey():
    rgba = np.zeros((20, 30, 4), np.uint8)
    rgba[..., :3] = (200, 100, 0)
    rgba[:, 10:20, 3], rgba[:, 20:, 3] = 128, 255
    image = decode(_encoded(Image.fromarray(rgba), "PNG"))
    half = np.rint((np.array([200, 100, 0]) * 128 + BACKGROUND_GREY * 127) / 255)
    assert image[5, 5].tolist() == [BACKGROUND_GREY] * 3
    assert np.abs(image[5, 15] - half).max() <= 1
    assert image[5, 25].tolist() == [200, 100, 0]


def test_grey_with_alpha():
    pixels = np.full((20, 20, 2), 60, np.uint8)
    pixels[..., 1] = 0
    pixels[:, 10:, 1] = 255
    image = decode(_encoded(Image.fromarray(pixels, "LA"), "PNG"))
    assert image[3, 3].tolist() == [BACKGROUND_GREY] * 3
    assert image[3, 15].tolist() == [60] * 3


def test_palette_with_and_without_transparency():
    indices = np.zeros((20, 20), np.uint8)
    indices[:, 10:] = 1
    picture = Image.fromarray(indices, "P")
    picture.putpalette([250, 10, 20, 30, 40, 240])
    assert decode(_encoded(picture, "PNG"))[0, [0, 15]].tolist() == [[250, 10, 20], [30, 40, 240]]
    shown = decode(_encoded(picture, "PNG", transparency=0))[0, [0, 15]].tolist()
    assert shown == [[BACKGROUND_GREY] * 3, [30, 40, 240]]


@pytest.mark.parametrize(("mode", "kind"), [("L", "PNG"), ("1", "PNG"), ("L", "JPEG"), ("YCbCr", "TIFF"), ("L", "BMP")])
def test_other_modes(mode, kind):
    picture = Image.fromarray(_picture()).convert(mode)
    assert _distance(decode(_encoded(picture, kind)), np.asarray(picture.convert("RGB"))) < 3


def test_lab():
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    picture = ImageCms.profileToProfile(Image.fromarray(_picture()), srgb, lab, outputMode="LAB")
    assert _distance(decode(_encoded(picture, "TIFF")), _picture()) < 4


def test_broken_colour_profile_is_ignored():
    np.testing.assert_array_equal(
        decode(_encoded(Image.fromarray(_picture()), "PNG", icc_profile=b"no profile at all")), _picture()
    )


def test_only_the_first_frame_is_read():
    first, second = Image.fromarray(_picture()), Image.fromarray(255 - _picture())
    for kind in ("TIFF", "PNG"):
        data = _encoded(first, kind, save_all=True, append_images=[second])
        np.testing.assert_array_equal(decode(data), _picture())


def test_bytes_are_limited_before_anything_is_opened():
    data = _valid("PNG")
    with mock.patch.object(Image, "open", side_effect=AssertionError("opened")):
        message = _assert_refused(data, "too_many_bytes", DecodeLimits(max_bytes=len(data) - 1))
    assert str(len(data) - 1) in message
    assert decode(data, DecodeLimits(max_bytes=len(data))).shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("kind", FORMATS)
def test_pixels_are_limited_before_they_are_decoded(kind):
    with mock.patch.object(ImageFile.ImageFile, "load", side_effect=AssertionError("decoded")):
        message = _assert_refused(_valid(kind), "too_many_pixels", DecodeLimits(max_pixels=HEIGHT * WIDTH - 1))
    assert f"{WIDTH} x {HEIGHT}" in message
    assert decode(_valid(kind), DecodeLimits(max_pixels=HEIGHT * WIDTH)).size == HEIGHT * WIDTH * 3


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [12_000, 60_000])
def test_a_decompression_bomb_is_too_many_pixels(side):
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    _assert_refused(bomb, "too_many_pixels")


def test_a_side_that_is_too_short_is_refused():
    data = _valid("PNG")
    assert "24 pixels" in _assert_refused(data, "too_small", DecodeLimits(min_side_px=HEIGHT + 1))
    assert decode(data, DecodeLimits(min_side_px=HEIGHT)).shape[0] == HEIGHT


@pytest.mark.parametrize("kind", FORMATS)
def test_truncated_files_are_refused(kind):
    data = _valid(kind)
    for share in (0.3, 0.5, 0.8):
        _assert_refused(data[: int(len(data) * share)], "corrupt")
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def test_every_cut_of_a_png_is_refused():
    data = _valid("PNG")
    for length in range(len(data)):
        with pytest.raises(DecodeError):
            decode(data[:length], SMALL)


@pytest.mark.parametrize("error", [OSError, ValueError, SyntaxError, struct.error, IndexError, zlib.error])
def test_whatever_a_format_plugin_raises_is_a_damaged_file(error):
    with mock.patch.object(ImageFile.ImageFile, "load", side_effect=error("two\nlines")):
        assert "two lines" in _assert_refused(_valid("PNG"), "corrupt")


def test_a_file_that_asks_for_more_memory_than_there_is_is_refused():
    with mock.patch.object(ImageFile.ImageFile, "load", side_effect=MemoryError):
        assert "memory" in _assert_refused(_valid("PNG"), "corrupt")


def _png_with(before: bytes) -> bytes:
    return _valid("PNG")[:33] + before + _valid("PNG")[33:]


def _png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def test_png_with_too_many_chunks_is_refused_before_it_is_opened():
    note = _png_chunk(b"prVt", b"")
    assert decode(_png_with(note * 1000), SMALL).shape[0] == HEIGHT
    with mock.patch.object(Image, "open", side_effect=AssertionError("opened")):
        assert "chunks" in _assert_refused(_png_with(note * (MAX_PNG_CHUNKS + 1)), "corrupt")


@pytest.mark.parametrize("name", [b"iCCP", b"zTXt"])
def test_png_with_too_many_compressed_notes_is_refused(name):
    note = _png_chunk(name, b"x\0\0" + zlib.compress(bytes(100)))
    assert decode(_png_with(note * 20), SMALL).shape[0] == HEIGHT
    assert "compressed" in _assert_refused(_png_with(note * (MAX_PNG_COMPRESSED_NOTES + 1)), "corrupt")


def test_jpeg_with_too_many_scans_is_refused_and_its_notes_do_not_count():
    sound = _encoded(Image.fromarray(_picture()), "JPEG", progressive=True)
    scan = sound.rindex(b"\xff\xda")
    bomb = sound[:scan] + sound[scan:-2] * MAX_JPEG_SCANS + sound[-2:]
    assert "scans" in _assert_refused(bomb, "corrupt")
    note = b"\xff\xfe" + struct.pack(">H", 2002) + b"\xff\xda" * 1000
    expected = decode(sound)
    np.testing.assert_array_equal(decode(sound[:2] + note + sound[2:]), expected)
    np.testing.assert_array_equal(decode(sound + b"\xff\xda\0\2" * 1000), expected)  # a film behind the photograph


@pytest.mark.parametrize(
    ("stray", "named"),
    [
        (b"\xff\xfe\0\2" * (MAX_JPEG_SEGMENTS + 1), "segments"),
        (b"\xff" * (MAX_JPEG_STRAY_BYTES + 10), "stray"),
        (b"\xff\xfe\0\2" + bytes(MAX_JPEG_STRAY_BYTES + 10), "stray"),
    ],
)
def test_jpeg_that_keeps_its_reader_busy_ahead_of_its_pixels_is_refused(stray, named):
    sound = _valid("JPEG")
    with mock.patch.object(Image, "open", side_effect=AssertionError("opened")):
        assert named in _assert_refused(sound[:2] + stray + sound[2:], "corrupt")
        assert "stray" in _assert_refused(b"\xff\xd8" + b"\xff" * (MAX_JPEG_STRAY_BYTES + 10), "corrupt")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("entries", "named"),
    [
        ([(273, 4, MAX_TIFF_VALUES + 1, 8)], "numbers"),
        ([(322, 4, 1, 40_000), (323, 4, 1, 40_000)], "tile"),
    ],
)
def test_tiff_whose_tags_ask_for_too_much_is_refused(order, entries, named):
    mark = b"II*\0" if order == "<" else b"MM\0*"
    body = b"".join(struct.pack(order + "HHII", *entry) for entry in entries)
    data = mark + struct.pack(order + "IH", 8, len(entries)) + body + bytes(4 * MAX_TIFF_VALUES)
    assert named in _assert_refused(data, "corrupt")


def test_webp_canvas_is_limited_before_it_is_set_aside():
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "blue")]
    data = bytearray(_encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:]))
    data[24:30] = (9_999).to_bytes(3, "little") * 2
    with mock.patch.object(Image, "open", side_effect=AssertionError("opened")):
        assert "10000 x 10000" in _assert_refused(bytes(data), "too_many_pixels")


def test_run_length_encoded_bmp_is_refused():
    data = bytearray(_encoded(Image.fromarray(_picture()).convert("L"), "BMP"))
    data[30:34] = struct.pack("<I", 1)
    assert "run-length" in _assert_refused(bytes(data), "unknown_format")


def test_strips_do_not_show():
    rng = np.random.default_rng(0)
    grey = rng.normal(size=(60, 50)).astype(np.float32)
    rgba = rng.integers(0, 256, (60, 50, 4), dtype=np.uint8)
    files = [_encoded(Image.fromarray(grey), "TIFF"), _encoded(Image.fromarray(rgba), "PNG")]
    whole = [decode(data) for data in files]
    with mock.patch("hallmark.data.decode._STRIP_PIXELS", 350):
        for data, expected in zip(files, whole, strict=True):
            np.testing.assert_array_equal(decode(data), expected)


def test_damaged_files_print_nothing(tmp_path):
    """In a process of its own: the test runner undoes filters of warnings, and a C library prints past it."""
    note = _encoded(Image.fromarray(_picture()), "PNG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff")
    torn = bytearray(_encoded(Image.fromarray(np.zeros((64, 64, 3), np.uint8)), "TIFF", compression="tiff_lzw"))
    torn[8:40] = bytes(byte ^ 0x5A for byte in torn[8:40])
    for name, data in (("note.png", note), ("torn.tif", torn)):
        (tmp_path / name).write_bytes(data)
    script = (
        "import sys, pathlib; from hallmark.data.decode import decode; from hallmark.errors import DecodeError\n"
        "for path in sys.argv[1:]:\n    try: decode(pathlib.Path(path).read_bytes())\n    except DecodeError: pass"
    )
    files = [tmp_path / "note.png", tmp_path / "torn.tif"]
    ran = subprocess.run([sys.executable, "-c", script, *files], capture_output=True, check=True)
    assert ran.stdout + ran.stderr == b""


@pytest.mark.parametrize("kind", FORMATS)
def test_no_cut_of_a_file_yields_other_pixels(kind):
    """Without its last checksum or end mark a file may still be read, but only to the very same pixels."""
    data, whole = _valid(kind), decode(_valid(kind))
    for length in range(len(data) * 3 // 4, len(data)):
        try:
            image = decode(data[:length], SMALL)
        except DecodeError:
            continue
        np.testing.assert_array_equal(image, whole, err_msg=f"first {length} of {len(data)} bytes")


@pytest.mark.parametrize(
    ("data", "reason", "named"),
    [
        (b"", "empty", "empty"),
        (b"hello, this is no photograph", "unknown_format", "no known format"),
        (b"%PDF-1.7 ....", "unknown_format", "PDF"),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00", "unknown_format", "HEIC"),
        (b"<svg xmlns='x'/>", "unknown_format", "SVG"),
        (b"\x89PNG\r\n\x1a\nrubbish", "corrupt", "PNG"),
    ],
)
def test_files_that_are_no_photographs_are_named(data, reason, named):
    assert named in _assert_refused(data, reason)


def test_formats_that_are_not_allowed_are_not_tried():
    gif = _encoded(Image.fromarray(_picture()), "GIF")
    assert "GIF" in _assert_refused(gif, "unknown_format")
    message = _assert_refused(_valid("TIFF"), "unknown_format", DecodeLimits(formats=("JPEG", "PNG")))
    assert "TIFF" in message
    assert "JPEG, PNG" in message


def test_errors_travel_between_processes():
    error = pickle.loads(pickle.dumps(DecodeError("too_many_bytes", "found 9; wanted 8")))
    assert (error.reason, str(error), error.http_status) == ("too_many_bytes", "found 9; wanted 8", 413)


@pytest.mark.parametrize(("key", "value"), [("max_bytes", 0), ("max_pixels", 10**12), ("formats", []), ("max_byte", 1)])
def test_wrong_limits_are_named(key, value):
    with pytest.raises(ConfigError, match=key):
        validate(DecodeLimits, {key: value}, "limits")


def _decodes_or_refuses(data: bytes) -> None:
    """A valid array or a DecodeError with a known reason; any other exception fails the test."""
    try:
        image = decode(data, SMALL)
    except DecodeError as error:
        refused = error
    else:
        refused = None
    if refused is not None:
        assert refused.reason in REASONS
        assert "\n" not in str(refused)
        return
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[2] == 3
    assert min(image.shape[:2]) >= SMALL.min_side_px
    assert image.shape[0] * image.shape[1] <= SMALL.max_pixels


_FUZZ = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", FORMATS)
@_FUZZ
@given(
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8),
    early=st.lists(st.tuples(st.integers(0, 63), st.integers(0, 255)), max_size=3),
    kept=st.one_of(st.just(1.0), st.floats(0, 1)),
    tail=st.binary(max_size=20),
)
def test_damaged_files_decode_or_are_refused(kind, changes, early, kept, tail):
    data = bytearray(_valid(kind))
    for place, value in [(int(share * len(data)), value) for share, value in changes] + early:
        data[place] = value
    _decodes_or_refuses(bytes(data[: int(kept * len(data))]) + tail)


@pytest.mark.filterwarnings("ignore")
@_FUZZ
@given(head=st.sampled_from([b"", *(_valid(kind)[:n] for kind in FORMATS for n in (4, 12, 30))]), body=st.binary())
def test_random_bytes_decode_or_are_refused(head, body):
    _decodes_or_refuses(head + body)
