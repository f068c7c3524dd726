"""An axis of variants as a table: the same figures of every variant, and its difference from the base."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

import numpy as np

from hallmark.evaluation.class_report import calibration_error, counterfeit_f1, macro_f1, mean_auroc, share_right
from hallmark.evaluation.measures import Estimate, Figures, Proportion
from hallmark.evaluation.outcomes import Outcome, answers_of
from hallmark.evaluation.paired_difference import PairedDifference, holm, paired_difference
from hallmark.evaluation.rows import NONE, estimate_cell, figures_of, interval, number, percent
from hallmark.evaluation.seed_bootstrap import SeedBootstrap
from hallmark.evaluation.tables import as_text
from hallmark.evaluation.variants import Axis, Variant

COLUMNS = (
    "accuracy",
    "by seed",
    "F1, macro",
    "F1, counterfeit",
    "AUROC",
    "calibration error",
    "validation",
    "less the base",
)
"""Headings of `table_rows`, after what is varied."""


class VariantFigures(Figures):
    """One variant: accuracy is product-aware, all counts are pooled over seeds."""

    name: str
    is_base: bool
    position: float | None
    training_photographs: list[int]
    """By seed."""
    accuracy: Proportion
    accuracy_resampled: Estimate
    """Its interval over items and seeds."""
    accuracy_by_seed: list[Proportion]
    f1_macro: Estimate
    f1_counterfeit: Estimate
    auroc: Estimate
    calibration_error: float | None
    validation_accuracy: float
    """Mean over seeds, every class counting alike; what epochs and variants are picked by."""
    difference: PairedDifference | None
    """None of the base."""


class VariantTable(Figures):
    """All variants of an axis."""

    axis: str
    title: str
    label: str
    note: str
    seeds: list[int]
    photographs: int
    items: int
    variants: list[VariantFigures]

    @property
    def picked(self) -> list[str]:
        """The variants with the best validation accuracy; all of those that are level."""
        best = max(variant.validation_accuracy for variant in self.variants)
        return [variant.name for variant in self.variants if variant.validation_accuracy == best]


def variant_table(
    axis: Axis, outcomes: Mapping[Variant, Sequence[Outcome]], base: Sequence[Outcome], resamples: int, seed: int
) -> VariantTable:
    """Compare the variants of an axis with the base.

    Args:
        axis: the variants.
        outcomes: of each of them, one a seed.
        base: of the base, by the same seeds. A variant with these very outcomes is the base.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        DataError: the outcomes are not about the same photographs.
    """
    of_base = answers_of(base)
    bootstrap = SeedBootstrap(of_base.items, of_base.truth % 2, len(base), seed, resamples)
    rows = [_figures(variant, outcomes[variant], base, bootstrap) for variant in axis.variants]
    adjusted = holm([None if row.difference is None else row.difference.p_value for row in rows])
    return VariantTable(
        axis=axis.name,
        title=axis.title,
        label=axis.label,
        note=axis.note,
        seeds=[outcome.seed for outcome in base],
        photographs=len(of_base.truth),
        items=len(np.unique(of_base.items)),
        variants=[_adjusted(row, p_value) for row, p_value in zip(rows, adjusted, strict=True)],
    )


def table_rows(table: VariantTable) -> list[list[str]]:
    """One row a variant as texts, in the order of `COLUMNS`."""
    return [_cells(variant) for variant in table.variants]


def table_csv(table: VariantTable) -> str:
    """Every number in a row of its own: variant, figure, value, 95 % interval, k, n."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow([table.axis, "figure", "value", "low", "high", "k", "n"])
    for variant in table.variants:
        for name, figure in figures_of(variant):
            parts = [getattr(figure, part, None) for part in ("low", "high", "k", "n")]
            writer.writerow([as_text(variant.name), name, getattr(figure, "value", figure), *parts])
    return buffer.getvalue()


