"""Near-duplicate photographs: clusters of thumbnails that are the same picture but for encoding and small changes."""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

THUMBNAIL_SIDE_PX = 64
_ROWS_AT_ONCE = 256
_FLAT_MEAN_TOLERANCE = 2
_ROUNDING_MARGIN = 1e-4


def thumbnail(image: np.ndarray) -> np.ndarray:
    """The luminance of a photograph, averaged over a grid of equal areas.

    Args:
        image: (H, W, 3) uint8, RGB.

    Returns:
        (64, 64) uint8.
    """
    side = (THUMBNAIL_SIDE_PX, THUMBNAIL_SIDE_PX)
    return np.array(Image.fromarray(image).convert("L").resize(side, Image.Resampling.BOX))


def near_duplicate_clusters(thumbnails: np.ndarray, threshold: float) -> np.ndarray:
    """Cluster thumbnails, joining every pair whose normalised correlation exceeds the threshold.

    The correlation of two thumbnails is the cosine of their pixels after each one's mean is taken away. A thumbnail
    of one single grey value has none: it is joined to the other such thumbnails whose value lies within 2 of its own.
    The partition does not depend on the order of the thumbnails. Memory is O(N·(64² + 256)), time O(N²·64²).

    Args:
        thumbnails: (N, h, w) uint8.
        threshold: correlation, above 0 and below 1.

    Returns:
        (N,) int64, cluster labels numbered 0, 1, ... in the order in which clusters first appear.
    """
    if len(thumbnails) == 0:
        return np.zeros(0, dtype=np.int64)
    pixels = thumbnails.reshape(len(thumbnails), -1)
    centred = pixels.astype(np.float32)
    centred -= centred.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(centred, axis=1)
    flat = pixels.max(axis=1) == pixels.min(axis=1)
    centred /= np.where(flat, np.inf, np.maximum(norms, 1e-12))[:, None]
    labels = np.arange(len(pixels))
    for start in range(0, len(pixels), _ROWS_AT_ONCE):
        rows = centred[start : start + _ROWS_AT_ONCE]
        first, second = _pairs(pixels, rows @ centred[start:].T, start, threshold)
        labels = _join(labels, first, second)
    return _numbered(_join(labels, *_flat_pairs(pixels, flat)))


def _pairs(pixels: np.ndarray, correlation: np.ndarray, start: int, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the joined pairs in a block of rows; those too close to call in float32 are settled exactly."""
    first, second = np.nonzero(correlation > threshold - _ROUNDING_MARGIN)
    sure = correlation[first, second] > threshold + _ROUNDING_MARGIN
    first, second = first + start, second + start
    keep = sure.copy()
    for index in np.flatnonzero(~sure & (first < second)):
        keep[index] = _correlation(pixels[first[index]], pixels[second[index]]) > threshold
    return first[keep], second[keep]


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Normalised correlation of two pixel rows from exact whole-number sums; the same in either order."""
    a, b = one.astype(np.int64), other.astype(np.int64)
    count, sum_a, sum_b = len(a), int(a.sum()), int(b.sum())
    covariance = count * int(a @ b) - sum_a * sum_b
    variances = (count * int(a @ a) - sum_a**2) * (count * int(b @ b) - sum_b**2)
    return covariance / variances**0.5


def _flat_pairs(pixels: np.ndarray, flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours in grey value among the flat thumbnails; joining neighbours joins every pair within the tolerance."""
    indices = np.flatnonzero(flat)
    values = pixels[indices, 0].astype(np.int64)
    order = np.argsort(values, kind="stable")
    near = np.diff(values[order]) <= _FLAT_MEAN_TOLERANCE
    indices = indices[order]
    return indices[:-1][near], indices[1:][near]


def _join(labels: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    if len(first) == 0:
        return labels
    size = len(labels)
    edges = coo_array((np.ones(len(first), dtype=bool), (labels[first], labels[second])), shape=(size, size))
    return connected_components(edges, directed=False)[1][labels]


def _numbered(labels: np.ndarray) -> np.ndarray:
    _, first_seen, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(len(first_seen), dtype=np.int64)
    rank[np.argsort(first_seen)] = np.arange(len(first_seen))
    return rank[inverse]
