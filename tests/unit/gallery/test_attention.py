"""Where a classifier looked, carried back to the photograph through padding, cut and resize."""

from __future__ import annotations

import io
import shutil
from dataclasses import replace
from math import ceil, floor

import numpy as np
import pytest
import torch
from PIL import Image

from hallmark.data.preprocess import Preprocessing, boxes_in_photograph, prepare
from hallmark.gallery.attention import attention_map
from hallmark.gallery.describe import Describer
from hallmark.methods.base import Attended
from hallmark.training.bundle import write_classifier
from hallmark.types import AttentionMap

SIDE = 64
CASES = [
    (100, 100, "none", None),
    (128, 64, "gray", None),
    (64, 200, "gray", None),
    (300, 200, "none", (50.0, 40.0, 250.0, 140.0)),
    (300, 200, "black", (50.0, 40.0, 250.0, 140.0)),
    (300, 200, "uniform", (-20.0, 150.0, 90.5, 260.0)),
    (97, 31, "auto", (3.25, 1.5, 80.0, 30.0)),
]
"""Width, height, fill and box of photographs."""


def attended(windows: list[list[float]], weights: list[float] | None = None, heat: object = 0.5) -> Attended:
    weights = [1 / max(1, len(windows))] * len(windows) if weights is None else weights
    grid = np.full((4, 4), heat) if np.ndim(heat) == 0 else heat
    return Attended(
        torch.tensor(grid)[None].float(), torch.tensor([windows]).reshape(1, -1, 4), torch.tensor([weights])
    )


def edges(found: AttentionMap) -> list[tuple[int, int, int, int]]:
    return [(one.x0, one.y0, one.x1, one.y1) for one in found.windows]


