"""Which trials are trained again, and which of them wins; by validation figures alone."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hallmark.config import config_hash
from hallmark.errors import SweepError
from hallmark.tuning.ledger import Status, Trial
from hallmark.tuning.settings import SweepConfig, trial_run


@dataclass(frozen=True)
class Candidate:
    """One recipe that is trained with several seeds."""

    values: dict[str, Any]
    """Laid over the run; empty: the run as it is."""
    is_default: bool
    """Whether it comes to the run as it is."""


def candidates(config: SweepConfig, search: Sequence[Trial]) -> list[Candidate]:
    """The best trials of the search, best first, and the run as it is where it is not among them.

    Trials that came to the end are before those that did not; of equal ones the earlier is better.

    Raises:
        SweepError: no trial has a score; says why the first failed.
    """
    scored = [trial for trial in search if trial.score is not None and trial.status is not Status.FAILED]
    if not scored:
        raise SweepError(
            f"all {len(search)} trials failed; the first, {search[0].name}: {search[0].reason}. Mend that and start "
            "the sweep again in another folder"
        )
    ordered = sorted(scored, key=lambda trial: (trial.status is not Status.FINISHED, -trial.score))
    default = _recipe(config, {})
    chosen = {_recipe(config, trial.values): trial.values for trial in reversed(ordered)}
    best = dict(list(reversed(chosen.items()))[: config.choice.top])
    found = [Candidate(values, recipe == default) for recipe, values in best.items()]
    return found if default in best else [*found, Candidate({}, True)]


@dataclass(frozen=True)
class Contender:
    """A candidate and its trainings, one a seed."""

    candidate: Candidate
    trials: tuple[Trial, ...]

    @property
    def scores(self) -> list[float]:
        """Of the trainings that did not fail."""
        return [trial.score for trial in self.trials if trial.status is Status.FINISHED]

    @property
    def mean(self) -> float | None:
        """Of the scores, where no training failed."""
        return statistics.fmean(self.scores) if len(self.scores) == len(self.trials) else None


def contenders(found: Sequence[Candidate], trials: Sequence[Trial]) -> list[Contender]:
    """The candidates with their trainings, given candidate by candidate."""
    count = len(trials) // len(found)
    return [Contender(one, tuple(trials[place * count : (place + 1) * count])) for place, one in enumerate(found)]


def winner(contending: Sequence[Contender]) -> Contender:
    """The highest mean over the seeds; of equal ones the run as it is, then the earlier.

    Raises:
        SweepError: a training of each failed; says why the first did.
    """
    whole = [one for one in contending if one.mean is not None]
    if not whole:
        failed = next(trial for one in contending for trial in one.trials if trial.status is Status.FAILED)
        raise SweepError(
            f"no candidate could be trained with every seed; the first that failed, {failed.name}: {failed.reason}"
        )
    return max(whole, key=lambda one: (one.mean, one.candidate.is_default))


def _recipe(config: SweepConfig, values: dict[str, Any]) -> str:
    return config_hash(trial_run(config, values, config.seed, Path(".")))
