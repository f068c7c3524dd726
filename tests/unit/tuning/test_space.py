"""Axes and what is drawn from them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hallmark.tuning.space import Axis, drawn, grid

BOUNDS = st.tuples(st.floats(1e-6, 1e3), st.floats(1e-6, 1e3)).filter(lambda pair: pair[0] < pair[1])


@given(bounds=BOUNDS, share=st.floats(0, 1, exclude_max=True), log=st.booleans())
def test_a_drawn_number_lies_in_its_bounds(bounds: tuple[float, float], share: float, log: bool) -> None:
    axis = Axis(**{"loguniform" if log else "uniform": bounds})
    assert bounds[0] <= axis.at(share) <= bounds[1]


@given(low=st.integers(-5, 5), count=st.integers(1, 6), share=st.floats(0, 1, exclude_max=True))
def test_whole_numbers_include_both_ends(low: int, count: int, share: float) -> None:
    axis = Axis(integers=(low, low + count))
    assert low <= axis.at(share) <= low + count
    assert (axis.at(0.0), axis.at(1 - 1e-12)) == (low, low + count)


def test_a_logarithmic_axis_has_its_middle_at_the_geometric_mean() -> None:
    assert Axis(loguniform=(0.01, 1.0)).at(0.5) == pytest.approx(math.sqrt(0.01))


def test_choices_are_drawn_alike() -> None:
    axis = Axis(choice=("a", "b", "c"))
    drawn_of = [axis.at(share) for share in np.linspace(0, 1, 300, endpoint=False)]
    assert [drawn_of.count(value) for value in "abc"] == [100, 100, 100]


def test_a_grid_has_every_combination_once_in_order() -> None:
    space = {"a": Axis(choice=(1, 2)), "b": Axis(choice=("x", "y"))}
    assert list(grid(space)) == [{"a": a, "b": b} for a in (1, 2) for b in ("x", "y")]


def test_the_same_generator_draws_the_same() -> None:
    space = {"a": Axis(uniform=(0, 1)), "b": Axis(choice=(1, 2, 3))}
    assert drawn(space, np.random.default_rng(4)) == drawn(space, np.random.default_rng(4))


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({}, "found nothing; wanted exactly one"),
        ({"choice": [1], "uniform": [0, 1]}, "found choice and uniform"),
        ({"choice": []}, "at least 1 item"),
        ({"choice": [1, 1]}, "wanted each value once"),
        ({"uniform": [1, 1]}, "wanted low below high"),
        ({"loguniform": [0, 1]}, "wanted low below high above 0"),
        ({"integers": [3, 2]}, "wanted low below high"),
        ({"normal": [0, 1]}, "Extra inputs"),
    ],
)
def test_what_is_no_axis_is_refused(keys: dict, told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Axis(**keys)
