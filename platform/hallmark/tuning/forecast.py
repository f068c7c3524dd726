"""What a sweep will take, measured on its own run before it begins."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from time import perf_counter

import torch

from hallmark.data.batches import plain_batches, to_batch, training_rows
from hallmark.data.manifest import rows_with
from hallmark.training.epochs import begin, plan_training
from hallmark.training.loop import train_step
from hallmark.training.run import RunConfig
from hallmark.training.worker import Worker
from hallmark.tuning.settings import SweepConfig, rungs
from hallmark.types import Authenticity, Role

_STEPS = 3
_IN_DOMAIN = (Authenticity.GENUINE, Authenticity.COUNTERFEIT)


@dataclass(frozen=True)
class Forecast:
    """An estimate: start-up, early stops of the median rule and failures are not in it."""

    trials: int
    """Of the search."""
    again: int
    """Trainings by which the winner is chosen, at most."""
    epochs: int
    """Of the search and the choice together."""
    seconds: float
    """By the clock, with `at_once` trials side by side."""
    at_once: int
    cost: float | None
    """In the currency of the price."""

    @property
    def sentence(self) -> str:
        """For the terminal."""
        cost = "" if self.cost is None else f", a cost of {self.cost:.2f}"
        return (
            f"{self.trials} trials, then at most {self.again} trainings to choose by: {self.epochs} epochs, about "
            f"{duration(self.seconds)} with {self.at_once} at once{cost}"
        )


def forecast(config: SweepConfig, run: RunConfig, at_once: int, epoch_seconds: float) -> Forecast:
    """What the sweep will take from its beginning.

    Args:
        config: of the sweep.
        run: as it is.
        at_once: trials side by side.
        epoch_seconds: of one epoch of one trial, see `measured_epoch`.
    """
    again = (min(config.choice.top, config.num_trials) + 1) * len(config.choice.seeds)
    epochs = search_epochs(config, run) + again * run.optimiser.epochs
    work = epochs * epoch_seconds
    cost = None if config.price_per_hour is None else work / 3600 * config.price_per_hour
    return Forecast(config.num_trials, again, epochs, work / at_once, at_once, cost)


def search_epochs(config: SweepConfig, run: RunConfig) -> int:
    """Epochs of the search: with successive halving those of the best case, in which nothing goes on in vain."""
    left, before, total = config.num_trials, 0, 0
    for level in rungs(config, run):
        total += left * (level - before)
        left, before = left // config.stopping.reduction, level
    return total


def measured_epoch(run: RunConfig, device: str) -> float:
    """Seconds of an epoch of the run, from some steps on its own photographs and the validation in proportion.

    Raises:
        DataError, ConfigError, WeightsError, DivergedError: what is wrong with the run.
    """
    with tempfile.TemporaryDirectory() as folder:
        run = run.model_copy(update={"out": f"{folder}/bundle"})
        plan = plan_training(run)
        worker = Worker(0, 1, torch.device(device))
        training = begin(run, plan, worker.device)
        columns = training_rows(plan.training_set, plan.labels, plan.sampler, range(1), 0, 1, run.seed)
        batches = plain_batches(columns, plan.sampler.batch_size, run.transforms(plan.training_set))
        loading, stepping = [], []
        for _ in range(min(_STEPS, plan.sampler.steps_per_epoch)):
            began = perf_counter()
            batch = to_batch(next(batches), preprocessing=run.preprocessing, device=worker.device)
            loaded = perf_counter()
            train_step(training.model, batch, training.optimiser, training.schedule, worker.gather, run.optimiser, 0.5)
            loading.append(loaded - began)
            stepping.append(perf_counter() - loaded)
    # The first of each warms up; photographs are loaded while the network works.
    step = max(min(loading), min(stepping))
    judged = rows_with(plan.table, (Role.VAL,) if run.classifies else (Role.TRAIN, Role.VAL), _IN_DOMAIN)
    # A validation has no backward pass, a third of a step's work.
    validation = judged.num_rows / plan.sampler.batch_size * max(min(loading), min(stepping) / 3)
    return plan.sampler.steps_per_epoch * step + validation / run.validate_every


def duration(seconds: float) -> str:
    """As people say it: 45 s, 12 min, 3 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
