"""Near-duplicate photographs: clusters of thumbnails that are the same picture but for encoding and small changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image
from pydantic import Field
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from hallmark.config import Config

THUMBNAIL_SIDE_PX = 64
_ROWS_AT_ONCE = 256
_PAIRS_AT_ONCE = 512
_FLAT_MEAN_TOLERANCE = 2
_ROUNDING_MARGIN = 1e-4
_MOST_SCALING, _LEAST_OVERLAP = 0.5, 0.5
"""Of an alignment: change of area, and share of the picture that both photographs cover."""


def thumbnail(image: np.ndarray) -> np.ndarray:
    """The luminance of a photograph, averaged over a grid of equal areas.

    Args:
        image: (H, W, 3) uint8, RGB.

    Returns:
        (64, 64) uint8.
    """
    side = (THUMBNAIL_SIDE_PX, THUMBNAIL_SIDE_PX)
    return np.array(Image.fromarray(image).convert("L").resize(side, Image.Resampling.BOX))


class NearDuplicateConfig(Config):
    """When two photographs count as the same picture."""

    correlation: float = Field(
        0.99,
        gt=0.5,
        lt=1,
        description="a pair correlates above this, before and after what its look-alikes share is taken away",
    )
    certain: float = Field(
        0.995,
        gt=0.5,
        lt=1,
        description="a pair that correlates above this counts as one picture whatever looks like it: parting two "
        "that are costs more than joining two that are not",
    )
    look_alike: float = Field(
        0.7,
        gt=0.3,
        lt=1,
        description="photographs that correlate above this with one are its look-alikes (same design)",
    )
    neighbours: int = Field(8, ge=1, le=64, description="most alike photographs that each one is compared with")
    aligned_neighbours: int = Field(
        3,
        ge=0,
        le=16,
        description="most alike photographs that are aligned to each one, to find crops and turns; 0 = none",
    )
    aligned_correlation: float = Field(
        0.94, gt=0.5, lt=1, description="an aligned pair correlates above this where both photographs show something"
    )
    aligned_detail: float = Field(
        0.9, gt=0.5, lt=1, description="an aligned pair's detail (1 to 3 px of 64) correlates above this"
    )
    crowd: int = Field(
        1,
        ge=0,
        le=1000,
        description="a photograph with more look-alikes than this is not aligned: copies and new "
        "photographs of one design cannot be told apart by alignment",
    )


@dataclass(frozen=True)
class NearDuplicates:
    """The pairs that are the same picture, and the clusters they form."""

    pairs: np.ndarray
    """(P, 2) int64, first < second, sorted."""
    clusters: np.ndarray
    """(N,) int64, numbered in the order in which clusters first appear."""


def find_near_duplicates(thumbnails: np.ndarray, config: NearDuplicateConfig) -> NearDuplicates:
    """Find re-encoded, resized, retoned, and (outside of crowds) cropped or slightly turned copies.

    Photographs of one flat design correlate above 0.99 though no two are copies. So the mean of a pair's look-alikes
    is projected out of both before they are compared: what is left belongs to this capture alone. Pairs not joined so
    are aligned by an affine map that maximises their correlation and compared in full and in detail. Memory is
    O(N·64²), time O(N²·64²) for the correlations and O(N) for the alignments.

    Args:
        thumbnails: (N, 64, 64) uint8, from `thumbnail`.
        config: the thresholds.
    """
    count = len(thumbnails)
    if count == 0:
        return NearDuplicates(np.zeros((0, 2), dtype=np.int64), np.zeros(0, dtype=np.int64))
    pixels = thumbnails.reshape(count, -1)
    flat = pixels.max(axis=1) == pixels.min(axis=1)
    units = _unit_rows(pixels, flat)
    surroundings = _surroundings(units, config)
    plain = _still_pairs(units, surroundings, config)
    moved = _moved_pairs(thumbnails, flat, surroundings, plain, config)
    level = np.stack(_flat_pairs(pixels, flat), axis=1)
    pairs = np.unique(np.sort(np.concatenate([plain, moved, level]), axis=1), axis=0)
    return NearDuplicates(pairs, _numbered(_join(np.arange(count), pairs[:, 0], pairs[:, 1])))


@dataclass(frozen=True)
class _Surroundings:
    """What lies near each photograph: (N, K) indices and correlations by falling correlation; sums of look-alikes."""

    nearest: np.ndarray
    correlations: np.ndarray
    shared: np.ndarray
    crowd: np.ndarray


def _unit_rows(pixels: np.ndarray, flat: np.ndarray) -> np.ndarray:
    """(N, D) float32 rows of zero mean and unit norm; flat rows are zero."""
    centred = pixels.astype(np.float32)
    centred -= centred.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(centred, axis=1)
    return centred / np.where(flat, np.inf, np.maximum(norms, 1e-12))[:, None]


def _surroundings(units: np.ndarray, config: NearDuplicateConfig) -> _Surroundings:
    count = len(units)
    kept = min(count, max(config.neighbours, config.aligned_neighbours))
    nearest = np.zeros((count, kept), dtype=np.int64)
    correlations = np.zeros((count, kept), dtype=np.float32)
    shared, crowd = np.zeros_like(units), np.zeros(count, dtype=np.int64)
    for start in range(0, count, _ROWS_AT_ONCE):
        rows = slice(start, min(start + _ROWS_AT_ONCE, count))
        block = units[rows] @ units.T
        own = np.arange(rows.stop - start)
        block[own, own + start] = -1
        alike = block > config.look_alike
        shared[rows] = alike.astype(np.float32) @ units
        crowd[rows] = np.count_nonzero(alike, axis=1)
        chosen = np.argpartition(-block, kept - 1, axis=1)[:, :kept]
        values = np.take_along_axis(block, chosen, axis=1)
        order = np.argsort(-values, axis=1, kind="stable")
        nearest[rows] = np.take_along_axis(chosen, order, axis=1)
        correlations[rows] = np.take_along_axis(values, order, axis=1)
    return _Surroundings(nearest, correlations, shared, crowd)


def _still_pairs(units: np.ndarray, near: _Surroundings, config: NearDuplicateConfig) -> np.ndarray:
    """(P, 2) pairs that correlate as they lie, before and after their look-alikes' mean is projected out."""
    first, rank = np.nonzero(near.correlations[:, : config.neighbours] > config.correlation)
    pairs = np.unique(np.sort(np.stack([first, near.nearest[first, rank]], axis=1), axis=1), axis=0)
    keep = []
    for chunk in _chunks(pairs):
        one, other = chunk.T
        raw = np.sum(units[one] * units[other], axis=1)
        own = _own_correlation(units[one], units[other], near.shared[one], near.shared[other])
        keep.append((raw > config.certain) | (own > config.correlation))
    return pairs[np.concatenate(keep)] if keep else pairs


