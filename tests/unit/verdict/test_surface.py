"""Keypoints and gradient cells of a surface."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hallmark.data.surface import SurfaceConfig, decode_surface, encode_surface, find_keypoints
from hallmark.errors import DecodeError
from hallmark.verdict.geometry import project
from hallmark.verdict.residual import cell_residual
from hallmark.verdict.surface import Surface, gradient_cells


def encoded(grey: np.ndarray, quality: int = 75) -> bytes:
    return encode_surface(np.repeat(grey[:, :, None], 3, axis=2), SurfaceConfig(quality=quality))


def smooth(side: int, seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 7), dtype=np.uint8)
    return cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)


def plain_cells(pixels: np.ndarray, cell: int) -> np.ndarray:
    """Pixel by pixel; blur and derivative by hand too, the border mirrored."""
    side, num = len(pixels), len(pixels) // cell

    def mirrored(place: int) -> int:
        place = abs(place)
        return place if place < side else 2 * (side - 1) - place

    # OpenCV's kernel of a float image: as wide as 4 standard deviations to each side.
    reach = (round(0.7 * 4 * 2 + 1) | 1) // 2
    taps = [math.exp(-(k**2) / (2 * 0.7**2)) for k in range(-reach, reach + 1)]
    taps = [tap / sum(taps) for tap in taps]
    steps = range(-reach, reach + 1)
    rows = [
        [sum(t * float(pixels[y, mirrored(x + k)]) for t, k in zip(taps, steps, strict=True)) for x in range(side)]
        for y in range(side)
    ]
    light = [
        [sum(t * rows[mirrored(y + k)][x] for t, k in zip(taps, steps, strict=True)) for x in range(side)]
        for y in range(side)
    ]
    energy = np.zeros((num, num, 9))
    for y in range(num * cell):
        for x in range(num * cell):
            near = [[light[mirrored(y + dy)][mirrored(x + dx)] for dx in (-1, 0, 1)] for dy in (-1, 0, 1)]
            across = sum(w * (near[k][2] - near[k][0]) for k, w in enumerate((1, 2, 1)))
            down = sum(w * (near[2][k] - near[0][k]) for k, w in enumerate((1, 2, 1)))
            direction = (math.atan2(down, across) % math.pi) * 9 / math.pi
            lower = math.floor(direction)
            share = direction - lower
            magnitude = math.hypot(across, down) / cell**2
            energy[y // cell, x // cell, lower % 9] += magnitude * (1 - share)
            energy[y // cell, x // cell, (lower + 1) % 9] += magnitude * share
    relative = np.zeros_like(energy)
    for row in range(num):
        for column in range(num):
            total = 0.0
            for dy in (-1, 0, 1):
                for dx in (-1, 0, 1):
                    places = [p if 0 <= p < num else 2 * (num - 1) - p for p in (abs(row + dy), abs(column + dx))]
                    total += float((energy[places[0], places[1]] ** 2).sum())
            relative[row, column] = energy[row, column] / (math.sqrt(total / 9) + 5.0)
    return relative


@pytest.mark.parametrize(("side", "cell", "seed"), [(24, 4, 0), (30, 8, 1), (33, 5, 2)])
def test_gradient_cells_agree_with_plain_loops(side, cell, seed):
    pixels = smooth(side, seed)
    pixels[side // 2 :, : side // 3] //= 3  # a sharp edge too
    found = gradient_cells(pixels, cell)
    assert found.shape == (side // cell, side // cell, 9)
    assert found.dtype == np.float32
    assert found == pytest.approx(plain_cells(pixels, cell), abs=2e-3)


@pytest.mark.parametrize("level", [0, 127, 255])
def test_flat_paper_gives_nought(level):
    assert not gradient_cells(np.full((64, 64), level, np.uint8), 8).any()


def test_noise_on_flat_paper_stays_small():
    rng = np.random.default_rng(0)
    noisy = np.clip(200 + rng.normal(0, 1, (64, 64)), 0, 255).astype(np.uint8)
    printed = noisy.copy()
    cv2.putText(printed, "R", (10, 50), cv2.FONT_HERSHEY_SIMPLEX, 1.8, 40, 4)
    assert gradient_cells(noisy, 8).max() < 0.3
    assert gradient_cells(printed, 8).max() > 0.8


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), gain=st.floats(0.6, 1.0), lift=st.floats(0, 40))
def test_light_and_contrast_of_print_cancel_out(seed, gain, lift):
    # Ink on paper: faint steps between greys are damped like noise, on purpose.
    grey = np.random.default_rng(seed).choice(np.array([15, 215], np.uint8), (8, 8))
    pixels = cv2.resize(grey, (96, 96), interpolation=cv2.INTER_NEAREST)
    dimmed = np.clip(np.round(pixels * gain + lift), 0, 255).astype(np.uint8)
    one, other = gradient_cells(pixels, 8), gradient_cells(dimmed, 8)
    assert np.abs(one - other).max() < 0.1 * np.abs(one).max()


def test_an_edge_is_told_by_its_direction():
    upright = np.zeros((64, 64), np.uint8)
    upright[:, 36:] = 200
    cells = gradient_cells(upright, 8)
    assert cells[4, 4].argmax() == 0  # gradient along x
    assert gradient_cells(np.ascontiguousarray(upright.T), 8)[4, 4].argmax() in (4, 5)  # along y: half way of nine
    assert np.array_equal(gradient_cells(255 - upright, 8).argmax(axis=2), cells.argmax(axis=2))


@pytest.fixture(scope="module")
def surface(studio):
    return Surface(encoded(studio.label()), 8)


def test_keypoints_are_in_the_frame_and_the_same_every_time(studio, surface):
    found = surface.keypoints
    assert 50 < len(found.points) <= 420
    assert found.points.shape == (len(found.descriptors), 2)
    assert (found.points.dtype, found.descriptors.dtype) == (np.float32, np.uint8)
    assert ((found.points > 0) & (found.points < 1)).all()
    assert np.linalg.norm(surface.roots, axis=1) == pytest.approx(1, abs=1e-4)
    assert np.square(surface.roots) == pytest.approx(found.descriptors / found.descriptors.sum(axis=1, keepdims=True))
    threads = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1)
        again = Surface(encoded(studio.label()), 8).keypoints
    finally:
        cv2.setNumThreads(threads)
    assert np.array_equal(again.points, found.points)
    assert np.array_equal(again.descriptors, found.descriptors)


def test_keypoints_lie_where_the_print_is(studio):
    """A mark in one corner has its keypoints there."""
    image = np.full((384, 384), 220, np.uint8)
    cv2.putText(image, "Q8", (240, 340), cv2.FONT_HERSHEY_SIMPLEX, 2, 20, 5, cv2.LINE_AA)
    points = Surface(encoded(image), 8).keypoints.points
    assert len(points)
    assert (points >= [230 / 384, 285 / 384]).all()
    assert (points <= [345 / 384, 355 / 384]).all()


def test_keypoints_that_come_with_the_photograph_are_those_it_would_find(studio, surface):
    told = find_keypoints(decode_surface(encoded(studio.label())))
    assert np.array_equal(told.points, surface.keypoints.points)
    assert Surface(encoded(studio.label()), 8, told).keypoints is told


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_blank_surface_has_no_keypoints(level):
    found = Surface(encoded(np.full((384, 384), level, np.uint8)), 8).keypoints
    assert found.points.shape == (0, 2)
    assert found.descriptors.shape == (0, 128)


def test_the_identity_shows_every_cell_as_it_is(surface):
    found = surface.cells(np.eye(3))
    assert found.seen.all()
    assert found.directions == pytest.approx(gradient_cells(surface.pixels, 8), abs=1e-4)
    assert not cell_residual(found.directions, found.seen, found.directions[None], found.seen[None]).any()
    assert np.array_equal(surface.cells(3.0 * np.eye(3)).directions, found.directions)


def test_a_shift_by_whole_cells_moves_the_cells(surface):
    step = 8 / 384
    shifted = surface.cells(np.array([[1.0, 0, 3 * step], [0, 1, -2 * step], [0, 0, 1]]))
    still = surface.cells(np.eye(3))
    assert shifted.directions[1:-4, 5:-1] == pytest.approx(still.directions[3:-2, 2:-4], abs=0.1)
    assert not shifted.seen[:, :3].any()
    assert not shifted.seen[-2:].any()
    assert shifted.seen[:-2, 3:].all()


def test_a_view_is_undone(studio):
    """The warped label, carried back, shows the cells of the label itself; a corner that it hides is not seen."""
    label, warp = studio.label(), studio.warp(3, reach_px=25)
    shot = cv2.warpPerspective(label, warp, (384, 384), borderValue=225)
    shift, scale = np.diag([384.0, 384.0, 1.0]), np.array([[1.0, 0, -0.5], [0, 1, -0.5], [0, 0, 1]])
    to_px = scale @ shift
    back = np.linalg.inv(to_px) @ np.linalg.inv(warp) @ to_px
    straight = Surface(encoded(label, 100), 8).cells(np.eye(3))
    undone = Surface(encoded(shot, 100), 8).cells(back)
    left_alone = Surface(encoded(shot, 100), 8).cells(np.eye(3))

    def apart(cells) -> float:
        residual = cell_residual(cells.directions, cells.seen, straight.directions[None], straight.seen[None])
        return float(np.nanmean(residual))

    assert apart(undone) < 0.1 * apart(left_alone)
    # Slow twin of `seen`: which of a cell's pixels the photograph shows.
    across, down = np.meshgrid(*[(np.arange(384) + 0.5) / 384] * 2)
    there = project(np.stack([across.ravel(), down.ravel()], axis=1), np.linalg.inv(back))
    share = ((there > 0) & (there < 1)).all(axis=1).reshape(48, 8, 48, 8).mean(axis=(1, 3))
    sure = np.abs(share - 0.9) > 0.06
    assert np.array_equal(undone.seen[sure], share[sure] > 0.9)
    assert 0 < (~undone.seen).sum() < undone.seen.size / 2


def test_what_is_no_surface_is_refused():
    with pytest.raises(DecodeError, match="surface"):
        Surface(b"", 8)
