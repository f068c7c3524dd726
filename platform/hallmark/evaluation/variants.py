"""Variants of a training run, by axis: what the tables of an analysis compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, ClassVar, Literal

import yaml
from pydantic import Field, field_validator

from hallmark.config import Config, load_config
from hallmark.data.splits import SplitConfig
from hallmark.errors import ConfigError
from hallmark.training.run import RunConfig


class AnalysisConfig(Config):
    """Which run is examined with which seeds, and where it is written; the axes are a method's own."""

    job: ClassVar[type[Config]]
    """What reads the keys of `run`."""
    presets: ClassVar[str]
    """The folder of the run's presets."""

    run: dict[str, Any] = Field(
        description="the base: keys of a training of the method, `preset` and `manifest` among them, without out and "
        "seed"
    )
    out: str = Field(description="folder for analysis.html, tables, figures and the trainings")
    seeds: tuple[int, ...] = Field((0, 1, 2), min_length=1, description="every variant is trained with each of these")
    trainer: Literal["ray", "plain"] = Field("ray", description="on the cluster, or in this process without Ray")
    device: str = Field("cpu", description="where test photographs are judged, and the plain trainer trains: cpu, cuda")
    resamples: int = Field(2000, ge=100, le=100_000, description="of the bootstrap intervals")
    bootstrap_seed: int = Field(
        0, ge=0, description="of the bootstrap intervals, t-SNE and which photographs are shown"
    )
    num_examples: int = Field(8, ge=1, le=24, description="photographs shown with their maps")

    @field_validator("run")
    @classmethod
    def _without_what_the_analysis_sets(cls, run: dict[str, Any]) -> dict[str, Any]:
        set_here = sorted({"out", "seed", "reduction", "calibration"} & set(run))
        if set_here or not isinstance(run.get("manifest"), str):
            raise ValueError(
                f"wanted manifest, and none of out, seed, reduction, calibration, which the analysis sets or leaves "
                f"out; found {', '.join(set_here) or 'no manifest'}"
            )
        return run

    @field_validator("seeds")
    @classmethod
    def _each_once(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("wanted each seed once")
        return seeds


@dataclass(frozen=True)
class Variant:
    """A recipe: what is laid over the base run."""

    name: str
    """As its row is called."""
    overrides: tuple[str, ...] = ()
    """`a.b=value`, as `--set` takes them."""
    share: float = 1.0
    """Of the training items."""
    position: float | None = None
    """Where it stands on an axis of numbers."""
    split: SplitConfig | None = None
    """Another split of the manifest, trained with the first seed alone; None = the manifest's own roles."""


@dataclass(frozen=True)
class Axis:
    """One table: the base and its variants."""

    name: str
    title: str
    label: str
    """Of what is varied."""
    note: str
    variants: tuple[Variant, ...]


BASE = Variant("base")


def run_of(config: AnalysisConfig, variant: Variant, seed: int) -> RunConfig:
    """The run of a variant, for the base's manifest and without a folder of its own yet.

    Raises:
        ConfigError: a key or value of the run is wrong; names it.
    """
    base = [f"{key}={as_yaml(value)}" for key, value in config.run.items()]
    try:
        laid = [*base, *variant.overrides, f"seed={seed}", "out=."]
        job = load_config(config.job, None, laid, presets=config.presets)
    except ConfigError as error:
        of_variant = f" with {', '.join(variant.overrides)}" if variant.overrides else ""
        raise ConfigError(f"run{of_variant}: {error}") from None
    return job.run


def as_yaml(value: Any) -> str:
    """A value as YAML on one line."""
    return yaml.safe_dump(value, default_flow_style=True, width=float("inf")).removesuffix("\n...\n").strip()


def settings(config: AnalysisConfig, key: str, values: Sequence[Any], also: Sequence[str] = ()) -> tuple[Variant, ...]:
    """A variant for each value of a dotted key, and the base in its place.

    Args:
        config: of the analysis.
        key: of the run.
        values: texts, or numbers, which make an axis of numbers.
        also: laid over the base with each value that is not the base's own.
    """
    own = reduce(getattr, key.split("."), run_of(config, BASE, config.seeds[0]))
    numeric = not isinstance(own, str)
    found = {
        value: Variant(str(value), (f"{key}={as_yaml(value)}", *also), 1.0, value if numeric else None)
        for value in values
    }
    found[own] = Variant(str(own), (), 1.0, own if numeric else None)
    ordered = sorted(found) if numeric else list(dict.fromkeys([*values, own]))
    return tuple(found[value] for value in ordered)
