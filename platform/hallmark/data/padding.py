"""FWD padding: the shorter side filled up to a square, so that resizing does not deform the product."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

Fill = Literal["none", "black", "white", "gray", "random", "uniform", "auto"]
"""What fills the padding; `none` pads nothing, `auto` is gray for elongated photographs and none for the others."""

Content = tuple[int, int, int, int]
"""Where a photograph lies in a padded square: x0, y0, x1, y1 in px, the ends exclusive."""

_Colour = tuple[int, int, int]

_LEVELS = {"black": 0, "white": 255, "gray": 128}
_STRIP = 0.02


@dataclass(frozen=True)
class Padded:
    """A photograph and the padding round it."""

    image: np.ndarray
    """(S, S, 3) uint8 RGB, S the longer side; (H, W, 3) with fill `none`."""
    content: Content


def pad_to_square(image: np.ndarray, fill: Fill, rng: np.random.Generator | None = None) -> Padded:
    """Pad the shorter side evenly at both ends; an odd pixel goes to the end (FWD strategy of KAG-MTLN, section 3.5).

    The fills: black 0, white 255, gray 128; random: one colour a call; uniform: each padded end has the mean colour of
    the photograph's adjacent strip, 2 % of that side and at least 1 px wide.

    Args:
        image: (H, W, 3) uint8 RGB; its pixels are found unchanged inside `content`.
        fill: any but `auto`, which depends on a setting and is decided before.
        rng: needed for `random` only, which draws one colour from it even where nothing is padded.

    Raises:
        ValueError: the fill is `auto`, or `random` without an rng.
    """
    height, width = image.shape[:2]
    if fill == "none":
        return Padded(image, (0, 0, width, height))
    first, last = _colours(image, fill, rng)
    side = max(width, height)
    x0, y0, x1, y1 = content = centred(width, height, side)
    image = cv2.copyMakeBorder(image, y0, 0, x0, 0, cv2.BORDER_CONSTANT, value=first)
    image = cv2.copyMakeBorder(image, 0, side - y1, 0, side - x1, cv2.BORDER_CONSTANT, value=last)
    return Padded(image, content)


def centred(width: int, height: int, side: int) -> Content:
    """Where a photograph of this size lies in a square of `side` px, no smaller than it."""
    x0, y0 = (side - width) // 2, (side - height) // 2
    return x0, y0, x0 + width, y0 + height


def _colours(image: np.ndarray, fill: Fill, rng: np.random.Generator | None) -> tuple[_Colour, _Colour]:
    """Colours of the leading (left or top) and the trailing padding, RGB."""
    if fill == "uniform":
        return _edge_colours(image)
    if fill == "random":
        if rng is None:
            raise ValueError("fill 'random' draws its colour; wanted an rng, found None")
        red, green, blue = (int(level) for level in rng.integers(0, 256, 3))
        return (red, green, blue), (red, green, blue)
    if fill == "auto":
        raise ValueError("found fill 'auto'; wanted it decided by the aspect ratio before padding")
    level = _LEVELS[fill]
    return (level, level, level), (level, level, level)


def _edge_colours(image: np.ndarray) -> tuple[_Colour, _Colour]:
    height, width = image.shape[:2]
    strip = max(1, round(_STRIP * min(width, height)))
    if width < height:
        return _mean_colour(image[:, :strip]), _mean_colour(image[:, -strip:])
    return _mean_colour(image[:strip]), _mean_colour(image[-strip:])


def _mean_colour(pixels: np.ndarray) -> _Colour:
    red, green, blue = (round(level) for level in cv2.mean(pixels)[:3])
    return red, green, blue