def _own_correlation(one: np.ndarray, other: np.ndarray, near_one: np.ndarray, near_other: np.ndarray) -> np.ndarray:
    """(P,) correlation of unit rows after the mean of their look-alikes, each other left out, is projected out."""
    mean = near_one + near_other - one - other
    norms = np.linalg.norm(mean, axis=1, keepdims=True)
    # Below this the pair had no look-alikes but each other, and what is left of the sums is rounding.
    mean = np.where(norms > 1e-3, mean / np.maximum(norms, 1e-3), 0)
    rest_one = one - mean * np.sum(mean * one, axis=1, keepdims=True)
    rest_other = other - mean * np.sum(mean * other, axis=1, keepdims=True)
    scale = np.linalg.norm(rest_one, axis=1) * np.linalg.norm(rest_other, axis=1)
    alike = np.sum(rest_one * rest_other, axis=1) / np.maximum(scale, 1e-12)
    return np.where(scale > _ROUNDING_MARGIN, alike, 1.0)


def _moved_pairs(
    thumbnails: np.ndarray, flat: np.ndarray, near: _Surroundings, joined: np.ndarray, config: NearDuplicateConfig
) -> np.ndarray:
    """(P, 2) pairs that are alike once one is laid over the other."""
    lonely = (near.crowd <= config.crowd) & ~flat
    known = {tuple(pair) for pair in joined.tolist()}
    first = np.repeat(np.arange(len(thumbnails)), min(config.aligned_neighbours, near.nearest.shape[1]))
    second = near.nearest[:, : config.aligned_neighbours].ravel()
    keep = lonely[first] & lonely[second] & (first != second)
    candidates = {(min(pair), max(pair)) for pair in zip(first[keep].tolist(), second[keep].tolist(), strict=True)}
    found = [pair for pair in sorted(candidates - known) if _alike_aligned(*thumbnails[list(pair)], config)]
    return np.array(found, dtype=np.int64).reshape(-1, 2)


def _alike_aligned(one: np.ndarray, other: np.ndarray, config: NearDuplicateConfig) -> bool:
    """Whether two thumbnails are alike once the other is laid over the one by the best affine map (ECC)."""
    start = np.eye(2, 3, dtype=np.float32)
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 50, 1e-4)
    try:
        _, warp = cv2.findTransformECC(one, other, start, cv2.MOTION_AFFINE, criteria, None, 3)
    except cv2.error:  # it does not converge for pictures that are nothing alike
        return False
    if abs(np.linalg.det(warp[:, :2]) - 1) > _MOST_SCALING:
        return False
    size, inverse = one.shape[::-1], cv2.WARP_INVERSE_MAP
    laid = cv2.warpAffine(other, warp, size, flags=cv2.INTER_LINEAR | inverse)
    both = cv2.warpAffine(np.ones_like(other), warp, size, flags=cv2.INTER_NEAREST | inverse)
    both = cv2.erode(both, np.ones((5, 5), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0).astype(bool)
    if both.mean() < _LEAST_OVERLAP or np.ptp(one[both]) == 0 or np.ptp(laid[both]) == 0:
        return False
    whole = np.corrcoef(one[both], laid[both])[0, 1]
    return bool(
        whole > config.aligned_correlation
        and np.corrcoef(_detail(one)[both], _detail(laid)[both])[0, 1] > config.aligned_detail
    )


def _detail(picture: np.ndarray) -> np.ndarray:
    """What is finer than 3 px and coarser than 0.7 px: lighting and noise drop out."""
    picture = picture.astype(np.float32)
    return cv2.GaussianBlur(picture, (0, 0), 0.7) - cv2.GaussianBlur(picture, (0, 0), 3)


def _chunks(pairs: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(pairs), _PAIRS_AT_ONCE):
        yield pairs[start : start + _PAIRS_AT_ONCE]


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