def png(width: int, height: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize(("width", "height", "fill", "box"), CASES)
def test_a_box_lies_where_the_pixels_come_from(width, height, fill, box):
    config = Preprocessing(side_px=SIDE, fill=fill, margin=0.05)
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    # Red and green tell where in the photograph a pixel of the input comes from.
    image = np.stack([columns * 255 / width, rows * 255 / height, 0 * rows], axis=-1)
    fitted = prepare(np.rint(image).astype(np.uint8), config, box)
    x0, y0, x1, y1 = fitted.content
    inner = np.array([[x0 + 4, y0 + 4, x1 - 4, y1 - 4]])
    (found,) = boxes_in_photograph(inner / SIDE, width, height, config, box)
    for x, y, place in ((x0 + 4, y0 + 4, found[:2]), (x1 - 4, y1 - 4, found[2:])):
        seen = fitted.pixels[y - 1 : y + 1, x - 1 : x + 1, :2].reshape(4, 2).astype(float).mean(axis=0)
        assert place - 0.5 == pytest.approx(seen / 255 * [width, height], abs=0.012 * max(width, height))


def twin(window: list[float], width: int, height: int, config: Preprocessing, box) -> tuple[int, ...] | None:
    """One px after the other: those whose inside lies in the window, seen from the photograph."""
    left, top, right, bottom = 0, 0, width, height
    if box is not None:
        across, down = config.margin * (box[2] - box[0]), config.margin * (box[3] - box[1])
        left, top = floor(max(0, box[0] - across)), floor(max(0, box[1] - down))
        right, bottom = ceil(min(width, box[2] + across)), ceil(min(height, box[3] + down))
    wide, high = right - left, bottom - top
    is_padded = config.fill not in ("none", "auto") or (
        config.fill == "auto" and max(wide, high) > config.fill_above * min(wide, high)
    )
    if is_padded:
        shown = [max(1, round(SIDE * side / max(wide, high))) for side in (wide, high)]
        begins = [(SIDE - side) // 2 for side in shown]
    else:
        shown, begins = [SIDE, SIDE], [0, 0]
    found = []
    for first, length, begin, px, most, (low, high_) in (
        (left, wide, begins[0], shown[0], width, (window[0], window[2])),
        (top, high, begins[1], shown[1], height, (window[1], window[3])),
    ):
        inside = []
        for pixel in range(most):
            starts, ends = (begin + (edge - first) * px / length for edge in (pixel, pixel + 1))
            slack = 0.0005 * px / length
            if ends > SIDE * low + slack and starts < SIDE * high_ - slack:
                inside.append(pixel)
        if not inside:
            return None
        found += [inside[0], inside[-1] + 1]
    x0, x1, y0, y1 = found
    return x0, y0, x1, y1


@pytest.mark.parametrize(("width", "height", "fill", "box"), CASES)
def test_windows_are_those_of_a_slow_twin(width, height, fill, box):
    config = Preprocessing(side_px=SIDE, fill=fill)
    rng = np.random.default_rng(1)
    for _ in range(30):
        corners = np.sort(rng.integers(0, 17, (2, 2)), axis=0) / 16
        window = corners.ravel().tolist()
        if (corners[0] == corners[1]).any():
            continue
        wanted = twin(window, width, height, config, box)
        assert edges(attention_map(attended([window]), width, height, config, box)) == ([wanted] if wanted else [])


def test_windows_are_half_open_and_tile_the_photograph():
    halves = [[0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 1.0]]
    assert edges(attention_map(attended(halves), 100, 60, Preprocessing(side_px=SIDE))) == [
        (0, 0, 50, 60),
        (50, 0, 100, 60),
    ]


def test_an_edge_of_a_third_falls_on_no_px_more_than_it_must():
    third = [[0.0, 0.0, 1 / 3, 1.0], [1 / 3, 0.0, 2 / 3, 1.0], [0.7, 0.0, 1.0, 1.0]]
    found = edges(attention_map(attended(third), 3000, 10, Preprocessing(side_px=SIDE)))
    assert [one[::2] for one in found] == [(0, 1000), (1000, 2000), (2100, 3000)]


def test_padding_is_no_part_of_the_photograph():
    # 128 x 64 lies in rows 16 to 48 of the input.
    config = Preprocessing(side_px=SIDE, fill="gray")
    windows = [[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.25], [0.5, 0.0, 1.0, 0.5]]
    found = attention_map(attended(windows, [0.5, 0.3, 0.2]), 128, 64, config)
    assert edges(found) == [(0, 0, 128, 64), (64, 0, 128, 32)]
    assert [one.weight for one in found.windows] == [0.5, 0.2]
    assert found.box == (0.0, -32.0, 128.0, 96.0)


def test_windows_come_by_falling_weight():
    windows = [[0.0, 0.0, 0.1, 0.1], [0.1, 0.0, 0.2, 0.1], [0.2, 0.0, 0.3, 0.1]]
    found = attention_map(attended(windows, [0.2, 0.5, 0.3]), 100, 100, Preprocessing(side_px=SIDE))
    assert [one.x0 for one in found.windows] == [10, 20, 0]


def test_the_grid_stays_small_and_keeps_its_place():
    fine = np.zeros((96, 64), np.float32)
    fine[:3, :2] = 1.0
    found = attention_map(attended([], heat=fine), 100, 100, Preprocessing(side_px=SIDE))
    assert (found.rows, found.columns, len(found.values)) == (32, 32, 1024)
    assert (found.values[0], sum(found.values)) == (1.0, 1.0)
    coarse = attention_map(attended([], heat=0.25), 100, 100, Preprocessing(side_px=SIDE))
    assert (coarse.rows, coarse.columns, set(coarse.values)) == (4, 4, {0.25})
    assert coarse.windows == []


def test_what_is_not_finite_is_left_out():
    nan = float("nan")
    heat = np.array([[nan, 2.0], [-1.0, 0.5]], np.float32)
    found = attention_map(attended([[nan, 0, 1, 1], [0, 0, 1, 1]], heat=heat), 10, 10, Preprocessing(side_px=SIDE))
    assert found.values == [0.0, 1.0, 0.0, 0.5]
    assert edges(found) == [(0, 0, 10, 10)]


def test_more_than_one_photograph_is_refused():
    one = attended([[0.0, 0.0, 1.0, 1.0]])
    with pytest.raises(ValueError, match="found 2 photographs"):
        attention_map(replace(one, heat=one.heat.expand(2, -1, -1)), 10, 10, Preprocessing(side_px=SIDE))


def test_a_description_says_where_the_classifier_looked(looking):
    describer = Describer(looking)
    photographs = [describer.read(png(80, 40)), describer.read(png(40, 80), (0.0, 40.0, 40.0, 80.0))]
    whole, lower = (one.attention for one in describer.describe(photographs))
    assert edges(whole) == [(20, 10, 60, 30), (20, 20, 60, 30), (0, 0, 20, 10)]
    assert [one.weight for one in whole.windows] == [0.5, 0.375, 0.125]
    assert (whole.rows, whole.columns, sum(whole.values)) == (8, 8, 16.0)
    margin = describer.describe(photographs[1:])[0].details.frame
    assert lower.box == pytest.approx((0, margin[3] * 80, 40, 80))
    assert lower == describer.describe(photographs[1:])[0].attention


def test_a_network_that_tells_nothing_is_said_nothing_of(bundle, classifier):
    for one in (bundle, classifier):
        describer = Describer(one)
        assert describer.describe([describer.read(png(80, 40))])[0].attention is None


def test_attention_is_by_the_preprocessing_of_the_classifier_inside(bundle, classifier, looker, tmp_path, monkeypatch):
    shutil.copytree(bundle.path, tmp_path / "b")
    padded = classifier.input.preprocessing.model_copy(update={"fill": "gray"})
    whole = write_classifier(tmp_path / "b", classifier)
    describer = Describer(whole)
    describer._classifier.preprocessing = padded
    monkeypatch.setattr(describer._classifier, "_method", looker)
    (found,) = describer.describe([describer.read(png(80, 40))])
    assert found.attention.box == pytest.approx((0, -20, 80, 60), abs=1.5)
    assert found.classified is not None
