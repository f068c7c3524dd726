"""What one photograph tells an audit: size, encoding, notes in the file, quality, and what surrounds the product."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import cv2
import numpy as np
from PIL import ExifTags, Image, JpegImagePlugin

from hallmark.data.decode import DecodeLimits, decode
from hallmark.data.duplicates import THUMBNAIL_SIDE_PX, thumbnail
from hallmark.data.listing import read_bytes
from hallmark.errors import DataError, DecodeError

WORKING_SIDE_PX = 512
"""Longest side at which sharpness and border are measured, so that sizes compare; smaller ones stay as they are."""

BACKGROUND_FEATURES = 45
_BACKGROUND_SIDE_PX = 160
_FRAME_SHARE = 0.1
_LEAST_BACKGROUND = 0.01
_DARK, _BRIGHT = 4, 251
_CHROMA_SPAN = (0.35, 0.65)
"""Of a and b, 0.5 = grey: where nearly all photographs lie; what lies beyond falls into the outermost bins."""
_SAMPLING = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}
_EVEN_SPREAD, _EVEN_DRIFT = 8, 4
_LONGEST_NOTE = 60
_LUMINANCE_TABLE = 0


@dataclass(frozen=True)
class Exif:
    """Notes a camera or program left in the file; texts are printable and at most 60 characters."""

    present: bool = False
    make: str = ""
    model: str = ""
    software: str = ""
    has_position: bool = False
    orientation: int = 1


@dataclass(frozen=True)
class Border:
    """A frame of one colour, each side's width as a share of the photograph's height or width, 0 to 1."""

    top: float = 0.0
    right: float = 0.0
    bottom: float = 0.0
    left: float = 0.0
    level: float = 0.0
    """Mean luminance of the frame, 0 to 1; 0 where there is none."""

    @property
    def share(self) -> float:
        """Of the photograph's area, 0 to 1."""
        return 1 - (1 - self.top - self.bottom) * (1 - self.left - self.right)


@dataclass(frozen=True)
class Measured:
    """One photograph's measurements; `reason` is empty where it is sound, and all else is empty where it is not."""

    image_id: str
    reason: str = ""
    detail: str = ""
    width: int = 0
    height: int = 0
    """px, after EXIF orientation."""
    num_bytes: int = 0
    format: str = ""
    jpeg_quality: int | None = None
    """1 to 100, of the standard tables; None where it is no JPEG."""
    subsampling: str = ""
    """4:4:4, 4:2:2, 4:2:0 or other; empty where it is no colour JPEG."""
    exif: Exif = field(default_factory=Exif)
    border: Border = field(default_factory=Border)
    sharpness: float = 0.0
    """Variance of the Laplacian of luminance (0 to 255) with the longest side at most 512 px."""
    brightness: float = 0.0
    """Mean luminance, 0 to 1."""
    contrast: float = 0.0
    """Standard deviation of luminance, 0 to 0.5."""
    dark: float = 0.0
    bright: float = 0.0
    """Shares of pixels at most 4 and at least 251 of 255."""
    background: tuple[float, ...] = ()
    """Colour moments, colour histograms and gradients of what lies around the product."""
    thumbnail: np.ndarray = field(
        default_factory=lambda: np.zeros((THUMBNAIL_SIDE_PX, THUMBNAIL_SIDE_PX), np.uint8), repr=False
    )
    """(64, 64) uint8 luminance."""

    @property
    def bits_per_pixel(self) -> float:
        return 8 * self.num_bytes / max(1, self.width * self.height)


