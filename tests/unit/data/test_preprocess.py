"""One photograph to the network's input and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hallmark.config import validate
from hallmark.data.preprocess import (
    Augmentation,
    Fitted,
    Preprocessing,
    content_mask,
    cut,
    fit,
    fit_mask,
    input_frame,
    luminance,
    normalise,
    prepare,
    to_photograph,
    vary,
)
from hallmark.data.tone import ToneConfig, adjust
from hallmark.errors import ConfigError, DataError

STILL = Augmentation(
    rotation_deg=0, shift=0, scale=0, perspective=0, brightness=0, gamma=0, blur_px=0, noise=0
)  # no variation at all


def varied(image: np.ndarray, augmentation: Augmentation, seed: int) -> np.ndarray:
    return vary(image, augmentation, np.random.default_rng(seed))[0]


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


FILLS = ["none", "black", "white", "gray", "random", "uniform", "auto"]
BOXES = [None, (0.0, 0.0, 30.0, 40.0), (20.4, 10.7, 55.1, 28.2), (-10.0, 30.0, 900.0, 900.0)]


def fitted(image: np.ndarray, **settings) -> Fitted:
    return fit(image, Preprocessing(**settings), np.random.default_rng(0))


@given(height=st.integers(1, 200), width=st.integers(1, 200), side=st.integers(16, 80), fill=st.sampled_from(FILLS))
def test_prepare_gives_a_square_of_any_photograph(height: int, width: int, side: int, fill: str) -> None:
    config = Preprocessing(side_px=side, fill=fill)
    prepared = prepare(noise(height, width), config, rng=np.random.default_rng(0))
    assert prepared.pixels.shape == (side, side, 3)
    assert prepared.pixels.dtype == np.uint8
    x0, y0, x1, y1 = prepared.content
    assert 0 <= x0 < x1 <= side
    assert 0 <= y0 < y1 <= side
    assert (x1 - x0 == side) or (y1 - y0 == side)


@pytest.mark.parametrize("fill", FILLS)
def test_a_square_of_the_right_size_is_left_alone(fill: str) -> None:
    image = noise(48, 48)
    prepared = fitted(image, side_px=48, fill=fill)
    assert np.array_equal(prepared.pixels, image)
    assert prepared.content == (0, 0, 48, 48)


@pytest.mark.parametrize("fill", FILLS)
def test_the_input_is_not_changed(fill: str) -> None:
    image = noise(30, 50)
    config = Preprocessing(side_px=32, fill=fill, tone=ToneConfig(gamma=True, stretch=True, ace=True))
    prepare(image, config, (3, 4, 29, 22), np.random.default_rng(0))
    assert np.array_equal(image, noise(30, 50))


@pytest.mark.parametrize(("height", "width"), [(20, 80), (80, 20), (160, 40)])
def test_padding_surrounds_the_photograph_evenly(height: int, width: int) -> None:
    image = np.full((height, width, 3), 250, dtype=np.uint8)
    prepared = fitted(image, side_px=64, fill="gray")
    inside = (prepared.pixels == 250).all(axis=2)
    assert ((prepared.pixels == 128).all(axis=2) | inside).all()
    assert np.array_equal(content_mask(prepared), inside)
    assert prepared.content == ((0, 24, 64, 40) if width > height else (24, 0, 40, 64))


@pytest.mark.parametrize("fill", FILLS[1:-1])
def test_the_photograph_is_the_same_in_every_fill(fill: str) -> None:
    image = noise(70, 200)
    black, other = (fitted(image, side_px=64, fill=name) for name in ("black", fill))
    mask = content_mask(black)
    assert black.content == other.content
    assert mask.dtype == bool
    assert mask.sum() == 64 * 22
    assert np.array_equal(black.pixels[mask], other.pixels[mask])
    assert (black.pixels[~mask] == 0).all()


def test_a_long_strip_is_shrunk_before_it_is_padded() -> None:
    """Padded first, it would take 2.7 GB."""
    prepared = fitted(np.full((20, 30_000, 3), 9, dtype=np.uint8), side_px=64, fill="white")
    assert prepared.content == (0, 31, 64, 32)
    assert (prepared.pixels[31] == 9).all()
    assert (prepared.pixels[[0, 30, 32, 63]] == 255).all()


def test_stretching_leaves_no_padding() -> None:
    image = np.full((20, 80, 3), 250, dtype=np.uint8)
    prepared = fitted(image, side_px=64, fill="none")
    assert (prepared.pixels == 250).all()
    assert content_mask(prepared).all()


@pytest.mark.parametrize(
    ("height", "width", "above", "pads"),
    [(100, 125, 1.25, False), (100, 126, 1.25, True), (126, 100, 1.25, True), (100, 126, 2, False), (90, 91, 1, True)],
)
def test_auto_pads_with_gray_above_an_aspect_ratio(height: int, width: int, above: float, pads: bool) -> None:
    image = noise(height, width)
    auto = fitted(image, side_px=32, fill="auto", fill_above=above)
    assert np.array_equal(auto.pixels, fitted(image, side_px=32, fill="gray" if pads else "none").pixels)
    assert auto.content == fitted(image, side_px=32, fill="gray" if pads else "none").content


def test_random_fill_needs_an_rng_and_follows_it() -> None:
    config, image = Preprocessing(side_px=32, fill="random"), noise(30, 90)
    with pytest.raises(ValueError, match="rng"):
        prepare(image, config)
    first, again, other = (prepare(image, config, rng=np.random.default_rng(seed)).pixels for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_shrinking_is_the_mean_of_the_area() -> None:
    image = noise(64, 128)
    shrunk = fitted(image, side_px=32).pixels
    expected = np.zeros((32, 32, 3))
    for y in range(32):
        for x in range(32):
            expected[y, x] = image[2 * y : 2 * y + 2, 4 * x : 4 * x + 4].mean(axis=(0, 1))
    assert np.abs(shrunk - expected).max() <= 0.51


@given(
    box=st.tuples(*[st.floats(-40, 140)] * 4).filter(
        lambda box: box[2] > 0 and box[0] < min(box[2], 90) and box[3] > 0 and box[1] < min(box[3], 70)
    ),
    margin=st.floats(0, 1),
)
def test_cut_keeps_every_pixel_that_the_box_touches(box: tuple, margin: float) -> None:
    height, width = 70, 90
    image = np.zeros((height, width, 3), dtype=np.uint8)
    image[..., 0], image[..., 1] = np.arange(width), np.arange(height)[:, None]
    part = cut(image, box, margin)
    for channel, low, high, length in ((0, box[0], box[2], width), (1, box[1], box[3], height)):
        places = {int(level) for level in part[..., channel].ravel()}
        reach = margin * (high - low)
        touched = {pixel for pixel in range(length) if pixel < high + reach and pixel + 1 > low - reach}
        assert places == touched or places - touched <= {min(places), max(places)}
        assert touched <= places


def test_cut_of_whole_pixels_is_a_plain_slice() -> None:
    image = noise(60, 80)
    assert np.array_equal(cut(image, (10, 20, 30, 50), 0.0), image[20:50, 10:30])
    assert np.array_equal(cut(image, (10, 20, 30, 50), 0.5), image[5:60, 0:40])
    assert np.array_equal(cut(image, (10.5, 20.5, 29.5, 49.5), 0.0), image[20:50, 10:30])
    assert np.array_equal(cut(image, (float("-inf"), 20, float("inf"), 50), 0.0), image[20:50])
    assert np.array_equal(cut(image, None, 0.5), image)


@pytest.mark.parametrize(
    "box",
    [(80, 0, 90, 10), (-5, 0, 0, 10), (0, 60, 10, 70), (0, -5, 10, 0), (5, 5, 5, 9), (9, 5, 5, 9), (5, 9, 9, 5)]
    + [tuple(float("nan") if place == k else value for k, value in enumerate((1, 1, 9, 9))) for place in range(4)],
)
def test_a_box_without_area_in_the_photograph_is_named(box: tuple) -> None:
    with pytest.raises(DataError, match=r"box: found \(.*80 x 60 px; wanted"):
        cut(noise(60, 80), box, 0.05)
    with pytest.raises(DataError, match="box"):
        input_frame(80, 60, Preprocessing(), box)


def test_prepare_is_cut_then_tone_then_fit() -> None:
    image, box = noise(60, 80), (12.0, 10.0, 44.0, 50.0)
    config = Preprocessing(side_px=32, margin=0.1, fill="gray", tone=ToneConfig(gamma=True, stretch=True))
    by_hand = fit(adjust(image[6:54, 8:48], config.tone), config)
    prepared = prepare(image, config, box)
    assert np.array_equal(prepared.pixels, by_hand.pixels)
    assert prepared.content == by_hand.content
    bright = image.copy()
    bright[:, 60:] = 255  # outside the cut: must not reach the tone
    assert np.array_equal(prepare(bright, config, box).pixels, prepared.pixels)


@given(
    width=st.integers(4, 4000),
    height=st.integers(4, 4000),
    fill=st.sampled_from(FILLS),
    point=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_to_photograph_inverts_the_geometry(width: int, height: int, fill: str, point: tuple) -> None:
    config = Preprocessing(side_px=64, fill=fill)
    x, y = point
    elongated = max(width, height) > 1.25 * min(width, height)
    if fill != "none" and (fill != "auto" or elongated):  # plain twin: centred, its longer side filling the square
        inner_width, inner_height = (max(1, round(64 * side / max(width, height))) for side in (width, height))
        x = ((64 - inner_width) // 2 + x * inner_width) / 64
        y = ((64 - inner_height) // 2 + y * inner_height) / 64
    frame = input_frame(width, height, config)
    assert (frame.shape, frame.dtype) == ((4,), np.float32)
    assert np.allclose(to_photograph(np.array([[x, y]]), frame), [point], atol=3e-5)


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize(("height", "width"), [(60, 180), (180, 60), (96, 96), (90, 110)])
def test_a_dot_in_the_photograph_is_found_where_to_photograph_says(height: int, width: int, fill: str, box) -> None:
    config = Preprocessing(side_px=128, fill=fill)
    left, top, right, bottom = box or (0, 0, width, height)
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    x, y = round(left + 0.3 * (right - left)), round(top + 0.6 * (bottom - top))
    blank = np.zeros((height, width, 3), dtype=np.uint8)
    dotted = blank.copy()
    dotted[y - 2 : y + 3, x - 2 : x + 3] = 255
    pixels, bare = (prepare(each, config, box, np.random.default_rng(0)).pixels for each in (dotted, blank))
    weights = np.abs(pixels.astype(float) - bare).sum(axis=2)
    centre = [(weights.sum(axis=axis) @ (np.arange(128) + 0.5)) / weights.sum() / 128 for axis in (0, 1)]
    found = to_photograph(np.array([centre]), input_frame(width, height, config, box))[0] * [width, height]
    assert np.abs(found - [x + 0.5, y + 0.5]).max() < 0.03 * max(right - left, bottom - top)


def test_points_in_the_padding_are_clipped_to_the_photograph() -> None:
    corners = np.array([[0.0, 0.0], [1.0, 1.0], [0.5, 0.1]])
    found = to_photograph(corners, input_frame(100, 10, Preprocessing(side_px=64, fill="gray")))
    assert np.allclose(found, [[0, 0], [1, 1], [0.5, 0]])
    assert to_photograph(np.empty((0, 2)), input_frame(10, 10, Preprocessing())).shape == (0, 2)


def test_points_round_a_cut_lie_beyond_it_in_the_photograph() -> None:
    config = Preprocessing(side_px=64, fill="gray", margin=0.1)  # cuts 40 to 160 and 38 to 62 px
    frame = input_frame(200, 100, config, (50, 40, 150, 60))
    inner_height = round(64 * 24 / 120)
    top = (64 - inner_height) // 2 / 64
    found = to_photograph(np.array([[0.0, top], [1.0, top + inner_height / 64], [0.5, 0.0]]), frame)
    assert np.allclose(found[:2], [[0.2, 0.38], [0.8, 0.62]], atol=1e-6)
    assert found[2] == pytest.approx([0.5, 0.0], abs=1e-6)


def test_normalise_against_plain_loops() -> None:
    config = Preprocessing(side_px=16, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 2.0))
    images = torch.from_numpy(np.stack([noise(16, 16, seed) for seed in (1, 2)]))
    normalised = normalise(images, config)
    assert normalised.shape == (2, 3, 16, 16)
    assert normalised.dtype == torch.float32
    assert normalised.is_contiguous()
    for b, y, x, c in [(0, 0, 0, 0), (1, 3, 7, 1), (1, 15, 2, 2), (0, 9, 15, 1)]:
        expected = (float(images[b, y, x, c]) / 255 - config.mean[c]) / config.std[c]
        assert float(normalised[b, c, y, x]) == pytest.approx(expected, abs=1e-5)


def test_luminance_runs_from_black_to_white() -> None:
    colours = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]]], dtype=np.uint8)
    assert np.allclose(luminance(colours), [[0, 1, 0.299, 0.587, 0.114]], atol=1e-6)


@given(seed=st.integers(0, 2**40))
def test_a_variation_is_decided_by_its_seed(seed: int) -> None:
    image = noise(32, 32)
    first, again = (varied(image, Augmentation(), seed) for _ in range(2))
    assert first.shape == image.shape
    assert first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert np.array_equal(image, noise(32, 32))


def test_other_seeds_vary_otherwise() -> None:
    image = noise(32, 32)
    assert len({varied(image, Augmentation(), seed).tobytes() for seed in range(6)}) == 6


def test_nothing_varies_where_every_range_is_zero() -> None:
    image, mask = noise(40, 40), np.random.default_rng(0).random((40, 40)) < 0.5
    pixels, content = vary(image, STILL, np.random.default_rng(5), mask)
    assert np.array_equal(pixels, image)
    assert np.array_equal(content, mask)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("height", "width"), [(60, 150), (150, 60)])
def test_the_content_mask_follows_the_warp(height: int, width: int, seed: int) -> None:
    """White photograph on black padding, warped far: what is white afterwards is content."""
    prepared = fitted(np.full((height, width, 3), 255, dtype=np.uint8), side_px=96, fill="black")
    strong = {"rotation_deg": 30, "shift": 0.3, "scale": 0.3, "perspective": 0.1}
    config = STILL.model_copy(update=strong)
    mask = content_mask(prepared)
    pixels, content = vary(prepared.pixels, config, np.random.default_rng(seed), mask)
    assert content.dtype == bool
    sure = (pixels[..., 0] == 255) | (pixels[..., 0] == 0)  # the rest is the blend along the border
    assert sure.mean() > 0.9
    assert np.array_equal(content[sure], pixels[..., 0][sure] == 255)
    assert np.array_equal(mask, content_mask(prepared))
    assert not np.array_equal(content, mask)


@given(seed=st.integers(0, 2**40))
def test_the_mask_takes_no_part_in_the_variation(seed: int) -> None:
    image = noise(32, 32)
    alone = vary(image, Augmentation(), np.random.default_rng(seed))
    masked = vary(image, Augmentation(), np.random.default_rng(seed), np.ones((32, 32), dtype=bool))
    assert np.array_equal(alone[0], masked[0])
    assert len(alone) == 1
    assert masked[1].all()


@pytest.mark.parametrize("fill", ["none", "white", "gray", "uniform", "random"])
@pytest.mark.parametrize("box", [None, (10.0, 5.0, 70.0, 35.0)])
def test_a_mask_is_fitted_as_its_photograph_is_and_padding_is_outside(fill: str, box: tuple | None) -> None:
    mask = np.zeros((40, 80), dtype=bool)
    mask[10:30, 20:] = True
    picture = np.where(mask[..., None], np.uint8([200, 0, 0]), np.uint8([0, 0, 200])).repeat(1, axis=2)
    config = Preprocessing(side_px=96, fill=fill)
    shown = prepare(picture, config, box, np.random.default_rng(0))
    found = fit_mask(mask, config, box)
    inside = content_mask(shown)
    assert found.dtype == bool
    assert not found[~inside].any()
    red = shown.pixels[..., 0].astype(int) - shown.pixels[..., 2]
    sure = inside & (np.abs(red) > 150)
    assert sure.sum() > 0.9 * inside.sum()
    assert np.array_equal(found[sure], red[sure] > 0)


@pytest.mark.parametrize("seed", range(4))
def test_brightness_moves_all_pixels_alike(seed: int) -> None:
    image = np.full((24, 24, 3), 128, dtype=np.uint8)
    config = STILL.model_copy(update={"brightness": 0.2})
    change = varied(image, config, seed).astype(int) - 128
    assert change.min() == change.max()
    assert 0 < abs(change.max()) <= 0.2 * 255 + 1


def test_lettering_is_never_mirrored() -> None:
    image = np.zeros((64, 64, 3), dtype=np.uint8)
    image[:, :20] = 255
    for seed in range(20):
        pixels = varied(image, Augmentation(), seed)
        assert pixels[:, :10].mean() > pixels[:, -10:].mean() + 50


@pytest.mark.parametrize(
    ("model", "settings", "key"),
    [
        (Preprocessing, {"side_px": 3}, "side_px"),
        (Preprocessing, {"std": [0, 1, 1]}, "std"),
        (Preprocessing, {"fit": "pad"}, "fit"),
        (Preprocessing, {"fill": "grey"}, "fill"),
        (Preprocessing, {"fill_above": 0.9}, "fill_above"),
        (Preprocessing, {"margin": -0.1}, "margin"),
        (Preprocessing, {"tone": {"sharpen": True}}, "tone.sharpen"),
        (Augmentation, {"noise": -1}, "noise"),
        (Augmentation, {"flip": True}, "flip"),
    ],
)
def test_settings_out_of_range_are_named(model, settings: dict, key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        validate(model, settings, "preprocessing")
