"""Residuals: where a photograph differs from the references it is registered with, and what they sum up to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist

_LEAST_TOP = 3
_PRIOR_ITEMS = 5.0
"""How many items' worth of the frame's usual spread is mixed into each location's own."""


def cue_residual(
    query: np.ndarray,
    places: np.ndarray | None,
    references: Sequence[tuple[np.ndarray, np.ndarray | None]],
    window: float,
) -> np.ndarray:
    """What no reference explains: R_i = 1 - max cosine to a reference's cue within a window of cue i's place.

    Args:
        query: (T, l) float32 unit descriptors.
        places: (T, 2) where the query's cues lie in the references' common frame; None = not registered.
        references: unit descriptors (U, l) float32 and places (U, 2) of each; places None = not registered.
        window: radius within which a cue may have moved, in the unit of the places.

    Returns:
        (T,) float64 in [0, 2], the least over the references; the plain nearest-neighbour distance where a side is not
        registered or nothing lies within the window; nan without references.
    """
    best = np.full(len(query), np.nan)
    for descriptors, where in references:
        if not len(descriptors):
            continue
        cosines = query @ descriptors.T
        nearest = cosines.max(axis=1)
        if places is not None and where is not None:
            np.putmask(cosines, ~(cdist(places, where, "sqeuclidean") <= window**2), -np.inf)
            within = cosines.max(axis=1)
            nearest = np.where(np.isfinite(within), within, nearest)
        best = np.fmin(best, 1.0 - nearest)
    return best


def cell_residual(directions: np.ndarray, seen: np.ndarray, references: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Squared distance of each cell to the nearest reference's cell at the same place.

    Args:
        directions: (n, n, d) of the query, in the references' common frame.
        seen: (n, n) bool, where the query shows something.
        references: (R, n, n, d).
        shown: (R, n, n) bool.

    Returns:
        (n, n) float64, nan where the query or every reference shows nothing.
    """
    if not len(references):
        return np.full(seen.shape, np.nan)
    apart = references - directions[None]
    distances = np.einsum("rijd,rijd->rij", apart, apart).astype(np.float64)
    least = np.where(shown, distances, np.inf).min(axis=0)
    return np.where(seen & np.isfinite(least), least, np.nan)


@dataclass(frozen=True)
class Norm:
    """What residuals genuine items show at each location of a frame; nan where too few were seen."""

    mean: np.ndarray
    spread: np.ndarray
    """Above 0."""

    def z(self, residual: np.ndarray) -> np.ndarray:
        """Residuals in standard deviations above the genuine mean of their location."""
        return (residual - self.mean) / self.spread


def fit_norm(residuals: np.ndarray, items: Sequence[str], least_items: int) -> Norm | None:
    """Mean and spread at each location over genuine items.

    An item's photographs are averaged first, so that many shots of one do not pass for many. The variance is shrunk to
    the frame's median one, since a few items say little about a single location.

    Args:
        residuals: (P, ...) one field a photograph, nan where it shows nothing.
        items: (P,) which item each photograph is of.
        least_items: fewest items for a norm to mean anything.

    Returns:
        None where there are fewer items.
    """
    names = sorted(set(items))
    if len(names) < max(2, least_items):
        return None
    by_item = np.array(items)
    with np.errstate(invalid="ignore"):
        fields = np.stack([_nanmean(residuals[by_item == name]) for name in names])
        count = np.isfinite(fields).sum(axis=0)
        mean = _nanmean(fields)
        variance = np.nansum((fields - mean) ** 2, axis=0) / np.maximum(count - 1, 1)
    enough = count >= max(2, least_items)
    if not enough.any():
        return None
    usual = max(float(np.median(variance[enough])), 1e-12)
    shrunk = ((count - 1) * variance + _PRIOR_ITEMS * usual) / (np.maximum(count - 1, 0) + _PRIOR_ITEMS)
    return Norm(np.where(enough, mean, np.nan), np.sqrt(shrunk))


def _nanmean(fields: np.ndarray) -> np.ndarray:
    count = np.isfinite(fields).sum(axis=0)
    return np.where(count > 0, np.nansum(fields, axis=0) / np.maximum(count, 1), np.nan)


def top_mean(values: np.ndarray, share: float) -> float | None:
    """Mean of the largest max(3, share of all) finite values; None where there are fewer than three."""
    finite = values[np.isfinite(values)]
    if len(finite) < _LEAST_TOP:
        return None
    count = max(_LEAST_TOP, int(share * len(finite)))
    return float(np.partition(finite, len(finite) - count)[len(finite) - count :].mean())
