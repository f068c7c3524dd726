"""Local matching: mutual nearest neighbours between a query's cues and those of its candidates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Cues = tuple[np.ndarray, np.ndarray]
"""Local descriptors (T, l), unit norm, and what each cue counts, (T,) 0 or more; a cue of weight 0 is not there."""

_NOWHERE = -3.0
"""Below every cosine."""


@dataclass(frozen=True)
class Matches:
    """One query against K references; T cues in the query."""

    score: np.ndarray
    """(K,) float64 in [0, 1]: weighted similarities of the matched cues over the weight of all cues of the query."""
    count: np.ndarray
    """(K,) int64: matched cues."""
    partner: np.ndarray
    """(K, T) int64: the reference's cue that each query cue is matched with, -1 for none."""
    similarity: np.ndarray
    """(K, T) float32: cosine with the nearest cue of the reference, matched or not."""


def match(query: Cues, references: Sequence[Cues], threshold: float) -> Matches:
    """Match a query with several references at once, whatever their numbers of cues.

    A query cue is matched where it and its nearest reference cue are each other's nearest and their cosine is at least
    `threshold` (first paper, equation 6). The score v = Σ_matched w·s / Σ_all w counts unmatched cues as zero, so that
    it can be compared between photographs; neither padding nor the order of cues or references changes it.

    Args:
        query: T cues.
        references: of each candidate.
        threshold: least cosine of a match.
    """
    descriptors, weights = query
    num_cues, num_references = len(weights), len(references)
    longest = max((len(w) for _, w in references), default=0)
    if not num_cues or not longest:
        return Matches(
            np.zeros(num_references),
            np.zeros(num_references, dtype=np.int64),
            np.full((num_references, num_cues), -1),
            np.full((num_references, num_cues), _NOWHERE, dtype=np.float32),
        )
    stacked = np.zeros((num_references, longest, descriptors.shape[1]), dtype=np.float32)
    there = np.zeros((num_references, longest), dtype=bool)
    for place, (local, weight) in enumerate(references):
        stacked[place, : len(weight)] = local
        there[place, : len(weight)] = weight > 0
    counted = weights > 0
    # One product for all candidates; each row is complete in memory, so that both searches run along memory.
    cosines = (stacked.reshape(-1, stacked.shape[2]) @ descriptors.astype(np.float32).T).reshape(*there.shape, num_cues)
    cosines[~there] = _NOWHERE
    cosines[:, :, ~counted] = _NOWHERE
    back = cosines.argmax(axis=2)
    towards = np.ascontiguousarray(cosines.transpose(0, 2, 1))
    nearest = towards.argmax(axis=2)
    similarity = np.take_along_axis(towards, nearest[:, :, None], axis=2)[:, :, 0]
    returned = np.take_along_axis(back, nearest, axis=1)
    matched = (returned == np.arange(num_cues)) & (similarity >= threshold) & counted & there.any(axis=1)[:, None]
    total = float(weights[counted].astype(np.float64).sum())
    kept = np.where(matched, np.clip(similarity, 0.0, 1.0), 0.0).astype(np.float64) @ weights.astype(np.float64)
    return Matches(
        score=kept / total if total else kept,
        count=matched.sum(axis=1),
        partner=np.where(matched, nearest, -1),
        similarity=similarity,
    )


def mutual_cosines(query: Cues, reference: Cues) -> np.ndarray:
    """Cosines of the mutual nearest neighbours of two sets of cues, whatever their height. -> (m,)."""
    matches = match(query, [reference], threshold=-2.0)
    return matches.similarity[0][matches.partner[0] >= 0]
