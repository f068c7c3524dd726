"""How much of the differences between trials each axis of a sweep explains."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
from sklearn.ensemble import RandomForestRegressor

from hallmark.evaluation.measures import CONFIDENCE, Figures
from hallmark.evaluation.sweep_axes import SweepAxis
from hallmark.tuning.space import Scalar

LEAST_TRIALS = 6
"""With fewer, nothing is said."""

_TREES, _PERMUTATIONS = 60, 20
_SHUFFLES = {"variance": 400, "forest": 30}

Shares = Callable[[np.ndarray], np.ndarray]
"""From (T,) scores to the (A,) shares of their variance."""


class AxisImportance(Figures):
    """Share of the variance of the scores, 0 to 1."""

    key: str
    value: float
    chance: float
    """What 95 % of shuffled scores stay below: an axis that does not reach it may be one without any effect."""


class Importance(Figures):
    """Of all axes, by the same trials."""

    way: Literal["variance", "forest"]
    """variance: each axis by itself, of a full grid; forest: each axis with all that it does together with others, as
    a random forest that was fitted to the trials responds."""
    n: int
    """Trials."""
    epoch: int
    """Scores are the best up to it."""
    axes: list[AxisImportance]


def axis_importance(
    axes: Sequence[SweepAxis], values: Sequence[Mapping[str, Scalar]], scores: Sequence[float], epoch: int, seed: int
) -> Importance | None:
    """Share of the variance of the scores that each axis explains.

    Of a full grid it is that between the means of the axis's values. Of other trials it is that of a random forest:
    half the mean square by which its answers change where the axis alone is shuffled (Jansen 1999), over the variance
    of the scores.

    Args:
        axes: A of them.
        values: of T trials, by dotted key.
        scores: (T,), each after the same epochs.
        epoch: after which these are the best.
        seed: of forest and shuffles.

    Returns:
        None with one axis, fewer than `LEAST_TRIALS` trials, or scores that are all the same.
    """
    found = np.array(scores, dtype=np.float64)
    if len(axes) < 2 or len(found) < LEAST_TRIALS or np.ptp(found) == 0:
        return None
    way: Literal["variance", "forest"] = "variance" if _is_full_grid(axes, values) else "forest"
    shares = _variance_shares(axes, values) if way == "variance" else _forest_shares(axes, values, seed)
    generator = np.random.default_rng([seed, 3])
    shuffled = [shares(generator.permutation(found)) for _ in range(_SHUFFLES[way])]
    chance = np.percentile(shuffled, 100 * CONFIDENCE, axis=0)
    told = [
        AxisImportance(key=axis.key, value=float(value), chance=float(by_chance))
        for axis, value, by_chance in zip(axes, shares(found), chance, strict=True)
    ]
    return Importance(way=way, n=len(found), epoch=epoch, axes=told)


def _is_full_grid(axes: Sequence[SweepAxis], values: Sequence[Mapping[str, Scalar]]) -> bool:
    if any(axis.choices is None for axis in axes):
        return False
    seen = Counter(tuple(repr(one[axis.key]) for axis in axes) for one in values)
    cells = np.prod([len(axis.choices or ()) for axis in axes])
    return len(seen) == cells and len(set(seen.values())) == 1


def _variance_shares(axes: Sequence[SweepAxis], values: Sequence[Mapping[str, Scalar]]) -> Shares:
    groups = [np.unique([repr(one[axis.key]) for one in values], return_inverse=True)[1] for axis in axes]

    def shares(scores: np.ndarray) -> np.ndarray:
        means = [np.bincount(group, scores) / np.bincount(group) for group in groups]
        between = [mean[group].var() for mean, group in zip(means, groups, strict=True)]
        return np.array(between) / scores.var()

    return shares


def _forest_shares(axes: Sequence[SweepAxis], values: Sequence[Mapping[str, Scalar]], seed: int) -> Shares:
    columns = [_columns(axis, [one[axis.key] for one in values]) for axis in axes]
    features = np.concatenate(columns, axis=1)
    begins = np.cumsum([0, *(part.shape[1] for part in columns)])

    def shares(scores: np.ndarray) -> np.ndarray:
        forest = RandomForestRegressor(_TREES, min_samples_leaf=2, random_state=seed).fit(features, scores)
        generator = np.random.default_rng([seed, 4])
        orders = [generator.permutation(len(scores)) for _ in range(_PERMUTATIONS)]
        before, changed = forest.predict(features), []
        for begin, end in itertools.pairwise(begins):
            shuffled = np.tile(features, (_PERMUTATIONS, 1))
            shuffled[:, begin:end] = np.concatenate([features[order, begin:end] for order in orders])
            changed.append(np.mean((forest.predict(shuffled) - np.tile(before, _PERMUTATIONS)) ** 2) / 2)
        return np.minimum(np.array(changed) / scores.var(), 1.0)

    return shares


def _columns(axis: SweepAxis, values: Sequence[Scalar]) -> np.ndarray:
    """(T, C): one column of numbers, or one a name."""
    places = np.array([axis.place(value) for value in values])
    if axis.scale != "names":
        return (np.log(places) if axis.scale == "log" else places)[:, None]
    return (places[:, None] == np.arange(len(axis.choices or ()))[None, :]).astype(float)
