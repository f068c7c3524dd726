"""Residual maps against masks of the true edits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hallmark.evaluation.localisation import area_shares, localise, locate, weighted_median
from hallmark.evaluation.metrics import Examined, Proportion
from hallmark.types import ResidualMap

Maker = Callable[..., Examined]


def map_of(values: list[list[float]]) -> ResidualMap:
    return ResidualMap(rows=len(values), columns=len(values[0]), values=[value for row in values for value in row])


@given(
    seed=st.integers(0, 1000),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    rows=st.integers(1, 7),
    columns=st.integers(1, 7),
)
def test_area_shares_against_a_fine_grid(seed: int, height: int, width: int, rows: int, columns: int) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < 0.5
    # Blown up to a common multiple, every cell and every pixel is whole.
    fine = np.kron(mask, np.ones((rows, columns)))
    expected = fine.reshape(rows, height, columns, width).mean(axis=(1, 3))
    found = area_shares(mask, rows, columns)
    assert found == pytest.approx(expected)
    assert found.mean() == pytest.approx(mask.mean())


def test_concentration_is_share_of_energy_over_share_of_area() -> None:
    mask = np.zeros((40, 40), bool)
    mask[:10, :10] = True  # one cell of a 4 x 4 grid
    even = locate(map_of([[1.0] * 4] * 4), mask)
    assert even.concentration == pytest.approx(1)
    heat = np.ones((4, 4))
    heat[0, 0] = 5.0
    found = locate(map_of(heat.tolist()), mask)
    assert found.concentration == pytest.approx(25 / 40 * 16)
    assert found.peak_inside
    assert found.by_chance == pytest.approx(4 / 16)


@pytest.mark.parametrize(
    ("peak", "inside"), [((0, 0), True), ((1, 1), True), ((0, 1), True), ((2, 0), False), ((2, 2), False)]
)
def test_the_peak_may_lie_one_cell_off(peak: tuple[int, int], inside: bool) -> None:
    mask = np.zeros((8, 8), bool)
    mask[0, 0] = True
    heat = np.zeros((4, 4))
    heat[peak] = 1.0
    assert locate(map_of(heat.tolist()), mask).peak_inside is inside


def test_of_equal_peaks_all_must_be_inside() -> None:
    mask = np.zeros((8, 8), bool)
    mask[0, 0] = True
    heat = np.zeros((4, 4))
    heat[0, 0] = heat[3, 3] = 1.0
    assert not locate(map_of(heat.tolist()), mask).peak_inside


@given(st.lists(st.tuples(st.floats(0, 9), st.integers(0, 4)), max_size=9))
def test_the_median_of_repeated_values(rows: list) -> None:
    repeated = sorted(value for value, weight in rows for _ in range(weight))
    found = weighted_median(np.array([row[0] for row in rows]), np.array([row[1] for row in rows], float))
    assert found == (pytest.approx(np.median(repeated)) if repeated else None)


@pytest.fixture
def masked(make_examined: Maker, tmp_path: Path) -> list[Examined]:
    """Two counterfeits that can be measured, and one of every kind that cannot."""
    mask = np.zeros((20, 30), np.uint8)
    Image.fromarray(mask).save(tmp_path / "empty.png")
    mask[:10, :10] = 255
    Image.fromarray(mask).save(tmp_path / "edit.png")
    (tmp_path / "torn.png").write_bytes(b"torn")
    heat = [[4.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    cases = [("edit", heat), ("edit", [[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]), ("edit", None)]
    cases += [("edit", [[0.0] * 3] * 2), ("empty", heat), ("torn", heat)]
    made = [
        replace(
            make_examined("counterfeit", "counterfeit", item=f"i{number}", residual=residual),
            edit_mask=str(tmp_path / f"{name}.png"),
        )
        for number, (name, residual) in enumerate(cases)
    ]
    return [*made, make_examined("counterfeit", residual=heat), make_examined("genuine", residual=heat)]


def test_what_cannot_be_measured_is_counted(masked: list[Examined]) -> None:
    found = localise(masked, 0, 50)
    assert found.photographs == 6
    assert (found.without_map, found.without_heat, found.without_edit, found.unreadable) == (1, 1, 1, 1)
    assert found.concentration.n == 2
    assert found.concentration.value == pytest.approx(np.median([16 / 17 * 6, 0.0]))
    assert found.peak_inside == Proportion.of(1, 2)
    assert found.peak_by_chance == pytest.approx(4 / 6)


def test_without_masks_nothing_is_claimed(make_examined: Maker) -> None:
    assert localise([make_examined("counterfeit", residual=[[1.0]])], 0, 5) is None
    assert localise([], 0, 5) is None


def test_masks_without_maps_have_no_figure(masked: list[Examined]) -> None:
    found = localise(masked[2:3], 0, 5)
    assert (found.concentration.value, found.peak_inside.value, found.peak_by_chance) == (None, None, None)
    assert found.without_map == 1
