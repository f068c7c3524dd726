"""What a sweep tries, how it is searched and stopped, and how the winner is chosen."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from hallmark.config import Config, config_hash, over_preset, put, validate
from hallmark.data.manifest import manifest_hash, read_manifest
from hallmark.errors import ConfigError
from hallmark.training.run import RUNS, RunConfig
from hallmark.tuning.space import Spaced

_FOLLOWS = ("reduction", "calibration")
"""Keys of a training job that begin after the run."""
_FIXED = ("preset", "manifest", "out", "seed", "workers", "stream", *_FOLLOWS)
"""Keys that no axis may have: the sweep sets them, or they decide nothing that is compared."""


class SearchConfig(Config):
    """In which order values are tried."""

    algorithm: Literal["grid", "random", "tpe"] = Field(
        "grid",
        description="grid: all combinations of choices; random; tpe: tree-structured Parzen estimator, which draws "
        "where the finished trials were good",
    )
    trials: int | None = Field(
        None, ge=1, description="random and tpe: how many combinations; a grid has its own count"
    )
    first_random: int = Field(8, ge=1, description="tpe: trials at random before it learns")

    @model_validator(mode="after")
    def _counted(self) -> Self:
        if (self.trials is None) != (self.algorithm == "grid"):
            wanted = "none with a grid, which has all combinations" if self.trials else f"a count for {self.algorithm}"
            raise ValueError(f"search.trials: found {self.trials}; wanted {wanted}")
        return self


class StoppingConfig(Config):
    """Which trials are not trained to the end."""

    rule: Literal["none", "asha", "median"] = Field(
        "none",
        description="asha: all are trained for first_epochs, the best 1/reduction of them reduction times as long, and "
        "so on (asynchronous successive halving); median: a trial stops where its best figure is below the "
        "median of the others' running means",
    )
    first_epochs: int = Field(1, ge=1, description="asha: epochs of the first rung; median: epochs before any stops")
    reduction: int = Field(3, ge=2, description="asha: one of so many goes on")
    least_trials: int = Field(3, ge=1, description="median: trials that must have come as far")


class ChoiceConfig(Config):
    """How the winner is chosen among the best trials."""

    top: int = Field(3, ge=1, description="best trials that are trained again")
    seeds: tuple[int, ...] = Field(
        (101, 102, 103), min_length=3, description="seeds that they and the run as it was are trained with"
    )

    @field_validator("seeds")
    @classmethod
    def _each_once(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("wanted each seed once")
        return seeds


class SweepConfig(Spaced):
    """A sweep over one training run."""

    method: Literal["fod", "kag_mtln", "mgfen"] = Field(description="the method that is trained")
    run: dict[str, Any] = Field(
        description="the run as it is: keys of a training of the method, `preset` and `manifest` among them, without "
        "out and seed"
    )
    out: str = Field(description="folder for sweep.html, winner.yaml, tables, figures and the trainings")
    search: SearchConfig = SearchConfig()
    stopping: StoppingConfig = StoppingConfig()
    choice: ChoiceConfig = ChoiceConfig()
    metric: str | None = Field(
        None, description="validation figure that trials are compared by; null: the one that picks a run's best epoch"
    )
    seed: int = Field(0, ge=0, lt=2**20, description="of every trial of the search, and of what is tried")
    trainer: Literal["ray", "plain"] = Field(
        "ray", description="ray: each trial trains on workers of its own; plain: each in one process of the cluster"
    )
    device: str = Field("cpu", description="where the plain trainer trains and photographs are judged: cpu or cuda")
    max_concurrent: int | None = Field(None, ge=1, description="trials at once; null: as many as the cluster holds")
    price_per_hour: float | None = Field(None, ge=0, description="of what one trial occupies, in your currency")
    resamples: int = Field(2000, ge=100, le=100_000, description="of the bootstrap intervals and paired tests")
    bootstrap_seed: int = Field(0, ge=0, description="of the bootstrap intervals and paired tests")

    @field_validator("run")
    @classmethod
    def _without_what_the_sweep_sets(cls, run: dict[str, Any]) -> dict[str, Any]:
        set_here = sorted({"out", "seed"} & set(run))
        if set_here or not isinstance(run.get("manifest"), str):
            raise ValueError(
                f"wanted manifest, and neither out nor seed, which the sweep sets; found "
                f"{', '.join(set_here) or 'no manifest'}"
            )
        return run

    @model_validator(mode="after")
    def _go_together(self) -> Self:
        fixed = [key for key in self.space if key.split(".")[0] in _FIXED]
        if fixed:
            raise ValueError(f"space: found {fixed[0]}, which does not belong to the training that is varied")
        ranges = [key for key, axis in self.space.items() if axis.choice is None]
        if self.search.algorithm == "grid" and ranges:
            raise ValueError(
                f"space: {ranges[0]}: found a range; wanted a choice for a grid, or search.algorithm random"
            )
        if self.seed in self.choice.seeds:
            raise ValueError(f"choice.seeds: found {self.seed}, the seed of the search; wanted other seeds than that")
        return self

    @property
    def num_trials(self) -> int:
        """Of the search."""
        if self.search.trials is not None:
            return self.search.trials
        return math.prod(len(axis.choice or ()) for axis in self.space.values())


def trial_settings(config: SweepConfig, values: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of the run with values laid over them: what a training job takes, but for `out` and `seed`."""
    settings = copy.deepcopy(config.run)
    settings["manifest"] = str(Path(config.run["manifest"]).resolve())
    for key, value in values.items():
        put(settings, key, value, f"space: {key}")
    return settings


