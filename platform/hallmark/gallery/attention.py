"""Where a classifier looked, carried from its input to the photograph."""

from __future__ import annotations

import cv2
import numpy as np

from hallmark.data.preprocess import Box, Preprocessing, boxes_in_photograph
from hallmark.methods.base import Attended
from hallmark.types import AttentionMap, AttentionWindow

_MOST_CELLS = 32
"""Rows and columns of a grid at most: it is looked at, and travels between the stages of the service."""
_WHOLE = np.array([[0.0, 0.0, 1.0, 1.0]])
_DIGITS = 3
"""An edge within a thousandth of a px of a whole one lies on it: fractions in float32 are no more exact."""


def attention_map(
    attended: Attended, width: int, height: int, config: Preprocessing, box: Box | None = None
) -> AttentionMap:
    """Where a network looked, in px of the photograph.

    A window becomes the smallest one of whole px that covers it, clipped to the photograph; one that lies wholly beside
    it, in padding, is left out. What is not a finite number counts as 0, or leaves its window out. Everything is
    rounded, so that it is the same each time and compares exactly when a verdict is computed again.

    Args:
        attended: of one photograph, B = 1.
        width: px of the photograph after EXIF orientation.
        height: px of the photograph after EXIF orientation.
        config: the preprocessing that the network's input went through.
        box: the box that the photograph was cut by, or None.

    Raises:
        ValueError: it is not of one photograph.
    """
    if len(attended.heat) != 1:
        raise ValueError(f"attended: found {len(attended.heat)} photographs; wanted 1")
    values = _grid(attended.heat[0].float().cpu().numpy())
    (covered,) = boxes_in_photograph(_WHOLE, width, height, config, box)
    placed = boxes_in_photograph(attended.windows[0].double().cpu().numpy(), width, height, config, box)
    weights = attended.weights[0].double().cpu().numpy()
    windows = [_window(*pair, width, height) for pair in zip(placed, weights, strict=True)]
    return AttentionMap(
        rows=values.shape[0],
        columns=values.shape[1],
        values=np.round(values.ravel().astype(np.float64), 4).tolist(),
        box=tuple(np.round(covered, _DIGITS).tolist()),
        windows=sorted((one for one in windows if one is not None), key=lambda one: -one.weight),
    )


def _grid(heat: np.ndarray) -> np.ndarray:
    """(h, w) float32 in [0, 1], each cell of a coarser grid the mean of what it covers."""
    heat = np.clip(np.nan_to_num(heat, nan=0.0), 0.0, 1.0)
    size = tuple(min(side, _MOST_CELLS) for side in heat.shape[::-1])
    return heat if size == heat.shape[::-1] else cv2.resize(heat, size, interpolation=cv2.INTER_AREA)


def _window(placed: np.ndarray, weight: float, width: int, height: int) -> AttentionWindow | None:
    """A window of the photograph; None where it has no area in it."""
    if not (np.isfinite(placed).all() and np.isfinite(weight)):
        return None
    placed = np.round(placed, _DIGITS)
    x0, y0 = (max(0, int(edge)) for edge in np.floor(placed[:2]))
    x1, y1 = (min(most, int(edge)) for edge, most in zip(np.ceil(placed[2:]), (width, height), strict=True))
    if x0 >= x1 or y0 >= y1:
        return None
    return AttentionWindow(x0=x0, y0=y0, x1=x1, y1=y1, weight=round(min(max(float(weight), 0.0), 1.0), 4))
