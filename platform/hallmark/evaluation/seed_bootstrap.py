"""Bootstrap over physical items and seeds at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hallmark.evaluation.measures import CONFIDENCE, Estimate


@dataclass(frozen=True)
class SeedBootstrap:
    """Resamples items with replacement, each truth apart, and trainings with replacement, one draw independent of the
    other: photographs of an item stay together, and so do all answers of a training.

    With one seed the interval says nothing of what another training would give.
    """

    items: np.ndarray
    """(N,) str, one entry a photograph."""
    truths: np.ndarray
    """(N,) int: items are drawn within each of these."""
    num_seeds: int
    seed: int
    """Of the resampling."""
    resamples: int

    def estimate(self, statistic: Callable[[np.ndarray], float | None]) -> Estimate:
        """The statistic with its 95 % percentile interval.

        Args:
            statistic: from (S, N) float64 weights to the figure, or None where it is not defined.

        Returns:
            n counts answers, S·N; `low` and `high` are None where a truth has fewer than two items.
        """
        count = self.num_seeds * len(self.items)
        value = statistic(np.ones((self.num_seeds, len(self.items)))) if count else None
        if value is None or self._item_weights is None:
            return Estimate(value=value, low=None, high=None, n=count)
        weights = zip(self._seed_weights, self._item_weights, strict=True)
        drawn = [statistic(by_seed[:, None] * by_item[None, :]) for by_seed, by_item in weights]
        tail = 50 * (1 - CONFIDENCE)
        low, high = np.percentile([figure for figure in drawn if figure is not None], [tail, 100 - tail])
        return Estimate(value=value, low=float(low), high=float(high), n=count)

    @cached_property
    def _seed_weights(self) -> np.ndarray:
        """(R, S): how often each training is drawn."""
        share = np.full(self.num_seeds, 1 / self.num_seeds)
        return np.random.default_rng([self.seed, 1]).multinomial(self.num_seeds, share, self.resamples).astype(float)

    @cached_property
    def _item_weights(self) -> np.ndarray | None:
        """(R, N): how often each photograph's item is drawn."""
        generator = np.random.default_rng([self.seed, 0])
        weights = np.zeros((self.resamples, len(self.items)))
        for truth in np.unique(self.truths):
            of_truth = np.flatnonzero(self.truths == truth)
            items, item = np.unique(self.items[of_truth], return_inverse=True)
            if len(items) < 2:
                return None
            draws = generator.multinomial(len(items), np.full(len(items), 1 / len(items)), self.resamples)
            weights[:, of_truth] = draws[:, item]
        return weights
