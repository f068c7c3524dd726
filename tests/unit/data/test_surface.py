"""The stored surface: there and back, and where a photograph has texture."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hallmark.config import validate
from hallmark.data.surface import SurfaceConfig, contrast, decode_surface, encode_surface
from hallmark.errors import ConfigError, DecodeError


def smooth(side: int, seed: int = 0) -> np.ndarray:
    """A picture that compresses well, in three different channels."""
    coarse = np.random.default_rng(seed).integers(40, 216, (6, 6, 3), dtype=np.uint8)
    return cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize("side", [64, 100, 384])
def test_comes_back_as_its_luminance(side: int) -> None:
    image = smooth(side)
    found = decode_surface(encode_surface(image, SurfaceConfig(side_px=side)))
    assert found.shape == (side, side)
    assert found.dtype == np.uint8
    assert np.abs(found - image @ np.array([0.299, 0.587, 0.114])).mean() < 2


def test_the_same_pixels_give_the_same_bytes() -> None:
    image = smooth(96)
    assert encode_surface(image, SurfaceConfig()) == encode_surface(image.copy(), SurfaceConfig())
    assert encode_surface(image, SurfaceConfig()) != encode_surface(smooth(96, 1), SurfaceConfig())


def test_quality_is_paid_for_in_bytes() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    rough, fine = (encode_surface(noise, SurfaceConfig(quality=quality)) for quality in (20, 95))
    assert len(rough) < len(fine)
    grey = cv2.cvtColor(noise, cv2.COLOR_RGB2GRAY).astype(float)
    assert np.abs(decode_surface(fine) - grey).mean() < np.abs(decode_surface(rough) - grey).mean()


@pytest.mark.parametrize("data", [b"", b"no surface", b"RIFF\x10\x00\x00\x00WEBPVP8 ", bytes(range(256))])
def test_what_is_no_surface_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError, match=f"surface: found {len(data)} bytes"):
        decode_surface(data)


def test_a_torn_or_oblong_surface_is_refused() -> None:
    whole = encode_surface(smooth(64), SurfaceConfig())
    for torn in (whole[: len(whole) // 2], whole[:25], whole[1:]):
        with pytest.raises(DecodeError):
            decode_surface(torn)
    oblong = cv2.imencode(".webp", smooth(64)[:40])[1].tobytes()
    with pytest.raises(DecodeError, match="no square"):
        decode_surface(oblong)


def plain_contrast(image: np.ndarray, point: np.ndarray, radius: float) -> float:
    """Standard deviation over the square round one point; beyond the border the picture is mirrored."""
    side = len(image)
    light = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(float)
    reach = max(1, round(radius * side))
    column, row = (min(side - 1, max(0, int(place * side))) for place in point)
    levels = []
    for y in range(row - reach, row + reach + 1):
        for x in range(column - reach, column + reach + 1):
            inside = [abs(place) if place < side else 2 * (side - 1) - place for place in (y, x)]
            levels.append(light[inside[0], inside[1]])
    return float(np.std(levels))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), side=st.integers(24, 50), radius=st.floats(0.0, 0.2))
def test_contrast_agrees_with_plain_loops(seed: int, side: int, radius: float) -> None:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
    points = np.vstack([rng.random((4, 2)), [[0, 0], [1, 1], [0, 1]]])
    found = contrast(image, points, radius)
    assert found == pytest.approx([plain_contrast(image, point, radius) for point in points], abs=0.05)


def test_contrast_is_nought_on_blank_paper_and_highest_on_an_edge() -> None:
    image = np.full((100, 100, 3), 200, dtype=np.uint8)
    points = np.array([[0.25, 0.5], [0.75, 0.5], [0.5, 0.5]])
    assert contrast(image, points, 0.05).tolist() == [0, 0, 0]
    image[:, 50:] = 0
    left, right, edge = contrast(image, points, 0.05)
    assert left == right == 0
    assert edge == pytest.approx(100, abs=3)
    assert contrast(image, np.zeros((0, 2)), 0.05).shape == (0,)


@pytest.mark.parametrize("wrong", [{"side_px": 8}, {"quality": 0}, {"least_contrast": -1}, {"format": "png"}])
def test_settings_out_of_range_are_named(wrong: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        validate(SurfaceConfig, wrong, "surface")
