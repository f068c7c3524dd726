"""The analyses of KAG-MTLN: variants trained, compared on the test photographs, looked into, and reported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from matplotlib.figure import Figure

from hallmark.data.manifest import products, read_manifest, rows_with
from hallmark.data.sampling import label
from hallmark.evaluation.analysis_report import Analysis, Picture, write_analysis
from hallmark.evaluation.attention_map import EnergyInside, attention_maps, draw_attention, energy_inside
from hallmark.evaluation.class_report import ClassReport, class_report
from hallmark.evaluation.feature_plane import FeaturePlane, draw_planes, feature_plane
from hallmark.evaluation.outcomes import Outcome, answers_of, features
from hallmark.evaluation.scramble_gallery import disturbances, draw_gallery
from hallmark.evaluation.seed_bootstrap import SeedBootstrap
from hallmark.evaluation.trainings import Train, Training, Trainings
from hallmark.evaluation.variant_table import VariantTable, variant_table
from hallmark.evaluation.variants import BASE, AnalysisConfig, Axis, axes
from hallmark.training.bundle import Bundle
from hallmark.types import Authenticity, Role

_IN_DOMAIN = (Authenticity.GENUINE, Authenticity.COUNTERFEIT)
_GALLERY_LINES = 3
_CAPTION = 24
"""Longest name of a product over a picture, characters."""


@dataclass(frozen=True)
class _Examined:
    """A bundle that is looked into."""

    name: str
    bundle: Bundle
    outcome: Outcome


def analyse(config: AnalysisConfig, train: Train) -> tuple[Analysis, Path]:
    """Train what is missing, then compare and report; the analysis, and the path of the report.

    Broken off, it goes on with the first training that has no outcome yet.

    Raises:
        ConfigError, DataError: a variant is not valid, or its photographs do not suit it; told before any training.
        OutputError: something cannot be written.
        WeightsError, DivergedError, ResourceError: what is wrong with a training.
    """
    asked = axes(config)
    trainings = Trainings(config, list(dict.fromkeys([BASE, *(one for axis in asked for one in axis.variants)])))
    trainings.make(train)
    table = read_manifest(Path(config.run["manifest"]))
    examined = _looked_into(trainings, asked)
    report = _classes(config, trainings)
    planes = [_plane(one, table, config) for one in examined]
    attention, energy = _attention(config, examined, table)
    analysis = Analysis(
        config=config,
        classes=report,
        tables=[_table(config, axis, trainings) for axis in asked if len(axis.variants) > 1],
        neighbourhoods={plane.name: plane.neighbourhood for plane in planes},
        energy=energy,
        num_trainings=len(trainings.distinct),
        bundle_ids=[outcome.bundle_id for outcome in trainings.outcomes(BASE)],
    )
    pictures = [
        Picture(
            "scrambles", "photographs under KAG at several degrees", _gallery(config, trainings.of(BASE)[0], table)
        ),
        Picture("features", "test photographs in the plane of their features", draw_planes(planes, products(table))),
        Picture("attention", "attention maps over photographs", attention),
    ]
    return analysis, write_analysis(Path(config.out), analysis, pictures)


def _looked_into(trainings: Trainings, asked: Sequence[Axis]) -> list[_Examined]:
    """The first seed's bundles: of the base, and of the variants without the auxiliary task where there are any."""
    wanted = [BASE, *(one for axis in asked if axis.name == "auxiliary" for one in axis.variants)]
    found: dict[str, _Examined] = {}
    for variant in wanted:
        training, outcome = trainings.of(variant)[0], trainings.outcomes(variant)[0]
        found[training.key] = _Examined(variant.name, training.bundle, outcome)
    return list(found.values())


def _classes(config: AnalysisConfig, trainings: Trainings) -> ClassReport:
    answers = answers_of(trainings.outcomes(BASE))
    seeds = list(config.seeds)
    bootstrap = SeedBootstrap(answers.items, answers.truth % 2, len(seeds), config.bootstrap_seed, config.resamples)
    return class_report(answers, seeds, bootstrap)


def _table(config: AnalysisConfig, axis: Axis, trainings: Trainings) -> VariantTable:
    outcomes = {variant: trainings.outcomes(variant) for variant in axis.variants}
    return variant_table(axis, outcomes, trainings.outcomes(BASE), config.resamples, config.bootstrap_seed)


def _plane(one: _Examined, table: pa.Table, config: AnalysisConfig) -> FeaturePlane:
    method = one.bundle.build_method(config.device)
    sides = []
    for role in (Role.TRAIN, Role.TEST):
        chosen = rows_with(table, (role,), _IN_DOMAIN)
        classes = label(chosen, products(table), "class").class_index
        sides.append((features(method, one.bundle.run, chosen, config.device), classes))
    return feature_plane(one.name, *sides, config.bootstrap_seed)


def _attention(
    config: AnalysisConfig, examined: Sequence[_Examined], table: pa.Table
) -> tuple[Figure, dict[str, EnergyInside]]:
    """Maps of all test photographs for the energy, and of some, mistakes of the base first, for the figure."""
    test = rows_with(table, (Role.TEST,), _IN_DOMAIN)
    answers = answers_of([examined[0].outcome])
    chosen = _spread(answers.truth, ~answers.right[0], config.num_examples, config.bootstrap_seed)
    rows, energy = [], {}
    for one in examined:
        maps = attention_maps(one.bundle.build_method(config.device), one.bundle.run, test, config.device)
        energy[one.name] = energy_inside(maps)
        rows.append((one.name, [maps[place] for place in chosen]))
    captions = [_caption(answers.names, answers.truth[place], answers.told[0, place]) for place in chosen]
    return draw_attention(captions, rows), energy


def _gallery(config: AnalysisConfig, base: Training, table: pa.Table) -> Figure:
    # A genuine photograph of each product, and a counterfeit where there is none.
    test = pa.concat_tables([rows_with(table, (Role.TEST,), (one,)) for one in _IN_DOMAIN])
    names = np.array(test["product"].to_pylist())
    first = [int(np.flatnonzero(names == name)[0]) for name in np.unique(names)[:_GALLERY_LINES]]
    gallery = disturbances(base.run, test.take(first), config.degrees)
    return draw_gallery(gallery, config.degrees, base.run.scramble)


def _spread(classes: np.ndarray, wrong: np.ndarray, count: int, seed: int) -> list[int]:
    """Places of photographs to show: class by class in turn, one that was told wrongly before the others."""
    shuffled = np.random.default_rng(seed).permutation(len(classes))
    turn = np.zeros(len(classes), dtype=np.int64)
    for one in np.unique(classes):
        own = shuffled[classes[shuffled] == one]
        turn[own[np.argsort(~wrong[own], kind="stable")]] = np.arange(len(own))
    return np.lexsort((classes, turn))[:count].tolist()


def _caption(names: Sequence[str], truth: int, told: int) -> str:
    """The product, then what the photograph is and what it was taken for."""
    product, authenticity = names[truth].rsplit(" ", 1)
    other, said = names[told].rsplit(" ", 1)
    if truth == told:
        outcome = "told rightly"
    else:
        outcome = f"told {said}" if other == product else f"told {other[:_CAPTION]} {said}"
    return f"{product[:_CAPTION]}\n{authenticity}\n{outcome}"
