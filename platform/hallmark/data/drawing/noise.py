"""Procedural textures: every function returns (H, W) float32, seeded by the generator it is given."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import cv2
import numpy as np

Shape = tuple[int, int]


def stream(seed: int, name: str) -> np.random.Generator:
    """A generator of its own for each named effect, so that one effect never shifts the numbers of another."""
    return np.random.default_rng([seed & 0xFFFFFFFF, zlib.crc32(name.encode())])


class Textures:
    """The random textures of one item, each drawn once: a counterfeit and its genuine twin share them."""

    def __init__(self, shape: Shape, seed: int):
        self.shape = shape
        self.seed = seed
        self._drawn: dict[tuple, np.ndarray] = {}

    def stream(self, name: str) -> np.random.Generator:
        """The item's generator for one named effect."""
        return stream(self.seed, name)

    def of(self, name: str, draw: Callable[..., np.ndarray], *lengths: float, **settings: float) -> np.ndarray:
        """The texture `draw(shape, *lengths, rng=...)` with the numbers that belong to `name`; read-only."""
        key = (name, draw, lengths, *sorted(settings.items()))
        if key not in self._drawn:
            drawn = draw(self.shape, *lengths, rng=self.stream(name), **settings)
            drawn.flags.writeable = False
            self._drawn[key] = drawn
        return self._drawn[key]


def lattice(shape: Shape, cell_px: float | tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """Smooth noise of one scale: normal values on a lattice of `cell_px` (or (y, x) cells), cubic between them."""
    cell_y, cell_x = (cell_px, cell_px) if np.isscalar(cell_px) else cell_px
    rows, cols = max(2, int(shape[0] / cell_y) + 2), max(2, int(shape[1] / cell_x) + 2)
    values = rng.standard_normal((rows, cols), dtype=np.float32)
    return cv2.resize(values, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)


def fbm(shape: Shape, cell_px: float, octaves: int, rng: np.random.Generator, gain: float = 0.5) -> np.ndarray:
    """Fractal noise: octaves of lattice noise, each half the scale and `gain` times the height; about unit variance."""
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        total += gain**octave * lattice(shape, max(1.0, cell_px / 2**octave), rng)
    return total * np.float32(1.6 / np.sqrt(sum(gain ** (2 * k) for k in range(octaves))))


def grain(shape: Shape, sigma_px: float, rng: np.random.Generator) -> np.ndarray:
    """White noise blurred to `sigma_px`, unit variance."""
    values = rng.standard_normal(shape, dtype=np.float32)
    if sigma_px <= 0:
        return values
    blurred = cv2.GaussianBlur(values, (0, 0), sigma_px)
    return blurred / max(float(blurred.std()), 1e-6)


def streaks(shape: Shape, length_px: int, rng: np.random.Generator, vertical: bool = False) -> np.ndarray:
    """Noise drawn out along x (or y), as brushing leaves it on metal; unit variance."""
    values = rng.standard_normal(shape, dtype=np.float32)
    size = (1, length_px) if vertical else (length_px, 1)
    values = cv2.blur(cv2.blur(values, size), size)
    return values / max(float(values.std()), 1e-6)


def cell_borders(shape: Shape, cell_px: float, rng: np.random.Generator, jitter: float = 0.9) -> np.ndarray:
    """Distance in px to the nearest border of jittered Voronoi cells about `cell_px` wide (0 on the border)."""
    rows, cols = int(shape[0] / cell_px) + 2, int(shape[1] / cell_px) + 2
    grid_y, grid_x = np.mgrid[0:rows, 0:cols].astype(np.float32)
    offset = rng.uniform(-jitter / 2, jitter / 2, (2, rows, cols))
    offset[1] += 0.5 * (np.arange(rows)[:, None] % 2)
    points_y = np.clip((grid_y + offset[0]) * cell_px, 0, shape[0] - 1).astype(int)
    points_x = np.clip((grid_x + offset[1]) * cell_px, 0, shape[1] - 1).astype(int)
    seeds = np.full(shape, 255, np.uint8)
    seeds[points_y, points_x] = 0
    _, labels = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL)
    inside = np.full(shape, 255, np.uint8)
    inside[:, 1:][labels[:, 1:] != labels[:, :-1]] = 0
    inside[1:][labels[1:] != labels[:-1]] = 0
    return cv2.distanceTransform(inside, cv2.DIST_L2, 3)


def pebbles(shape: Shape, cell_px: float, rng: np.random.Generator) -> np.ndarray:
    """The grain of leather: rounded cells about `cell_px` wide, 1 on top and 0 in the wrinkles between them."""
    tops = 1 - np.exp(-cell_borders(shape, cell_px, rng) / (0.2 * cell_px))
    return displaced(tops, 0.25 * cell_px, 2 * cell_px, rng)


def spots(
    shape: Shape, pitch_px: float, radius_px: float, rng: np.random.Generator, vary: float = 0.4, jitter: float = 0.9
) -> np.ndarray:
    """Soft round spots (1 in the middle, 0 outside) on a jittered lattice of `pitch_px`."""
    rows, cols = int(shape[0] / pitch_px) + 2, int(shape[1] / pitch_px) + 2
    offset = rng.uniform(-jitter / 2, jitter / 2, (2, rows, cols))
    size = radius_px * (1 + vary * rng.uniform(-1, 1, (rows, cols)))
    canvas = np.zeros(shape, np.uint8)
    for row in range(rows):
        for col in range(cols):
            x = (col + 0.5 * (row % 2) + offset[1, row, col]) * pitch_px
            y = (row + offset[0, row, col]) * pitch_px
            centre = (round(x * 16), round(y * 16))
            cv2.circle(canvas, centre, max(1, round(size[row, col] * 16)), 255, -1, cv2.LINE_AA, 4)
    soft = cv2.GaussianBlur(canvas, (0, 0), max(0.4, radius_px * 0.45))
    return soft.astype(np.float32) / 255


def fibres(shape: Shape, count: int, length_px: float, rng: np.random.Generator) -> np.ndarray:
    """Thin bent fibres lying across one another, 0 to 1, as in paper under a lens."""
    canvas = np.zeros(shape, np.uint8)
    start = rng.uniform(0, 1, (count, 2)) * (shape[1], shape[0])
    angle = rng.uniform(0, 2 * np.pi, count)
    bend = rng.normal(0, 0.5, count)
    level = rng.integers(70, 255, count)
    for k in range(count):
        turn = angle[k] + bend[k] * np.linspace(-1, 1, 5)
        steps = np.stack([np.cos(turn), np.sin(turn)], axis=1) * (length_px / 5)
        line = ((start[k] + np.cumsum(steps, axis=0)) * 8).astype(np.int32)
        cv2.polylines(canvas, [line], False, int(level[k]), 1, cv2.LINE_AA, 3)
    return canvas.astype(np.float32) / 255


def displaced(picture: np.ndarray, shift_px: float, cell_px: float, rng: np.random.Generator) -> np.ndarray:
    """The picture with its points moved by smooth noise of about `shift_px`: straight lines become organic."""
    shape = picture.shape[:2]
    rows, cols = np.indices(shape, dtype=np.float32)
    map_x = cols + shift_px * lattice(shape, cell_px, rng)
    map_y = rows + shift_px * lattice(shape, cell_px, rng)
    return cv2.remap(picture, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
