"""The variants of a training run that the tables of the KAG-MTLN paper compare, by axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import Field, field_validator

from hallmark.config import Config, load_config
from hallmark.data.padding import Fill
from hallmark.data.scramble import LabelPolicy
from hallmark.errors import ConfigError
from hallmark.evaluation.protocol import KAGJob
from hallmark.training.run import RunConfig

AxisName = Literal["classes", "samples", "degree", "fill", "alpha", "backbone", "auxiliary", "policy"]
_Share = Annotated[float, Field(gt=0, le=1)]


class AnalysisConfig(Config):
    """Which variants of which run are compared, and where it is written."""

    run: dict[str, Any] = Field(
        description="the base: keys of a KAG-MTLN training, `preset` and `manifest` among them, without out and seed"
    )
    out: str = Field(description="folder for analysis.html, tables, figures and the trainings")
    seeds: tuple[int, ...] = Field((0, 1, 2), min_length=1, description="every variant is trained with each of these")
    axes: tuple[AxisName, ...] = Field(get_args(AxisName), min_length=1, description="the tables that are made")
    shares: tuple[_Share, ...] = Field((1.0, 0.8, 0.6, 0.4, 0.2), description="axis samples: of the training items")
    degrees: tuple[int, ...] = Field((10, 20, 30, 40, 50), description="axis degree: cells along each side")
    fills: tuple[Fill, ...] = Field(
        ("none", "black", "white", "gray", "random", "uniform"), description="axis fill: of the padding"
    )
    alphas: tuple[float, ...] = Field(
        (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0), description="axis alpha: weights of the main task"
    )
    backbones: tuple[dict[str, Any], ...] = Field(
        tuple({"name": name} for name in ("resnet50.tv_in1k", "vgg19.tv_in1k", "resnet101.tv_in1k", "efficientnet_b2")),
        description="axis backbone: keys of method.backbone laid over the base's, `name` among them",
    )
    policies: tuple[LabelPolicy, ...] = Field(
        get_args(LabelPolicy), description="axis policy: what a disturbed photograph is to the main task"
    )
    trainer: Literal["ray", "plain"] = Field("ray", description="on the cluster, or in this process without Ray")
    device: str = Field("cpu", description="where test photographs are judged, and the plain trainer trains: cpu, cuda")
    resamples: int = Field(2000, ge=100, le=100_000, description="of the bootstrap intervals")
    bootstrap_seed: int = Field(
        0, ge=0, description="of the bootstrap intervals, t-SNE and which photographs are shown"
    )
    num_examples: int = Field(8, ge=1, le=24, description="photographs shown with their attention map")

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

    @field_validator("backbones")
    @classmethod
    def _named(cls, backbones: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        names = [backbone.get("name") for backbone in backbones]
        if None in names or len(set(names)) < len(names):
            raise ValueError("wanted a name for each, and each name once")
        return backbones


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


@dataclass(frozen=True)
class Axis:
    """One table: the base and its variants."""

    name: AxisName
    title: str
    label: str
    """Of what is varied."""
    note: str
    variants: tuple[Variant, ...]


BASE = Variant("base")


def axes(config: AnalysisConfig) -> list[Axis]:
    """The axes that are asked for; the base is one row of each, in its place where the axis is one of numbers.

    Raises:
        ConfigError: the base or a variant is no valid run; names the key.
    """
    return [_AXES[name](config) for name in dict.fromkeys(config.axes)]


def run_of(config: AnalysisConfig, variant: Variant, seed: int) -> RunConfig:
    """The run of a variant, for the base's manifest and without a folder of its own yet.

    Raises:
        ConfigError: a key or value of the run is wrong; names it.
    """
    base = [f"{key}={_yaml(value)}" for key, value in config.run.items()]
    try:
        job = load_config(KAGJob, None, [*base, *variant.overrides, f"seed={seed}", "out=."], presets="kag_mtln")
    except ConfigError as error:
        of_variant = f" with {', '.join(variant.overrides)}" if variant.overrides else ""
        raise ConfigError(f"run{of_variant}: {error}") from None
    return job.run


def _yaml(value: Any) -> str:
    """A value as YAML on one line."""
    return yaml.safe_dump(value, default_flow_style=True, width=float("inf")).removesuffix("\n...\n").strip()


def _settings(config: AnalysisConfig, key: str, values: Sequence[Any]) -> tuple[Variant, ...]:
    """A variant for each value of a dotted key, and the base."""
    own = reduce(getattr, key.split("."), run_of(config, BASE, config.seeds[0]))
    numeric = not isinstance(own, str)
    found = {
        value: Variant(str(value), (f"{key}={_yaml(value)}",), 1.0, value if numeric else None) for value in values
    }
    found[own] = Variant(str(own), (), 1.0, own if numeric else None)
    ordered = sorted(found) if numeric else list(dict.fromkeys([*values, own]))
    return tuple(found[value] for value in ordered)


def _classes(config: AnalysisConfig) -> Axis:
    return Axis("classes", "Classes (Table 1, Figure 9)", "class", "", (BASE,))


def _samples(config: AnalysisConfig) -> Axis:
    shares = sorted({1.0, *config.shares}, reverse=True)
    variants = tuple(Variant(f"{100 * share:g} %", (), share, share) for share in shares)
    return Axis(
        "samples",
        "Training photographs (Figure 10)",
        "share of the training items",
        "The test photographs are the same for all. A smaller training set is contained in every larger one of the "
        "same seed, holds every class in proportion, and keeps items whole. The number of epochs is the same, so that "
        "fewer photographs also mean fewer steps.",
        variants,
    )


def _degree(config: AnalysisConfig) -> Axis:
    variants = _settings(config, "scramble.degree", config.degrees)
    return Axis("degree", "Degree of disturbance (Table 3)", "cells along each side, N", "", variants)


def _fill(config: AnalysisConfig) -> Axis:
    variants = _settings(config, "preprocessing.fill", config.fills)
    note = "none stretches a photograph to the square, auto pads only what is long; the others pad all."
    return Axis("fill", "Fill of the padding (Table 4)", "fill", note, variants)


def _alpha(config: AnalysisConfig) -> Axis:
    variants = _settings(config, "method.losses.alpha", config.alphas)
    return Axis("alpha", "Weight of the main task (Table 5)", "weight of the main task, alpha", "", variants)


def _backbone(config: AnalysisConfig) -> Axis:
    base = run_of(config, BASE, config.seeds[0])
    variants = [Variant(base.method.backbone.name)]
    for keys in config.backbones:
        # The base's own backbone under other settings is a row of its own, which its name alone would not tell.
        told = keys if keys["name"] == base.method.backbone.name else ("name",)
        name = ", ".join(str(keys[key]) if key == "name" else f"{key} {keys[key]}" for key in told)
        variant = Variant(name, tuple(f"method.backbone.{key}={_yaml(value)}" for key, value in keys.items()))
        if run_of(config, variant, base.seed) != base:
            variants.append(variant)
    return Axis("backbone", "Backbone (Table 6)", "backbone", "", tuple(variants))


def _auxiliary(config: AnalysisConfig) -> Axis:
    note = (
        "The paper's table does not say what stays where the auxiliary task is removed. Without KAG no photograph is "
        "disturbed; with KAG for the main task alone they are, and count by the policy of the base."
    )
    alone = "method.losses.alpha=1.0"
    variants = (
        Variant("with the auxiliary task"),
        Variant("KAG for the main task alone", (alone,)),
        Variant("without KAG", (alone, "scramble.share=0")),
    )
    return Axis("auxiliary", "Auxiliary task (Table 7)", "auxiliary task", note, variants)


def _policy(config: AnalysisConfig) -> Axis:
    note = (
        "counterfeit: a disturbed photograph is a counterfeit to the main task, as in the paper; keep: it keeps its "
        "class; ignore: the main task does not see it."
    )
    variants = _settings(config, "scramble.main_label", config.policies)
    return Axis("policy", "Label of disturbed photographs", "policy", note, variants)


_AXES = {
    "classes": _classes,
    "samples": _samples,
    "degree": _degree,
    "fill": _fill,
    "alpha": _alpha,
    "backbone": _backbone,
    "auxiliary": _auxiliary,
    "policy": _policy,
}
