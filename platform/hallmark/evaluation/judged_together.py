"""What several trainings say of the same photographs: the validation figures of it under weights, and a paired test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.stats import rankdata

from hallmark.errors import DataError
from hallmark.evaluation.measures import auroc
from hallmark.evaluation.seed_bootstrap import SeedBootstrap
from hallmark.training.validation import Judged

_ROUNDING = 1e-9
"""Differences that are nearer to each other than this are equal."""


@dataclass(frozen=True)
class JudgedTogether:
    """Of S trainings about the same N photographs."""

    image_ids: list[str]
    items: np.ndarray
    """(N,) str."""
    class_index: np.ndarray
    """(N,) int64, 2·product + genuine."""
    score: np.ndarray
    """(S, N) float64, higher = more genuine; comparable within a training only."""
    told: np.ndarray | None
    """(S, N) int64, the likeliest class; None of a method that does not classify."""

    @property
    def genuine(self) -> np.ndarray:
        """(N,) bool."""
        return self.class_index % 2 == 1

    @property
    def num_items(self) -> int:
        """Of the photographs."""
        return len(np.unique(self.items))

    def of(self, trainings: slice) -> JudgedTogether:
        """Of these trainings alone."""
        told = None if self.told is None else self.told[trainings]
        return replace(self, score=self.score[trainings], told=told)

    def bootstrap(self, seed: int, resamples: int) -> SeedBootstrap:
        """Over the items, each truth apart, and the trainings."""
        return SeedBootstrap(self.items, self.class_index % 2, len(self.score), seed, resamples)

    def figure(self, metric: str, weights: np.ndarray) -> float | None:
        """A validation figure, mean over trainings.

        Args:
            metric: `accuracy` of the likeliest class, every class counting alike, or `separation`, the area under the
                ROC curve of the score.
            weights: (S, N), how often each answer counts.

        Returns:
            None where it is not defined: no photographs, one truth only, or no classes told.
        """
        of_one = self._accuracy if metric == "accuracy" else self._separation
        drawn = weights.sum(axis=1)
        found = [(of_one(row, weights[row]), float(drawn[row])) for row in np.flatnonzero(drawn)]
        known = [(value, weight) for value, weight in found if value is not None]
        return sum(value * weight for value, weight in known) / sum(weight for _, weight in known) if known else None

    @cached_property
    def _classes(self) -> np.ndarray:
        return np.unique(self.class_index, return_inverse=True)[1]

    def _accuracy(self, row: int, weights: np.ndarray) -> float | None:
        if self.told is None:
            return None
        counted = np.bincount(self._classes, weights)
        right = np.bincount(self._classes, weights * (self.told[row] == self.class_index))
        return float((right[counted > 0] / counted[counted > 0]).mean())

    def _separation(self, row: int, weights: np.ndarray) -> float | None:
        return auroc(self.score[row], self.genuine, weights)


def together(judged: Sequence[Judged]) -> JudgedTogether:
    """Join what one or more trainings say of the same photographs.

    Raises:
        DataError: they are not about the same photographs in the same order.
    """
    first = judged[0]
    for one in judged[1:]:
        if one.image_ids != first.image_ids or not np.array_equal(one.class_index, first.class_index):
            raise DataError(
                f"trainings that are compared judged other photographs: found {len(one.image_ids)} and "
                f"{len(first.image_ids)}; wanted the same in the same order. Start the sweep again in another folder"
            )
    told = None if first.told is None else np.array([one.told for one in judged])
    return JudgedTogether(
        first.image_ids, first.items, first.class_index, np.array([one.score for one in judged]), told
    )


def permutation_test(ours: JudgedTogether, theirs: JudgedTogether, metric: str, draws: int, seed: int) -> float | None:
    """Two-sided paired test of the difference of two recipes on the same photographs and seeds.

    Under the hypothesis that the recipes are alike, what they say of an item can be swapped: all its photographs and
    trainings together. Scores are taken as ranks within their training, so that those of two trainings can be
    exchanged. With d the difference and d* that after a swap of every item by a fair coin,
    p = (1 + number of |d*| >= |d|) / (1 + draws).

    Args:
        ours: of S trainings.
        theirs: of as many, by the same seeds.
        metric: see `JudgedTogether.figure`.
        draws: of d*.
        seed: of the coins.

    Returns:
        p; None where the figure is not defined.
    """
    ours, theirs = _ranked(ours), _ranked(theirs)
    difference = _difference(ours, theirs, metric)
    if difference is None:
        return None
    _, item = np.unique(ours.items, return_inverse=True)
    generator = np.random.default_rng([seed, 2])
    as_far = 0
    for _ in range(draws):
        swapped = generator.integers(0, 2, item.max() + 1).astype(bool)[item]
        drawn = _difference(_mixed(theirs, ours, swapped), _mixed(ours, theirs, swapped), metric)
        as_far += drawn is not None and abs(drawn) >= abs(difference) - _ROUNDING
    return (1 + as_far) / (1 + draws)


def _ranked(answers: JudgedTogether) -> JudgedTogether:
    ranks = rankdata(answers.score, axis=1) if answers.score.size else answers.score
    return replace(answers, score=ranks)


def _mixed(first: JudgedTogether, second: JudgedTogether, which: np.ndarray) -> JudgedTogether:
    """The first's answers where `which`, the second's elsewhere."""
    score = np.where(which, first.score, second.score)
    told = None if first.told is None or second.told is None else np.where(which, first.told, second.told)
    return replace(first, score=score, told=told)


def _difference(ours: JudgedTogether, theirs: JudgedTogether, metric: str) -> float | None:
    weights = np.ones(ours.score.shape)
    figures = [one.figure(metric, weights) for one in (ours, theirs)]
    return None if None in figures else figures[0] - figures[1]
