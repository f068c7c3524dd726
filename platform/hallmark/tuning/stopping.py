"""Which trials are not trained to the end."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from hallmark.tuning.ledger import Status, Trial
from hallmark.tuning.settings import StoppingConfig

Curve = Sequence[tuple[int, float]]
"""(epoch, validation figure)."""


def promoted(trials: Sequence[Trial], levels: Sequence[int], reduction: int, busy: frozenset[str]) -> Trial | None:
    """The trial that has earned its next rung, of the highest rung where there is one.

    Asynchronous successive halving (Li et al. 2020, algorithm 2): of n trials that have come to a rung, the best
    n // reduction go on. Nothing is known of a trial that failed; it counts as none.

    Args:
        trials: of the search, in their order; of equal ones the earlier is better.
        levels: epochs of the rungs, rising; the last is the end.
        reduction: one of so many goes on.
        busy: names of trials that are being trained.
    """
    known = [trial for trial in trials if trial.status is not Status.FAILED]
    for level in reversed(levels[:-1]):
        arrived = [trial for trial in known if trial.score_by(level) is not None]
        best = sorted(arrived, key=lambda trial: -trial.score_by(level))[: len(arrived) // reduction]
        for trial in best:
            if trial.epochs == level and trial.status is Status.OPEN and trial.name not in busy:
                return trial
    return None


def falls_behind(own: Curve, others: Mapping[str, Curve], config: StoppingConfig) -> str:
    """Why a trial should stop by the median rule; empty where it should not.

    It stops where its best figure so far is below the median of the running means that the others had by the same
    epoch (Golovin et al. 2017, section 3.2).

    Args:
        own: of the trial, up to now.
        others: of all other trials, by name.
        config: of the rule.
    """
    epoch = own[-1][0]
    means = [
        statistics.fmean(value for reached, value in curve if reached <= epoch)
        for curve in others.values()
        if curve and curve[-1][0] >= epoch and curve[0][0] <= epoch
    ]
    if epoch < config.first_epochs or len(means) < config.least_trials:
        return ""
    best, median = max(value for _, value in own), statistics.median(means)
    if best >= median:
        return ""
    return f"best {best:.4f} after epoch {epoch}, below {median:.4f}, the median of {len(means)} others"
