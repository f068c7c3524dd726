"""The surface of a photograph: its luminance, finer than the network sees it and small enough to be stored."""

from __future__ import annotations

import cv2
import numpy as np
from pydantic import Field

from hallmark.config import Config
from hallmark.errors import DecodeError
from hallmark.types import Keypoints

_KEYPOINT_SIDE_PX = 256
"""Finer, SIFT answers to grain and weave, which differ between items; coarser, it misses small print."""
_MOST_KEYPOINTS = 400
_KEYPOINT_CONTRAST = 0.02


class SurfaceConfig(Config):
    """How the surface is kept."""

    side_px: int = Field(384, ge=64, le=1024, description="side of the square, px")
    quality: int = Field(75, ge=1, le=100, description="WebP quality; a reference's surface takes about 12 KB at 75")
    least_contrast: float = Field(
        3.0,
        ge=0,
        description="grey levels of standard deviation below which a place has no texture; its cue counts 0",
    )


def encode_surface(image: np.ndarray, config: SurfaceConfig) -> bytes:
    """Luminance of a photograph that was fitted to the surface's square, as WebP.

    Queries are encoded as references are, so that compression leaves the same traces on both sides.

    Args:
        image: (S, S, 3) uint8 RGB, S = config.side_px.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return cv2.imencode(".webp", grey, [cv2.IMWRITE_WEBP_QUALITY, config.quality])[1].tobytes()


def contrast(image: np.ndarray, points: np.ndarray, radius: float) -> np.ndarray:
    """Standard deviation of the grey levels round points.

    Args:
        image: (S, S, 3) uint8 RGB.
        points: (T, 2), (x, y) as fractions of the image.
        radius: half the side of the square that is looked at, as a fraction.

    Returns:
        (T,) float32, 0 to 127.5.
    """
    side = image.shape[0]
    size = 2 * max(1, round(radius * side)) + 1
    light = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    mean, square = cv2.blur(light, (size, size)), cv2.blur(light * light, (size, size))
    columns, rows = np.clip((points * side).astype(np.int64), 0, side - 1).T
    return np.sqrt(np.maximum(square - mean * mean, 0.0))[rows, columns]


def decode_surface(surface: bytes) -> np.ndarray:
    """(S, S) uint8 luminance.

    Raises:
        DecodeError: the bytes are no surface.
    """
    grey = cv2.imdecode(np.frombuffer(surface, np.uint8), cv2.IMREAD_GRAYSCALE) if surface else None
    if grey is None or grey.shape[0] != grey.shape[1]:
        raise DecodeError("corrupt", f"surface: found {len(surface)} bytes that are no square WebP image")
    return grey


def find_keypoints(pixels: np.ndarray) -> Keypoints:
    """The strongest SIFT keypoints of a decoded surface, in an order that depends on the pixels alone.

    Args:
        pixels: (S, S) uint8.
    """
    small = cv2.resize(pixels, (_KEYPOINT_SIDE_PX, _KEYPOINT_SIDE_PX), interpolation=cv2.INTER_AREA)
    detector = cv2.SIFT_create(_MOST_KEYPOINTS, contrastThreshold=_KEYPOINT_CONTRAST)
    found, descriptors = detector.detectAndCompute(small, None)
    if descriptors is None:
        return Keypoints(np.zeros((0, 2), np.float32), np.zeros((0, 128), np.uint8))
    points = (np.array([keypoint.pt for keypoint in found], dtype=np.float32) + 0.5) / _KEYPOINT_SIDE_PX
    # SIFT's numbers are whole and at most 255.
    return Keypoints(points, descriptors.astype(np.uint8))
