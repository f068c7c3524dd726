"""What the analyses of every method have in common: classes, tables of variants, and which photographs are shown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hallmark.evaluation.class_report import ClassReport, class_report
from hallmark.evaluation.outcomes import Answers, answers_of
from hallmark.evaluation.seed_bootstrap import SeedBootstrap
from hallmark.evaluation.trainings import Trainings
from hallmark.evaluation.variant_table import VariantTable, variant_table
from hallmark.evaluation.variants import BASE, AnalysisConfig, Axis, Variant

_CAPTION = 24
"""Longest name of a product over a picture, characters."""


def trainings_of(config: AnalysisConfig, asked: Sequence[Axis], also: Sequence[Variant] = ()) -> Trainings:
    """The trainings that the base, the axes and further variants ask for, laid out and not made.

    Raises:
        ConfigError, DataError, OutputError: see Trainings.
    """
    of_axes = [one for axis in asked for one in axis.variants]
    return Trainings(config, list(dict.fromkeys([BASE, *of_axes, *also])))


def base_classes(config: AnalysisConfig, trainings: Trainings) -> ClassReport:
    """Class by class what the base's trainings say."""
    answers = answers_of(trainings.outcomes(BASE))
    return class_report(answers, list(config.seeds), bootstrap_of(config, answers))


def bootstrap_of(config: AnalysisConfig, answers: Answers) -> SeedBootstrap:
    """Over the photographs that the answers are about, and the seeds."""
    return SeedBootstrap(answers.items, answers.truth % 2, len(config.seeds), config.bootstrap_seed, config.resamples)


def axis_tables(config: AnalysisConfig, asked: Sequence[Axis], trainings: Trainings) -> list[VariantTable]:
    """A table for each axis that has more than the base."""
    base = trainings.outcomes(BASE)
    return [
        variant_table(
            axis,
            {variant: trainings.outcomes(variant) for variant in axis.variants},
            base,
            config.resamples,
            config.bootstrap_seed,
        )
        for axis in asked
        if len(axis.variants) > 1
    ]


def photographs_shown(classes: np.ndarray, wrong: np.ndarray, count: int, seed: int) -> list[int]:
    """Places of photographs to show: class by class in turn, one that was told wrongly before the others.

    Args:
        classes: (N,) int64.
        wrong: (N,) bool.
        count: how many, at most.
        seed: of the order within a class.
    """
    shuffled = np.random.default_rng(seed).permutation(len(classes))
    turn = np.zeros(len(classes), dtype=np.int64)
    for one in np.unique(classes):
        own = shuffled[classes[shuffled] == one]
        turn[own[np.argsort(~wrong[own], kind="stable")]] = np.arange(len(own))
    return np.lexsort((classes, turn))[:count].tolist()


def caption(names: Sequence[str], truth: int, told: int) -> str:
    """The product, then what a photograph is and what it was taken for, by the names of the classes."""
    product, authenticity = names[truth].rsplit(" ", 1)
    other, said = names[told].rsplit(" ", 1)
    if truth == told:
        outcome = "told rightly"
    else:
        outcome = f"told {said}" if other == product else f"told {other[:_CAPTION]} {said}"
    return f"{product[:_CAPTION]}\n{authenticity}\n{outcome}"
