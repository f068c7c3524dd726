"""What each axis of a sweep explains."""

from __future__ import annotations

import numpy as np
import pytest

from hallmark.evaluation.axis_importance import axis_importance
from hallmark.evaluation.sweep_axes import SweepAxis

NUMBER = SweepAxis(key="a.number", label="a.number", scale="linear", choices=[1, 2, 3], default=2)
NAME = SweepAxis(key="a.name", label="a.name", scale="names", choices=["x", True, 1], default=None)
RANGE = SweepAxis(key="a.rate", label="a.rate", scale="log", choices=None, default=None)
CELLS = [{"a.number": number, "a.name": name} for number in (1, 2, 3) for name in ("x", True, 1)]


def test_a_grid_is_parted_into_the_means_of_its_values() -> None:
    scores = [2.0 * one["a.number"] + (one["a.name"] == "x") for one in CELLS]
    found = axis_importance([NUMBER, NAME], CELLS, scores, 9, 0)
    table = np.array(scores).reshape(3, 3)
    expected = [table.mean(axis=1).var() / table.var(), table.mean(axis=0).var() / table.var()]
    assert (found.way, found.n, found.epoch) == ("variance", 9, 9)
    assert [one.value for one in found.axes] == pytest.approx(expected)
    assert sum(expected) == pytest.approx(1)
    assert found.axes[0].value > found.axes[0].chance > found.axes[1].value


def test_trials_at_random_go_through_a_forest() -> None:
    rng = np.random.default_rng(0)
    values = [{"a.rate": float(10 ** rng.uniform(-4, -1)), "a.name": NAME.choices[rng.integers(3)]} for _ in range(30)]
    scores = [float(np.log10(one["a.rate"])) for one in values]
    found = axis_importance([RANGE, NAME], values, scores, 3, 0)
    rate, name = found.axes
    assert found.way == "forest"
    assert rate.value > 0.6 > rate.chance
    assert name.value < 0.1
    assert axis_importance([RANGE, NAME], values, scores, 3, 0) == found


@pytest.mark.parametrize("count", [0, 5])
def test_of_few_trials_nothing_is_said(count: int) -> None:
    assert axis_importance([NUMBER, NAME], CELLS[:count], list(range(count)), 1, 0) is None


def test_of_one_axis_or_equal_scores_nothing_is_said() -> None:
    assert axis_importance([NUMBER], CELLS, list(range(9)), 1, 0) is None
    assert axis_importance([NUMBER, NAME], CELLS, [0.5] * 9, 1, 0) is None
