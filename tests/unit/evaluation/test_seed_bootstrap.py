"""Items and trainings drawn again together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hallmark.evaluation.seed_bootstrap import SeedBootstrap

ITEMS = np.array(["a", "a", "b", "c", "d", "d", "d", "e"])
TRUTHS = np.array([1, 1, 1, 1, 0, 0, 0, 0])


def weights_of(bootstrap: SeedBootstrap) -> list[np.ndarray]:
    seen: list[np.ndarray] = []
    bootstrap.estimate(lambda weights: seen.append(weights.copy()) or 0.0)
    return seen


def test_items_and_trainings_stay_whole_and_each_truth_keeps_its_number_of_items() -> None:
    whole, *drawn = weights_of(SeedBootstrap(ITEMS, TRUTHS, 3, 0, 300))
    assert np.array_equal(whole, np.ones((3, 8)))
    assert len(drawn) == 300
    for weights in drawn:
        assert np.linalg.matrix_rank(weights) == 1  # one draw of trainings times one of items
        by_item = weights[weights.sum(axis=1).argmax()]
        by_item = by_item / (by_item[by_item > 0].min() / np.gcd.reduce(by_item[by_item > 0].astype(int)))
        assert by_item[0] == by_item[1]
        assert by_item[4] == by_item[5] == by_item[6]
    counts = np.mean([weights / weights.sum() for weights in drawn], axis=0)
    assert counts.sum() == pytest.approx(1)


@pytest.mark.parametrize("truth", [0, 1])
def test_each_truth_draws_as_many_items_as_it_has(truth: int) -> None:
    _, *drawn = weights_of(SeedBootstrap(ITEMS, TRUTHS, 1, 5, 100))
    first = [np.flatnonzero(item == ITEMS)[0] for item in np.unique(ITEMS[truth == TRUTHS])]
    assert {float(weights[0, first].sum()) for weights in drawn} == {float(len(first))}


def test_the_interval_is_that_of_plain_resampling() -> None:
    rng = np.random.default_rng(0)
    items, values = np.arange(40).astype(str), rng.normal(size=40)
    bootstrap = SeedBootstrap(items, np.zeros(40, dtype=int), 1, 0, 4000)
    found = bootstrap.estimate(lambda weights: float((weights[0] * values).sum() / weights.sum()))
    plain = [values[rng.integers(0, 40, 40)].mean() for _ in range(4000)]
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx(np.percentile(plain, [2.5, 97.5]), abs=0.02)
    assert found.n == 40


def test_trainings_that_differ_widen_the_interval() -> None:
    items, truths = np.arange(40).astype(str), np.arange(40) % 2
    right = np.random.default_rng(0).random((4, 40)) < np.array([0.3, 0.5, 0.7, 0.9])[:, None]

    def width(seeds: list[int]) -> float:
        bootstrap = SeedBootstrap(items, truths, len(seeds), 0, 1000)
        found = bootstrap.estimate(lambda weights: float((weights * right[seeds]).sum() / weights.sum()))
        return found.high - found.low

    assert width([0, 1, 2, 3]) > 1.3 * width([1, 1, 1, 1])


def test_the_same_seed_draws_the_same() -> None:
    first, again, other = (weights_of(SeedBootstrap(ITEMS, TRUTHS, 2, seed, 50)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_one_item_of_a_truth_has_no_interval() -> None:
    bootstrap = SeedBootstrap(np.array(["a", "b", "c"]), np.array([0, 0, 1]), 2, 0, 100)
    found = bootstrap.estimate(lambda weights: float(weights.mean()))
    assert (found.value, found.low, found.high, found.n) == (1.0, None, None, 6)


def test_what_is_not_defined_anywhere_has_no_value() -> None:
    found = SeedBootstrap(ITEMS, TRUTHS, 2, 0, 100).estimate(lambda _: None)
    assert (found.value, found.low, found.high) == (None, None, None)


@given(seed=st.integers(0, 10**6), seeds=st.integers(1, 4))
def test_the_interval_holds_the_value_and_what_is_the_same_everywhere_has_none_to_speak_of(
    seed: int, seeds: int
) -> None:
    rng = np.random.default_rng(seed)
    items, truths = rng.integers(0, 12, 40).astype(str), np.arange(40) % 2
    right = rng.random((seeds, 40)) < 0.5
    bootstrap = SeedBootstrap(items, truths, seeds, seed, 200)
    found = bootstrap.estimate(lambda weights: float((weights * right).sum() / weights.sum()))
    assert found.value == pytest.approx(right.mean())
    assert found.low <= found.value <= found.high
    same = bootstrap.estimate(lambda weights: float((weights * 0.25).sum() / weights.sum()))
    assert (same.low, same.high) == pytest.approx((0.25, 0.25))
