"""The analyses of MGFEN: variants trained and compared, their heat on the product, and how figures scatter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.figure import Figure
from tqdm import tqdm

from hallmark.data.auditing.audit import background_control
from hallmark.data.auditing.controls import Control, ControlConfig
from hallmark.data.auditing.measurement import measure_row
from hallmark.data.decode import DecodeLimits
from hallmark.data.manifest import read_manifest, rows_with
from hallmark.evaluation.analysis import (
    axis_tables,
    base_classes,
    bootstrap_of,
    caption,
    photographs_shown,
    trainings_of,
)
from hallmark.evaluation.analysis_report import Analysis, Shown, write_analysis
from hallmark.evaluation.attention_map import draw_attention
from hallmark.evaluation.canvas import canvas, empty
from hallmark.evaluation.heat_response import HeatResponse, Response, heat_response, respond, response_ratio
from hallmark.evaluation.measures import Estimate
from hallmark.evaluation.mgfen_axes import BASELINE, FULL, WITH_PYRAMID, MGFENAnalysisConfig, axes
from hallmark.evaluation.outcomes import IN_DOMAIN, Answers, answers_of
from hallmark.evaluation.rows import Section, estimate_cell, interval, number, percent
from hallmark.evaluation.stability import Stability, draw_stability, stability
from hallmark.evaluation.trainings import Train, Trainings
from hallmark.evaluation.variants import BASE
from hallmark.types import Role

_COMPARED = (BASELINE, WITH_PYRAMID, FULL)
"""The configurations whose heat is shown: the paper's baseline, Exp1 and full model."""
_LIMITS = (
    "Heat on the product is no proof that a verdict is read there: HR says where a map lies, and the photographs with "
    "the product painted over say whether the background alone is told apart.",
    "A photograph without a mask has no share inside it, and is left out of HR and of the background control.",
)


class MGFENAnalysis(Analysis):
    """All that an analysis of MGFEN found."""

    config: MGFENAnalysisConfig
    responses: list[HeatResponse]
    """Of the baseline, with the pyramid, and of the full model; none where no test photograph has a mask."""
    ratios: dict[str, Estimate]
    """HR of the full model over the baseline's, of heat and of Grad-CAM."""
    background: Control | None
    """Whether what lies around the product tells the label, in all photographs; None where too few were examined."""
    stability: Stability | None


@dataclass(frozen=True)
class _Heat:
    figure: Figure
    responses: list[HeatResponse]
    ratios: dict[str, Estimate]


def analyse(config: MGFENAnalysisConfig, train: Train) -> tuple[MGFENAnalysis, Path]:
    """Train what is missing, then compare and report; the analysis, and the path of the report.

    Broken off, it goes on with the first training that has no outcome yet.

    Raises:
        ConfigError, DataError: a variant is not valid, or its photographs do not suit it; told before any training.
        OutputError: something cannot be written.
        WeightsError, DivergedError, ResourceError: what is wrong with a training.
    """
    asked, resplits = axes(config), config.resplits()
    trainings = trainings_of(config, asked, (*_COMPARED, *resplits))
    trainings.make(train)
    table = read_manifest(Path(config.run["manifest"]))
    heat = _heat(config, trainings, table)
    scattered = None
    if resplits:
        scattered = stability([one.name for one in resplits], [trainings.outcomes(one)[0] for one in resplits])
    analysis = MGFENAnalysis(
        config=config,
        classes=base_classes(config, trainings),
        tables=axis_tables(config, asked, trainings),
        responses=heat.responses,
        ratios=heat.ratios,
        background=_background(table, trainings.of(BASE)[0].run.limits),
        stability=scattered,
        num_trainings=len(trainings.distinct),
        bundle_ids=[outcome.bundle_id for outcome in trainings.outcomes(BASE)],
    )
    shown = [heat_shown(analysis, heat.figure)]
    if scattered is not None:
        shown.append(stability_shown(scattered))
    return analysis, write_analysis(Path(config.out), "Analyses of MGFEN", analysis, shown, _LIMITS)


def heat_shown(analysis: MGFENAnalysis, figure: Figure) -> Shown:
    """Heat on the product and the background-only control, as a part of the report."""
    rows = [
        [one.name, *map(estimate_cell, (one.heat, one.cam)), percent(one.area),
         *map(estimate_cell, (one.auroc, one.bare_auroc))]
        for one in analysis.responses
    ]  # fmt: skip
    columns = ["configuration", "HR of heat", "HR of Grad-CAM", "area", "AUROC", "AUROC, product painted over"]
    told = [f"HR of {name}, full model over baseline: {number(one.value)} ({interval(one)})."
            for name, one in analysis.ratios.items()]  # fmt: skip
    note = (
        "HR: share of a map's energy inside the product's mask, mean over the test photographs that have one. The area "
        "is what a map without preference would have. Painted over: the same photographs with the mean colour of their "
        "surroundings where the product is; above 0.5, the background itself tells genuine from counterfeit. Intervals "
        "over items and seeds."
    )
    if not analysis.responses:
        note = "No test photograph has a mask, so that there is no HR; `hallmark data prepare` finds masks."
    note = " ".join([note, *told, _told(analysis)])
    return Shown(
        Section("heat", "Heat on the product (Figures 4 to 8)", columns, rows, note),
        figure,
        "heat maps of three configurations over photographs",
        "Heat that windows are laid by, and Grad-CAM of the whole image for the likeliest class, by the first seed of "
        "each configuration. Photographs that the full model told wrongly come first in each class.",
    )


