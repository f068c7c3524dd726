"""One photograph to the network's input and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hallmark.config import validate
from hallmark.data.preprocess import Augmentation, Preprocessing, luminance, normalise, prepare, to_photograph, vary
from hallmark.errors import ConfigError

STILL = Augmentation(
    rotation_deg=0, shift=0, scale=0, perspective=0, brightness=0, gamma=0, blur_px=0, noise=0
)  # no variation at all


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@given(
    height=st.integers(1, 200),
    width=st.integers(1, 200),
    side=st.integers(16, 80),
    fit=st.sampled_from(["stretch", "pad"]),
)
def test_prepare_gives_a_square_of_any_photograph(height: int, width: int, side: int, fit: str) -> None:
    prepared = prepare(noise(height, width), Preprocessing(side_px=side, fit=fit))
    assert prepared.shape == (side, side, 3)
    assert prepared.dtype == np.uint8


@pytest.mark.parametrize("fit", ["stretch", "pad"])
def test_a_square_of_the_right_size_is_left_alone(fit: str) -> None:
    image = noise(48, 48)
    assert np.array_equal(prepare(image, Preprocessing(side_px=48, fit=fit)), image)


@pytest.mark.parametrize("fit", ["stretch", "pad"])
def test_the_input_is_not_changed(fit: str) -> None:
    image = noise(30, 50)
    prepare(image, Preprocessing(side_px=32, fit=fit))
    assert np.array_equal(image, noise(30, 50))


@pytest.mark.parametrize(("height", "width"), [(20, 80), (80, 20), (160, 40)])
def test_padding_surrounds_the_photograph_evenly(height: int, width: int) -> None:
    image = np.full((height, width, 3), 250, dtype=np.uint8)
    prepared = prepare(image, Preprocessing(side_px=64, fit="pad", fill=7))
    inside = (prepared == 250).all(axis=2)
    assert ((prepared == 7).all(axis=2) | inside).all()
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    assert (len(rows), len(columns)) == ((16, 64) if width > height else (64, 16))
    short = rows if width > height else columns
    assert short[0] == 24
    assert short[-1] == 39


def test_stretching_leaves_no_padding() -> None:
    image = np.full((20, 80, 3), 250, dtype=np.uint8)
    assert (prepare(image, Preprocessing(side_px=64, fit="stretch", fill=7)) == 250).all()


def test_shrinking_is_the_mean_of_the_area() -> None:
    image = noise(64, 128)
    shrunk = prepare(image, Preprocessing(side_px=32))
    expected = np.zeros((32, 32, 3))
    for y in range(32):
        for x in range(32):
            expected[y, x] = image[2 * y : 2 * y + 2, 4 * x : 4 * x + 4].mean(axis=(0, 1))
    assert np.abs(shrunk - expected).max() <= 0.51


@given(
    width=st.integers(4, 4000),
    height=st.integers(4, 4000),
    fit=st.sampled_from(["stretch", "pad"]),
    point=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_to_photograph_inverts_the_geometry(width: int, height: int, fit: str, point: tuple) -> None:
    config = Preprocessing(side_px=64, fit=fit)
    x, y = point
    if fit == "pad":  # plain twin: the photograph lies centred, its longer side filling the square
        inner_width, inner_height = (max(1, round(64 * side / max(width, height))) for side in (width, height))
        x = ((64 - inner_width) // 2 + x * inner_width) / 64
        y = ((64 - inner_height) // 2 + y * inner_height) / 64
    assert np.allclose(to_photograph(np.array([[x, y]]), width, height, config), [point], atol=1e-9)


@pytest.mark.parametrize("fit", ["stretch", "pad"])
@pytest.mark.parametrize(("height", "width"), [(60, 180), (180, 60), (96, 96)])
def test_a_dot_in_the_photograph_is_found_where_to_photograph_says(height: int, width: int, fit: str) -> None:
    config = Preprocessing(side_px=64, fit=fit, fill=0)
    image = np.zeros((height, width, 3), dtype=np.uint8)
    y, x = height * 2 // 3, width // 4
    image[y - 3 : y + 4, x - 3 : x + 4] = 255
    weights = prepare(image, config)[..., 0].astype(float)
    centre = [(weights.sum(axis=axis) @ (np.arange(64) + 0.5)) / weights.sum() / 64 for axis in (0, 1)]
    found = to_photograph(np.array([centre]), width, height, config)[0]
    assert np.abs(found - [(x + 0.5) / width, (y + 0.5) / height]).max() < 0.02


def test_points_in_the_padding_are_clipped_to_the_photograph() -> None:
    corners = np.array([[0.0, 0.0], [1.0, 1.0], [0.5, 0.1]])
    found = to_photograph(corners, 100, 10, Preprocessing(side_px=64, fit="pad"))
    assert np.allclose(found, [[0, 0], [1, 1], [0.5, 0]])
    assert to_photograph(np.empty((0, 2)), 10, 10, Preprocessing()).shape == (0, 2)


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
    first, again = (vary(image, Augmentation(), np.random.default_rng(seed)) for _ in range(2))
    assert first.shape == image.shape
    assert first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert np.array_equal(image, noise(32, 32))


def test_other_seeds_vary_otherwise() -> None:
    image = noise(32, 32)
    varied = [vary(image, Augmentation(), np.random.default_rng(seed)) for seed in range(6)]
    assert len({picture.tobytes() for picture in varied}) == 6


def test_nothing_varies_where_every_range_is_zero() -> None:
    image = noise(40, 40)
    assert np.array_equal(vary(image, STILL, np.random.default_rng(5)), image)


@pytest.mark.parametrize("seed", range(4))
def test_brightness_moves_all_pixels_alike(seed: int) -> None:
    image = np.full((24, 24, 3), 128, dtype=np.uint8)
    config = STILL.model_copy(update={"brightness": 0.2})
    change = vary(image, config, np.random.default_rng(seed)).astype(int) - 128
    assert change.min() == change.max()
    assert 0 < abs(change.max()) <= 0.2 * 255 + 1


def test_lettering_is_never_mirrored() -> None:
    image = np.zeros((64, 64, 3), dtype=np.uint8)
    image[:, :20] = 255
    for seed in range(20):
        varied = vary(image, Augmentation(), np.random.default_rng(seed))
        assert varied[:, :10].mean() > varied[:, -10:].mean() + 50


@pytest.mark.parametrize(
    ("model", "settings", "key"),
    [
        (Preprocessing, {"side_px": 3}, "side_px"),
        (Preprocessing, {"std": [0, 1, 1]}, "std"),
        (Preprocessing, {"fit": "crop"}, "fit"),
        (Preprocessing, {"fill": 256}, "fill"),
        (Augmentation, {"noise": -1}, "noise"),
        (Augmentation, {"flip": True}, "flip"),
    ],
)
def test_settings_out_of_range_are_named(model, settings: dict, key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        validate(model, settings, "preprocessing")
