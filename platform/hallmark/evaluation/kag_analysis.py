"""The analyses of KAG-MTLN: variants trained, compared on the test photographs, looked into, and reported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from matplotlib.figure import Figure

from hallmark.data.manifest import products, read_manifest, rows_with
from hallmark.data.sampling import label
from hallmark.evaluation.analysis import (
    axis_tables,
    base_classes,
    caption,
    photographs_shown,
    trainings_of,
)
from hallmark.evaluation.analysis_report import Analysis, Shown, write_analysis
from hallmark.evaluation.attention_map import EnergyInside, attention_maps, draw_attention, energy_inside
from hallmark.evaluation.feature_plane import FeaturePlane, Neighbourhood, draw_planes, feature_plane
from hallmark.evaluation.kag_axes import KAGAnalysisConfig, axes
from hallmark.evaluation.outcomes import IN_DOMAIN, Outcome, answers_of, features
from hallmark.evaluation.rows import Section, number, percent, share_cell
from hallmark.evaluation.scramble_gallery import disturbances, draw_gallery
from hallmark.evaluation.trainings import Train, Training, Trainings
from hallmark.evaluation.variants import BASE, Axis
from hallmark.training.bundle import Bundle
from hallmark.types import Role

_GALLERY_LINES = 3
_LIMITS = (
    "t-SNE shows groups where there may be none. Silhouette and neighbours are of the features before it.",
    "An attention map tells what raised a logit in the last feature map, and no more: it is no proof of a cue.",
)


class KAGAnalysis(Analysis):
    """All that an analysis of KAG-MTLN found."""

    config: KAGAnalysisConfig
    neighbourhoods: dict[str, Neighbourhood]
    """Of the first seed's bundles, by name."""
    energy: dict[str, EnergyInside]
    """Of the same bundles."""


@dataclass(frozen=True)
class _Examined:
    """A bundle that is looked into."""

    name: str
    bundle: Bundle
    outcome: Outcome


def analyse(config: KAGAnalysisConfig, train: Train) -> tuple[KAGAnalysis, Path]:
    """Train what is missing, then compare and report; the analysis, and the path of the report.

    Broken off, it goes on with the first training that has no outcome yet.

    Raises:
        ConfigError, DataError: a variant is not valid, or its photographs do not suit it; told before any training.
        OutputError: something cannot be written.
        WeightsError, DivergedError, ResourceError: what is wrong with a training.
    """
    asked = axes(config)
    trainings = trainings_of(config, asked)
    trainings.make(train)
    table = read_manifest(Path(config.run["manifest"]))
    examined = _looked_into(trainings, asked)
    planes = [_plane(one, table, config) for one in examined]
    attention, energy = _attention(config, examined, table)
    analysis = KAGAnalysis(
        config=config,
        classes=base_classes(config, trainings),
        tables=axis_tables(config, asked, trainings),
        neighbourhoods={plane.name: plane.neighbourhood for plane in planes},
        energy=energy,
        num_trainings=len(trainings.distinct),
        bundle_ids=[outcome.bundle_id for outcome in trainings.outcomes(BASE)],
    )
    shown = [
        gallery_shown(_gallery(config, trainings.of(BASE)[0], table)),
        features_shown(analysis.neighbourhoods, draw_planes(planes, products(table))),
        attention_shown(energy, attention),
    ]
    return analysis, write_analysis(Path(config.out), "Analyses of KAG-MTLN", analysis, shown, _LIMITS)


def gallery_shown(figure: Figure) -> Shown:
    """Photographs under KAG, as a part of the report."""
    return Shown(
        Section("scrambles", "Disturbances (Figure 11)", [], [], ""),
        figure,
        "photographs under KAG at several degrees",
        "What KAG makes of a photograph at each degree. No pixel is made or lost: cells change places within their row "
        "or column.",
    )


