"""Authenticity from genuine photographs alone: how unusual a photograph is among genuine items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from hallmark.config import Config
from hallmark.verdict.folds import out_of_fold

_STAGES = {"inlier": "match"}
"""Evidence is of the stage that its name begins with, but for these."""

_SAY = {"surface": 3.0, "match": 0.5, "cue": 0.5}
"""What a stage counts, 1 for the others: ordered as they tell apart drawn products, whose counterfeits are known."""

_LEAST, _MOST = -6.0, 1.0
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
    usual: Ranked | None = Field(description="how usual the genuine calibration photographs are; null: cannot be told")
    eps: float = Field(gt=0, le=1, description="counterfeit where the p-value is at most this; the false-alarm rate")
    left_out: list[str] = Field(description="evidence that no genuine calibration photograph has, or all have alike")

    def judge(self, features: Mapping[str, float | None], product: str) -> tuple[float | None, float | None]:
        """The decision score and the p-value; None without evidence, nan where some is not finite.

        The score is how far the photograph lies above the limit of what is usual, so it is negative exactly where the
        p-value is at most eps.
        """
        value = usualness(self.spreads_of(product), features)
        if self.usual is None or value is None:
            return None, None
        if not np.isfinite(value):
            return float("nan"), float("nan")
        return value - self.usual.limit, self.usual.p(value)

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

    What is ranked is out-of-fold: the values of the photographs that the spreads were fitted on would be
    too tame, and more than eps of new genuine photographs would fall below them.

    Args:
        photographs: genuine calibration photographs of two items or more.
        folds: (N,) by item.
        eps: share of genuine photographs of new items that may be called counterfeit.
    """
    names = sorted({name for features in photographs.features for name in features})
    spreads, by_product = _fit_spreads(names, photographs)
    values = _out_of_fold_usualness(names, photographs, folds)
    told = ~np.isnan(values)
    items = [item for item, one in zip(photographs.item_ids, told, strict=True) if one]
    num_items = len(set(items))
    in_force = min(1.0, max(eps, 1.0 / (num_items + 1)))
    # A single item says nothing of how much items differ.
    ranked = _rank(values[told], items, in_force) if num_items >= 2 else None
    model = OneClassModel(
        spreads=spreads,
        by_product=by_product,
        usual=ranked,
        eps=in_force,
        left_out=[name for name in names if name not in spreads],
    )
    scores = np.full(len(values), np.nan) if ranked is None else values - ranked.limit
    return OneClassFit(model, scores, _warnings(eps, model, num_items))


def usualness(spreads: Mapping[str, Spread], features: Mapping[str, float | None]) -> float | None:
    """How usual a photograph's evidence is among genuine items; higher = more genuine.

    Weighted mean over the stages that have a say (global similarity, matches and geometry, cues, surface, classifier)
    of the mean of their evidence, each in standard deviations of genuine items and held between -6 and 1: a stage
    counts the same however many numbers it gives, one wild number does not drown the others, and what agrees better
    than usual makes up for little.

    Returns:
        None without evidence; nan where some is not finite.
    """
    by_stage: dict[str, list[float]] = {}
    for name, told in spreads.items():
        value = features.get(name)
        if value is not None:
            stage = name.split("_")[0]
            by_stage.setdefault(_STAGES.get(stage, stage), []).append((value - told.centre) / told.spread)
    if not by_stage:
        return None
    if not all(np.isfinite(values).all() for values in by_stage.values()):
        return float("nan")
    means = [np.clip(values, _LEAST, _MOST).mean() for values in by_stage.values()]
    return float(np.average(means, weights=[_SAY.get(stage, 1.0) for stage in by_stage]))


def _out_of_fold_usualness(names: Sequence[str], photographs: GenuinePhotographs, folds: np.ndarray) -> np.ndarray:
    """(N,) nan where missing."""

    def score(fitted: np.ndarray, scored: np.ndarray) -> np.ndarray:
        spreads, by_product = _fit_spreads(names, photographs.chosen(fitted))
        told = photographs.chosen(scored)
        found = [
            usualness({**spreads, **by_product.get(product, {})}, features)
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


def _warnings(eps: float, model: OneClassModel, num_items: int) -> tuple[str, ...]:
    if model.usual is None:
        return ("one_class: no genuine calibration photograph has evidence that varies; nothing can be judged",)
    if model.eps <= eps:
        return ()
    return (
        f"one_class: {num_items} genuine calibration items cannot hold false alarms to {eps:g}, at least "
        f"{int(np.ceil(1 / eps - 1))} can; in force is {model.eps:.3f}",
    )
