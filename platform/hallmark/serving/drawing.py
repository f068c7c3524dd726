"""What the drawings of evidence share: sizes, colours, heat over a photograph, lettering.

Colours are RGB.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from PIL import ImageFont

GROUND, INK, CASING = (23, 27, 33), (230, 233, 237), (12, 14, 17)
MARK_COLOURS = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (213, 94, 0),
    (204, 121, 167),
    (120, 160, 255),
    (235, 235, 235),
)
"""Of Okabe and Ito, less black, their dark blue made lighter: apart for colour-blind people, light on the ground."""

LEAST_PX = 360
"""Longest side that a small picture is enlarged to, so that marks on it can be told apart."""
LEAST_SHORT_PX = 24
LEAST_WIDTH = 300
"""Width that the legend wants."""
LEGEND_PX = 34
GAP_PX = 8
_OPAQUE = 0.8


def sized(image: np.ndarray, longest_px: int) -> np.ndarray:
    """The picture at drawing size: large ones shrunk, small ones enlarged, a sliver no thinner than it can be seen."""
    height, width = image.shape[:2]
    longest = max(height, width)
    scale = min(longest_px, max(longest, min(LEAST_PX, longest_px))) / longest
    size = tuple(max(min(LEAST_SHORT_PX, longest_px), round(side * scale)) for side in (width, height))
    if size == (width, height):
        return image
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)


def _opacity(heat: np.ndarray) -> np.ndarray:
    """How much of the photograph a heat in [0, 1] covers: little of it at the low end, never all."""
    return _OPAQUE * np.clip((heat - 0.2) / 0.5, 0, 1)


@cache
def _heat_colours() -> np.ndarray:
    """(256, 3) float32 RGB, lightness rising evenly from purple: darker ones would not show on a dark product."""
    ramp = np.linspace(80, 255, 256).astype(np.uint8)[:, None]
    return cv2.cvtColor(cv2.applyColorMap(ramp, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)[:, 0].astype(np.float32)


def canvas_under(picture: np.ndarray) -> np.ndarray:
    """The picture in the middle of the ground, with room for the legend below."""
    height, width = picture.shape[:2]
    canvas = np.empty((height + LEGEND_PX, max(width, LEAST_WIDTH), 3), np.uint8)
    canvas[:] = GROUND
    left = (canvas.shape[1] - width) // 2
    canvas[:height, left : left + width] = picture
    return canvas


def under_heat(picture: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """A picture under a heat, denser where it is hotter; where there is little the picture is unchanged.

    Args:
        picture: (H, W, 3) uint8 RGB.
        heat: (H, W) float32 in [0, 1].

    Returns:
        (H, W, 3) uint8 RGB.
    """
    colours = _heat_colours()[np.rint(255 * heat).astype(np.uint8)]
    cover = _opacity(heat)[..., None]
    # A grey photograph under it: its own colours would pass for heat.
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float32)
    muted = picture + np.minimum(1.0, 2 * cover) * (grey - picture)
    return np.rint(muted + cover * (colours - muted)).astype(np.uint8)


def heat_scale(width: int, height: int) -> np.ndarray:
    """(height, width, 3) uint8 RGB: heat from 0 to 1 as it looks over mid-grey, as it does in the drawings."""
    ramp = np.linspace(0, 1, width, dtype=np.float32)
    cover = _opacity(ramp)[:, None]
    strip = np.rint(128 + cover * (_heat_colours()[np.rint(255 * ramp).astype(np.uint8)] - 128)).astype(np.uint8)
    return np.tile(strip, (height, 1, 1))


@cache
def font(size_px: int) -> ImageFont.FreeTypeFont:
    """The one lettering of all drawings."""
    return ImageFont.load_default(size_px)


def png(canvas: np.ndarray) -> bytes:
    """(H, W, 3) uint8 RGB as a PNG file."""
    return cv2.imencode(".png", cv2.cvtColor(canvas, cv2.COLOR_RGB2BGR))[1].tobytes()
