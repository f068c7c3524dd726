"""Evidence: what retrieval and matching say for and against a query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hallmark.types import Authenticity, Described, Retrieved
from hallmark.verdict.matching import Matches, match

LocalCues = tuple[np.ndarray, np.ndarray]
"""A reference's local descriptors (U, l) and their positions (U, 2), as the gallery gives them."""


@dataclass(frozen=True)
class Evidence:
    """Scores of a query against its candidates. None: no candidate of that authenticity."""

    global_genuine: float | None
    global_counterfeit: float | None
    match_genuine: float | None
    """v+."""
    match_counterfeit: float | None
    """v-."""
    matches: Matches
    """In the order of the candidates."""

    @property
    def score(self) -> float | None:
        """paper_match: v+ less v-, the latter zero where no counterfeit is enrolled; None without a genuine one."""
        if self.match_genuine is None:
            return None
        return self.match_genuine - (self.match_counterfeit or 0.0)


def weigh(query: Described, retrieved: Retrieved, cues: Sequence[LocalCues], threshold_match: float) -> Evidence:
    """Evidence for a query.

    Args:
        query: the photograph.
        retrieved: its candidates.
        cues: of each candidate, in order.
        threshold_match: least cosine of a match.
    """
    stacked = np.stack([local for local, _ in cues]) if cues else np.zeros((0, 1, query.local.shape[1]))
    matches = match(query.local, stacked, threshold_match)
    genuine = np.array([c.authenticity == Authenticity.GENUINE for c in retrieved.candidates], dtype=bool)
    similarity = np.array([c.global_similarity for c in retrieved.candidates])
    return Evidence(
        global_genuine=_highest(similarity, genuine),
        global_counterfeit=_highest(similarity, ~genuine),
        match_genuine=_highest(matches.score, genuine),
        match_counterfeit=_highest(matches.score, ~genuine),
        matches=matches,
    )


def _highest(values: np.ndarray, chosen: np.ndarray) -> float | None:
    return float(values[chosen].max()) if chosen.any() else None
