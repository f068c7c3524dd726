"""Bytes into RGB pixels: the one hardened decoder for training, the gallery and serving."""

from __future__ import annotations

from io import BytesIO
from typing import Literal

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError
from pydantic import Field

from hallmark.config import Config
from hallmark.errors import DecodeError

ImageFormat = Literal["JPEG", "PNG", "WEBP", "TIFF", "BMP"]

BACKGROUND_GREY = 128
"""What shows through a transparent pixel: mid-grey, so that neither a light nor a dark product loses its outline."""

_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
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
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
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


def decode(data: bytes, limits: DecodeLimits = _DEFAULT_LIMITS) -> np.ndarray:
    """Decode one photograph to sRGB pixels.

    Only the first frame is read, turned upright by its EXIF orientation. An embedded colour profile is converted to
    sRGB where that is possible and otherwise ignored. Transparent pixels are laid over mid-grey (128). 16-bit grey is
    divided by 257. 32-bit whole and floating-point grey is read as 0-1 (floating point only), 0-255 or 0-65535,
    the first of these that holds all values, else stretched from its own lowest to its highest value.

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
        with _open(data, limits) as image:
            _check_pixels(image.size, limits)
            image.load()
            if image.format == "PNG" and _PNG_END not in data:  # Pillow stops reading where the pixels end
                raise DecodeError("corrupt", "found a PNG without its end; wanted a complete photograph; copy it again")
            return np.array(_to_srgb(_upright(image)), dtype=np.uint8, order="C")
    except (DecodeError, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise DecodeError(
            "too_many_pixels", f"found far more pixels than allowed; wanted at most {limits.max_pixels} pixels"
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


def _upright(image: Image.Image) -> Image.Image:
    """Turn by the EXIF orientation; a photograph whose EXIF is unreadable is taken as upright."""
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG)
    except Exception:  # the pixels are sound, only their notes are not
        return image
    method = _TRANSPOSE.get(orientation) if isinstance(orientation, int) else None
    return image if method is None else image.transpose(method)


def _to_srgb(image: Image.Image) -> Image.Image:
    """An 8-bit RGB image of any mode, transparency laid over mid-grey."""
    profile = image.info.get("icc_profile")
    if image.mode.startswith("I") or image.mode == "F":
        return _to_eight_bits(image).convert("RGB")
    if not image.has_transparency_data:
        return _colour_managed(image, profile)
    rgba = image.convert("RGBA")
    flat = Image.new("RGB", rgba.size, (BACKGROUND_GREY,) * 3)
    flat.paste(_colour_managed(rgba.convert("RGB"), profile), mask=rgba.getchannel("A"))
    return flat


def _colour_managed(image: Image.Image, profile: bytes | None) -> Image.Image:
    if image.mode in ("P", "PA", "1", "YCbCr", "HSV"):
        image = image.convert("RGB")
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(BytesIO(profile))
            if not ImageCms.getProfileDescription(source).startswith("sRGB"):
                target = ImageCms.createProfile("sRGB")
                return ImageCms.profileToProfile(image, source, target, outputMode="RGB") or image.convert("RGB")
        except Exception:  # a broken or foreign profile says nothing about the pixels
            return _plain_rgb(image)
    return _plain_rgb(image)


def _plain_rgb(image: Image.Image) -> Image.Image:
    if image.mode != "LAB":
        return image.convert("RGB")
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB") or image.convert("RGB")


def _to_eight_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise DecodeError("corrupt", "found pixels that are not finite; wanted finite grey values")
    low, high = float(values.min()), float(values.max())
    if image.mode.startswith("I;16"):
        scaled = values / 257
    elif image.mode == "F" and low >= 0 and high <= 1:
        scaled = values * 255
    elif low >= 0 and high <= 65535:
        scaled = values if high <= 255 else values / 257
    else:
        scaled = (values - low) * (255 / (high - low)) if high > low else np.zeros_like(values)
    return Image.fromarray(np.rint(scaled).astype(np.uint8))


def _one_line(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:160]
