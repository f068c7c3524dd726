"""Spatial pyramid pooling against plain loops."""

from __future__ import annotations

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hallmark.nets.spatial_pyramid import SpatialPyramid


def plain(features: torch.Tensor, levels: tuple[int, ...]) -> list[list[float]]:
    """Every cell's mean, from floor(i·h/l) to ceil((i + 1)·h/l)."""
    rows = []
    for image in features.tolist():
        row = []
        for level in levels:
            for channel in image:
                height, width = len(channel), len(channel[0])
                for i in range(level):
                    top, bottom = i * height // level, math.ceil((i + 1) * height / level)
                    for j in range(level):
                        left, right = j * width // level, math.ceil((j + 1) * width / level)
                        cell = [channel[y][x] for y in range(top, bottom) for x in range(left, right)]
                        row.append(sum(cell) / len(cell))
        rows.append(row)
    return rows


@given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(1, 3),
    st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple),
    st.integers(0, 999),
)
@settings(max_examples=40, deadline=None)
def test_equals_plain_loops_for_maps_of_any_size(height, width, channels, levels, seed):
    features = torch.rand(2, channels, height, width, generator=torch.Generator().manual_seed(seed)).double()
    pooled = SpatialPyramid(levels)(features)
    assert pooled.shape == (2, channels * sum(level**2 for level in levels))
    torch.testing.assert_close(pooled, torch.tensor(plain(features, levels), dtype=torch.float64))


@given(st.integers(1, 40), st.integers(1, 40))
@settings(max_examples=20, deadline=None)
def test_levels_of_the_paper_give_21_numbers_a_channel(height, width):
    pyramid = SpatialPyramid()
    assert pyramid.cells == 21
    assert pyramid(torch.zeros(1, 5, height, width)).shape == (1, 21 * 5)
