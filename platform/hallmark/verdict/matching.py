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
    ours, counted = np.ascontiguousarray(descriptors.T, dtype=np.float32), weights > 0
    shape = (len(references), len(weights))
    partner, similarity = np.full(shape, -1), np.full(shape, _NOWHERE, dtype=np.float32)
    # One reference at a time: its cosines stay in the processor's cache, which those of all together do not.
    for place, (local, weight) in enumerate(references):
        there = weight > 0
        if not len(weights) or not there.any():
            continue
        cosines = local.astype(np.float32) @ ours
        if not there.all():
            cosines[~there] = _NOWHERE
        if not counted.all():
            cosines[:, ~counted] = _NOWHERE
        nearest, back = cosines.argmax(axis=0), cosines.argmax(axis=1)
        similarity[place] = cosines[nearest, np.arange(len(weights))]
        matched = (back[nearest] == np.arange(len(weights))) & (similarity[place] >= threshold) & counted
        partner[place] = np.where(matched, nearest, -1)
    kept = np.where(partner >= 0, np.clip(similarity, 0.0, 1.0), 0.0).astype(np.float64) @ weights.astype(np.float64)
    total = float(weights[counted].astype(np.float64).sum())
    return Matches(
        score=kept / total if total else kept,
        count=(partner >= 0).sum(axis=1),
        partner=partner,
        similarity=similarity,
    )


def mutual_cosines(query: Cues, reference: Cues) -> np.ndarray:
    """Cosines of the mutual nearest neighbours of two sets of cues, whatever their height. -> (m,)."""
    matches = match(query, [reference], threshold=-2.0)
    return matches.similarity[0][matches.partner[0] >= 0]
