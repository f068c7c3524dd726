"""Authenticity from genuine photographs alone: how unusual a photograph is among genuine items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from hallmark.config import Config
from hallmark.verdict.folds import out_of_fold

MATCH = "match_genuine"
"""Evidence with a conformal p-value of its own; the rest share one."""

_OWN_ITEMS = 4
_SHRINKAGE = 20.0


class Spread(Config):
    """Where a piece of evidence lies for genuine items."""

    centre: float
    spread: float = Field(gt=0)


class Ranked(Config):
    """A statistic of the genuine calibration photographs; every item counts once, however many photographs it has."""

    scores: list[float] = Field(min_length=1, description="rising; higher = more genuine")
    weights: list[float] = Field(min_length=1, description="of each: one over the photographs of its item")
    num_items: int = Field(ge=1)
    limit: float = Field(description="below it the p-value is at most the share of eps that this statistic has")

    def p(self, score: float) -> float:
        """(1 + calibration items at or below the score) / (items + 1)."""
        below = int(np.searchsorted(self.scores, score, side="right"))
        return min(1.0, (1.0 + sum(self.weights[:below])) / (self.num_items + 1))


class OneClassModel(Config):
    """Evidence to a conformal p-value of being genuine."""

    spreads: dict[str, Spread] = Field(description="by evidence, over all products")
    by_product: dict[str, dict[str, Spread]] = Field(
        description="the same of a product with four genuine calibration items or more, shrunk to that of all products"
    )
    deviation: Ranked | None = Field(description="of the root mean square of what lies below the mean; null: none")
    match: Ranked | None = Field(description="of v+; null: no such evidence")
    eps: float = Field(gt=0, le=1, description="counterfeit where the p-value is at most this; the false-alarm rate")
    left_out: list[str] = Field(description="evidence that no genuine calibration photograph has, or all have alike")

    def judge(self, features: Mapping[str, float | None], product: str) -> tuple[float | None, float | None]:
        """The decision score and the p-value; None without evidence, nan where some is not finite.

        The score is how many standard deviations the photograph lies above the limit of the statistic that speaks
        most against it, so it is negative exactly where the p-value is at most eps.
        """
        ranked = [self.deviation, self.match]
        told = [
            (one, value)
            for one, value in zip(ranked, statistics(self.spreads_of(product), features), strict=True)
            if one is not None and value is not None
        ]
        if not told:
            return None, None
        if not np.isfinite([value for _, value in told]).all():
            return float("nan"), float("nan")
        # Bonferroni: the two lean on the same photograph, so their p-values are not independent.
        p_least = min(one.p(value) for one, value in told)
        return min(value - one.limit for one, value in told), min(1.0, sum(one is not None for one in ranked) * p_least)

    def spreads_of(self, product: str) -> dict[str, Spread]:
        """The product's own spreads where it has them, else those of all products."""
        return {**self.spreads, **self.by_product.get(product, {})}


@dataclass(frozen=True)
class GenuinePhotographs:
    """Genuine calibration photographs, N of them."""

    features: tuple[Mapping[str, float | None], ...]
    products: tuple[str, ...]
    item_ids: tuple[str, ...]

    def chosen(self, mask: np.ndarray) -> GenuinePhotographs:
        """Those where the mask is true."""
        rows = np.flatnonzero(mask)
        return GenuinePhotographs(
            tuple(self.features[row] for row in rows),
            tuple(self.products[row] for row in rows),
            tuple(self.item_ids[row] for row in rows),
        )


@dataclass(frozen=True)
class OneClassFit:
    """The model, and the decision scores of the photographs it was fitted on by models that have not seen them."""

    model: OneClassModel
    scores: np.ndarray
    """(N,) nan where a photograph has no evidence."""
    warnings: tuple[str, ...]


def fit_one_class(photographs: GenuinePhotographs, folds: np.ndarray, eps: float) -> OneClassFit:
    """Fit what genuine looks like, and how unusual a genuine photograph may be.

    The statistics that are ranked are out-of-fold: those of the photographs that the spreads were fitted on would be
    too tame, and more than eps of new genuine photographs would fall below them.

    Args:
        photographs: genuine calibration photographs of two items or more.
        folds: (N,) by item.
        eps: share of genuine photographs of new items that may be called counterfeit.
    """
    names = sorted({name for features in photographs.features for name in features})
    spreads, by_product = _fit_spreads(names, photographs)
    values = _out_of_fold_statistics(names, photographs, folds)
    items = np.array(photographs.item_ids)
    num_items = [len(set(items[~np.isnan(column)])) for column in values.T]
    # A single item says nothing of how much items differ.
    usable = [count >= 2 for count in num_items]
    fewest = min((count for count in num_items if count >= 2), default=1)
    in_force = min(1.0, max(eps, sum(usable) / (fewest + 1)))
    ranked = [
        _rank(column[~np.isnan(column)], items[~np.isnan(column)].tolist(), in_force / sum(usable)) if use else None
        for column, use in zip(values.T, usable, strict=True)
    ]
    model = OneClassModel(
        spreads=spreads,
        by_product=by_product,
        deviation=ranked[0],
        match=ranked[1],
        eps=in_force,
        left_out=[name for name in names if name not in spreads],
    )
    margins = values - np.array([np.nan if one is None else one.limit for one in ranked])
    return OneClassFit(model, np.fmin(margins[:, 0], margins[:, 1]), _warnings(eps, in_force, sum(usable), fewest))