def measure(
    data: bytes, limits: DecodeLimits, box: Sequence[float] | None = None, mask: bytes | None = None
) -> Measured:
    """Measure one photograph; what is wrong with it is returned, never raised.

    The background is what lies outside the mask; without one, outside the box; without either, a frame of 10 % of
    each side. The same holds where hardly anything lies outside.

    Args:
        data: the encoded photograph.
        limits: what a photograph may be.
        box: (x0, y0, x1, y1) px of the upright photograph that the product lies in.
        mask: an encoded image of the photograph's size, above 127 where the product is.

    Returns:
        Measurements; `reason` is a reason of `DecodeError`, or `mask` where only the mask cannot be used.
    """
    image_id = hashlib.sha256(data).hexdigest()
    try:
        image = decode(data, limits)
    except DecodeError as error:
        return Measured(image_id, reason=error.reason, detail=str(error))
    foreground, complaint = _foreground(image.shape[:2], limits, box, mask)
    luminance = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    working = _shrunk(luminance, WORKING_SIDE_PX)
    form, quality, subsampling, exif = _encoding(data, limits)
    return Measured(
        image_id=image_id,
        reason="mask" if complaint else "",
        detail=complaint,
        width=image.shape[1],
        height=image.shape[0],
        num_bytes=len(data),
        format=form,
        jpeg_quality=quality,
        subsampling=subsampling,
        exif=exif,
        border=find_border(_shrunk(image, WORKING_SIDE_PX)),
        sharpness=float(cv2.Laplacian(working, cv2.CV_32F).var()),
        brightness=float(luminance.mean() / 255),
        contrast=float(luminance.std() / 255),
        dark=float(np.mean(luminance <= _DARK)),
        bright=float(np.mean(luminance >= _BRIGHT)),
        background=tuple(background_features(image, foreground).tolist()),
        thumbnail=thumbnail(image),
    )


def measure_row(row: Mapping[str, Any], limits: DecodeLimits) -> Measured:
    """`measure` of the photograph and mask of a manifest's row; one that cannot be read has the reason `unreadable`."""
    try:
        data = read_bytes(row["uri"], limits.max_bytes)
        mask = read_bytes(row["mask_uri"], limits.max_bytes) if row["mask_uri"] else None
    except DataError as error:
        return Measured(row["image_id"], reason="unreadable", detail=str(error))
    return measure(data, limits, row["box"], mask)


def find_border(image: np.ndarray) -> Border:
    """A frame of one colour around a photograph.

    A line of pixels belongs to the frame while its values stay within 8 of each other (the middle 96 %) and within 4
    of the outermost line's mean, channel by channel. A photograph of one colour throughout has no frame.

    Args:
        image: (H, W, 3) uint8.
    """
    height, width = image.shape[:2]
    rows, columns = image.astype(np.int16), image.astype(np.int16).transpose(1, 0, 2)
    top, bottom = _even_lines(rows), _even_lines(rows[::-1])
    left, right = _even_lines(columns), _even_lines(columns[::-1])
    if top == height or left == width:
        return Border()
    inside = np.zeros((height, width), dtype=bool)
    inside[top : height - bottom, left : width - right] = True
    level = float(image[~inside].mean() / 255) if not inside.all() else 0.0
    return Border(top / height, right / width, bottom / height, left / width, level)


def jpeg_quality(tables: dict[int, Sequence[int]]) -> int | None:
    """The quality, 1 to 100, whose standard luminance table (Annex K, scaled as libjpeg does) is nearest in sum."""
    if _LUMINANCE_TABLE not in tables:
        return None
    return int(np.argmin(np.abs(_table_sums() - sum(tables[_LUMINANCE_TABLE])))) + 1


def background_features(image: np.ndarray, foreground: np.ndarray | None) -> np.ndarray:
    """What the surroundings look like, without their places.

    Args:
        image: (H, W, 3) uint8 RGB.
        foreground: (H, W) bool, True where the product is; None takes a frame of 10 % of each side as background.

    Returns:
        (45,) float32: mean and spread of L, a and b; 8-bin histograms of them; mean, spread and three quantiles
        of gradient length; histogram of gradient direction in 8 bins; log variance of the Laplacian; share of edges.
    """
    small = _shrunk(image, _BACKGROUND_SIDE_PX)
    outside = _outside(small.shape[:2], foreground)
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB)
    pixels = lab[outside].astype(np.float32) / 255
    spans = ((0, 1), _CHROMA_SPAN, _CHROMA_SPAN)
    clipped = [np.clip(channel, *span) for channel, span in zip(pixels.T, spans, strict=True)]
    histograms = [np.histogram(one, 8, span)[0] / len(pixels) for one, span in zip(clipped, spans, strict=True)]
    luminance = lab[:, :, 0].astype(np.float32)
    x, y = cv2.Sobel(luminance, cv2.CV_32F, 1, 0), cv2.Sobel(luminance, cv2.CV_32F, 0, 1)
    length = np.hypot(x, y)[outside]
    direction = np.histogram(np.arctan2(y, x)[outside] % np.pi, 8, (0, np.pi), weights=length + 1e-3)[0]
    laplacian = cv2.Laplacian(luminance, cv2.CV_32F)[outside]
    gradients = [length.mean(), length.std(), *np.quantile(length, (0.25, 0.5, 0.9))]
    last = [np.log1p(laplacian.var()), np.mean(length > 64)]
    parts = (pixels.mean(axis=0), pixels.std(axis=0), *histograms, gradients, direction / direction.sum(), last)
    return np.concatenate(parts).astype(np.float32)


