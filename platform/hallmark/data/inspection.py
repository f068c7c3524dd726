"""One photograph opened for an import: identified, decoded, measured, its masks' headers read."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import fsspec
import numpy as np
from PIL import Image

from hallmark.data.decode import DecodeLimits, decode
from hallmark.data.duplicates import THUMBNAIL_SIDE_PX, thumbnail
from hallmark.data.listing import Listed, one_line, read_bytes
from hallmark.errors import DataError, DecodeError

_MASK_MODES = ("L", "1")


def _no_thumbnail() -> np.ndarray:
    return np.zeros((THUMBNAIL_SIDE_PX, THUMBNAIL_SIDE_PX), dtype=np.uint8)


@dataclass(frozen=True)
class Inspected:
    """What opening one photograph, and the headers of its masks, tells; `reason` is empty where all are sound.

    `column` names the table's column that a fault belongs to.
    `width` and `height` in px after EXIF orientation; `thumbnail` (64, 64) uint8 grey, zeros where it is not sound.
    """

    image_id: str
    width: int = 0
    height: int = 0
    thumbnail: np.ndarray = field(default_factory=_no_thumbnail)
    reason: str = ""
    detail: str = ""
    column: str = "uri"


def inspect_photograph(data: bytes, limits: DecodeLimits) -> Inspected:
    """Identify, decode and measure one photograph; what is wrong with it is returned, never raised."""
    image_id = hashlib.sha256(data).hexdigest()
    try:
        image = decode(data, limits)
    except DecodeError as error:
        return Inspected(image_id, reason=error.reason, detail=str(error))
    height, width, _ = image.shape
    return Inspected(image_id, width, height, thumbnail(image))


def inspect_uri(uri: str, limits: DecodeLimits) -> Inspected:
    """`inspect_photograph` of a file; one that cannot be read has the reason `unreadable`."""
    try:
        data = read_bytes(uri, limits.max_bytes)
    except DataError as error:
        return Inspected("", reason="unreadable", detail=str(error))
    return inspect_photograph(data, limits)


def inspect_listed(listed: Listed, limits: DecodeLimits) -> Inspected:
    """`inspect_uri` of a listed photograph and a look at the headers of its masks.

    A mask must be an 8-bit grey (or 1-bit) PNG of the photograph's width and height; one that is not gives the reason
    `mask`.
    """
    seen = inspect_uri(listed.uri, limits)
    if seen.reason:
        return seen
    for column in ("mask_uri", "edit_mask_uri"):
        uri = getattr(listed, column)
        fault = _mask_fault(uri, seen) if uri else ""
        if fault:
            return Inspected(seen.image_id, reason="mask", detail=f"{uri}: {fault}", column=column)
    return seen


def _mask_fault(uri: str, seen: Inspected) -> str:
    wanted = f"wanted an 8-bit grey PNG of {seen.width} x {seen.height} px"
    try:
        with fsspec.open(uri, "rb") as file, Image.open(file, formats=["PNG"]) as mask:
            mode, size = mask.mode, mask.size
    except Exception as error:  # each storage and each damaged file has errors of its own
        return f"cannot be read as a mask ({one_line(error)}); {wanted}"
    if mode not in _MASK_MODES:
        return f"found a PNG of mode {mode}; {wanted}"
    if size != (seen.width, seen.height):
        return f"found {size[0]} x {size[1]} px; {wanted}"
    return ""
