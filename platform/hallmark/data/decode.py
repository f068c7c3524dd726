"""Bytes into RGB pixels: the one hardened decoder for training, the gallery and serving."""

from __future__ import annotations

import ctypes
import logging
import re
import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError
from pydantic import Field

from hallmark.config import Config
from hallmark.data.headers import check_structure
from hallmark.errors import DecodeError

logger = logging.getLogger(__name__)

Conversion = Callable[[Image.Image], Image.Image]
ImageFormat = Literal["JPEG", "PNG", "WEBP", "TIFF", "BMP"]

BACKGROUND_GREY = 128
"""What shows through a transparent pixel: mid-grey, so that neither a light nor a dark product loses its outline."""

MEMORY_PER_PIXEL = 24
"""Bytes that decoding one pixel may take: see `decode`. WEBP sets the bound, with two canvases and two copies."""
MEMORY_PER_BYTE = 4
MEMORY_BESIDE = 256 * 2**20

_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),
    (b"MM\x00+", "TIFF"),
    (b"BM", "BMP"),
    (b"GIF8", "GIF"),
    (b"%PDF", "PDF"),
    (b"PK\x03\x04", "ZIP"),
    (b"<svg", "SVG"),
    (b"<?xml", "XML"),
    (b"<!DOCTYPE", "HTML"),
    (b"<html", "HTML"),
)
_ORIENTATION_TAG = 0x0112
_TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90,
}


class DecodeLimits(Config):
    """What a photograph may be before any of its pixels are decoded."""

    max_bytes: int = Field(32 * 2**20, ge=1, le=2**30, description="largest encoded size, bytes (1 to 2^30)")
    max_pixels: int = Field(
        64_000_000, ge=1, le=150_000_000, description="largest width times height, pixels (1 to 150 million)"
    )
    min_side_px: int = Field(16, ge=1, le=4096, description="smallest width or height, pixels (1 to 4096)")
    formats: tuple[ImageFormat, ...] = Field(
        ("JPEG", "PNG", "WEBP", "TIFF", "BMP"), min_length=1, description="formats that are tried; no other is opened"
    )


_DEFAULT_LIMITS = DecodeLimits()
_PNG_END = b"IEND\xaeB`\x82"
_STRIP_PIXELS = 2**20
"""Pixels turned to sRGB at a time: what conversion needs beside the picture stays a few MiB, whatever its size."""

# A damaged note (EXIF, TIFF tag) is no news to whoever runs a service; the filter is set once because changing filters
# around each call is not safe between threads.
warnings.filterwarnings("ignore", module=r"PIL\.")


def _silence_libtiff() -> None:
    """Keep libtiff, which Pillow has loaded, from printing a line a damaged tag; its errors still come through."""
    try:
        loaded = re.findall(r"/\S+/libtiff[^/\s]*\.so\S*", Path("/proc/self/maps").read_text())
    except OSError:  # not Linux
        return
    for library in map(ctypes.CDLL, set(loaded)):
        for name in ("TIFFSetWarningHandler", "TIFFSetErrorHandler"):
            handler = getattr(library, name)
            handler.argtypes, handler.restype = [ctypes.c_void_p], ctypes.c_void_p
            handler(None)


_silence_libtiff()


def decode(data: bytes, limits: DecodeLimits = _DEFAULT_LIMITS) -> np.ndarray:
    """Decode one photograph to sRGB pixels.

    Only the first frame is read, turned upright by its EXIF orientation. An embedded colour profile is converted to
    sRGB where that is possible and otherwise ignored. Transparent pixels are laid over mid-grey (128). 16-bit grey is
    divided by 257. 32-bit whole and floating-point grey is read as 0-1 (floating point only), 0-255 or 0-65535,
    the first of these that holds all values, else stretched from its own lowest to its highest value. A file that
    asks for more memory than there is counts as corrupt: its pixels are within the limits, so what it asks for is not.

    Memory: at most MEMORY_PER_PIXEL bytes a pixel of the photograph, MEMORY_PER_BYTE bytes a byte of the file and
    MEMORY_BESIDE bytes beside, the result included.

    Args:
        data: the encoded file.
        limits: sizes and formats that are accepted; held against the header before pixels are decoded.

    Returns:
        (H, W, 3) uint8, RGB, C-contiguous, writable.

    Raises:
        DecodeError: the bytes are empty, too many, too large or too small in pixels, of another format, or damaged.
    """
    _check_bytes(data, limits)
    try:
        check_structure(data, limits.max_pixels)
        with _open(data, limits) as image:
            _check_pixels(image.size, limits)
            if image.format == "BMP" and any(tile[0] == "bmp_rle" for tile in image.tile):  # unpacked by a slow loop
                raise DecodeError("unknown_format", "found a run-length encoded BMP; wanted a BMP without compression")
            image.load()
            if image.format == "PNG" and _PNG_END not in data:  # Pillow stops reading where the pixels end
                raise DecodeError("corrupt", "found a PNG without its end; wanted a complete photograph; copy it again")
            return _upright(_srgb_pixels(image), image)
    except DecodeError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise DecodeError(
            "too_many_pixels", f"found far more pixels than allowed; wanted at most {limits.max_pixels} pixels"
        ) from None
    except MemoryError:
        raise DecodeError(
            "corrupt",
            f"found a {sniff_format(data) or 'file'} of {len(data)} bytes that asks for more memory than there is; "
            "wanted a photograph within the memory of the process; export it anew, or lower max_pixels",
        ) from None
    except Exception as error:  # damaged files raise nearly anything inside the format plugins
        raise DecodeError(
            "corrupt",
            f"found a damaged {sniff_format(data) or 'file'} of {len(data)} bytes ({_one_line(error)}); "
            "wanted a complete photograph; export or copy it again",
        ) from None


