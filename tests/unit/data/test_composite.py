"""Background replacement: what is kept of the product, and what never raises."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hallmark.data.composite import CompositeConfig, replace_background
from hallmark.errors import DataError

MODES = ("alpha", "poisson_bg", "poisson_fg")


def photograph(height: int, width: int, colour: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 5, (height, width, 3))
    return np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)


def scene(background: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A brown ellipse on pale ground, its mask, its core 8 px inside, and a new background."""
    mask = np.zeros((120, 160), np.uint8)
    cv2.ellipse(mask, (80, 60), (50, 38), 20, 0, 360, 1, -1)
    image = np.where(mask[..., None] > 0, photograph(120, 160, (150, 90, 60)), photograph(120, 160, (205, 200, 190), 1))
    core = cv2.erode(mask, np.ones((17, 17), np.uint8)) > 0
    return image, mask.astype(np.float32), core, photograph(120, 160, (background,) * 3, 2)


@pytest.mark.parametrize("mode", MODES)
def test_all_foreground_returns_the_photograph_and_none_the_background(mode):
    image, mask, _, background = scene(20)
    config = CompositeConfig(mode=mode)
    assert np.array_equal(replace_background(image, np.ones_like(mask), background, config), image)
    assert np.array_equal(replace_background(image, np.zeros_like(mask), background, config), background)


@pytest.mark.parametrize("mode", ["alpha", "poisson_bg"])
@pytest.mark.parametrize("level", [15, 245])
def test_the_core_of_the_product_stays_within_two_levels(mode, level):
    image, mask, core, background = scene(level)
    made = replace_background(image, mask, background, CompositeConfig(mode=mode)).astype(int)
    assert np.abs(made - image)[core].max() <= 2
    detail, old, new = (
        cv2.Laplacian(each.astype(np.float32), cv2.CV_32F)[far_outside(mask)].ravel()
        for each in (made, image, background)
    )
    assert np.corrcoef(detail, new)[0, 1] > 0.7
    assert np.corrcoef(detail, old)[0, 1] < 0.3


def far_outside(mask: np.ndarray) -> np.ndarray:
    return cv2.dilate(mask, np.ones((17, 17), np.uint8)) == 0


def test_poisson_bg_takes_the_old_backgrounds_colours_and_alpha_the_new_ones():
    image, mask, _, background = scene(15)
    outside = far_outside(mask)
    alpha, poisson = (
        replace_background(image, mask, background, CompositeConfig(mode=mode))[outside].mean()
        for mode in ("alpha", "poisson_bg")
    )
    assert abs(alpha - background[outside].mean()) < 1
    assert abs(poisson - image[outside].mean()) < 15


@pytest.mark.parametrize("level", [15, 245])
def test_the_papers_blending_recolours_the_product(level):
    image, mask, core, background = scene(level)
    made = replace_background(image, mask, background, CompositeConfig(mode="poisson_fg")).astype(int)
    assert np.abs(made - image)[core].mean() > 25


def test_poisson_bg_keeps_every_pixel_of_the_product():
    image, mask, _, background = scene(15)
    made = replace_background(image, mask, background, CompositeConfig(mode="poisson_bg"))
    assert np.array_equal(made[mask > 0], image[mask > 0])


def test_alpha_agrees_with_its_formula():
    image, mask, _, background = scene(15)
    made = replace_background(image, mask, background, CompositeConfig(feather_px=2.0))
    # Plain twin: a separable Gaussian of sigma 2 over the binary mask, one pixel at a time.
    offsets = np.arange(-8, 9)
    kernel = np.exp(-(offsets**2) / 8.0)
    kernel /= kernel.sum()
    for row, column in ((60, 80), (60, 31), (98, 80), (25, 70), (60, 128)):
        alpha = sum(
            kernel[i] * kernel[j] * mask[row + offsets[i], column + offsets[j]] for i in range(17) for j in range(17)
        )
        wanted = alpha * image[row, column].astype(float) + (1 - alpha) * background[row, column]
        assert np.abs(made[row, column] - wanted).max() <= 1.0


def test_no_feather_is_a_plain_choice():
    image, mask, _, background = scene(15)
    made = replace_background(image, mask, background, CompositeConfig(feather_px=0))
    assert np.array_equal(made, np.where(mask[..., None] > 0, image, background))


def test_a_product_cut_by_the_border_stays_whole_there():
    image, background = photograph(40, 60, (150, 90, 60)), photograph(40, 60, (20, 20, 20))
    mask = np.zeros((40, 60), np.float32)
    mask[:, :30] = 1
    made = replace_background(image, mask, background, CompositeConfig())
    assert np.array_equal(made[:, :20], image[:, :20])


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(MODES),
    st.integers(1, 24),
    st.integers(1, 24),
    st.floats(0, 1),
    st.integers(0, 5),
    st.integers(0, 99),
)
def test_no_mask_makes_it_fail(mode, height, width, share, dilate_px, seed):
    rng = np.random.default_rng(seed)
    image, background = rng.integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    mask = (rng.random((height, width)) < share).astype(np.float32)
    made = replace_background(image, mask, background, CompositeConfig(mode=mode, dilate_px=dilate_px))
    assert made.shape == image.shape
    assert made.dtype == np.uint8


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("place", [(0, 0), (-1, -1), (0, slice(None)), (slice(None), -1), (7, 9)])
def test_thin_masks_and_their_complements(mode, place):
    image, background = photograph(16, 20, (150, 90, 60)), photograph(16, 20, (20, 20, 20), 1)
    mask = np.zeros((16, 20), np.float32)
    mask[place] = 1
    for each in (mask, 1 - mask):
        assert replace_background(image, each, background, CompositeConfig(mode=mode)).shape == image.shape


def test_inputs_are_left_alone():
    image, mask, _, background = scene(15)
    before = image.copy(), mask.copy(), background.copy()
    for mode in MODES:
        replace_background(image, mask, background, CompositeConfig(mode=mode))
    for array, kept in zip((image, mask, background), before, strict=True):
        assert np.array_equal(array, kept)


def test_sizes_that_differ_are_named():
    image, mask, _, background = scene(15)
    with pytest.raises(DataError, match=r"\(119, 160\)"):
        replace_background(image, mask[1:], background, CompositeConfig())