def features_shown(neighbourhoods: Mapping[str, Neighbourhood], figure: Figure) -> Shown:
    """Features in the plane, as a part of the report."""
    rows = [
        [name, number(one.silhouette), share_cell(one.knn_accuracy), str(one.components), number(one.perplexity, 1)]
        for name, one in neighbourhoods.items()
    ]
    columns = ["bundle", "silhouette", "5 nearest neighbours right", "components", "perplexity"]
    note = (
        "Silhouette: how much nearer a photograph is to its own class than to the next, -1 to 1, in the principal "
        "components. Neighbours: training photographs, in the same space. Bundles of the first seed."
    )
    return Shown(
        Section("features", "Features (Figures 12 and 14)", columns, rows, note),
        figure,
        "test photographs in the plane of their features",
        "Test photographs by what the heads read of them, t-SNE of principal components. Near means alike; distances "
        "between groups mean nothing.",
    )


def attention_shown(energy: Mapping[str, EnergyInside], figure: Figure) -> Shown:
    """Attention maps, as a part of the report."""
    rows = [[name, percent(one.inside), percent(one.content), str(one.n)] for name, one in energy.items()]
    columns = ["bundle", "energy inside the photograph", "area of the photograph", "padded photographs"]
    note = (
        "Energy: share of the map that lies on photograph and not on padding, mean over the padded test photographs. "
        "The area is what a map without preference would have."
    )
    return Shown(
        Section("attention", "Attention (Figure 13)", columns, rows, note),
        figure,
        "attention maps over photographs",
        "GradCAM on the last feature map for the class that each bundle tells; bright speaks for it. Photographs that "
        "the base told wrongly come first in each class. Padding is left out.",
    )


def _looked_into(trainings: Trainings, asked: Sequence[Axis]) -> list[_Examined]:
    """The first seed's bundles: of the base, and of the variants without the auxiliary task where there are any."""
    wanted = [BASE, *(one for axis in asked if axis.name == "auxiliary" for one in axis.variants)]
    found: dict[str, _Examined] = {}
    for variant in wanted:
        training, outcome = trainings.of(variant)[0], trainings.outcomes(variant)[0]
        found[training.key] = _Examined(variant.name, training.bundle, outcome)
    return list(found.values())


def _plane(one: _Examined, table: pa.Table, config: KAGAnalysisConfig) -> FeaturePlane:
    method = one.bundle.build_method(config.device)
    sides = []
    for role in (Role.TRAIN, Role.TEST):
        chosen = rows_with(table, (role,), IN_DOMAIN)
        classes = label(chosen, products(table), "class").class_index
        sides.append((features(method, one.bundle.run, chosen, config.device), classes))
    return feature_plane(one.name, *sides, config.bootstrap_seed)


def _attention(
    config: KAGAnalysisConfig, examined: Sequence[_Examined], table: pa.Table
) -> tuple[Figure, dict[str, EnergyInside]]:
    """Maps of all test photographs for the energy, and of some, mistakes of the base first, for the figure."""
    test = rows_with(table, (Role.TEST,), IN_DOMAIN)
    answers = answers_of([examined[0].outcome])
    chosen = photographs_shown(answers.truth, ~answers.right[0], config.num_examples, config.bootstrap_seed)
    rows, energy = [], {}
    for one in examined:
        maps = attention_maps(one.bundle.build_method(config.device), one.bundle.run, test, config.device)
        energy[one.name] = energy_inside(maps)
        rows.append((one.name, [maps[place] for place in chosen]))
    captions = [caption(answers.names, answers.truth[place], answers.told[0, place]) for place in chosen]
    return draw_attention(captions, rows), energy


def _gallery(config: KAGAnalysisConfig, base: Training, table: pa.Table) -> Figure:
    # A genuine photograph of each product, and a counterfeit where there is none.
    test = pa.concat_tables([rows_with(table, (Role.TEST,), (one,)) for one in IN_DOMAIN])
    names = np.array(test["product"].to_pylist())
    first = [int(np.flatnonzero(names == name)[0]) for name in np.unique(names)[:_GALLERY_LINES]]
    gallery = disturbances(base.run, test.take(first), config.degrees)
    return draw_gallery(gallery, config.degrees, base.run.scramble)