def sniff_format(data: bytes) -> str | None:
    """Name the format by the file's first bytes; None where they are of no format known here."""
    head = bytes(data[:32])
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp":
        return "AVIF" if head[8:12] in (b"avif", b"avis") else "HEIC or video"
    return next((name for signature, name in _SIGNATURES if head.startswith(signature)), None)


def _check_bytes(data: bytes, limits: DecodeLimits) -> None:
    if len(data) == 0:
        raise DecodeError("empty", "found an empty file; wanted a photograph")
    if len(data) > limits.max_bytes:
        raise DecodeError(
            "too_many_bytes", f"found {len(data)} bytes or more; wanted at most {limits.max_bytes} bytes (max_bytes)"
        )


def _open(data: bytes, limits: DecodeLimits) -> Image.Image:
    try:
        return Image.open(BytesIO(data), formats=list(limits.formats))
    except UnidentifiedImageError:
        wanted = ", ".join(limits.formats)
        found = sniff_format(data)
        if found in limits.formats:
            raise DecodeError(
                "corrupt", f"found a {found} file whose header is damaged ({len(data)} bytes); wanted a complete file"
            ) from None
        raise DecodeError(
            "unknown_format", f"found {f'a file of type {found}' if found else 'no known format'}; wanted {wanted}"
        ) from None


def _check_pixels(size: tuple[int, int], limits: DecodeLimits) -> None:
    width, height = size
    if width * height > limits.max_pixels:
        raise DecodeError(
            "too_many_pixels",
            f"found {width} x {height} = {width * height} pixels; wanted at most {limits.max_pixels} (max_pixels)",
        )
    if min(width, height) < limits.min_side_px:
        raise DecodeError(
            "too_small", f"found {width} x {height} pixels; wanted each side at least {limits.min_side_px} px"
        )


def _upright(pixels: np.ndarray, image: Image.Image) -> np.ndarray:
    """Turn by the EXIF orientation; a photograph whose EXIF is unreadable is taken as upright."""
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG)
    except Exception:  # the pixels are sound, only their notes are not
        return pixels
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    return pixels if turn is None else turn(pixels).copy(order="C")


def _srgb_pixels(image: Image.Image) -> np.ndarray:
    """(H, W, 3) uint8 of an image of any mode, made strip by strip so that no second copy of it is held."""
    to_srgb = _conversion(image)
    width, height = image.size
    rows = max(1, _STRIP_PIXELS // width)
    pixels = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, rows):
        below = min(top + rows, height)
        pixels[top:below] = np.asarray(to_srgb(image.crop((0, top, width, below))))
    return pixels


def _conversion(image: Image.Image) -> Conversion:
    """How strips of the image become 8-bit RGB, transparency laid over mid-grey."""
    if image.mode.startswith("I") or image.mode == "F":
        return _grey_scaling(image)
    profile = image.info.get("icc_profile")
    if not image.has_transparency_data:
        return _colour_managed(image.mode, profile)
    managed = _colour_managed("RGB", profile)

    def flatten(strip: Image.Image) -> Image.Image:
        rgba = strip.convert("RGBA")
        flat = Image.new("RGB", rgba.size, (BACKGROUND_GREY,) * 3)
        flat.paste(managed(rgba.convert("RGB")), mask=rgba.getchannel("A"))
        return flat

    return flatten


def _colour_managed(mode: str, profile: bytes | None) -> Conversion:
    mode = "RGB" if mode in ("P", "PA", "1", "YCbCr", "HSV") else mode
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(BytesIO(profile))
            if not ImageCms.getProfileDescription(source).startswith("sRGB"):
                transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
                return lambda strip: _apply(transform, strip.convert(mode))
        except Exception:  # a broken or foreign profile says nothing about the pixels
            logger.debug("colour profile of %d bytes ignored", len(profile))
    if mode == "LAB":
        transform = ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), mode, "RGB")
        return lambda strip: _apply(transform, strip)
    return lambda strip: strip.convert("RGB")


def _apply(transform: ImageCms.ImageCmsTransform, strip: Image.Image) -> Image.Image:
    return ImageCms.applyTransform(strip, transform) or strip.convert("RGB")


def _grey_scaling(image: Image.Image) -> Conversion:
    """Grey of more than 8 bits; the range is that of the whole image, not of a strip."""
    if image.mode.startswith("I;16"):
        low, scale = 0.0, 1 / 257
    else:
        values = np.asarray(image)
        low, high = float(values.min()), float(values.max())
        if not np.isfinite((low, high)).all():
            raise DecodeError("corrupt", "found pixels that are not finite; wanted finite grey values")
        low, scale = _grey_range(low, high, unit=image.mode == "F")

    def to_grey(strip: Image.Image) -> Image.Image:
        scaled = (np.asarray(strip).astype(np.float64) - low) * scale
        return Image.fromarray(np.rint(scaled).astype(np.uint8)).convert("RGB")

    return to_grey


def _grey_range(low: float, high: float, unit: bool) -> tuple[float, float]:
    """(what is taken off, what it is then multiplied by) for grey values from low to high."""
    if unit and low >= 0 and high <= 1:
        return 0.0, 255.0
    if low >= 0 and high <= 65535:
        return 0.0, 1.0 if high <= 255 else 1 / 257
    return low, 255 / (high - low) if high > low else 0.0


def _one_line(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:160]
