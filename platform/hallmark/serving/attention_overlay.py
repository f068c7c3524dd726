"""Draws where a classifier looked: its heat and windows on the photograph, and the windows by themselves.

Colours are RGB.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw

from hallmark.serving.drawing import (
    CASING,
    GAP_PX,
    GROUND,
    INK,
    LEGEND_PX,
    MARK_COLOURS,
    canvas_under,
    font,
    heat_scale,
    png,
    sized,
    under_heat,
)
from hallmark.types import AttentionMap, AttentionWindow

MOST_WINDOWS = 12
"""Windows drawn at most, those that count most."""

_TILE_PX = 116
_CAPTION_PX = 22
_TAG_PX = 18


def attention_png(image: np.ndarray, attention: AttentionMap, longest_px: int = 1024) -> bytes:
    """The photograph under its attention, windows outlined and numbered by falling weight, and each window by itself.

    Below the photograph every window is shown as it is, without heat, with its number and what it counts; under those
    lies the legend. A window has one colour at both places. `MOST_WINDOWS` of them are drawn at most.

    Args:
        image: (H, W, 3) uint8 RGB, the whole photograph.
        attention: of that photograph.
        longest_px: longest side of the photograph in the drawing.

    Returns:
        A PNG file.
    """
    picture = sized(image, longest_px)
    windows = attention.windows[:MOST_WINDOWS]
    drawn = _outlined(under_heat(picture, _heat_over(attention, image.shape[:2], picture.shape[:2])), image, windows)
    canvas = canvas_under(drawn)
    tiles = _tiles(image, windows, canvas.shape[1])
    canvas = np.concatenate([canvas[:-LEGEND_PX], tiles, canvas[-LEGEND_PX:]])
    return png(_legend(canvas, len(windows), len(attention.windows)))


def _heat_over(attention: AttentionMap, of: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """(h, w) float32 in [0, 1], over a drawing of that size of a photograph `of` (H, W); 0 where there is no grid."""
    grid = np.asarray(attention.values, np.float32).reshape(attention.rows, attention.columns)
    x0, y0, x1, y1 = attention.box
    places = []
    for begin, end, cells, whole, px in (
        (x0, x1, grid.shape[1], of[1], size[1]),
        (y0, y1, grid.shape[0], of[0], size[0]),
    ):
        on_photograph = (np.arange(px) + 0.5) * whole / px
        places.append((on_photograph - begin) / (end - begin) * cells)
    across, down = np.meshgrid(*(one.astype(np.float32) for one in places))
    heat = cv2.remap(grid, across - 0.5, down - 0.5, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    reached = (across >= 0) & (across < grid.shape[1]) & (down >= 0) & (down < grid.shape[0])
    return np.clip(np.where(reached, heat, 0.0), 0.0, 1.0)


def _outlined(drawn: np.ndarray, image: np.ndarray, windows: Sequence[AttentionWindow]) -> np.ndarray:
    """Windows of the photograph on a drawing of it, those that count most on top."""
    height, width = drawn.shape[:2]
    scale = np.array([width / image.shape[1], height / image.shape[0]] * 2)
    boxes = [np.rint(np.array([w.x0, w.y0, w.x1, w.y1]) * scale).astype(int).tolist() for w in windows]
    drawing = Image.fromarray(drawn)
    pen = ImageDraw.Draw(drawing)
    for place in reversed(range(len(boxes))):
        x0, y0, x1, y1 = boxes[place]
        x1, y1 = max(x1 - 1, x0), max(y1 - 1, y0)
        pen.rectangle((x0, y0, x1, y1), outline=CASING, width=5)
        inner = (min(x0 + 1, x1), min(y0 + 1, y1), max(x1 - 1, x0 + 1), max(y1 - 1, y0 + 1))
        pen.rectangle(inner, outline=_colour(place), width=3)
    taken: set[tuple[int, int]] = set()
    for place, (x0, y0, x1, y1) in enumerate(boxes):
        _tag(pen, _corner(x0, y0, x1, y1, taken), place, (width, height))
    return np.asarray(drawing)


def _corner(x0: int, y0: int, x1: int, y1: int, taken: set[tuple[int, int]]) -> tuple[int, int]:
    """Where a window's number stands: its first corner without one, for windows overlap; else along its top."""
    right, low = max(x0, x1 - _TAG_PX), max(y0, y1 - _TAG_PX)
    along = [(x, y0) for x in range(x0, right, _TAG_PX)]
    for corner in [(x0, y0), (right, y0), (x0, low), (right, low), *along]:
        if all(abs(corner[0] - x) >= _TAG_PX or abs(corner[1] - y) >= _TAG_PX for x, y in taken):
            taken.add(corner)
            return corner
    return x0, y0


