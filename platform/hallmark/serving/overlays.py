"""Draws a verdict's evidence onto the photograph: where it differs, and which cues match.

Colours are RGB. Points are (x, y) in px of the drawing, from the middle of its top left pixel.
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
    LEAST_PX,
    LEAST_SHORT_PX,
    LEAST_WIDTH,
    LEGEND_PX,
    MARK_COLOURS,
    canvas_under,
    font,
    heat_scale,
    png,
    sized,
    under_heat,
)
from hallmark.types import CuePair, ResidualMap

MOST_PAIRS = 40
"""Matched cues drawn at most; more would hide the photograph."""

_BOWS = (0.03, -0.03, 0.08, -0.08, 0.13, -0.13, 0.18)
"""How far a line bends, as a share of its length, in turn."""


def residual_png(image: np.ndarray, residual: ResidualMap, longest_px: int = 1024) -> bytes:
    """The photograph under its residual map, hotter and denser where it differs more, over a legend.

    The colours run from 0 to the map's own maximum, and to 1 where that is less, by square root, because a few places
    of a counterfeit outdo all others: they tell where, the numbers in the legend how much. Where little differs or
    nothing was compared the photograph shows through unchanged.

    Args:
        image: (H, W, 3) uint8 RGB, the whole photograph.
        residual: laid over the whole photograph.
        longest_px: longest side of the photograph in the drawing.

    Returns:
        A PNG file.
    """
    picture = sized(image, longest_px)
    height, width = picture.shape[:2]
    values = np.asarray(residual.values, np.float32).reshape(residual.rows, residual.columns)
    top = max(float(values.max()), 1.0)
    heat = np.clip(cv2.resize(np.sqrt(values / top), (width, height), interpolation=cv2.INTER_LINEAR), 0, 1)
    return png(_heat_legend(canvas_under(under_heat(picture, heat)), top))


def matches_png(image: np.ndarray, reference: np.ndarray, pairs: Sequence[CuePair], longest_px: int = 1024) -> bytes:
    """The photograph beside a reference, or above it where both are wide, with numbered pairs of matched cues.

    The most similar pairs are drawn, `MOST_PAIRS` of them at most, and of those that lie on one spot only the best.
    A pair has one colour and one number at both of its ends.

    Args:
        image: (H, W, 3) uint8 RGB, the whole photograph.
        reference: (H', W', 3) uint8 RGB, of any size.
        pairs: matched cues, points as fractions of each picture.
        longest_px: longest side of the two pictures together.

    Returns:
        A PNG file.
    """
    pictures, is_beside = _laid_out(image, reference, longest_px)
    canvas, corners = _joined(pictures, is_beside)
    sizes = [(picture.shape[1], picture.shape[0]) for picture in pictures]
    radius = 4 if max(canvas.shape[:2]) < 700 else 5
    chosen = _spread(pairs, sizes, 3 * radius)
    ends = [
        [
            (corner[0] + point[0] * size[0] - 0.5, corner[1] + point[1] * size[1] - 0.5)
            for corner, size, point in zip(corners, sizes, (pair.query, pair.reference), strict=True)
        ]
        for pair in chosen
    ]
    colours = [MARK_COLOURS[number % len(MARK_COLOURS)] for number in range(len(chosen))]
    for number in reversed(range(len(chosen))):  # the best on top
        _line(canvas[:-LEGEND_PX], *ends[number], _BOWS[number % len(_BOWS)], colours[number])
    for pair, colour in zip(reversed(ends), reversed(colours), strict=True):
        for end in pair:
            _dot(canvas, end, radius, colour)
    drawing = Image.fromarray(canvas)
    pen = ImageDraw.Draw(drawing)
    for number, pair in enumerate(ends, start=1):
        for end in pair:
            _label(pen, drawing.size, end, radius, str(number))
    _match_legend(pen, drawing.size, len(chosen), len(pairs), is_beside)
    return png(np.asarray(drawing))


def photograph_jpeg(image: np.ndarray, longest_px: int = 1024) -> bytes:
    """The photograph alone, at the size of the drawings, as a JPEG file."""
    picture = cv2.cvtColor(sized(image, longest_px), cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()


def _heat_legend(canvas: np.ndarray, top: float) -> np.ndarray:
    """Writes the scale into the strip below the picture."""
    drawing = Image.fromarray(canvas)
    pen = ImageDraw.Draw(drawing)
    width, height = drawing.size
    middle, left, length = height - LEGEND_PX // 2, 10, 90
    pen.text((left, middle), "0", fill=INK, font=font(12), anchor="lm")
    left += 14
    drawing.paste(Image.fromarray(heat_scale(length, 10)), (left, middle - 5))
    left += length + 6
    number = f"{top:.3g}"
    pen.text((left, middle), number, fill=INK, font=font(12), anchor="lm")
    left += round(pen.textlength(number, font(12))) + 14
    note = "differs from genuine references"
    if left + pen.textlength(note, font(12)) > width - 6:
        note = "differs from genuine"
    pen.text((left, middle), note, fill=INK, font=font(12), anchor="lm")
    return np.asarray(drawing)


def _laid_out(image: np.ndarray, reference: np.ndarray, longest_px: int) -> tuple[list[np.ndarray], bool]:
    """Both pictures at drawing size, and whether they stand beside each other, or above where that shows much more."""
    beside, above = (_fitting(image, reference, longest_px, across) for across in (True, False))
    is_beside = beside[0][0] >= 0.75 * above[0][0]
    least = min(LEAST_SHORT_PX, longest_px)
    scaled = []
    for picture, size in zip((image, reference), beside if is_beside else above, strict=True):
        width, height = (max(least, round(side)) for side in size)
        way = cv2.INTER_AREA if width < picture.shape[1] else cv2.INTER_CUBIC
        scaled.append(cv2.resize(picture, (width, height), interpolation=way))
    return scaled, is_beside


def _fitting(
    image: np.ndarray, reference: np.ndarray, longest_px: int, across: bool
) -> tuple[tuple[float, float], tuple[float, float]]:
    """(width, height) of both, at one height beside each other or at one width above each other."""
    ours, theirs = (picture.shape[1] / picture.shape[0] for picture in (image, reference))
    room = longest_px - GAP_PX
    # A small photograph stays small, near its own size.
    own = max(max(image.shape[:2]), LEAST_PX)
    if across:
        height = min(room / max(ours + theirs, 1.0), own / max(ours, 1.0))
        return (height * ours, height), (height * theirs, height)
    width = min(room / max(1 / ours + 1 / theirs, 1.0), own * min(ours, 1.0))
    return (width, width / ours), (width, width / theirs)


def _joined(pictures: Sequence[np.ndarray], is_beside: bool) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Both pictures on one ground with room for the legend, and the top left corner (x, y) of each."""
    (h0, w0), (h1, w1) = (picture.shape[:2] for picture in pictures)
    width, height = (w0 + GAP_PX + w1, max(h0, h1)) if is_beside else (max(w0, w1), h0 + GAP_PX + h1)
    canvas = np.empty((height + LEGEND_PX, max(width, LEAST_WIDTH), 3), np.uint8)
    canvas[:] = GROUND
    left = (canvas.shape[1] - width) // 2
    corners = [(left, 0), (left + w0 + GAP_PX, 0)] if is_beside else [(left, 0), (left, h0 + GAP_PX)]
    for picture, (x, y) in zip(pictures, corners, strict=True):
        canvas[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
    return canvas, corners


def _spread(pairs: Sequence[CuePair], sizes: Sequence[tuple[int, int]], apart_px: float) -> list[CuePair]:
    """The most similar pairs whose ends lie apart from those of better ones, best first."""
    chosen: list[CuePair] = []
    taken = np.empty((2, 0, 2))
    for pair in sorted(pairs, key=lambda pair: -pair.similarity):
        ends = np.array([pair.query, pair.reference]) * np.array(sizes)
        near = np.hypot(*np.moveaxis(taken - ends[:, None], -1, 0)) < apart_px
        if not near.any():
            chosen.append(pair)
            taken = np.concatenate([taken, ends[:, None]], axis=1)
        if len(chosen) == MOST_PAIRS:
            break
    return chosen


def _line(
    canvas: np.ndarray,
    start: tuple[float, float],
    end: tuple[float, float],
    bow: float,
    colour: tuple[int, ...],
) -> None:
    """A slightly bowed line: cues lie on a grid, and straight ones along its rows would hide each other."""
    (x0, y0), (x1, y1) = start, end
    bend = ((x0 + x1) / 2 - bow * (y1 - y0), (y0 + y1) / 2 + bow * (x1 - x0))
    along = np.linspace(0, 1, 33)[:, None]
    path = (1 - along) ** 2 * start + 2 * along * (1 - along) * np.array(bend) + along**2 * end
    points = [np.rint(16 * path).astype(np.int32)]
    cv2.polylines(canvas, points, False, CASING, 3, cv2.LINE_AA, shift=4)
    cv2.polylines(canvas, points, False, colour, 1, cv2.LINE_AA, shift=4)


def _dot(canvas: np.ndarray, centre: tuple[float, float], radius: int, colour: tuple[int, ...]) -> None:
    place = tuple(round(16 * value) for value in centre)
    cv2.circle(canvas, place, 16 * (radius + 1), CASING, cv2.FILLED, cv2.LINE_AA, shift=4)
    cv2.circle(canvas, place, 16 * radius, colour, cv2.FILLED, cv2.LINE_AA, shift=4)


def _label(
    pen: ImageDraw.ImageDraw, size: tuple[int, int], centre: tuple[float, float], radius: int, number: str
) -> None:
    """The number at the upper right of its dot, at the left of it where the drawing ends."""
    face = font(13)
    wide = pen.textlength(number, face)
    x, y = centre[0] + radius + 2, max(centre[1] - radius, 8)
    if x + wide > size[0] - 2:
        x = centre[0] - radius - 2 - wide
    pen.text((x, y), number, fill="white", font=face, anchor="lm", stroke_width=2, stroke_fill=CASING)


def _match_legend(pen: ImageDraw.ImageDraw, size: tuple[int, int], drawn: int, found: int, is_beside: bool) -> None:
    said = f"{drawn} of {found} matched cues, best first" if drawn else "no matched cues"
    middle = size[1] - LEGEND_PX // 2
    sides = "left: photograph, right: reference" if is_beside else "above: photograph, below: reference"
    pen.text((10, middle), said, fill=INK, font=font(12), anchor="lm")
    if size[0] > 480:
        pen.text((size[0] - 10, middle), sides, fill=INK, font=font(12), anchor="rm")
