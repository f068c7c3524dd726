"""SIFT-verify on drawn pictures."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from hallmark.methods.comparators.sift_verify import Keypoints, SiftVerify, SiftVerifyConfig, mutual_nearest

_CONFIG = SiftVerifyConfig(side_px=320, num_features=400)


@pytest.fixture
def comparator() -> SiftVerify:
    return SiftVerify(_CONFIG)


def _print(seed: int) -> np.ndarray:
    """(300, 320, 3) overlapping shapes of many sizes: rich in keypoints, each seed another product."""
    rng = np.random.default_rng(seed)
    image = np.full((300, 320, 3), 235, np.uint8)
    for _ in range(150):
        centre, colour = rng.integers(0, 320, 2).tolist(), rng.integers(0, 256, 3).tolist()
        axes = rng.integers(3, 22, 2).tolist()
        cv2.ellipse(image, centre, axes, float(rng.integers(0, 180)), 0, 360, colour, -1)
    return cv2.GaussianBlur(image, (0, 0), 0.8)


def _seen_from_aside(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    moved = corners + np.array([[12, 6], [-20, 14], [-6, -10], [18, -4]], np.float32)
    return cv2.warpPerspective(
        image, cv2.getPerspectiveTransform(corners, moved), (width, height), borderValue=(90,) * 3
    )


def test_the_same_print_has_many_inliers_another_few(comparator):
    reference, other = comparator.describe(_print(0)), comparator.describe(_print(1))
    query = comparator.describe(_seen_from_aside(_print(0)))
    inliers, chance = comparator.similarity(query, reference), comparator.similarity(query, other)
    assert inliers > 60
    assert inliers > 4 * chance
    assert comparator.score(query, [other, reference]) == inliers


def test_inliers_lie_where_the_homography_puts_them(comparator):
    """Points moved by a known homography, a third of them wrongly: those within the threshold are counted."""
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 300, (90, 2)).astype(np.float32)
    homography = np.array([[0.9, 0.1, 12], [-0.05, 1.1, -7], [1e-4, 2e-4, 1]])
    moved = cv2.perspectiveTransform(points[None], homography)[0]
    moved[60:] += rng.choice([-1, 1], (30, 2)) * rng.uniform(40, 80, (30, 2))
    descriptors = np.eye(90, 128, dtype=np.float32)
    query, reference = Keypoints(points, descriptors), Keypoints(moved.astype(np.float32), descriptors)
    assert comparator.similarity(query, reference) == 60.0


def test_mutual_nearest_is_that_of_a_plain_loop():
    rng = np.random.default_rng(0)
    query, reference = (rng.normal(size=(rows, 8)).astype(np.float32) for rows in (30, 20))
    query, reference = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (query, reference))
    wanted = []
    for here, descriptor in enumerate(query):
        there = max(range(20), key=lambda column: descriptor @ reference[column])
        if max(range(30), key=lambda row: query[row] @ reference[there]) == here:
            wanted.append((here, there))
    assert list(zip(*map(np.ndarray.tolist, mutual_nearest(query, reference)), strict=True)) == wanted


def test_figures_do_not_depend_on_what_came_before(comparator):
    pictures = [_print(0), _seen_from_aside(_print(0)), _print(1)]
    described = [comparator.describe(picture) for picture in pictures]
    first = [[comparator.similarity(query, reference) for reference in described] for query in described]
    again = [[comparator.similarity(query, reference) for reference in described[::-1]] for query in described]
    anew = SiftVerify(_CONFIG)
    fresh = [anew.describe(picture) for picture in pictures]
    assert first == [row[::-1] for row in again]
    assert first == [[anew.similarity(query, reference) for reference in fresh] for query in fresh]


@pytest.mark.parametrize("level", [0, 128, 255])
def test_blank_is_like_nothing(comparator, level):
    blank = comparator.describe(np.full((100, 80, 3), level, np.uint8))
    assert blank.points.shape == (0, 2)
    assert blank.descriptors.shape == (0, 128)
    for other in (blank, comparator.describe(_print(0))):
        assert comparator.similarity(blank, other) == comparator.similarity(other, blank) == 0.0
    assert comparator.score(comparator.describe(_print(0)), []) == 0.0


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (16, 16), (16, 3000), (3000, 16), (1, 3000)])
def test_any_size_has_a_score(comparator, size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    score = comparator.similarity(comparator.describe(image), comparator.describe(_print(0)))
    assert np.isfinite(score)
    assert score >= 0.0


def test_matches_on_one_point_have_a_score(comparator):
    """No homography follows from them; nothing is raised."""
    same = Keypoints(np.full((20, 2), 7.0, np.float32), np.eye(20, 128, dtype=np.float32))
    line = Keypoints(np.arange(40, dtype=np.float32).reshape(20, 2), np.eye(20, 128, dtype=np.float32))
    for query, reference in ((same, same), (same, line), (line, same)):
        assert np.isfinite(comparator.similarity(query, reference))


def test_a_large_photograph_is_shrunk_and_a_small_one_left(comparator):
    small, large = _print(0), cv2.resize(_print(0), (1280, 1200), interpolation=cv2.INTER_CUBIC)
    assert comparator.describe(large).points.max() < 320
    assert comparator.similarity(comparator.describe(large), comparator.describe(small)) > 60
