"""Gamma, stretch and adaptive contrast."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hallmark.data.tone import ToneConfig, adjust

ALL = [ToneConfig(gamma=g, stretch=s, ace=a) for g, s, a in itertools.product((False, True), repeat=3)]
GAMMA, STRETCH, ACE = ToneConfig(gamma=True), ToneConfig(stretch=True), ToneConfig(ace=True)


def noise(height: int, width: int, low: int = 0, high: int = 256) -> np.ndarray:
    return np.random.default_rng(0).integers(low, high, (height, width, 3), dtype=np.uint8)


def light(image: np.ndarray) -> np.ndarray:
    return image.astype(float) @ [0.299, 0.587, 0.114]


def scene(low: int, high: int) -> np.ndarray:
    """A coloured ramp of luminance between two levels."""
    ramp = np.linspace(low, high, 120)[None, :, None] * np.array([1.0, 0.8, 0.6])
    return np.repeat(ramp, 60, axis=0).round().astype(np.uint8)


def test_nothing_is_corrected_by_default() -> None:
    image = noise(10, 12)
    assert adjust(image, ToneConfig()) is image


@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    config=st.sampled_from(ALL),
    span=st.tuples(*[st.integers(0, 255)] * 2),
)
def test_any_photograph_keeps_shape_and_type(height: int, width: int, config: ToneConfig, span: tuple) -> None:
    image = noise(height, width, min(span), max(span) + 1)
    before = image.copy()
    first, again = adjust(image, config), adjust(image, config)
    assert first.shape == image.shape
    assert first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert np.array_equal(image, before)


@pytest.mark.parametrize("config", ALL)
@pytest.mark.parametrize("shape", [(1, 1), (3, 500), (500, 3), (17, 16), (129, 131)])
@pytest.mark.parametrize("level", [0, 1, 90, 254, 255])
def test_a_flat_photograph_stays_flat(config: ToneConfig, shape: tuple, level: int) -> None:
    adjusted = adjust(np.full((*shape, 3), level, dtype=np.uint8), config)
    assert adjusted.shape == (*shape, 3)
    assert np.ptp(adjusted.reshape(-1, 3), axis=0).max() == 0


@pytest.mark.parametrize("colour", [(0, 0, 0), (0, 0, 3), (90, 20, 200), (255, 255, 255)])
def test_stretch_leaves_a_flat_photograph(colour: tuple) -> None:
    image = np.full((20, 20, 3), colour, dtype=np.uint8)
    assert np.array_equal(adjust(image, STRETCH), image)


def test_a_colour_whose_luminance_rounds_to_black_is_stretched_too() -> None:
    image = np.zeros((20, 20, 3), dtype=np.uint8)
    image[:10], image[10:] = 51, (0, 0, 4)
    assert (adjust(image, STRETCH)[10:] == (0, 0, 20)).all()


def test_black_and_white_stay() -> None:
    for level in (0, 255):
        image = np.full((20, 20, 3), level, dtype=np.uint8)
        assert np.array_equal(adjust(image, ToneConfig(gamma=True, stretch=True)), image)


@pytest.mark.parametrize("level", [85, 100, 128, 150, 160])
def test_gamma_brings_the_mean_to_the_middle(level: int) -> None:
    image = np.full((8, 8, 3), level, dtype=np.uint8)
    assert abs(int(adjust(image, GAMMA)[0, 0, 0]) - 127.5) <= 1.5


@pytest.mark.parametrize(("level", "exponent"), [(5, 0.6), (40, 0.6), (250, 1.6), (200, 1.6)])
def test_gamma_is_limited(level: int, exponent: float) -> None:
    adjusted = adjust(np.full((8, 8, 3), level, dtype=np.uint8), GAMMA)
    assert int(adjusted[0, 0, 0]) == round(255 * (level / 255) ** exponent)


def test_gamma_against_plain_power() -> None:
    image = noise(30, 40, 10, 170)
    exponent = np.log(0.5) / np.log(light(image).mean() / 255)
    assert 0.6 < exponent < 1.6
    assert np.abs(adjust(image, GAMMA) - 255 * (image / 255) ** exponent).max() <= 0.5 + 1e-6


def test_stretch_spreads_luminance_between_its_percentiles() -> None:
    image = scene(60, 180)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    low, high = (np.percentile(grey, share, method="inverted_cdf") for share in (1, 99))
    expected = np.clip((grey - low) / (high - low), 0, 1) * 255
    stretched = adjust(image, STRETCH).astype(float)
    free = image.max(axis=2) * expected / grey < 254  # where no channel would pass 255
    assert free.mean() > 0.5
    assert np.abs(light(stretched) - expected)[free].max() <= 2
    assert light(stretched).min() == 0
    assert stretched.max() == 255


def test_stretch_keeps_the_ratios_of_channels() -> None:
    image = scene(60, 180)
    stretched = adjust(image, STRETCH).astype(float)
    bright = stretched.min(axis=2) > 40
    before, after = (pixels[bright, 1:] / pixels[bright, :1] for pixels in (image.astype(float), stretched))
    assert np.abs(before - after).max() < 0.03


def test_a_saturated_colour_is_held_at_full_scale_with_its_hue() -> None:
    image = scene(60, 180)
    image[:, -30:] = (240, 20, 120)
    stretched = adjust(image, STRETCH)[0, -1]
    assert np.abs(stretched - np.array([255, 21.25, 127.5])).max() <= 1


@pytest.mark.parametrize(("outliers", "low"), [(0, 60), (50, 60), (200, 0)])
def test_percentiles_ignore_up_to_one_percent_of_outliers(outliers: int, low: int) -> None:
    levels = np.repeat(np.arange(60, 160, dtype=np.uint8), 100)
    levels[:outliers] = 0
    image = np.dstack([levels.reshape(100, 100)] * 3)
    expected = 255 * (int(image[50, 50, 0]) - low) / (158 - low)
    assert abs(int(adjust(image, STRETCH)[50, 50, 0]) - expected) <= 1


def test_a_wholly_spread_photograph_is_hardly_changed() -> None:
    image = np.dstack([np.tile(np.arange(256, dtype=np.uint8), (256, 1))] * 3)
    assert np.abs(adjust(image, STRETCH).astype(int) - image).max() <= 4


def test_adaptive_contrast_is_local_and_keeps_colour() -> None:
    """Fine texture in a dim and in a bright half both gain contrast; a and b of CIELAB hardly move."""
    rng = np.random.default_rng(0)
    image = np.empty((128, 128, 3), dtype=np.uint8)
    image[:, :64], image[:, 64:] = 60, 190
    image = (image + rng.integers(-6, 7, (128, 128, 1))).astype(np.uint8)
    image[..., 2] = image[..., 2] // 2
    enhanced = adjust(image, ACE)
    for half in (slice(0, 48), slice(80, 128)):
        assert light(enhanced)[:, half].std() > 1.3 * light(image)[:, half].std()
    lab = [cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB)[..., 1:].astype(float) for pixels in (image, enhanced)]
    assert np.abs(lab[0] - lab[1]).mean() < 3


def test_adaptive_contrast_of_a_tile_is_decided_by_its_neighbourhood() -> None:
    image = noise(128, 128, 90, 160)
    other = image.copy()
    other[:, 96:] = 250
    first, second = adjust(image, ACE), adjust(other, ACE)
    assert np.array_equal(first[:, :64], second[:, :64])
    assert not np.array_equal(first[:, 80:96], second[:, 80:96])


def test_adaptive_contrast_leaves_a_narrow_strip() -> None:
    image = noise(15, 400)
    assert np.array_equal(adjust(image, ACE), image)
    assert not np.array_equal(adjust(noise(16, 400), ACE), noise(16, 400))


def test_corrections_follow_one_another() -> None:
    image = noise(64, 64, 20, 90)
    by_hand = adjust(adjust(adjust(image, GAMMA), STRETCH), ACE)
    assert np.array_equal(adjust(image, ToneConfig(gamma=True, stretch=True, ace=True)), by_hand)
