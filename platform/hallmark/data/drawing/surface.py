"""What a drawn thing is made of, pixel by pixel: colour, outline, slope, gloss and metal."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

_BRIGHT = ("#d2342b", "#2a5db0", "#f2c21b", "#2f8f4e", "#e9e6e0", "#e2772c", "#6a3f8f", "#3aa6a0")


@dataclass(frozen=True)
class Surface:
    """A thing ready to be lit.

    Convention: `matter` is (H, W, 4) float32, linear-light RGB 0 to 1 and the outline's coverage; `relief` is
    (H, W, 4) float32: the surface normal's x and y, gloss 0 to 1 (strength of the highlight), metal 0 to 1.
    """

    matter: np.ndarray
    relief: np.ndarray
    sharpness: float = 0.5
    """0 = satin highlights, 1 = mirror"""
    thickness: float = 4.0
    """units; how far the shadow falls"""


def linear(colour: str) -> np.ndarray:
    """`#rrggbb` as (3,) float32 linear-light RGB."""
    value = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)], np.float32) / 255
    return value**2.2


def bright(rng: np.random.Generator) -> np.ndarray:
    """One of the bright colours of toys and stationery, (3,) linear RGB."""
    return linear(_BRIGHT[int(rng.integers(len(_BRIGHT)))])


def turned_hue(colour: np.ndarray, degrees: float) -> np.ndarray:
    """A linear RGB colour with its hue turned about the grey axis; lightness is kept."""
    if not degrees:
        return colour
    angle = np.deg2rad(degrees)
    axis = np.full(3, 1 / np.sqrt(3))
    value = np.asarray(colour, np.float64) ** (1 / 2.2)
    turned = value * np.cos(angle) + np.cross(axis, value) * np.sin(angle) + axis * (axis @ value) * (1 - np.cos(angle))
    return (np.clip(turned, 0, 1) ** 2.2).astype(np.float32)


def painted(base: np.ndarray, colour: np.ndarray, coverage: np.ndarray) -> np.ndarray:
    """(H, W, 3) base with a colour (3,) or (H, W, 3) laid over it at `coverage` (H, W)."""
    mixed = np.subtract(colour, base, dtype=np.float32)
    mixed *= coverage[..., None]
    mixed += base
    return mixed


def filled(shape: tuple[int, int], colour: np.ndarray) -> np.ndarray:
    """(H, W, 3) float32 of one colour."""
    return np.broadcast_to(colour, (*shape, 3)).astype(np.float32)


def normals(height_px: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x and y of the unit normal of a height map in px."""
    slope_x = cv2.Sobel(height_px, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8)
    slope_y = cv2.Sobel(height_px, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8)
    length = np.sqrt(1 + slope_x * slope_x + slope_y * slope_y)
    return -slope_x / length, -slope_y / length


def cavity(height_px: np.ndarray, reach_px: float) -> np.ndarray:
    """How far a point lies below what surrounds it within `reach_px` (positive in hollows), px."""
    small = cv2.resize(height_px, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), max(0.6, reach_px / 2))
    return cv2.resize(small, (height_px.shape[1], height_px.shape[0]), interpolation=cv2.INTER_LINEAR) - height_px


def raised(
    colour: np.ndarray,
    height_px: np.ndarray,
    outline: np.ndarray,
    gloss: np.ndarray | float = 0.1,
    metal: np.ndarray | float = 0.0,
    sharpness: float = 0.5,
    thickness: float = 4.0,
    hollow: float = 0.12,
    reach_px: float = 4.0,
) -> Surface:
    """Build a Surface from a height map: normals from its slopes, and darker hollows.

    Args:
        colour: (H, W, 3) linear RGB.
        height_px: (H, W) height in px.
        outline: (H, W) coverage.
        hollow: how much darker a pixel one px deep is; 0 leaves the colour alone.
    """
    height_px = np.asarray(height_px, np.float32)
    shape = height_px.shape
    matter = np.empty((*shape, 4), np.float32)
    shade = np.clip(1 - hollow * cavity(height_px, reach_px), 0.25, 1.2) if hollow else np.ones(shape, np.float32)
    np.multiply(colour, shade[..., None], out=matter[..., :3])
    matter[..., 3] = outline
    relief = np.empty((*shape, 4), np.float32)
    relief[..., 0], relief[..., 1] = normals(height_px)
    relief[..., 2], relief[..., 3] = gloss, metal
    return Surface(matter, relief, sharpness, thickness)