def statistics(
    spreads: Mapping[str, Spread], features: Mapping[str, float | None]
) -> tuple[float | None, float | None]:
    """The deviation, and v+, in standard deviations of genuine items; higher = more genuine.

    The deviation is minus the root mean square, over the evidence present, of how far each lies below its mean. A
    counterfeit is given away by few pieces of evidence, which a plain mean would drown in the many that agree; and
    what agrees better than usual says nothing against a photograph, nor may it make up for what does not.
    """
    standardised = {
        name: (value - told.centre) / told.spread
        for name, told in spreads.items()
        if (value := features.get(name)) is not None
    }
    match = standardised.pop(MATCH, None)
    if not standardised:
        return None, match
    # Not max(): it may answer 0 to nan, and evidence that is not a number must not pass as usual.
    below = np.minimum(np.array(list(standardised.values())), 0.0)
    lacking = any(not np.isfinite(value) for value in standardised.values())
    return (float("nan") if lacking else -float(np.sqrt(np.mean(below**2)))), match


def _out_of_fold_statistics(names: Sequence[str], photographs: GenuinePhotographs, folds: np.ndarray) -> np.ndarray:
    """(N, 2) deviation and v+; nan where missing."""

    def score(fitted: np.ndarray, scored: np.ndarray) -> np.ndarray:
        spreads, by_product = _fit_spreads(names, photographs.chosen(fitted))
        told = photographs.chosen(scored)
        found = [
            statistics({**spreads, **by_product.get(product, {})}, features)
            for product, features in zip(told.products, told.features, strict=True)
        ]
        return np.array(found, dtype=float)

    return out_of_fold(folds, score)


def _fit_spreads(
    names: Sequence[str], photographs: GenuinePhotographs
) -> tuple[dict[str, Spread], dict[str, dict[str, Spread]]]:
    table = np.array(
        [[np.nan if (value := f.get(name)) is None else value for name in names] for f in photographs.features],
        dtype=float,
    ).reshape(len(photographs.features), len(names))
    overall = {name: told for place, name in enumerate(names) if (told := _spread(table[:, place])) is not None}
    products = np.array(photographs.products)
    by_product: dict[str, dict[str, Spread]] = {}
    for product in sorted(set(photographs.products)):
        rows = products == product
        num_items = len({item for item, own in zip(photographs.item_ids, rows, strict=True) if own})
        if num_items >= _OWN_ITEMS:
            by_product[product] = {
                name: _shrunk(table[rows, names.index(name)], told, num_items) for name, told in overall.items()
            }
    return overall, by_product


def _spread(values: np.ndarray) -> Spread | None:
    values = values[~np.isnan(values)]
    if not len(values) or values.std() <= 1e-9 * max(1.0, abs(float(values.mean()))):
        return None
    return Spread(centre=float(values.mean()), spread=float(values.std()))


def _shrunk(values: np.ndarray, overall: Spread, num_items: int) -> Spread:
    values = values[~np.isnan(values)]
    if not len(values):
        return overall
    own = num_items / (num_items + _SHRINKAGE)
    return Spread(
        centre=own * float(values.mean()) + (1 - own) * overall.centre,
        spread=float(np.sqrt(own * values.var() + (1 - own) * overall.spread**2)),
    )


def _rank(values: np.ndarray, items: Sequence[str], level: float) -> Ranked:
    order = np.argsort(values, kind="stable")
    scores = [float(value) for value in values[order]]
    weights = [1.0 / items.count(items[row]) for row in order]
    ranked = Ranked(scores=scores, weights=weights, num_items=len(set(items)), limit=scores[-1])
    # The first value that is not unusual enough; all below it are. A hair's breadth for sums of fractions.
    usual = next((value for value in scores if ranked.p(value) > level * (1 + 1e-9)), scores[-1])
    return ranked.model_copy(update={"limit": usual})


def _warnings(eps: float, in_force: float, num_statistics: int, num_items: int) -> tuple[str, ...]:
    if not num_statistics:
        return ("one_class: no genuine calibration photograph has evidence that varies; nothing can be judged",)
    if in_force <= eps:
        return ()
    return (
        f"one_class: {num_items} genuine calibration items cannot hold false alarms to {eps:g}, at least "
        f"{int(np.ceil(num_statistics / eps - 1))} can; in force is {in_force:.3f}",
    )
