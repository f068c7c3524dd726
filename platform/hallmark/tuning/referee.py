"""Tells running trials whether to go on, and the sweep where they stand."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import ray

from hallmark.tuning.ledger import Trial
from hallmark.tuning.settings import StoppingConfig
from hallmark.tuning.stopping import falls_behind


class Referee:
    """An actor of the sweep, asked by the first worker of every trial after each validation.

    A trial that is told to stop ends its own loop: one that is killed from outside can leave its workers' placement
    group behind.

    Args:
        config: which rule stops trials.
        trials: what is known already.
    """

    def __init__(self, config: StoppingConfig, trials: Iterable[Trial]):
        self._config = config
        self._curves = {trial.name: dict(trial.curve) for trial in trials}
        self._reasons: dict[str, str] = {}

    def goes_on(self, name: str, epoch: int, value: float, median: bool) -> bool:
        """Whether a trial goes on after an epoch with this validation figure.

        Args:
            name: of the trial.
            epoch: that it has come to.
            value: its figure.
            median: whether the median rule counts for it.
        """
        own = self._curves.setdefault(name, {})
        own[epoch] = value
        if not median or self._config.rule != "median":
            return True
        others = {other: sorted(curve.items()) for other, curve in self._curves.items() if other != name}
        curve = sorted((reached, figure) for reached, figure in own.items() if reached <= epoch)
        self._reasons[name] = falls_behind(curve, others, self._config)
        return not self._reasons[name]

    def reason(self, name: str) -> str:
        """Why a trial was told to stop; empty where it was not."""
        return self._reasons.get(name, "")

    def curves(self) -> dict[str, dict[int, float]]:
        """Figures by epoch of every trial that was heard of."""
        return self._curves


@dataclass(frozen=True)
class Asked:
    """What a trial's training is given as `goes_on`."""

    referee: Any
    """Handle of the actor."""
    name: str
    metric: str
    until: int
    """Epoch after which it pauses."""
    median: bool

    def __call__(self, epoch: int, judged: dict[str, float]) -> bool:
        told = self.referee.goes_on.remote(self.name, epoch, judged[self.metric], self.median)
        return ray.get(told) and epoch < self.until
