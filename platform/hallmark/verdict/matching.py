"""Local matching: mutual nearest neighbours between a query's cues and those of its candidates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Matches:
    """One query against K references; T cues in the query."""

    score: np.ndarray
    """(K,) float64 in [0, 1]: matched similarities summed over all T cues of the query, divided by T."""
    count: np.ndarray
    """(K,) int64: matched cues."""
    partner: np.ndarray
    """(K, T) int64: the reference's cue that each query cue is matched with, -1 for none."""
    similarity: np.ndarray
    """(K, T) float32: cosine with the nearest cue of the reference, matched or not."""


def match(query: np.ndarray, references: np.ndarray, threshold: float) -> Matches:
    """Match a query with several references at once.

    A query cue is matched where it and its nearest reference cue are each other's nearest and their cosine is at least
    `threshold` (first paper, equation 6, in the form of its ancestor's mutual nearest neighbours). The score counts
    unmatched cues as zero, so it is comparable between photographs.

    Args:
        query: (T, l) unit descriptors.
        references: (K, U, l) unit descriptors.
        threshold: least cosine of a match.
    """
    num_references, num_cues = references.shape[0], query.shape[0]
    if num_references == 0 or num_cues == 0 or references.shape[1] == 0:
        return Matches(
            np.zeros(num_references),
            np.zeros(num_references, dtype=np.int64),
            np.full((num_references, num_cues), -1),
            np.zeros((num_references, num_cues), dtype=np.float32),
        )
    cosines = np.matmul(query.astype(np.float32), references.astype(np.float32).transpose(0, 2, 1))
    nearest = cosines.argmax(axis=2)
    returned = np.take_along_axis(cosines.argmax(axis=1), nearest, axis=1)
    similarity = np.take_along_axis(cosines, nearest[:, :, None], axis=2)[:, :, 0]
    matched = (returned == np.arange(num_cues)) & (similarity >= threshold)
    kept = np.where(matched, np.clip(similarity, 0.0, 1.0), 0.0).astype(np.float64)
    return Matches(
        score=kept.sum(axis=1) / num_cues,
        count=matched.sum(axis=1),
        partner=np.where(matched, nearest, -1),
        similarity=similarity,
    )


def mutual_cosines(query: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Cosines of the mutual nearest neighbours of two sets of unit descriptors, whatever their height. -> (m,)."""
    matches = match(query, reference[None], threshold=-2.0)
    return matches.similarity[0][matches.partner[0] >= 0]
