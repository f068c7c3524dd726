"""Where a classifier looked, drawn: heat and outlines where they belong, windows by themselves, at any size."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from hallmark.serving.attention_overlay import MOST_WINDOWS, attention_png
from hallmark.serving.drawing import LEGEND_PX, MARK_COLOURS
from hallmark.types import AttentionMap, AttentionWindow

GREY = (120, 120, 120)
TILES = 116 + 8 + 22 + 8
"""Height of one row of windows."""


def picture(width: int, height: int) -> np.ndarray:
    return np.full((height, width, 3), GREY, np.uint8)


def decoded(data: bytes) -> np.ndarray:
    assert data.startswith(b"\x89PNG")
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def window(x0: int, y0: int, x1: int, y1: int, weight: float = 0.5) -> AttentionWindow:
    return AttentionWindow(x0=x0, y0=y0, x1=x1, y1=y1, weight=weight)


def attention(
    box: tuple[float, float, float, float], *windows: AttentionWindow, hot: tuple[int, int] | None = None
) -> AttentionMap:
    grid = np.zeros((8, 8))
    if hot is not None:
        grid[hot] = 1.0
    return AttentionMap(rows=8, columns=8, values=grid.ravel().tolist(), box=box, windows=list(windows))


def test_the_drawing_has_the_size_asked_and_room_for_the_windows():
    plain = decoded(attention_png(picture(2000, 1000), attention((0, 0, 2000, 1000)), longest_px=600))
    assert plain.shape == (300 + LEGEND_PX, 600, 3)
    with_one = attention((0, 0, 2000, 1000), window(0, 0, 500, 500))
    assert decoded(attention_png(picture(2000, 1000), with_one, 600)).shape == (300 + TILES + LEGEND_PX, 600, 3)


@pytest.mark.parametrize("box", [(0.0, 0.0, 400.0, 400.0), (0.0, -200.0, 800.0, 600.0), (100.0, 100.0, 200.0, 300.0)])
def test_heat_lies_in_its_box_of_the_photograph(box):
    drawn = decoded(attention_png(picture(400, 400), attention(box, hot=(3, 2)))).astype(int)
    rows, columns = np.nonzero(np.abs(drawn[:400] - 120).sum(axis=2) > 30)
    x0, y0, x1, y1 = box
    assert abs(columns.mean() - (x0 + (x1 - x0) * 2.5 / 8)) < 5
    assert abs(rows.mean() - (y0 + (y1 - y0) * 3.5 / 8)) < 5


def test_beside_the_grid_the_photograph_is_unchanged():
    hot = AttentionMap(rows=1, columns=1, values=[1.0], box=(100, 50, 200, 150), windows=[])
    drawn = decoded(attention_png(picture(400, 400), hot))[:400]
    changed = (drawn != 120).any(axis=2)
    assert changed[50:150, 100:200].all()
    assert changed.sum() == 100 * 100


def test_a_window_is_outlined_and_shown_by_itself_in_one_colour():
    photograph = picture(400, 400)
    photograph[100:200, 240:340] = (20, 200, 30)
    drawn = decoded(
        attention_png(photograph, attention((0, 0, 400, 400), window(240, 100, 340, 200), window(0, 0, 9, 9)))
    )
    assert np.array_equal(drawn[199 - 2, 290], MARK_COLOURS[0])
    assert np.array_equal(drawn[150, 290], (20, 200, 30))
    tile = drawn[400 + 8 : 400 + 8 + 116, 8 : 8 + 116]
    assert np.array_equal(tile[-1, 60], MARK_COLOURS[0])
    assert np.array_equal(tile[60, 60], (20, 200, 30))


def test_the_windows_that_count_most_are_drawn_and_no_more_than_fit():
    many = [window(10 * n, 10 * n, 10 * n + 50, 10 * n + 50, 0.02) for n in range(30)]
    first, all_ = (
        decoded(attention_png(picture(900, 900), attention((0, 0, 900, 900), *some))) for some in (many[:12], many)
    )
    assert MOST_WINDOWS == 12
    assert np.array_equal(first[:-LEGEND_PX], all_[:-LEGEND_PX])
    assert not np.array_equal(first, all_)


@pytest.mark.parametrize(("width", "height"), [(16, 16), (4000, 50), (40, 3000), (3000, 2500), (64_000, 16), (1, 1)])
def test_every_size_of_photograph_is_drawn(width, height):
    whole = attention((0, 0, width, height), window(0, 0, width, height), window(0, 0, 1, 1), hot=(7, 7))
    drawn = decoded(attention_png(picture(width, height), whole))
    assert drawn.shape[1] <= 1024
    assert drawn.shape[0] >= 24 + TILES
