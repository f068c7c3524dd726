"""Geometry: the transformation under which one photograph's points lie on another's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

GeometryKind = Literal["homography", "affine", "none"]

_LEAST = {"homography": 8, "affine": 8}
"""Fewest inliers that are believed: four or three pairs fit any transformation, and a few more join by chance."""
_MOST_ITERATIONS = 500
_CONFIDENCE = 0.999
_LARGEST_SCALE = 5.0


@dataclass(frozen=True)
class Alignment:
    """A transformation between two network inputs. Convention: points (x, y) as fractions of the input."""

    matrix: np.ndarray
    """(3, 3) float64: from the query's points to the reference's, homogeneous."""
    inliers: np.ndarray
    """(M,) bool: which of the fitted pairs lie on it."""


def fit_alignment(kind: GeometryKind, source: np.ndarray, target: np.ndarray, tolerance: float) -> Alignment | None:
    """The transformation that most pairs agree on, by MAGSAC (homography) or RANSAC (affine).

    The same pairs in the same order give the same result.

    Args:
        kind: what may happen between two photographs of a part; `none` never aligns.
        source: (M, 2) points of the query.
        target: (M, 2) points of the reference they are matched with.
        tolerance: how far from its place an inlier may lie, in the unit of the points.

    Returns:
        None where there are too few pairs, too few of them agree, or the transformation is no view of a surface
        (mirrored, folded, or scaled more than fivefold).
    """
    if kind == "none" or len(source) < _LEAST[kind]:
        return None
    # The estimators have tolerances of their own in absolute numbers, made for pixels.
    unit = 1000.0
    source_px, target_px = (np.ascontiguousarray(points * unit, dtype=np.float32) for points in (source, target))
    if kind == "homography":
        matrix, mask = cv2.findHomography(
            source_px, target_px, cv2.USAC_MAGSAC, tolerance * unit, None, _MOST_ITERATIONS, _CONFIDENCE
        )
    else:
        matrix, mask = cv2.estimateAffine2D(
            source_px, target_px, None, cv2.RANSAC, tolerance * unit, _MOST_ITERATIONS, _CONFIDENCE
        )
        matrix = None if matrix is None else np.vstack([matrix, [0.0, 0.0, 1.0]])
    if matrix is None or not np.isfinite(matrix).all():
        return None
    scaling = np.diag([unit, unit, 1.0])
    matrix = np.linalg.inv(scaling) @ matrix @ scaling
    inliers = mask.ravel().astype(bool)
    if inliers.sum() < _LEAST[kind] or not is_view(matrix):
        return None
    return Alignment(matrix, inliers)


def project(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Points (M, 2) through a homogeneous (3, 3) matrix; those at infinity become far away, never nan."""
    homogeneous = points @ matrix[:, :2].T + matrix[:, 2]
    depth = homogeneous[:, 2:]
    return homogeneous[:, :2] / np.where(np.abs(depth) < 1e-9, 1e-9, depth)


def is_view(matrix: np.ndarray) -> bool:
    """Whether a transformation shows the unit square as a view of a surface: convex, not mirrored, of like size."""
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    if ((corners @ matrix[2, :2] + matrix[2, 2]) * np.sign(matrix[2, 2]) <= 1e-6).any():
        return False
    seen = project(corners, matrix)
    edges = np.roll(seen, -1, axis=0) - seen
    following = np.roll(edges, -1, axis=0)
    turns = edges[:, 0] * following[:, 1] - edges[:, 1] * following[:, 0]
    return bool((turns > _LARGEST_SCALE**-2).all() and (turns < _LARGEST_SCALE**2).all())