def findings(table: VariantTable) -> list[str]:
    """What the table comes to, in sentences."""
    compared = [variant for variant in table.variants if variant.difference is not None]
    told = [_finding(variant) for variant in compared if variant.difference.is_significant]
    tested = [variant for variant in compared if variant.difference.accuracy.low is not None]
    level = [variant.name for variant in tested if not variant.difference.is_significant]
    if level:
        told.append(f"No significant difference from the base: {', '.join(level)}.")
    if len(tested) < len(compared):
        told.append("Differences from the base are not tested: too few items.")
    if compared:
        told.append(f"By validation accuracy one would pick {' or '.join(table.picked)}.")
    return told


def _figures(
    variant: Variant, outcomes: Sequence[Outcome], base: Sequence[Outcome], bootstrap: SeedBootstrap
) -> VariantFigures:
    together = answers_of([*base, *outcomes])
    of_base, answers = together.of(range(len(base))), together.of(range(len(base), len(together.told)))
    is_base = [outcome.bundle_id for outcome in outcomes] == [outcome.bundle_id for outcome in base]
    return VariantFigures(
        name=variant.name,
        is_base=is_base,
        position=variant.position,
        training_photographs=[outcome.training_photographs for outcome in outcomes],
        accuracy=Proportion.count(answers.right.ravel()),
        accuracy_resampled=bootstrap.estimate(lambda weights: share_right(answers, weights)),
        accuracy_by_seed=[Proportion.count(right) for right in answers.right],
        f1_macro=bootstrap.estimate(lambda weights: macro_f1(answers, weights)),
        f1_counterfeit=bootstrap.estimate(lambda weights: counterfeit_f1(answers, weights)),
        auroc=bootstrap.estimate(lambda weights: mean_auroc(answers, weights)),
        calibration_error=calibration_error(answers),
        validation_accuracy=float(np.mean([outcome.validation["accuracy"] for outcome in outcomes])),
        difference=None if is_base else paired_difference(answers, of_base, bootstrap),
    )


def _adjusted(row: VariantFigures, p_value: float | None) -> VariantFigures:
    if row.difference is None:
        return row
    return row.model_copy(update={"difference": row.difference.model_copy(update={"p_adjusted": p_value})})


def _cells(variant: VariantFigures) -> list[str]:
    accuracy, again = variant.accuracy, variant.accuracy_resampled
    return [
        f"{variant.name} (base)" if variant.is_base and variant.name != "base" else variant.name,
        f"{percent(accuracy.value)} ({accuracy.k}/{accuracy.n})\nWilson {interval(accuracy)}\n"
        f"items, seeds {_percents(again)}",
        "\n".join(f"{share.k}/{share.n}" for share in variant.accuracy_by_seed),
        *map(estimate_cell, (variant.f1_macro, variant.f1_counterfeit, variant.auroc)),
        number(variant.calibration_error),
        percent(variant.validation_accuracy),
        NONE if variant.difference is None else _difference_cell(variant.difference),
    ]


def _difference_cell(difference: PairedDifference) -> str:
    gain, p_value = difference.accuracy, difference.p_adjusted
    tested = "no answer differs" if p_value is None else f"p {'< 0.001' if p_value < 0.001 else f'= {p_value:.3f}'}"
    return (
        f"{100 * gain.value:+.1f} points\n({_percents(gain, '+')})\n"
        f"won {difference.won}, lost {difference.lost}, {tested}\n{difference.words}"
    )


def _percents(estimate: Estimate, sign: str = "") -> str:
    if estimate.low is None:
        return NONE
    return f"{100 * estimate.low:{sign}.1f} to {100 * estimate.high:{sign}.1f}" + ("" if sign else " %")


def _finding(variant: VariantFigures) -> str:
    difference = variant.difference
    return (
        f"{variant.name} is {difference.words}, by {abs(100 * difference.accuracy.value):.1f} points (95 % interval "
        f"{_percents(difference.accuracy, '+')})."
    )
