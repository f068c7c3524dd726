"""The tables of the KAG-MTLN paper, by axis."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import Field, field_validator

from hallmark.config import Config
from hallmark.data.padding import Fill
from hallmark.data.scramble import LabelPolicy
from hallmark.evaluation.protocol import KAGJob
from hallmark.evaluation.variants import BASE, AnalysisConfig, Axis, Variant, as_yaml, run_of, settings

AxisName = Literal["classes", "samples", "degree", "fill", "alpha", "backbone", "auxiliary", "policy"]
_Share = Annotated[float, Field(gt=0, le=1)]


class KAGAnalysisConfig(AnalysisConfig):
    """Which tables of which KAG-MTLN training are made."""

    job: ClassVar[type[Config]] = KAGJob
    presets: ClassVar[str] = "kag_mtln"

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

    @field_validator("backbones")
    @classmethod
    def _named(cls, backbones: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        names = [backbone.get("name") for backbone in backbones]
        if None in names or len(set(names)) < len(names):
            raise ValueError("wanted a name for each, and each name once")
        return backbones


def axes(config: KAGAnalysisConfig) -> list[Axis]:
    """The axes that are asked for; the base is one row of each, in its place where the axis is one of numbers.

    Raises:
        ConfigError: the base or a variant is no valid run; names the key.
    """
    return [_AXES[name](config) for name in dict.fromkeys(config.axes)]


def _classes(config: KAGAnalysisConfig) -> Axis:
    return Axis("classes", "Classes (Table 1, Figure 9)", "class", "", (BASE,))


def _samples(config: KAGAnalysisConfig) -> Axis:
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


def _degree(config: KAGAnalysisConfig) -> Axis:
    variants = settings(config, "scramble.degree", config.degrees)
    return Axis("degree", "Degree of disturbance (Table 3)", "cells along each side, N", "", variants)


def _fill(config: KAGAnalysisConfig) -> Axis:
    variants = settings(config, "preprocessing.fill", config.fills)
    note = "none stretches a photograph to the square, auto pads only what is long; the others pad all."
    return Axis("fill", "Fill of the padding (Table 4)", "fill", note, variants)


def _alpha(config: KAGAnalysisConfig) -> Axis:
    variants = settings(config, "method.losses.alpha", config.alphas)
    return Axis("alpha", "Weight of the main task (Table 5)", "weight of the main task, alpha", "", variants)


def _backbone(config: KAGAnalysisConfig) -> Axis:
    base = run_of(config, BASE, config.seeds[0])
    variants = [Variant(base.method.backbone.name)]
    for keys in config.backbones:
        # The base's own backbone under other settings is a row of its own, which its name alone would not tell.
        told = keys if keys["name"] == base.method.backbone.name else ("name",)
        name = ", ".join(str(keys[key]) if key == "name" else f"{key} {keys[key]}" for key in told)
        variant = Variant(name, tuple(f"method.backbone.{key}={as_yaml(value)}" for key, value in keys.items()))
        if run_of(config, variant, base.seed) != base:
            variants.append(variant)
    return Axis("backbone", "Backbone (Table 6)", "backbone", "", tuple(variants))


def _auxiliary(config: KAGAnalysisConfig) -> Axis:
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


def _policy(config: KAGAnalysisConfig) -> Axis:
    note = (
        "counterfeit: a disturbed photograph is a counterfeit to the main task, as in the paper; keep: it keeps its "
        "class; ignore: the main task does not see it."
    )
    variants = settings(config, "scramble.main_label", config.policies)
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