def stability_shown(found: Stability) -> Shown:
    """The base on random splits, as a part of the report."""
    rows = [
        [one.name, f"{percent(one.accuracy.value)} ({one.accuracy.k}/{one.accuracy.n})", interval(one.accuracy),
         str(one.items), str(one.training_photographs), number(one.f1_macro)]
        for one in found.splits
    ]  # fmt: skip
    columns = ["split", "accuracy", "Wilson 95 %", "test items", "training photographs", "F1, macro"]
    note = (
        f"Mean {percent(found.mean)}, standard deviation {100 * found.deviation:.1f} points, 95 % interval of the mean "
        f"{100 * found.low:.1f} to {100 * found.high:.1f} %. The splits keep items whole and share photographs with "
        "each other, which the interval allows for (Nadeau and Bengio); splits that agree prove nothing of other "
        "photographs."
    )
    return Shown(
        Section("stability", "Stability over random splits (Table 4)", columns, rows, note),
        draw_stability(found),
        "accuracy of each random split with its interval",
        "The base trained once on each split, and its accuracy on that split's own test photographs.",
    )


def _told(analysis: MGFENAnalysis) -> str:
    control = analysis.background
    if control is None:
        return "Whether the background tells the label could not be examined: too few items of both labels."
    verdict = "gives the label away" if control.gives_away else "was not found to give the label away"
    return (
        f"Without any training of MGFEN, a classifier on what lies around the product has an AUROC of "
        f"{control.auroc:.3f} ({control.low:.3f} to {control.high:.3f}, p {control.p_value:.3f}): the background "
        f"{verdict}."
    )


def _heat(config: MGFENAnalysisConfig, trainings: Trainings, table: pa.Table) -> _Heat:
    test = rows_with(table, (Role.TEST,), IN_DOMAIN)
    masked = np.flatnonzero(pc.is_valid(test["mask_uri"]).to_numpy(zero_copy_only=False))
    if not len(masked):
        figure = canvas(6, 1.2)
        return _Heat(empty(figure, figure.subplots(), "no test photograph has a mask"), [], {})
    asked = test.take(masked)
    of_full = answers_of(trainings.outcomes(FULL)).about(masked)
    chosen = photographs_shown(of_full.truth, ~of_full.right[0], config.num_examples, config.bootstrap_seed)
    bootstrap = bootstrap_of(config, of_full)
    found: dict[str, list[Response]] = {}
    summed = []
    for variant in _COMPARED:
        own = trainings.of(variant)
        found[variant.name] = [
            respond(one.bundle, asked, config.device, chosen if one is own[0] else ()) for one in own
        ]
        answers = answers_of(trainings.outcomes(variant)).about(masked)
        summed.append(heat_response(variant.name, found[variant.name], answers, bootstrap))
    full, base = found[FULL.name], found[BASELINE.name]
    ratios = {
        "heat": response_ratio([one.heat for one in full], [one.heat for one in base], bootstrap),
        "Grad-CAM": response_ratio([one.cam for one in full], [one.cam for one in base], bootstrap),
    }
    return _Heat(_drawn(found, of_full, chosen), summed, ratios)


def _drawn(found: dict[str, list[Response]], answers: Answers, places: Sequence[int]) -> Figure:
    """Heat of every configuration, and below them Grad-CAM of every one."""
    captions = [caption(answers.names, answers.truth[one], answers.told[0, one]) for one in places]
    rows = [
        (f"{name}\n{kind}", [maps[own] for maps in responses[0].maps])
        for own, kind in enumerate(("heat", "Grad-CAM"))
        for name, responses in found.items()
    ]
    return draw_attention(captions, rows)


def _background(table: pa.Table, limits: DecodeLimits) -> Control | None:
    """What the audit's control makes of the surroundings of all photographs, masks left out."""
    rows = [row for row in table.to_pylist() if row["authenticity"] in IN_DOMAIN]
    measured = [measure_row(row, limits) for row in tqdm(rows, desc="backgrounds", unit="photograph", ascii=True)]
    return background_control(rows, measured, ControlConfig())
