"""What is tried next: a function of the settings and of what is known, so that it is the same after a restart."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from hallmark.tuning.ledger import Trial
from hallmark.tuning.settings import SweepConfig
from hallmark.tuning.space import Axis, drawn, grid


def suggestion(config: SweepConfig, trials: Sequence[Trial]) -> dict[str, Any] | None:
    """Values for the next trial by dotted key; None where all were suggested.

    Args:
        config: of the sweep.
        trials: of the search so far, in their order.
    """
    number = len(trials)
    if number >= config.num_trials:
        return None
    if config.search.algorithm == "grid":
        return next(islice(grid(config.space), number, None))
    if config.search.algorithm == "random" or number < config.search.first_random:
        return drawn(config.space, np.random.default_rng([config.seed, number]))
    return _estimated(config, trials)


def _estimated(config: SweepConfig, trials: Sequence[Trial]) -> dict[str, Any]:
    """By the tree-structured Parzen estimator (Bergstra et al. 2011), of all trials that have a score."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # Trials that are still being trained repel the next one; axes are told together where they interact.
        sampler = optuna.samplers.TPESampler(
            seed=int(np.random.default_rng([config.seed, len(trials)]).integers(2**31)),
            n_startup_trials=1,
            multivariate=True,
            constant_liar=True,
        )
    study = optuna.create_study(direction="maximize", sampler=sampler)
    space = {key: _distribution(axis) for key, axis in config.space.items()}
    for trial in trials:
        if trial.score is not None:
            study.add_trial(optuna.create_trial(params=_params(trial.values), distributions=space, value=trial.score))
    return _values(config.space, study.ask(space).params)


def _distribution(axis: Axis) -> BaseDistribution:
    if axis.choice is not None:
        return CategoricalDistribution(axis.choice)
    low, high = axis.bounds
    if axis.integers is not None:
        return IntDistribution(int(low), int(high))
    return FloatDistribution(low, high, log=axis.loguniform is not None)


def _params(values: Mapping[str, Any]) -> dict[str, Any]:
    return dict(values)


def _values(space: Mapping[str, Axis], params: Mapping[str, Any]) -> dict[str, Any]:
    return {key: params[key] for key in space}
