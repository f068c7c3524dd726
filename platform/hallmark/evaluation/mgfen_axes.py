"""The tables of the MGFEN paper, by axis, and those that it leaves out."""

from __future__ import annotations

from typing import ClassVar, Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from hallmark.config import Config
from hallmark.data.composite import CompositeConfig
from hallmark.data.splits import SplitConfig
from hallmark.errors import ConfigError
from hallmark.evaluation.protocol import MGFENJob
from hallmark.evaluation.variants import BASE, AnalysisConfig, Axis, Variant, run_of, settings

AxisName = Literal["components", "windows", "composite", "consistency"]
_MODES = get_args(CompositeConfig.model_fields["mode"].annotation)
_KEPT = ("background=null", "method.losses.consistency=0", "sampling.pairs=false")
_CHANNELS = ("method.pyramid=null",)
BASELINE = Variant("MMAL", _KEPT + _CHANNELS)
"""Heat is the mean over the last stage's channels, and backgrounds stay: the paper's baseline."""
WITH_PYRAMID = Variant("MMAL + MSFM", _KEPT)
FULL = Variant("both (MGFEN)")


class MGFENAnalysisConfig(AnalysisConfig):
    """Which tables of which MGFEN training are made; the base is the full model."""

    job: ClassVar[type[Config]] = MGFENJob
    presets: ClassVar[str] = "mgfen"

    axes: tuple[AxisName, ...] = Field(get_args(AxisName), min_length=1, description="the tables that are made")
    modes: tuple[Literal[*_MODES], ...] = Field(
        _MODES, description="axis composite: how a foreground is laid on another background"
    )
    consistencies: tuple[float, ...] = Field(
        (0.0, 0.5, 1.0), description="axis consistency: weights of telling a photograph alike on two backgrounds"
    )
    splits: tuple[int, ...] = Field(
        (1, 2, 3),
        description="seeds of random splits by item, on each of which the base is trained; [] = none",
    )
    ratio: tuple[float, float, float] = Field(
        (7, 2, 1), description="parts of the items for train : val : test in those splits"
    )

    @field_validator("splits")
    @classmethod
    def _several_or_none(cls, splits: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(splits)) < len(splits) or len(splits) == 1:
            raise ValueError("wanted none, or two and more, each once: one split says nothing of how figures scatter")
        return splits

    @model_validator(mode="after")
    def _ratio_fits(self) -> Self:
        self.resplits()
        return self

    def resplits(self) -> tuple[Variant, ...]:
        """The base on each of the random splits."""
        return tuple(Variant(f"split {seed}", split=SplitConfig(ratio=self.ratio, seed=seed)) for seed in self.splits)


def axes(config: MGFENAnalysisConfig) -> list[Axis]:
    """The axes that are asked for; the base is one row of each.

    Raises:
        ConfigError: the base or a variant is no valid run, or the base lacks what the variants take away; names it.
    """
    base = run_of(config, BASE, config.seeds[0])
    lacking = {"method.windows": base.method.windows, "method.pyramid": base.method.pyramid,
               "background": base.background}  # fmt: skip
    for key, found in lacking.items():
        if found is None:
            raise ConfigError(f"run.{key}: found null; wanted it set, since the base is the full model")
    return [_AXES[name](config) for name in dict.fromkeys(config.axes)]


def _components(config: MGFENAnalysisConfig) -> Axis:
    note = (
        "MMAL: windows where the last stage's mean over its channels is highest, on photographs as they are. MSFM: "
        "heat from a feature pyramid. Background: foregrounds laid on other backgrounds, in training and never in the "
        "test."
    )
    variants = (BASELINE, WITH_PYRAMID, Variant("MMAL + background", _CHANNELS), FULL)
    return Axis("components", "Components (Table 3)", "components", note, variants)


def _windows(config: MGFENAnalysisConfig) -> Axis:
    note = "The paper removes none of these. Without windows it is a plain classifier of the shrunken photograph."
    base = run_of(config, BASE, config.seeds[0]).method
    native, share = not base.windows.native, 0.5 if base.global_share == 0 else 0.0
    variants = (
        Variant("base"),
        Variant("no windows (APPM off)", ("method.windows=null",)),
        Variant("windows that all weigh alike", ("method.windows.weights=mean",)),
        Variant(
            "windows of the photograph itself" if native else "windows of the shrunken photograph",
            (f"method.windows.native={str(native).lower()}",),
        ),
        Variant("the whole image votes too" if share else "the windows vote alone", (f"method.global_share={share}",)),
    )
    return Axis("windows", "Windows and vote (APPM, WCDM)", "windows", note, variants)


def _composite(config: MGFENAnalysisConfig) -> Axis:
    note = (
        "alpha lays the foreground's own pixels on the background; poisson_bg bends the background's colours to them; "
        "poisson_fg bends the foreground's, as the paper does, evidence included."
    )
    variants = settings(config, "composite.mode", config.modes)
    return Axis("composite", "Compositing", "mode", note, variants)


def _consistency(config: MGFENAnalysisConfig) -> Axis:
    note = (
        "Every variant is shown the same pairs of one photograph on two backgrounds; what differs is the loss on them."
    )
    base = run_of(config, BASE, config.seeds[0])
    own = base.method.losses.consistency
    paired = ("sampling.pairs=true",)
    variants = settings(config, "method.losses.consistency", config.consistencies, paired)
    if not base.sampling.pairs:
        # The base itself shows no pairs, and stands beside a variant that does.
        alike = Variant(f"{own:g}, in pairs", (*paired, f"method.losses.consistency={own}"))
        variants = (*(Variant(one.name, one.overrides) for one in variants), alike)
    return Axis("consistency", "Consistency over backgrounds", "weight of the consistency", note, variants)


_AXES = {"components": _components, "windows": _windows, "composite": _composite, "consistency": _consistency}
