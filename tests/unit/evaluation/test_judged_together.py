"""Validation figures under weights, and the paired permutation test, against plain loops."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from hallmark.errors import DataError
from hallmark.evaluation.judged_together import permutation_test, together
from hallmark.training.validation import Judged


def random_judged(seed: int, count: int = 12, ties: int = 3, classifies: bool = True) -> Judged:
    rng = np.random.default_rng(seed)
    class_index = np.arange(count) % 4
    told = rng.integers(0, 4, count) if classifies else None
    ids, items = (
        [str(place) for place in range(count)],
        np.array([f"i{place // 4}-{place % 2}" for place in range(count)]),
    )
    return Judged(ids, items, class_index, rng.integers(0, ties, count).astype(float), told)


@pytest.mark.parametrize("metric", ["accuracy", "separation"])
@pytest.mark.parametrize("seed", range(5))
def test_weights_are_photographs_that_are_repeated(metric: str, seed: int) -> None:
    judged = [random_judged(10 * seed + place) for place in range(3)]
    rng = np.random.default_rng(seed)
    by_item, by_seed = rng.integers(0, 4, 12), np.array([2, 0, 1])
    by_item[:4] = 1  # every class stays
    expected = []
    for one, times in zip(judged, by_seed, strict=True):
        rows = np.repeat(np.arange(12), by_item)
        repeated = Judged(
            [one.image_ids[row] for row in rows],
            one.items[rows],
            one.class_index[rows],
            one.score[rows],
            one.told[rows],
        )
        expected += [repeated.figures[metric]] * times
    weights = (by_seed[:, None] * by_item[None, :]).astype(float)
    assert together(judged).figure(metric, weights) == pytest.approx(np.mean(expected))


def test_without_weights_it_is_the_figure_of_the_training() -> None:
    judged = random_judged(0, ties=100)
    for metric, value in judged.figures.items():
        assert together([judged]).figure(metric, np.ones((1, 12))) == pytest.approx(value)


def test_what_is_not_defined_has_no_figure() -> None:
    fod = random_judged(0, classifies=False)
    assert together([fod]).figure("accuracy", np.ones((1, 12))) is None
    genuine = Judged(["a", "b"], np.array(["a", "b"]), np.array([1, 1]), np.zeros(2), np.array([1, 0]))
    assert together([genuine]).figure("separation", np.ones((1, 2))) is None
    assert together([genuine]).figure("accuracy", np.ones((1, 2))) == 0.5
    none = Judged([], np.array([]), np.array([], dtype=np.int64), np.array([]), np.array([], dtype=np.int64))
    for metric in ("accuracy", "separation"):
        assert together([none]).figure(metric, np.ones((1, 0))) is None
        assert permutation_test(together([none]), together([none]), metric, 10, 0) is None


def test_other_photographs_are_not_joined() -> None:
    with pytest.raises(DataError, match="found 8 and 12; wanted the same"):
        together([random_judged(0), random_judged(0, count=8)])


def exact(ours: list[Judged], theirs: list[Judged], metric: str) -> float:
    """Share of all ways to swap items by which the recipes differ at least as much."""

    def ranks(score: np.ndarray) -> np.ndarray:
        return np.array([(score < own).sum() + (score == own).sum() / 2 for own in score])

    def difference(swapped: np.ndarray) -> float:
        told = []
        for left, right in zip(ours, theirs, strict=True):
            for one, other in ((left, right), (right, left)):
                score = np.where(swapped, ranks(other.score), ranks(one.score))
                said = np.where(swapped, other.told, one.told)
                mixed = Judged(one.image_ids, one.items, one.class_index, score, said)
                told.append(mixed.figures[metric])
        return float(np.mean(told[::2]) - np.mean(told[1::2]))

    items = np.unique(ours[0].items)
    observed = abs(difference(np.zeros(len(ours[0].items), dtype=bool)))
    ways = list(itertools.product([False, True], repeat=len(items)))
    swaps = [np.isin(ours[0].items, items[np.array(way)]) for way in ways]
    return sum(abs(difference(swapped)) >= observed - 1e-9 for swapped in swaps) / len(ways)


@pytest.mark.parametrize("metric", ["accuracy", "separation"])
@pytest.mark.parametrize("seed", range(3))
def test_the_permutation_test_comes_to_the_exact_one(metric: str, seed: int) -> None:
    ours, theirs = (
        [random_judged(first + place, ties=40) for place in (0, 1)] for first in (20 * seed, 20 * seed + 10)
    )
    found = permutation_test(together(ours), together(theirs), metric, 3000, seed)
    assert found == pytest.approx(exact(ours, theirs, metric), abs=0.035)


def test_the_same_recipe_twice_is_never_significant() -> None:
    same = together([random_judged(0), random_judged(1)])
    assert permutation_test(same, same, "accuracy", 50, 0) == 1.0


def test_scores_of_another_scale_change_nothing(sweeps: SimpleNamespace) -> None:
    ours, theirs = sweeps.judged_of(0.9, 0), sweeps.judged_of(0.1, 1)
    wide = Judged(theirs.image_ids, theirs.items, theirs.class_index, 1000 * theirs.score + 5, theirs.told)
    found = [permutation_test(together([ours]), together([one]), "separation", 200, 0) for one in (theirs, wide)]
    assert found[0] == found[1] < 0.05
