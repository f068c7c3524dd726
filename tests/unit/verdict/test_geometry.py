"""Transformations between two photographs: found among outliers, and refused where no camera could have made them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hallmark.verdict.geometry import fit_alignment, is_view, project

TOLERANCE = 0.015
LEAST = {"homography": 8, "affine": 8}


def view(seed: int, kind: str) -> np.ndarray:
    """What a hand-held camera does: a little rotation, scale, shear and shift, and perspective unless affine."""
    rng = np.random.default_rng(seed)
    turn, scale = rng.uniform(-0.2, 0.2), rng.uniform(0.8, 1.2)
    matrix = np.eye(3)
    matrix[:2, :2] = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    matrix[:2, :2] += rng.uniform(-0.05, 0.05, (2, 2))
    matrix[:2, 2] = rng.uniform(-0.1, 0.1, 2)
    if kind == "homography":
        matrix[2, :2] = rng.uniform(-0.15, 0.15, 2)
    return matrix


def pairs(seed: int, matrix: np.ndarray, good: int = 40, bad: int = 30, noise: float = 0.002):
    """Points and where they went, the last `bad` of them anywhere."""
    rng = np.random.default_rng(seed)
    source = rng.random((good + bad, 2))
    target = project(source, matrix) + rng.normal(0, noise, (good + bad, 2))
    target[good:] = rng.random((bad, 2))
    return source, target


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), kind=st.sampled_from(["homography", "affine"]), bad=st.integers(0, 40))
def test_a_view_is_recovered_from_noisy_points_among_outliers(seed, kind, bad):
    matrix = view(seed, kind)
    source, target = pairs(seed, matrix, bad=bad)
    found = fit_alignment(kind, source, target, TOLERANCE)
    assert found is not None
    assert found.matrix.shape == (3, 3)
    assert found.matrix.dtype == np.float64
    grid = np.stack(np.meshgrid([0.1, 0.5, 0.9], [0.1, 0.5, 0.9]), axis=-1).reshape(-1, 2)
    assert np.abs(project(grid, found.matrix) - project(grid, matrix)).max() < 0.012
    apart = np.linalg.norm(project(source, matrix) - target, axis=1)
    assert found.inliers.shape == (len(source),)
    assert found.inliers[apart < TOLERANCE / 4].mean() > 0.9
    assert not found.inliers[apart > 4 * TOLERANCE].any()


@pytest.mark.parametrize("kind", ["homography", "affine"])
def test_the_same_pairs_give_the_same_alignment(kind):
    source, target = pairs(3, view(3, kind))
    first = fit_alignment(kind, source, target, TOLERANCE)
    np.random.default_rng(0).random(100)
    fit_alignment(kind, *pairs(4, view(4, kind)), TOLERANCE)  # what was fitted in between leaves no trace
    again = fit_alignment(kind, source.copy(), target.copy(), TOLERANCE)
    assert np.array_equal(first.matrix, again.matrix)
    assert np.array_equal(first.inliers, again.inliers)


@pytest.mark.parametrize("kind", ["homography", "affine"])
def test_points_that_did_not_move_give_the_identity(kind):
    source = np.random.default_rng(5).random((30, 2))
    found = fit_alignment(kind, source, source, TOLERANCE)
    assert np.allclose(found.matrix / found.matrix[2, 2], np.eye(3), atol=1e-5)
    assert found.inliers.all()


@pytest.mark.parametrize("count", [0, 1, 4, 50])
def test_produce_never_aligns(count):
    source = np.random.default_rng(6).random((count, 2))
    assert fit_alignment("none", source, source, TOLERANCE) is None


@pytest.mark.parametrize("kind", ["homography", "affine"])
def test_as_few_points_as_fit_anything_are_not_believed(kind):
    source = np.random.default_rng(7).random((LEAST[kind], 2))
    for count in range(LEAST[kind]):
        assert fit_alignment(kind, source[:count], source[:count], TOLERANCE) is None
    assert fit_alignment(kind, source, source, TOLERANCE) is not None
    far, there = pairs(8, view(8, kind), good=LEAST[kind] - 2, bad=12, noise=0)
    assert fit_alignment(kind, far, there, 1e-4) is None


@pytest.mark.parametrize("kind", ["homography", "affine"])
@pytest.mark.parametrize("seed", range(5))
def test_pairs_without_any_order_do_not_align(kind, seed):
    rng = np.random.default_rng(seed)
    found = fit_alignment(kind, rng.random((60, 2)), rng.random((60, 2)), 0.005)
    assert found is None or found.inliers.sum() <= 12


IMPOSSIBLE = {
    "mirrored": np.array([[-1.0, 0, 1], [0, 1, 0], [0, 0, 1]]),
    "turned over": np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, 1]]),
    "too small": np.diag([0.15, 0.15, 1.0]),
    "too large": np.diag([6.0, 6.0, 1.0]),
    "a line": np.array([[1.0, 1, 0], [1, 1, 0], [0, 0, 1]]),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
@pytest.mark.parametrize("kind", ["homography", "affine"])
def test_what_no_camera_sees_is_refused(kind, name):
    source, target = pairs(9, IMPOSSIBLE[name], bad=0, noise=0)
    assert fit_alignment(kind, source, target, TOLERANCE) is None
    assert not is_view(IMPOSSIBLE[name])


@pytest.mark.parametrize(
    "points", [np.full((20, 2), 0.5), np.stack([np.linspace(0, 1, 20)] * 2, axis=1), np.tile([[0.2, 0.2]], (20, 1))]
)
@pytest.mark.parametrize("kind", ["homography", "affine"])
def test_points_that_span_no_surface_are_no_alignment_of_one(kind, points):
    found = fit_alignment(kind, points, points, TOLERANCE)
    assert found is None or np.isfinite(found.matrix).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_points_that_are_not_finite_are_no_inliers(bad):
    source, target = pairs(10, view(10, "homography"), bad=0)
    target[3] = bad
    found = fit_alignment("homography", source, target, TOLERANCE)
    assert found is None or not found.inliers[3]


def test_a_folded_square_is_no_view():
    assert is_view(np.eye(3))
    assert is_view(-2.0 * np.eye(3))  # the same transformation: homogeneous
    folded = np.eye(3)
    folded[2] = [-2.0, 0.0, 1.0]  # the right half lies behind the camera
    assert not is_view(folded)
    horizon = np.eye(3)
    horizon[2] = [-1.0, 0.0, 1.0]
    assert not is_view(horizon)


@pytest.mark.parametrize(
    ("scale", "seen"), [(0.19, False), (0.21, True), (1.0, True), (4.9, True), (5.1, False), (0.0, False)]
)
def test_views_are_of_like_size(scale, seen):
    assert is_view(np.diag([scale, scale, 1.0])) == seen


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), factor=st.floats(0.01, 100).map(lambda f: f * (-1) ** int(100 * f)))
def test_project_agrees_with_plain_division_and_has_no_scale(seed, factor):
    matrix = view(seed, "homography")
    points = np.random.default_rng(seed).random((6, 2))
    for (x, y), found in zip(points, project(points, matrix), strict=True):
        u, v, w = matrix @ [x, y, 1.0]
        assert found == pytest.approx([u / w, v / w], abs=1e-9)
    assert project(points, factor * matrix) == pytest.approx(project(points, matrix), abs=1e-8)
    assert project(project(points, matrix), np.linalg.inv(matrix)) == pytest.approx(points, abs=1e-8)


def test_points_at_infinity_are_far_away_and_no_nan():
    matrix = np.eye(3)
    matrix[2] = [-1.0, 0.0, 1.0]
    found = project(np.array([[1.0, 0.5], [0.5, 0.5]]), matrix)
    assert np.isfinite(found).all()
    assert np.abs(found[0]).max() > 1e6
    assert project(np.zeros((0, 2)), matrix).shape == (0, 2)
