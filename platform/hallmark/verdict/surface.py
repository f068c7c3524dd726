"""The surface in verification: keypoints to register by, and cells of gradient directions to compare."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from hallmark.data.surface import decode_surface, find_keypoints
from hallmark.types import Keypoints

_ORIENTATIONS = 9
_SOFTENING_PX = 0.7
_FLAT = 5.0
"""Sobel response below which a neighbourhood counts as flat: what noise and compression leave on blank paper."""


@dataclass(frozen=True)
class Cells:
    """A surface on a grid, in the frame that it was warped into."""

    directions: np.ndarray
    """(n, n, 9) float32: gradient energy by direction, relative to the neighbourhood's; near 0 where it is flat."""
    seen: np.ndarray
    """(n, n) bool: where the photograph shows something of that frame."""


class Surface:
    """A decoded surface; keypoints are found when first asked for, where they did not come with it."""

    def __init__(self, encoded: bytes, cell_px: int, keypoints: Keypoints | None = None):
        self.pixels = decode_surface(encoded)
        self._cell_px, self._found = cell_px, keypoints

    @cached_property
    def keypoints(self) -> Keypoints:
        """Its keypoints."""
        return self._found or find_keypoints(self.pixels)

    @cached_property
    def roots(self) -> np.ndarray:
        """(P, 128) float32, unit norm: square roots of the keypoints' histograms, which large bins dominate less."""
        histograms = self.keypoints.descriptors.astype(np.float32)
        return np.sqrt(histograms / np.maximum(histograms.sum(axis=1, keepdims=True), 1e-9))

    def cells(self, matrix: np.ndarray) -> Cells:
        """The surface as the frame sees it that `matrix` (3, 3, fractions to fractions) leads to."""
        side, cell = self.pixels.shape[0], self._cell_px
        scaling = np.diag([float(side), float(side), 1.0])
        in_px = _CENTRE @ scaling @ matrix @ np.linalg.inv(scaling) @ np.linalg.inv(_CENTRE)
        warped = cv2.warpPerspective(self.pixels, in_px, (side, side), borderMode=cv2.BORDER_REPLICATE)
        inside = cv2.warpPerspective(np.ones_like(self.pixels), in_px, (side, side), flags=cv2.INTER_NEAREST)
        num = side // cell
        seen = inside[: num * cell, : num * cell].reshape(num, cell, num, cell).mean(axis=(1, 3)) > 0.9
        return Cells(gradient_cells(warped, cell), seen)


_CENTRE = np.array([[1.0, 0.0, -0.5], [0.0, 1.0, -0.5], [0.0, 0.0, 1.0]])
"""From fractions times side to pixel indices: the centre of the first pixel lies at half a pixel."""


def gradient_cells(pixels: np.ndarray, cell_px: int) -> np.ndarray:
    """Gradient energy by direction in cells, relative to that of the 3 x 3 neighbouring cells.

    Each pixel shares its gradient's magnitude between the two nearest of nine directions over half a turn. Light and
    contrast cancel out; flat paper gives zeros, not amplified noise.

    Args:
        pixels: (S, S) uint8.
        cell_px: side of a cell.

    Returns:
        (n, n, 9) float32 with n = S // cell_px.
    """
    num = pixels.shape[0] // cell_px
    used = slice(num * cell_px)
    light = cv2.GaussianBlur(pixels.astype(np.float32), (0, 0), _SOFTENING_PX)
    across, down = (cv2.Sobel(light, cv2.CV_32F, *order, ksize=3) for order in ((1, 0), (0, 1)))
    magnitude, angle = (field[used, used] for field in cv2.cartToPolar(across, down))
    direction = angle * np.float32(_ORIENTATIONS / np.pi)
    direction -= np.float32(_ORIENTATIONS) * (direction >= _ORIENTATIONS)
    # Direction by direction into one buffer: new arrays of this size cost more than the arithmetic.
    means, share = np.empty((_ORIENTATIONS + 1, num, num), dtype=np.float32), np.empty_like(direction)
    for place, mean in enumerate(means):
        cv2.absdiff(direction, float(place), share)
        np.subtract(1.0, share, out=share)
        np.maximum(share, 0.0, out=share)
        np.multiply(share, magnitude, out=share)
        cv2.resize(share, (num, num), mean, interpolation=cv2.INTER_AREA)
    means[0] += means[_ORIENTATIONS]
    energy = np.ascontiguousarray(means[:_ORIENTATIONS].transpose(1, 2, 0))
    around = np.sqrt(np.maximum(cv2.blur((energy**2).sum(axis=2), (3, 3)), 0.0))
    return energy / (around + _FLAT)[:, :, None]
