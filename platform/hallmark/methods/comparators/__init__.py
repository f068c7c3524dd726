"""Comparators: other systems, run under the same protocol as hallmark's methods. Here, the contract of the classical.

A classical comparator is not trained. It describes a prepared photograph once and compares descriptions:

    description = comparator.describe(pixels)                 # (H, W, 3) uint8 RGB -> a small object
    alike = comparator.similarity(query, reference)           # float, 0 or more; higher = more alike
    score = comparator.score(query, genuine_references)       # float; higher = more genuine
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Generic, TypeVar

import numpy as np

from hallmark.config import Config

DescriptionT = TypeVar("DescriptionT")


class Comparator(ABC, Generic[DescriptionT]):
    """Built from its frozen config; the same pixels give the same figures, whatever was compared before.

    Any photograph is accepted, blank, tiny or panoramic. One that shows nothing to compare has similarity 0 with every
    photograph, another such one included: nothing seen is no evidence of being genuine.
    """

    config: Config

    @abstractmethod
    def describe(self, image: np.ndarray) -> DescriptionT:
        """Describe a prepared photograph, (H, W, 3) uint8 RGB of any size; the comparator resizes it itself."""

    @abstractmethod
    def similarity(self, query: DescriptionT, reference: DescriptionT) -> float:
        """How alike two photographs are: finite, 0 or more, 0 where they have nothing in common."""

    def score(self, query: DescriptionT, references: Iterable[DescriptionT]) -> float:
        """Score of a query: its highest similarity to a reference, 0 where there is none.

        Given the genuine references of one product, higher = more genuine; given those of all products, higher = more
        surely in the gallery.
        """
        return max((self.similarity(query, reference) for reference in references), default=0.0)
