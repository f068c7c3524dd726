"""Preprocessing: one photograph to the network's input, the same in training and serving."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import cv2
import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from hallmark.config import Config

_Spread = Annotated[float, Field(gt=0)]
_LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)


class Preprocessing(Config):
    """How a photograph becomes the network's input; stored in the bundle."""

    side_px: int = Field(322, ge=16, le=4096, description="side of the square network input, px")
    fit: Literal["stretch", "pad"] = Field(
        "stretch", description="stretch both sides to the square, or pad the shorter side first"
    )
    fill: int = Field(128, ge=0, le=255, description="grey level of the padding")
    mean: tuple[float, float, float] = Field((0.485, 0.456, 0.406), description="subtracted, RGB, of values 0 to 1")
    std: tuple[_Spread, _Spread, _Spread] = Field((0.229, 0.224, 0.225), description="divided by, RGB")


class Augmentation(Config):
    """Label-preserving variation of a training photograph: what another shot of the same item might look like.

    No flip and no strong colour change: lettering is chiral and colour is evidence.
    """

    rotation_deg: float = Field(3.0, ge=0, le=45, description="largest rotation either way, degrees")
    shift: float = Field(0.03, ge=0, le=0.5, description="largest shift either way, share of the side")
    scale: float = Field(0.05, ge=0, le=0.5, description="largest enlargement or reduction")
    perspective: float = Field(0.02, ge=0, le=0.2, description="largest displacement of a corner, share of the side")
    brightness: float = Field(0.1, ge=0, le=0.5, description="largest change of brightness, share of full scale")
    gamma: float = Field(0.15, ge=0, le=1, description="largest change of log gamma")
    blur_px: float = Field(0.6, ge=0, le=5, description="largest blur, standard deviation in px of the network input")
    noise: float = Field(3.0, ge=0, le=50, description="largest noise, standard deviation in grey levels")


def prepare(image: np.ndarray, config: Preprocessing) -> np.ndarray:
    """Bring a photograph to the network's size.

    Args:
        image: (H, W, 3) uint8 RGB.

    Returns:
        (side, side, 3) uint8 RGB.
    """
    height, width = image.shape[:2]
    place = _placement(width, height, config)
    # Shrunk before it is padded: a strip of a photograph must not become a square of its longer side.
    resized = _resize(image, place.width, place.height)
    if config.fit == "stretch":
        return resized
    square = np.full((config.side_px, config.side_px, 3), config.fill, dtype=np.uint8)
    square[place.top : place.top + place.height, place.left : place.left + place.width] = resized
    return square


def vary(image: np.ndarray, augmentation: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """One random variation, drawn from `rng`, of a prepared photograph. (side, side, 3) uint8 -> the same."""
    varied = _warp(image, augmentation, rng)
    levels = varied.astype(np.float32) / 255.0
    levels = levels ** np.exp(rng.uniform(-augmentation.gamma, augmentation.gamma))
    levels += rng.uniform(-augmentation.brightness, augmentation.brightness)
    sigma = rng.uniform(0, augmentation.blur_px)
    if sigma > 0.2:
        levels = cv2.GaussianBlur(levels, (0, 0), sigma)
    if augmentation.noise:
        spread = rng.uniform(0, augmentation.noise) / 255.0
        levels += spread * rng.standard_normal(levels.shape, dtype=np.float32)
    return np.clip(np.rint(levels * 255.0), 0, 255).astype(np.uint8)


def normalise(images: Tensor, config: Preprocessing) -> Tensor:
    """(B, side, side, 3) uint8 -> (B, 3, side, side) float32, mean subtracted and divided by std."""
    mean = torch.tensor(config.mean, device=images.device) * 255.0
    std = torch.tensor(config.std, device=images.device) * 255.0
    return ((images.float() - mean) / std).permute(0, 3, 1, 2).contiguous()


def to_photograph(points: np.ndarray, width: int, height: int, config: Preprocessing) -> np.ndarray:
    """Carry points from the network input back to the photograph.

    Convention: points are (x, y) as fractions of width and height.

    Args:
        points: (N, 2) fractions of the network input.
        width: px of the photograph.
        height: px of the photograph.

    Returns:
        (N, 2) fractions of the photograph, clipped to [0, 1].
    """
    place = _placement(width, height, config)
    points = (points * config.side_px - np.array([place.left, place.top])) / np.array([place.width, place.height])
    return np.clip(points, 0.0, 1.0)


def luminance(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB -> (H, W) float32 in [0, 1]."""
    return image.astype(np.float32) @ (_LUMINANCE / 255.0)


@dataclass(frozen=True)
class _Placement:
    """Where the photograph lies in the square network input, px."""

    left: int
    top: int
    width: int
    height: int


def _placement(width: int, height: int, config: Preprocessing) -> _Placement:
    side = config.side_px
    if config.fit == "stretch":
        return _Placement(0, 0, side, side)
    longer = max(width, height)
    inner_width, inner_height = (max(1, round(side * length / longer)) for length in (width, height))
    return _Placement((side - inner_width) // 2, (side - inner_height) // 2, inner_width, inner_height)


def _resize(image: np.ndarray, width: int, height: int) -> np.ndarray:
    # Area averaging along every side that shrinks: fine print must not alias into false detail.
    shrunk = (min(image.shape[1], width), min(image.shape[0], height))
    image = cv2.resize(image, shrunk, interpolation=cv2.INTER_AREA)
    return image if shrunk == (width, height) else cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)


def _warp(image: np.ndarray, augmentation: Augmentation, rng: np.random.Generator) -> np.ndarray:
    side = image.shape[0]
    corners = np.array([[0, 0], [side, 0], [side, side], [0, side]], dtype=np.float32)
    angle = np.deg2rad(rng.uniform(-augmentation.rotation_deg, augmentation.rotation_deg))
    scale = 1.0 + rng.uniform(-augmentation.scale, augmentation.scale)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = (corners - side / 2) @ turn.T + side / 2
    moved += rng.uniform(-augmentation.shift, augmentation.shift, size=(1, 2)) * side
    moved += rng.uniform(-augmentation.perspective, augmentation.perspective, size=(4, 2)) * side
    matrix = cv2.getPerspectiveTransform(corners, moved.astype(np.float32))
    return cv2.warpPerspective(image, matrix, (side, side), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
