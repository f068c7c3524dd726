"""Tone: exposure and contrast of different devices brought together, the same in training and serving."""

from __future__ import annotations

import cv2
import numpy as np
from pydantic import Field

from hallmark.config import Config

_LUMINANCE = np.array([0.299, 0.587, 0.114])
_TARGET = 0.5
_EXPONENTS = (0.6, 1.6)
_PERCENTILES = (1, 99)
_CLIP_LIMIT = 2.0
_TILES = 8
_MIN_TILE_PX = 16
"""A smaller tile has too few pixels for a histogram of 256 levels: equalising it would paint noise."""


class ToneConfig(Config):
    """Which corrections a photograph gets, in this order; all off leaves it as it is."""

    gamma: bool = Field(
        False, description="raise the levels to the power that brings the mean luminance to 0.5, power 0.6 to 1.6"
    )
    stretch: bool = Field(
        False, description="spread luminance so that its 1st percentile is black and its 99th white; hue is kept"
    )
    ace: bool = Field(
        False, description="adaptive contrast enhancement: CLAHE of L in CIELAB, clip limit 2, 8 x 8 tiles"
    )


def adjust(image: np.ndarray, config: ToneConfig) -> np.ndarray:
    """Correct exposure and contrast; a deterministic function of the pixels.

    Args:
        image: (H, W, 3) uint8 RGB, H and W at least 1; not changed.
        config: the corrections; with none of them the image itself comes back.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    if config.gamma:
        image = _auto_gamma(image)
    if config.stretch:
        image = _stretch(image)
    if config.ace:
        image = _equalise_locally(image)
    return image


def _auto_gamma(image: np.ndarray) -> np.ndarray:
    """level -> level ** g with mean ** g = 0.5 where g may be so large or small; black and white stay."""
    mean = float(np.clip(np.dot(cv2.mean(image)[:3], _LUMINANCE) / 255, 1e-6, 1 - 1e-6))
    exponent = np.clip(np.log(_TARGET) / np.log(mean), *_EXPONENTS)
    levels = np.arange(256) / 255
    return cv2.LUT(image, np.rint(255 * levels**exponent).astype(np.uint8))


def _stretch(image: np.ndarray) -> np.ndarray:
    """RGB times (stretched luminance / luminance), held where a channel would pass 255: ratios of channels are kept."""
    light = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    low, high = _percentile_levels(light)
    if low >= high:
        return image
    levels = np.arange(1, 256)
    gain = np.empty(256, dtype=np.float32)
    gain[1:] = np.clip((levels - low) / (high - low), 0, 1) * 255 / levels
    gain[0] = gain[1]  # a colour so dark that its luminance rounds to 0 moves as its neighbours do
    headroom = np.concatenate(([np.inf], 255 / levels)).astype(np.float32)
    channels = cv2.split(image)
    peak = cv2.max(cv2.max(channels[0], channels[1]), channels[2])
    factor = cv2.min(cv2.LUT(light, gain), cv2.LUT(peak, headroom))
    return cv2.merge([cv2.multiply(channel, factor, dtype=cv2.CV_8U) for channel in channels])


def _percentile_levels(light: np.ndarray) -> tuple[int, int]:
    """The lowest grey levels that at least 1 % and at least 99 % of the pixels do not exceed. (H, W) uint8."""
    below = np.cumsum(np.bincount(light.ravel(), minlength=256))
    low, high = (int(np.searchsorted(below * 100, share * light.size)) for share in _PERCENTILES)
    return low, high


def _equalise_locally(image: np.ndarray) -> np.ndarray:
    """CLAHE of L; fewer tiles on a small photograph, and none on one with a side shorter than a tile."""
    height, width = image.shape[:2]
    if min(height, width) < _MIN_TILE_PX:
        return image
    tiles = (min(_TILES, width // _MIN_TILE_PX), min(_TILES, height // _MIN_TILE_PX))
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    lab[..., 0] = cv2.createCLAHE(_CLIP_LIMIT, tiles).apply(np.ascontiguousarray(lab[..., 0]))
    return cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)
