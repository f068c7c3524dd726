"""What one photograph tells an audit, from files made to tell it."""

from __future__ import annotations

import io
import pickle

import numpy as np
import pytest
from PIL import Image

from hallmark.data.auditing.measurement import (
    BACKGROUND_FEATURES,
    Border,
    Exif,
    background_features,
    find_border,
    measure,
)
from hallmark.data.decode import DecodeLimits

LIMITS = DecodeLimits()


def _picture(width: int = 120, height: int = 90, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(40, 216, (9, 12, 3), dtype=np.uint8))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))


def _file(image: np.ndarray, form: str = "JPEG", **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, form, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("quality", [1, 10, 35, 50, 70, 75, 90, 95, 100])
@pytest.mark.parametrize("grey", [False, True])
def test_jpeg_quality_is_read_back(quality, grey):
    image = _picture()[:, :, 0] if grey else _picture()
    found = measure(_file(image, quality=quality), LIMITS)
    assert found.jpeg_quality == quality
    assert found.format == "JPEG"


@pytest.mark.parametrize(("option", "name"), [(0, "4:4:4"), (1, "4:2:2"), (2, "4:2:0")])
def test_chroma_subsampling(option, name):
    assert measure(_file(_picture(), subsampling=option), LIMITS).subsampling == name


def test_other_formats_have_no_jpeg_quality():
    found = measure(_file(_picture(), "PNG"), LIMITS)
    assert (found.format, found.jpeg_quality, found.subsampling) == ("PNG", None, "")


def test_exif_notes_and_orientation():
    exif = Image.Exif()
    exif[271], exif[272], exif[305], exif[274] = "Make\x1b[31m", "Model", "x" * 500, 6
    exif.get_ifd(0x8825)[1] = "N"
    found = measure(_file(_picture(120, 90), exif=exif), LIMITS)
    assert found.exif == Exif(True, "Make[31m", "Model", "x" * 60, True, 6)
    assert (found.width, found.height) == (90, 120)


def test_a_file_without_notes_has_none():
    assert measure(_file(_picture()), LIMITS).exif == Exif()


def test_border_of_known_width():
    image = np.full((100, 200, 3), 250, dtype=np.uint8)
    image[10:80, 30:190] = _picture(160, 70)
    found = find_border(image)
    assert (found.top, found.right, found.bottom, found.left) == pytest.approx((0.1, 0.05, 0.2, 0.15))
    assert found.level == pytest.approx(250 / 255)
    assert found.share == pytest.approx(1 - 0.7 * 0.8)


def test_letterbox_has_no_sides():
    image = np.zeros((100, 200, 3), dtype=np.uint8)
    image[20:80] = _picture(200, 60)
    found = find_border(image)
    assert (found.top, found.bottom, found.left, found.right) == pytest.approx((0.2, 0.2, 0, 0))


@pytest.mark.parametrize("image", [_picture(), np.full((40, 40, 3), 128, dtype=np.uint8)])
def test_no_border(image):
    assert find_border(image) == Border()


def test_quality_figures():
    sharp = np.kron(np.random.default_rng(0).integers(0, 2, (40, 40)), np.ones((4, 4)))
    sharp = np.repeat((60 + 120 * sharp).astype(np.uint8)[:, :, None], 3, axis=2)
    blurred = np.asarray(Image.fromarray(sharp).resize((20, 20)).resize((160, 160), Image.Resampling.BICUBIC))
    one, other = (measure(_file(each, "PNG"), LIMITS) for each in (sharp, blurred))
    assert other.sharpness < 0.2 * one.sharpness
    half = np.zeros((64, 64, 3), dtype=np.uint8)
    half[:, 48:] = 255
    found = measure(_file(half, "PNG"), LIMITS)
    assert (found.dark, found.bright, found.brightness) == pytest.approx((0.75, 0.25, 0.25))
    assert found.contrast == pytest.approx(np.sqrt(0.75 * 0.25))


def test_sharpness_compares_across_sizes():
    """A photograph taken at thrice the size is brought to the working size first."""
    small = _picture(500, 400)
    large = np.asarray(Image.fromarray(small).resize((1500, 1200), Image.Resampling.BICUBIC))
    one, other = (measure(_file(each, "PNG"), LIMITS).sharpness for each in (small, large))
    assert other == pytest.approx(one, rel=0.35)


def _with_product(seed: int, ground: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A photograph whose product, at (30, 20) to (90, 70), depends on the seed and whose surroundings do not."""
    image = _picture(120, 90, seed=1000 + ground).copy()
    image[20:70, 30:90] = _picture(60, 50, seed)
    inside = np.zeros((90, 120), dtype=bool)
    inside[20:70, 30:90] = True
    return image, inside


@pytest.mark.parametrize("how", ["mask", "box", "neither"])
def test_background_knows_nothing_of_the_product(how):
    features = []
    for seed, ground in ((1, 0), (2, 0), (1, 1)):
        image, inside = _with_product(seed, ground)
        mask = _file(inside.astype(np.uint8) * 255, "PNG") if how == "mask" else None
        box = (30, 20, 90, 70) if how == "box" else None
        features.append(np.array(measure(_file(image, "PNG"), LIMITS, box, mask).background))
    assert features[0].shape == (BACKGROUND_FEATURES,)
    # The gradient filters reach one pixel over the edge that is left out.
    np.testing.assert_allclose(features[0], features[1], atol=1e-6)
    assert np.abs(features[0] - features[2]).max() > 0.01


def test_a_product_that_fills_the_photograph_falls_back_to_the_frame():
    image, _ = _with_product(1)
    whole = np.ones(image.shape[:2], dtype=bool)
    np.testing.assert_array_equal(background_features(image, whole), background_features(image, None))


@pytest.mark.parametrize("mask", [b"no image", _file(np.zeros((40, 50), dtype=np.uint8), "PNG")])
def test_an_unusable_mask_is_told_and_the_rest_measured(mask):
    image, _ = _with_product(1)
    found = measure(_file(image, "PNG"), LIMITS, mask=mask)
    assert found.reason == "mask"
    assert found.detail
    assert found.background == measure(_file(image, "PNG"), LIMITS).background


@pytest.mark.parametrize(
    ("data", "reason"), [(b"", "empty"), (b"text", "unknown_format"), (_file(_picture())[:400], "corrupt")]
)
def test_what_cannot_be_decoded_carries_its_reason(data, reason):
    found = measure(data, LIMITS)
    assert (found.reason, found.width) == (reason, 0)
    assert found.detail


def test_measurements_travel_and_repeat():
    data = _file(_picture())
    one, other = measure(data, LIMITS), pickle.loads(pickle.dumps(measure(data, LIMITS)))
    np.testing.assert_array_equal(one.thumbnail, other.thumbnail)
    assert one.background == other.background
    assert len(pickle.dumps(one)) < 10_000
    assert one.bits_per_pixel == pytest.approx(8 * len(data) / (120 * 90))


@pytest.mark.parametrize("size", [(16, 16), (16, 3000), (3000, 16)])
def test_extreme_shapes(size):
    found = measure(_file(_picture(*size), "PNG"), LIMITS)
    assert found.reason == ""
    assert np.isfinite(found.background).all()
