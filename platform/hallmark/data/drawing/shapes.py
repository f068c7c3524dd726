"""Plane geometry of a product: signed distances and coverages on a frame measured in units (512 to the long side)."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class Frame:
    """The canvas that a product is drawn on. Convention: x to the right, y down, origin in the top left corner."""

    height: int
    """px"""
    width: int
    """px"""
    unit: float
    """px in one unit; lengths of a product are given in units, 512 of which make the long side"""

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) px."""
        return self.height, self.width

    @property
    def size(self) -> tuple[float, float]:
        """(width, height) in units."""
        return self.width / self.unit, self.height / self.unit

    def axes(self) -> tuple[np.ndarray, np.ndarray]:
        """x (1, W) and y (H, 1) of the pixel centres in units, float32."""
        x = (np.arange(self.width, dtype=np.float32) + 0.5) / self.unit
        y = (np.arange(self.height, dtype=np.float32) + 0.5) / self.unit
        return x[None, :], y[:, None]


def round_rect(frame: Frame, centre: tuple[float, float], half: tuple[float, float], radius: float) -> np.ndarray:
    """Signed distance in units to a rectangle with round corners; negative inside."""
    x, y = frame.axes()
    dx = np.abs(x - centre[0]) - (half[0] - radius)
    dy = np.abs(y - centre[1]) - (half[1] - radius)
    outside = np.hypot(np.maximum(dx, 0), np.maximum(dy, 0))
    return outside + np.minimum(np.maximum(dx, dy), 0) - radius


def circle(frame: Frame, centre: tuple[float, float], radius: float) -> np.ndarray:
    """Signed distance in units to a circle; negative inside."""
    x, y = frame.axes()
    return np.hypot(x - centre[0], y - centre[1]) - radius


def cover(distance: np.ndarray, frame: Frame, soft: float = 0.0) -> np.ndarray:
    """Coverage 0 to 1 of the inside of a signed distance, with an edge one pixel (or `soft` units) wide."""
    width = max(1.0, soft * frame.unit)
    return np.clip(0.5 - distance * (frame.unit / width), 0, 1)


def band(distance: np.ndarray, frame: Frame, width: float) -> np.ndarray:
    """Coverage of the line `width` units wide along the border of a signed distance."""
    return cover(np.abs(distance) - width / 2, frame)


def dome(distance: np.ndarray, frame: Frame, bevel: float, rise: float) -> np.ndarray:
    """Height in px of a body whose rim is rounded over `bevel` units and that stands `rise` units high."""
    inside = np.clip(-distance / bevel, 0, 1)
    return frame.unit * rise * np.sqrt(np.clip(1 - (1 - inside) ** 2, 0, 1))


def capsules(frame: Frame, ends: np.ndarray, width: float) -> np.ndarray:
    """Coverage of straight strokes with round ends.

    Args:
        ends: (N, 4) x0, y0, x1, y1 in units.
        width: units.
    """
    fine = 2
    canvas = np.zeros((frame.height * fine, frame.width * fine), np.uint8)
    points = np.rint(np.asarray(ends, np.float64) * frame.unit * fine * 16).astype(int)
    thickness = max(1, round(width * frame.unit * fine))
    for x0, y0, x1, y1 in points:
        cv2.line(canvas, (x0, y0), (x1, y1), 255, thickness, cv2.LINE_AA, 4)
    return shrink(canvas, frame)


def polygon(frame: Frame, points: np.ndarray) -> np.ndarray:
    """Coverage of a filled polygon, points (N, 2) in units."""
    canvas = np.zeros((frame.height * 2, frame.width * 2), np.uint8)
    cv2.fillPoly(canvas, [np.rint(np.asarray(points) * frame.unit * 2 * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    return shrink(canvas, frame)


def curve(frame: Frame, points: np.ndarray, width: float, closed: bool = False) -> np.ndarray:
    """Coverage of a polyline, points (N, 2) in units, `width` in units."""
    canvas = np.zeros((frame.height * 2, frame.width * 2), np.uint8)
    line = np.rint(np.asarray(points) * frame.unit * 2 * 16).astype(np.int32)
    cv2.polylines(canvas, [line], closed, 255, max(1, round(width * frame.unit * 2)), cv2.LINE_AA, 4)
    return shrink(canvas, frame)


def shrink(canvas: np.ndarray, frame: Frame) -> np.ndarray:
    """A uint8 canvas of a larger size as float32 coverage of the frame's size."""
    small = cv2.resize(canvas, (frame.width, frame.height), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32) / 255


def star(centre: tuple[float, float], outer: float, inner: float, tips: int, turn: float = 0.0) -> np.ndarray:
    """The (2·tips, 2) corners of a star."""
    angle = turn - np.pi / 2 + np.pi * np.arange(2 * tips) / tips
    radius = np.where(np.arange(2 * tips) % 2 == 0, outer, inner)
    return np.stack([centre[0] + radius * np.cos(angle), centre[1] + radius * np.sin(angle)], axis=1)


def along_round_rect(
    centre: tuple[float, float], half: tuple[float, float], radius: float, pitch: float
) -> tuple[np.ndarray, np.ndarray]:
    """Points every `pitch` units along a rectangle with round corners, clockwise from the middle of the top.

    Returns:
        (N, 2) points and (N,) directions of travel in radians.
    """
    straight_x, straight_y, arc = half[0] - radius, half[1] - radius, radius * np.pi / 2
    lengths = np.array([straight_x, arc, 2 * straight_y, arc, 2 * straight_x, arc, 2 * straight_y, arc, straight_x])
    edges = np.concatenate([[0], np.cumsum(lengths)])
    distance = np.arange(0, edges[-1] - pitch / 2, pitch)
    points, directions = np.zeros((len(distance), 2)), np.zeros(len(distance))
    corners = [(1, -1), (1, 1), (-1, 1), (-1, -1)]
    for k, d in enumerate(distance):
        piece = int(np.searchsorted(edges, d, side="right") - 1)
        along = d - edges[piece]
        side = (piece // 2) % 4
        if piece % 2:
            sx, sy = corners[piece // 2]
            heading = side * np.pi / 2 + along / max(radius, 1e-6)
            middle = np.array([sx * straight_x, sy * straight_y])
            points[k] = middle + radius * np.array([np.sin(heading), -np.cos(heading)])
        else:
            heading = side * np.pi / 2
            start = [(0, -half[1]), (half[0], -straight_y), (straight_x, half[1]), (-half[0], straight_y)][side]
            if piece == 8:
                start = (-straight_x, -half[1])
            points[k] = np.array(start) + along * np.array([np.cos(heading), np.sin(heading)])
        directions[k] = heading
    return points + np.array(centre), directions
