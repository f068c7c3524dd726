"""The classical comparators under the fixed protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hallmark.methods.comparators import Comparator
from systems.base import System


class ComparatorSystem(System):
    """A classical comparator on whole photographs; each pair is compared once, whichever of it is the query.

    Where `quick` is given, tasks C and D compare a query with the `shortlist` references that are most alike by quick
    only; in D the others rank below these, in quick's order.
    """

    def __init__(self, comparator: Comparator, quick: Comparator | None = None, shortlist: int = 20) -> None:
        super().__init__()
        self._comparator = comparator
        self._quick = ComparatorSystem(quick) if quick else None
        self._shortlist = shortlist
        self._compared: dict[tuple[Path, Path], float] = {}

    def _describe(self, image: np.ndarray) -> Any:
        return self._comparator.describe(image)

    def _similarity(self, query: Path, reference: Path) -> float:
        pair = min(query, reference), max(query, reference)
        if pair not in self._compared:
            self._compared[pair] = self._comparator.similarity(*map(self.describe, pair))
        return self._compared[pair]

    def _similarities(self, query: Path, references: Sequence[Path]) -> np.ndarray:
        """(R,) similarities; off the shortlist minus the rank as a share, below any similarity."""
        if self._quick is None:
            return np.array([self._similarity(query, one) for one in references])
        order = np.argsort(-self._quick._similarities(query, references), kind="stable")
        similarities = np.empty(len(references))
        similarities[order] = -np.arange(len(order)) / max(1, len(order))
        for row in order[: self._shortlist]:
            similarities[row] = self._similarity(query, references[row])
        return similarities

    def authenticity_scores(self, references: Sequence[Path], queries: Sequence[Path]) -> list[float]:
        return [max((self._similarity(query, one) for one in references), default=0.0) for query in queries]

    def gallery_score(self, query: Path, references: Mapping[str, Sequence[Path]]) -> float:
        return self._similarities(query, [one for paths in references.values() for one in paths]).max(initial=0.0)

    def similarity_matrix(self, paths: Sequence[Path]) -> np.ndarray:
        matrix = np.zeros((len(paths), len(paths)))
        for row, query in enumerate(paths):
            others = np.flatnonzero(np.arange(len(paths)) != row)
            matrix[row, others] = self._similarities(query, [paths[other] for other in others])
        return matrix