def trial_run(config: SweepConfig, values: Mapping[str, Any], seed: int, out: Path) -> RunConfig:
    """The run with values laid over it.

    Raises:
        ConfigError: a key or value is wrong; names it.
    """
    settings = over_preset(trial_settings(config, values), config.method)
    settings = {key: value for key, value in settings.items() if key not in _FOLLOWS}
    settings |= {"seed": seed, "out": str(out)}
    tried = f"run with {', '.join(f'{key}={value}' for key, value in values.items())}" if values else "run"
    return validate(RUNS[config.method], settings, tried)


def check_space(config: SweepConfig) -> RunConfig:
    """Build a run of every extreme of every axis; returns the run as it is.

    Raises:
        ConfigError: a key is unknown, or a value not allowed; a run comes to the end before the first rung; the metric
            is not one that is reported.
    """
    run = trial_run(config, {}, config.seed, Path("."))
    for key, axis in config.space.items():
        for value in axis.extremes:
            trial_run(config, {key: value}, config.seed, Path("."))
    if config.metric is not None and config.metric not in run.judged_by:
        raise ConfigError(
            f"metric: found {config.metric!r}, which a validation never reports; wanted one of "
            f"{', '.join(run.judged_by)}"
        )
    if config.stopping.rule == "asha" and rungs(config, run)[0] >= run.optimiser.epochs:
        raise ConfigError(
            f"stopping.first_epochs: found {config.stopping.first_epochs} with a validation every {run.validate_every} "
            f"epochs; wanted a rung below run.optimiser.epochs, {run.optimiser.epochs}"
        )
    return run


def rungs(config: SweepConfig, run: RunConfig) -> list[int]:
    """Epochs after which trials are compared, the last one the end of the run; each after a validation."""
    epochs, levels = run.optimiser.epochs, []
    if config.stopping.rule == "asha":
        reached = config.stopping.first_epochs
        while reached < epochs:
            level = run.validate_every * math.ceil(reached / run.validate_every)
            if level < epochs and level not in levels:
                levels.append(level)
            reached *= config.stopping.reduction
    return [*levels, epochs]


def metric_of(config: SweepConfig, run: RunConfig) -> str:
    """The validation figure that trials are compared by."""
    return config.metric or run.judged_by[0]


def identity(config: SweepConfig) -> str:
    """Hash of what decides the trials: not of where files lie, nor of who computes them."""
    fields = type(config).model_fields
    plain = {name: fields[name].get_default() for name in _PLACES}
    table = manifest_hash(read_manifest(Path(config.run["manifest"])))
    run = {key: value for key, value in config.run.items() if key not in ("manifest", "workers", "stream")}
    return config_hash(config.model_copy(update=plain | {"out": "", "run": run | {"manifest": table}}))


_PLACES = ("trainer", "device", "max_concurrent", "price_per_hour", "resamples", "bootstrap_seed")
