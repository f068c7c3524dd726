"""What is trained next, by the ledger alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hallmark.training.run import RunConfig
from hallmark.tuning.ledger import Ledger, Stage, Status, Trial
from hallmark.tuning.search import suggestion
from hallmark.tuning.selection import Candidate
from hallmark.tuning.settings import SweepConfig, rungs
from hallmark.tuning.stopping import promoted


@dataclass(frozen=True)
class Stretch:
    """A stretch of a trial's training."""

    trial: Trial
    until: int
    """Epoch after which it pauses or ends."""


class Schedule:
    """Stretches of training, one after another.

    Args:
        config: of the sweep.
        run: as it is.
        ledger: trials that are suggested are added to it.
        candidates: None while the search goes on; then what is trained with other seeds.
    """

    def __init__(self, config: SweepConfig, run: RunConfig, ledger: Ledger, candidates: Sequence[Candidate] | None):
        self._config, self._ledger, self._candidates = config, ledger, candidates
        self._levels = rungs(config, run) if candidates is None else [run.optimiser.epochs]

    def next(self, busy: frozenset[str]) -> Stretch | None:
        """What may begin now, while the trials of these names are being trained; None where nothing may."""
        stage = Stage.SEARCH if self._candidates is None else Stage.CHOICE
        trials = self._ledger.of(stage)
        for trial in trials:
            # Broken off before it came to the first rung, or on the way from one to the next.
            if trial.status is Status.OPEN and trial.name not in busy and trial.epochs not in self._levels:
                return Stretch(trial, self._next_level(trial))
        earned = promoted(trials, self._levels, self._config.stopping.reduction, busy)
        if earned is not None:
            return Stretch(earned, self._next_level(earned))
        begun = self._begun(trials)
        return None if begun is None else Stretch(begun, self._levels[0])

    def _next_level(self, trial: Trial) -> int:
        return next(level for level in self._levels if level > trial.epochs)

    def _begun(self, trials: Sequence[Trial]) -> Trial | None:
        number, config = len(trials), self._config
        if self._candidates is None:
            values = suggestion(config, trials)
            return None if values is None else self._ledger.suggest(f"s{number:03}", Stage.SEARCH, values, config.seed)
        wanted = [(one, seed) for one in self._candidates for seed in config.choice.seeds]
        if number >= len(wanted):
            return None
        candidate, seed = wanted[number]
        return self._ledger.suggest(f"c{number:03}", Stage.CHOICE, candidate.values, seed)