def _tag(pen: ImageDraw.ImageDraw, corner: tuple[int, int], place: int, size: tuple[int, int]) -> None:
    x, y = (max(0, min(value, side - _TAG_PX)) for value, side in zip(corner, size, strict=True))
    pen.rectangle((x, y, x + _TAG_PX - 1, y + _TAG_PX - 1), fill=_colour(place), outline=CASING)
    pen.text((x + _TAG_PX / 2, y + _TAG_PX / 2), str(place + 1), fill=CASING, font=font(13), anchor="mm")


def _tiles(image: np.ndarray, windows: Sequence[AttentionWindow], width: int) -> np.ndarray:
    """(h, width, 3) uint8 RGB: the windows in rows, each with its number and weight; no height where there is none."""
    step = _TILE_PX + GAP_PX
    in_row = max(1, (width - GAP_PX) // step)
    rows = -(-len(windows) // in_row)
    canvas = np.empty((rows * (step + _CAPTION_PX) + GAP_PX * bool(rows), width, 3), np.uint8)
    canvas[:] = GROUND
    corners = [
        (GAP_PX + place % in_row * step, GAP_PX + place // in_row * (step + _CAPTION_PX))
        for place in range(len(windows))
    ]
    for window, (x, y) in zip(windows, corners, strict=True):
        tile = _tile(image[window.y0 : window.y1, window.x0 : window.x1])
        down, across = (_TILE_PX - tile.shape[0]) // 2, (_TILE_PX - tile.shape[1]) // 2
        canvas[y + down :, x + across :][: tile.shape[0], : tile.shape[1]] = tile
    drawing = Image.fromarray(canvas)
    pen = ImageDraw.Draw(drawing)
    for place, (window, (x, y)) in enumerate(zip(windows, corners, strict=True)):
        pen.rectangle((x, y, x + _TILE_PX - 1, y + _TILE_PX - 1), outline=_colour(place), width=2)
        _tag(pen, (x, y), place, (width, len(canvas)))
        middle = (x + _TILE_PX / 2, y + _TILE_PX + _CAPTION_PX / 2)
        pen.text(middle, f"{100 * window.weight:.0f} % of the vote", fill=INK, font=font(12), anchor="mm")
    return np.asarray(drawing)


def _tile(crop: np.ndarray) -> np.ndarray:
    """A window as large as fits into a tile."""
    scale = _TILE_PX / max(crop.shape[:2])
    size = tuple(max(1, round(side * scale)) for side in crop.shape[1::-1])
    return cv2.resize(crop, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)


def _legend(canvas: np.ndarray, drawn: int, found: int) -> np.ndarray:
    """Writes the scale into the strip at the bottom."""
    drawing = Image.fromarray(canvas)
    pen = ImageDraw.Draw(drawing)
    width, height = drawing.size
    middle, length = height - LEGEND_PX // 2, 70
    said = "where the classifier looked"
    if width > 480 and drawn < found:
        said += f", {drawn} of {found} windows"
    pen.text((10, middle), "less", fill=INK, font=font(12), anchor="lm")
    drawing.paste(Image.fromarray(heat_scale(length, 10)), (38, middle - 5))
    pen.text((44 + length, middle), "more", fill=INK, font=font(12), anchor="lm")
    pen.text((88 + length, middle), said, fill=INK, font=font(12), anchor="lm")
    return np.asarray(drawing)


def _colour(place: int) -> tuple[int, int, int]:
    return MARK_COLOURS[place % len(MARK_COLOURS)]
