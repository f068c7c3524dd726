"""Drawn evidence: what is drawn where, and that any size of photograph can be drawn on."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from hallmark.serving.overlays import MOST_PAIRS, matches_png, photograph_jpeg, residual_png
from hallmark.types import CuePair, ResidualMap

GREY = (120, 120, 120)


def picture(width: int, height: int, colour: tuple[int, int, int] = GREY) -> np.ndarray:
    return np.full((height, width, 3), colour, np.uint8)


def decoded(data: bytes) -> np.ndarray:
    assert data.startswith(b"\x89PNG")
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def residual(values: list[list[float]]) -> ResidualMap:
    grid = np.array(values)
    return ResidualMap(rows=grid.shape[0], columns=grid.shape[1], values=grid.ravel().tolist())


def spot(row: int, column: int, value: float, side: int = 8) -> ResidualMap:
    grid = np.zeros((side, side))
    grid[row, column] = value
    return residual(grid.tolist())


def pair(x: float, y: float, similarity: float = 0.9) -> CuePair:
    return CuePair(query=(x, y), reference=(x, y), similarity=similarity)


def test_heat_lies_where_the_map_says_and_nowhere_else():
    drawn = decoded(residual_png(picture(400, 400), spot(1, 6, 5.0))).astype(int)
    changed = np.abs(drawn[:400] - 120).sum(axis=2) > 30
    rows, columns = np.nonzero(changed)
    assert abs(rows.mean() - 75) < 5
    assert abs(columns.mean() - 325) < 5
    assert not changed[200:].any()


def test_a_map_of_nothing_leaves_the_photograph_as_it_is():
    photograph = np.random.default_rng(0).integers(0, 256, (400, 500, 3), dtype=np.uint8)
    drawn = decoded(residual_png(photograph, residual([[0.0] * 4] * 4)))
    assert np.array_equal(drawn[:400], photograph)


def test_hotter_is_lighter_and_never_hides_the_photograph():
    ramp = residual([[1.0, 4.0, 9.0, 16.0]])
    dark, light = (decoded(residual_png(picture(400, 400, (level,) * 3), ramp)).astype(int) for level in (20, 230))
    lightness = [
        cv2.cvtColor(dark[200:201, x : x + 1].astype(np.uint8), cv2.COLOR_RGB2LAB)[0, 0, 0] for x in (150, 250, 390)
    ]
    assert lightness == sorted(lightness)
    assert lightness[0] + 20 < lightness[-1]
    assert (np.abs(light[200, 390] - dark[200, 390]) > 25).any()


def test_differences_far_below_usual_ones_are_not_blown_up():
    drawn = decoded(residual_png(picture(400, 400), spot(1, 6, 0.01))).astype(int)
    assert np.abs(drawn[:400] - 120).max() <= 1


@pytest.mark.parametrize(("width", "height"), [(16, 16), (4000, 50), (40, 3000), (3000, 2500), (64_000, 16)])
def test_every_size_of_photograph_is_drawn(width, height):
    photograph = picture(width, height)
    heat = decoded(residual_png(photograph, spot(0, 0, 1.0)))
    matched = decoded(matches_png(photograph, picture(192, 100), [pair(0.5, 0.5)]))
    for drawn in (heat, matched):
        assert min(drawn.shape[:2]) >= 24
        assert max(drawn.shape[:2]) <= 1024 + 64
    assert decoded(residual_png(photograph, spot(0, 0, 1.0), longest_px=200)).shape[0] <= 240
    assert photograph_jpeg(photograph).startswith(b"\xff\xd8")


def test_a_pair_has_one_colour_at_both_of_its_ends():
    drawn = decoded(matches_png(picture(400, 400), picture(192, 192), [pair(0.25, 0.5)]))
    assert drawn.shape[:2] == (434, 808)
    ours, theirs = drawn[199, 99], drawn[199, 408 + 99]
    assert np.array_equal(ours, theirs)
    assert np.ptp(ours.astype(int)) > 60
    assert np.array_equal(drawn[350, 350], GREY)


def test_the_best_pairs_are_drawn_and_no_more_than_fit():
    rng = np.random.default_rng(1)
    many = [
        CuePair(query=tuple(a), reference=tuple(b), similarity=float(s))
        for a, b, s in zip(rng.random((500, 2)), rng.random((500, 2)), rng.random(500), strict=True)
    ]
    best = sorted(many, key=lambda one: -one.similarity)[: 4 * MOST_PAIRS]
    photograph = picture(900, 900)
    drawn, of_best = (decoded(matches_png(photograph, photograph, pairs)) for pairs in (many, best))
    # All but the words below, which tell how many were found.
    assert np.array_equal(drawn[:-40], of_best[:-40])
    without = decoded(matches_png(photograph, photograph, best[1:]))
    assert not np.array_equal(drawn[:-40], without[:-40])


def test_of_pairs_on_one_spot_the_best_is_drawn():
    best = pair(0.5, 0.5, 0.95)
    crowded = [pair(0.501, 0.5, 0.6), best, pair(0.5, 0.502, 0.8)]
    far = decoded(matches_png(picture(400, 400), picture(400, 400), [best]))
    near = decoded(matches_png(picture(400, 400), picture(400, 400), crowded))
    # All but the words below, which tell of three.
    assert np.array_equal(far[:400], near[:400])


def test_wide_pictures_stand_above_each_other():
    beside = decoded(matches_png(picture(300, 400), picture(150, 200), []))
    above = decoded(matches_png(picture(2000, 200), picture(192, 19), []))
    assert beside.shape[1] > beside.shape[0]
    assert above.shape[1] > 900
    assert above.shape[0] > 200


def test_colours_are_apart_for_colour_blind_readers():
    from hallmark.serving.drawing import MARK_COLOURS

    # Viénot's projection for deuteranopes, on linear RGB.
    matrix = np.array([[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]])
    seen = ((np.array(MARK_COLOURS) / 255) ** 2.2) @ matrix.T
    lab = cv2.cvtColor(np.clip(seen, 0, 1).astype(np.float32)[None] ** (1 / 2.2), cv2.COLOR_RGB2LAB)[0]
    apart = np.linalg.norm(lab[:, None] - lab[None], axis=2) + 1e3 * np.eye(len(lab))
    assert apart.min() > 12
