"""The formulas behind the metrics: proportions, bootstrap over items, AUROC, calibration.

A figure that is not defined (no photographs, one class only) is None, never nan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict
from scipy.stats import binomtest

CONFIDENCE = 0.95
"""Level of every interval."""


class Figures(BaseModel):
    """Base of every result: frozen, and nan or infinity is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Proportion(Figures):
    """k of n, the share k/n and its 95 % Wilson interval; the last three are None when n is 0."""

    k: int
    n: int
    value: float | None
    low: float | None
    high: float | None

    @classmethod
    def of(cls, k: int, n: int) -> Proportion:
        """Build from the two counts, 0 <= k <= n."""
        if n == 0:
            return cls(k=0, n=0, value=None, low=None, high=None)
        interval = binomtest(int(k), int(n)).proportion_ci(CONFIDENCE, method="wilson")
        return cls(k=k, n=n, value=k / n, low=float(interval.low), high=float(interval.high))

    @classmethod
    def count(cls, hits: Iterable[bool]) -> Proportion:
        """Build from one truth value a photograph."""
        flags = [bool(hit) for hit in hits]
        return cls.of(sum(flags), len(flags))


class Estimate(Figures):
    """A figure over n photographs with its 95 % bootstrap interval; None where not defined."""

    value: float | None
    low: float | None
    high: float | None
    n: int


class ReliabilityBin(Figures):
    """Photographs whose p_genuine lies in [low, high): their mean p_genuine and how many are truly genuine."""

    low: float
    high: float
    mean_p: float | None
    genuine: Proportion


class Calibration(Figures):
    """Expected calibration error of p_genuine over n judged in-domain photographs, and its equal-width bins."""

    expected_calibration_error: float | None
    n: int
    bins: list[ReliabilityBin]


def f1_score(true_positives: float, false_positives: float, false_negatives: float) -> float | None:
    """2·TP / (2·TP + FP + FN) from (possibly weighted) counts; None when there is no positive photograph."""
    if true_positives + false_negatives == 0:
        return None
    return 2 * true_positives / (2 * true_positives + false_positives + false_negatives)


def auroc(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray | None = None) -> float | None:
    """Area under the ROC curve: the chance that a positive outscores a negative, a tie counting half.

    Weighted and cheap enough to be called once a bootstrap resample.

    Args:
        scores: (N,) float, higher = more positive.
        positive: (N,) bool.
        weights: (N,) how often each row counts; None = once.

    Returns:
        0 to 1, or None when either class is empty.
    """
    if len(scores) == 0:
        return None
    weights = np.ones(len(scores)) if weights is None else weights
    levels, level = np.unique(scores, return_inverse=True)
    positives = np.bincount(level, weights * positive, len(levels))
    negatives = np.bincount(level, weights * ~positive, len(levels))
    pairs = positives.sum() * negatives.sum()
    if pairs == 0:
        return None
    below = np.cumsum(negatives) - negatives
    return float(positives @ (below + negatives / 2) / pairs)


@dataclass(frozen=True)
class ItemBootstrap:
    """Resamples physical items with replacement, each truth apart, so that photographs of one item stay together.

    `item_ids` and `truths` are (N,) str arrays, one entry a photograph.
    """

    item_ids: np.ndarray
    truths: np.ndarray
    seed: int
    resamples: int

    def estimate(self, rows: np.ndarray, statistic: Callable[[np.ndarray], float | None]) -> Estimate:
        """The statistic with its percentile interval.

        Args:
            rows: (N,) bool, the photographs the statistic is about.
            statistic: from (rows.sum(),) float weights to the figure, or None where not defined.

        Returns:
            `low` and `high` are None when some truth among the rows has fewer than two items.
        """
        num_rows = int(rows.sum())
        value = statistic(np.ones(num_rows)) if num_rows else None
        weights = self._weights(rows) if value is not None else None
        if weights is None:
            return Estimate(value=value, low=None, high=None, n=num_rows)
        drawn = [figure for figure in map(statistic, weights) if figure is not None]
        tail = 50 * (1 - CONFIDENCE)
        low, high = np.percentile(drawn, [tail, 100 - tail])
        return Estimate(value=value, low=float(low), high=float(high), n=num_rows)

    def _weights(self, rows: np.ndarray) -> np.ndarray | None:
        generator = np.random.default_rng(self.seed)
        item_ids, truths = self.item_ids[rows], self.truths[rows]
        weights = np.zeros((self.resamples, len(truths)))
        for truth in np.unique(truths):
            of_truth = np.flatnonzero(truths == truth)
            items, item = np.unique(item_ids[of_truth], return_inverse=True)
            if len(items) < 2:
                return None
            draws = generator.multinomial(len(items), np.full(len(items), 1 / len(items)), self.resamples)
            weights[:, of_truth] = draws[:, item]
        return weights


def calibrate(p_genuine: np.ndarray, genuine: np.ndarray, num_bins: int = 15) -> Calibration:
    """Expected calibration error: mean over photographs of |mean p - share genuine| in their bin.

    Args:
        p_genuine: (N,) float, 0 to 1.
        genuine: (N,) bool.
        num_bins: equal-width bins over 0 to 1; the last one includes 1.
    """
    edges = np.linspace(0, 1, num_bins + 1)
    index = np.minimum(np.searchsorted(edges, p_genuine, side="right") - 1, num_bins - 1)
    bins, gap = [], 0.0
    for position in range(num_bins):
        inside = index == position
        share = Proportion.count(genuine[inside])
        mean_p = float(p_genuine[inside].mean()) if share.n else None
        if mean_p is not None and share.value is not None:
            gap += share.n * abs(mean_p - share.value)
        bins.append(
            ReliabilityBin(low=float(edges[position]), high=float(edges[position + 1]), mean_p=mean_p, genuine=share)
        )
    num_judged = len(p_genuine)
    error = gap / num_judged if num_judged else None
    return Calibration(expected_calibration_error=error, n=num_judged, bins=bins)