def _foreground(
    size: tuple[int, int], limits: DecodeLimits, box: Sequence[float] | None, mask: bytes | None
) -> tuple[np.ndarray | None, str]:
    """(H, W) bool or None, and what is wrong with the mask."""
    if mask is not None:
        try:
            drawn = decode(mask, limits)[:, :, 0] > 127
        except DecodeError as error:
            return None, f"mask: {error}"
        if drawn.shape != size:
            found = f"found a mask of {drawn.shape[1]} x {drawn.shape[0]} px"
            return None, f"{found}; wanted the photograph's {size[1]} x {size[0]} px"
        return drawn, ""
    if box is None:
        return None, ""
    inside = np.zeros(size, dtype=bool)
    x0, y0, x1, y1 = (max(0, round(edge)) for edge in box)
    inside[y0:y1, x0:x1] = True
    return inside, ""


def _outside(size: tuple[int, int], foreground: np.ndarray | None) -> np.ndarray:
    """(h, w) bool of the background at a smaller size; the product is grown by 2 px so that its edge stays out."""
    height, width = size
    if foreground is not None:
        shrunk = cv2.resize(foreground.astype(np.uint8), (width, height), interpolation=cv2.INTER_AREA)
        outside = cv2.dilate(shrunk, np.ones((5, 5), np.uint8)) == 0
        if outside.mean() >= _LEAST_BACKGROUND:
            return outside
    outside = np.ones(size, dtype=bool)
    down, across = max(1, round(_FRAME_SHARE * height)), max(1, round(_FRAME_SHARE * width))
    outside[down : height - down, across : width - across] = False
    return outside


def _encoding(data: bytes, limits: DecodeLimits) -> tuple[str, int | None, str, Exif]:
    """Format, JPEG quality, chroma subsampling and EXIF notes."""
    with Image.open(BytesIO(data), formats=list(limits.formats)) as image:
        exif = _exif(image)
        if not isinstance(image, JpegImagePlugin.JpegImageFile):
            return image.format or "", None, "", exif
        sampling = "" if image.mode == "L" else _SAMPLING.get(JpegImagePlugin.get_sampling(image), "other")
        return "JPEG", jpeg_quality(image.quantization), sampling, exif


def _exif(image: Image.Image) -> Exif:
    try:
        notes = image.getexif()
        position = bool(notes.get_ifd(ExifTags.IFD.GPSInfo))
        texts = [_text(notes.get(tag)) for tag in (ExifTags.Base.Make, ExifTags.Base.Model, ExifTags.Base.Software)]
        orientation = notes.get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged notes say nothing about the pixels
        return Exif()
    return Exif(len(notes) > 0, *texts, position, orientation if isinstance(orientation, int) else 1)


def _text(note: object) -> str:
    if note is None:
        return ""
    text = note.decode("latin-1") if isinstance(note, bytes) else str(note)
    return "".join(letter for letter in text if letter.isprintable()).strip()[:_LONGEST_NOTE]


@functools.cache
def _table_sums() -> np.ndarray:
    """(100,) sums of the luminance table that the encoder writes at each quality from 1 to 100."""
    sums = []
    for quality in range(1, 101):
        buffer = BytesIO()
        Image.new("L", (8, 8)).save(buffer, "JPEG", quality=quality)
        with Image.open(BytesIO(buffer.getvalue())) as image:
            sums.append(sum(image.quantization[_LUMINANCE_TABLE]))
    return np.array(sums)


def _shrunk(image: np.ndarray, side: int) -> np.ndarray:
    height, width = image.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return image
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _even_lines(lines: np.ndarray) -> int:
    """How many lines from the first on are of one colour, the first one's."""
    first = lines[0].mean(axis=0)
    for number, line in enumerate(lines):
        low, high = np.quantile(line, (0.02, 0.98), axis=0)
        if (high - low > _EVEN_SPREAD).any() or (np.abs(line.mean(axis=0) - first) > _EVEN_DRIFT).any():
            return number
    return len(lines)
