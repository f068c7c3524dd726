"""Two recipes on the same photographs and seeds: difference, its interval, and an exact test."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import binomtest

from hallmark.evaluation.class_report import share_right
from hallmark.evaluation.measures import CONFIDENCE, Estimate, Figures
from hallmark.evaluation.outcomes import Answers
from hallmark.evaluation.seed_bootstrap import SeedBootstrap


class PairedDifference(Figures):
    """Product-aware accuracy of a variant less that of the base, answer by answer."""

    accuracy: Estimate
    won: int
    """Answers that the variant alone got right."""
    lost: int
    """Answers that the base alone got right."""
    p_value: float | None
    """Exact McNemar test, two-sided; None where no answer differs."""
    p_adjusted: float | None
    """By Holm's method over the variants of the table."""

    @property
    def is_significant(self) -> bool:
        """Whether the interval excludes 0 and the adjusted test agrees."""
        low, high = self.accuracy.low, self.accuracy.high
        apart = low is not None and high is not None and (low > 0 or high < 0)
        return apart and self.p_adjusted is not None and self.p_adjusted < 1 - CONFIDENCE

    @property
    def words(self) -> str:
        """What it comes to."""
        if self.accuracy.low is None:
            return "not tested: too few items"
        if not self.is_significant:
            return "no significant difference"
        return "better than the base" if self.accuracy.value > 0 else "worse than the base"


def paired_difference(variant: Answers, base: Answers, bootstrap: SeedBootstrap) -> PairedDifference:
    """Compare two recipes; not adjusted for other comparisons yet.

    Args:
        variant: (S, N) answers.
        base: of the same photographs and seeds, in the same order.
        bootstrap: over these.
    """
    won, lost = (int((one.right & ~other.right).sum()) for one, other in ((variant, base), (base, variant)))
    p_value = float(binomtest(won, won + lost).pvalue) if won + lost else None
    return PairedDifference(
        accuracy=bootstrap.estimate(lambda weights: _gain(variant, base, weights)),
        won=won,
        lost=lost,
        p_value=p_value,
        p_adjusted=p_value,
    )


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's adjustment for several tests; what was not tested stays None and does not count."""
    known = [place for place, value in enumerate(p_values) if value is not None]
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for position, place in enumerate(sorted(known, key=lambda place: p_values[place])):
        highest = max(highest, min(1.0, (len(known) - position) * p_values[place]))
        adjusted[place] = highest
    return adjusted


def _gain(variant: Answers, base: Answers, weights: np.ndarray) -> float | None:
    ours, theirs = share_right(variant, weights), share_right(base, weights)
    return None if ours is None or theirs is None else ours - theirs
