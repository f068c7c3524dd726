"""The contract of a system under the fixed protocol."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hallmark.data.decode import decode


class System(ABC):
    """Whatever is measured. Photographs are named by path; every score: higher = more genuine, or more alike."""

    def __init__(self) -> None:
        self._described: dict[Path, Any] = {}

    def describe(self, path: Path) -> Any:
        """What the system keeps of a photograph, made once a path."""
        if path not in self._described:
            self._described[path] = self._describe(decode(path.read_bytes()))
        return self._described[path]

    @abstractmethod
    def _describe(self, image: np.ndarray) -> Any:
        """Describe a decoded photograph, (H, W, 3) uint8 RGB."""

    @abstractmethod
    def authenticity_scores(self, references: Sequence[Path], queries: Sequence[Path]) -> Sequence[float]:
        """Task A: a score a query, given the genuine references of its product; there may be none of these."""

    def fold_scores(
        self, references: Mapping[str, Sequence[Path]], queries: Mapping[str, Sequence[Path]]
    ) -> dict[Path, float]:
        """Task A, a whole fold: scores of every product's queries, given every product's genuine references."""
        return {
            path: score
            for product, paths in queries.items()
            for path, score in zip(paths, self.authenticity_scores(references[product], paths), strict=True)
        }

    @abstractmethod
    def gallery_score(self, query: Path, references: Mapping[str, Sequence[Path]]) -> float:
        """Task C: higher = more surely in the gallery of these products; the query's own group is not in it."""

    @abstractmethod
    def similarity_matrix(self, paths: Sequence[Path]) -> np.ndarray:
        """Task D: (N, N), row = query; the diagonal is not read."""
