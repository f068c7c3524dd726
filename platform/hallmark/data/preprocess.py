"""Preprocessing: one photograph to the network's input, the same in training and serving."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor
from typing import Annotated

import cv2
import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from hallmark.config import Config
from hallmark.data.padding import Content, Fill, centred, pad_to_square
from hallmark.data.surface import SurfaceConfig
from hallmark.data.tone import ToneConfig, adjust
from hallmark.errors import DataError

Box = tuple[float, float, float, float]
"""Where a product is in a photograph: x0, y0, x1, y1 in px."""

_Spread = Annotated[float, Field(gt=0)]
_LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)


class Preprocessing(Config):
    """How a photograph becomes the network's input; stored in the bundle."""

    side_px: int = Field(322, ge=16, le=4096, description="side of the square network input, px")
    margin: float = Field(
        0.05, ge=0, le=1, description="added round a box on each side, share of the box's width or height"
    )
    tone: ToneConfig = ToneConfig()
    fill: Fill = Field(
        "none",
        description="padding that makes a photograph square before it is resized: none (stretch it instead), black, "
        "white, gray, random (a colour a photograph), uniform (mean colour of the adjacent edge), auto (gray or none)",
    )
    fill_above: float = Field(
        1.25, ge=1, le=100, description="longer side over shorter side above which fill `auto` pads"
    )
    mean: tuple[float, float, float] = Field((0.485, 0.456, 0.406), description="subtracted, RGB, of values 0 to 1")
    std: tuple[_Spread, _Spread, _Spread] = Field((0.229, 0.224, 0.225), description="divided by, RGB")
    surface: SurfaceConfig = SurfaceConfig()


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


@dataclass(frozen=True)
class Fitted:
    """A photograph at the network's size."""

    pixels: np.ndarray
    """(S, S, 3) uint8 RGB."""
    content: Content
    """Where the photograph lies; the rest is padding."""


def prepare(
    image: np.ndarray, config: Preprocessing, box: Box | None = None, rng: np.random.Generator | None = None
) -> Fitted:
    """A decoded photograph to the network's size: cut, then tone, then fit.

    Args:
        image: (H, W, 3) uint8 RGB; not changed.
        config: the preprocessing of the bundle or run.
        box: where the product is, (x0, y0, x1, y1) px; None is the whole photograph.
        rng: needed where the fill is `random` only.

    Raises:
        DataError: the box has no area inside the photograph.
        ValueError: the fill is `random` and there is no rng.
    """
    return fit(adjust(cut(image, box, config.margin), config.tone), config, rng)


def cut(image: np.ndarray, box: Box | None, margin: float) -> np.ndarray:
    """The part of a photograph inside a box and its margin; nothing of the box inside the photograph is lost.

    Args:
        image: (H, W, ...), a photograph or a mask.
        box: (x0, y0, x1, y1) px, whole or not; None is the whole photograph.
        margin: added on each side, share of the box's width or height.

    Returns:
        (h, w, ...), a view of `image`.

    Raises:
        DataError: the box has no area inside the photograph.
    """
    x0, y0, x1, y1 = _region(image.shape[1], image.shape[0], box, margin)
    return image[y0:y1, x0:x1]


def fit(image: np.ndarray, config: Preprocessing, rng: np.random.Generator | None = None) -> Fitted:
    """Stretch a photograph to the network's square, or shrink or enlarge it and pad it to that square.

    Args:
        image: (H, W, 3) uint8 RGB; not changed.
        config: side and fill.
        rng: needed where the fill is `random` only.

    Raises:
        ValueError: the fill is `random` and there is no rng.
    """
    height, width = image.shape[:2]
    x0, y0, x1, y1 = content = _content(width, height, config)
    # Resized before it is padded: a strip of a photograph must not become a square of its longer side.
    resized = _resize(image, x1 - x0, y1 - y0)
    padded = pad_to_square(resized, _fill(width, height, config), rng)
    return Fitted(padded.image, content)


def content_mask(fitted: Fitted) -> np.ndarray:
    """Where a fitted photograph is photograph and not padding. (S, S) bool."""
    mask = np.zeros(fitted.pixels.shape[:2], dtype=bool)
    x0, y0, x1, y1 = fitted.content
    mask[y0:y1, x0:x1] = True
    return mask


def fit_mask(mask: np.ndarray, config: Preprocessing, box: Box | None = None) -> np.ndarray:
    """A photograph's mask as the network input shows it, cut and fitted alike; padding lies outside.

    Args:
        mask: (H, W) bool.
        config: the preprocessing that the photograph goes through.
        box: the box that it is cut by, or None.

    Returns:
        (S, S) bool.

    Raises:
        DataError: the box has no area inside the photograph.
    """
    part = cut(mask, box, config.margin)
    x0, y0, x1, y1 = _content(part.shape[1], part.shape[0], config)
    fitted = np.zeros((config.side_px, config.side_px), dtype=bool)
    fitted[y0:y1, x0:x1] = _resize(part.astype(np.uint8) * 255, x1 - x0, y1 - y0) > 127
    return fitted


def vary(
    pixels: np.ndarray, augmentation: Augmentation, rng: np.random.Generator, *masks: np.ndarray
) -> tuple[np.ndarray, ...]:
    """One random variation of a fitted photograph and of masks of it.

    What a warp brings in from outside is the photograph mirrored at its border, padding included; masks follow it.

    Args:
        pixels: (S, S, 3) uint8 RGB; not changed.
        augmentation: the ranges.
        rng: decides the variation.
        masks: (S, S) bool each; they take no part in the drawing.

    Returns:
        (S, S, 3) uint8, and the masks.
    """
    side = pixels.shape[0]
    matrix = _draw_warp(side, augmentation, rng)
    varied = _warp(pixels, matrix, cv2.INTER_CUBIC)
    levels = varied.astype(np.float32) / 255.0
    levels = levels ** np.exp(rng.uniform(-augmentation.gamma, augmentation.gamma))
    levels += rng.uniform(-augmentation.brightness, augmentation.brightness)
    sigma = rng.uniform(0, augmentation.blur_px)
    if sigma > 0.2:
        levels = cv2.GaussianBlur(levels, (0, 0), sigma)
    if augmentation.noise:
        spread = rng.uniform(0, augmentation.noise) / 255.0
        levels += spread * rng.standard_normal(levels.shape, dtype=np.float32)
    varied = np.clip(np.rint(levels * 255.0), 0, 255).astype(np.uint8)
    return varied, *(_warp(mask.astype(np.uint8), matrix, cv2.INTER_NEAREST).astype(bool) for mask in masks)


def normalise(images: Tensor, config: Preprocessing) -> Tensor:
    """(B, side, side, 3) uint8 -> (B, 3, side, side) float32, mean subtracted and divided by std."""
    mean = torch.tensor(config.mean, device=images.device) * 255.0
    std = torch.tensor(config.std, device=images.device) * 255.0
    return ((images.float() - mean) / std).permute(0, 3, 1, 2).contiguous()


def input_frame(width: int, height: int, config: Preprocessing, box: Box | None = None) -> np.ndarray:
    """Where the network input lies in the photograph, through padding and cut.

    Args:
        width: px of the photograph.
        height: px of the photograph.
        config: the preprocessing that the photograph went through.
        box: the box that it was cut by, or None.

    Returns:
        (4,) float32 f: a point (x, y), in fractions of the input, lies at (f0·x + f1, f2·y + f3), in fractions of the
        photograph's width and height; beyond 0 to 1 is padding or outside the photograph.

    Raises:
        DataError: the box has no area inside the photograph.
    """
    across, left, down, top = _placed(width, height, config, box)
    return np.array((across / width, left / width, down / height, top / height), dtype=np.float32)


def boxes_in_photograph(
    boxes: np.ndarray, width: int, height: int, config: Preprocessing, box: Box | None = None
) -> np.ndarray:
    """Carry boxes from the network input to the photograph, through padding and cut.

    Args:
        boxes: (N, 4) x0, y0, x1, y1 as fractions of the network input.
        width: px of the photograph.
        height: px of the photograph.
        config: the preprocessing that the photograph went through.
        box: the box that it was cut by, or None.

    Returns:
        (N, 4) float64 x0, y0, x1, y1 in px of the photograph, not clipped to it: what was padding lies beside it.

    Raises:
        DataError: the box has no area inside the photograph.
    """
    across, left, down, top = _placed(width, height, config, box)
    scale, offset = np.array([across, down] * 2), np.array([left, top] * 2)
    return np.asarray(boxes, dtype=np.float64) * scale + offset


def to_photograph(points: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Carry points (N, 2) from the network input to the photograph, both as fractions; those outside go to its edge."""
    return np.clip(points * frame[[0, 2]] + frame[[1, 3]], 0.0, 1.0)


def luminance(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB -> (H, W) float32 in [0, 1]."""
    return image.astype(np.float32) @ (_LUMINANCE / 255.0)


def _region(width: int, height: int, box: Box | None, margin: float) -> Content:
    """What a box and its margin cut out of a photograph of this size, whole px, the ends exclusive."""
    if box is None:
        return 0, 0, width, height
    x0, y0, x1, y1 = box
    if not (x0 < min(width, x1) and x1 > 0 and y0 < min(height, y1) and y1 > 0):  # false of a NaN too
        raise DataError(
            f"box: found {tuple(map(float, box))} on a photograph of {width} x {height} px; "
            "wanted x0 < x1 and y0 < y1 in px, at least partly inside it; correct or drop the box"
        )
    across, down = margin * (x1 - x0), margin * (y1 - y0)
    return (
        floor(max(0, x0 - across)),
        floor(max(0, y0 - down)),
        ceil(min(width, x1 + across)),
        ceil(min(height, y1 + down)),
    )


def _placed(width: int, height: int, config: Preprocessing, box: Box | None) -> tuple[float, float, float, float]:
    """The network input as the photograph sees it: its width and left end, its height and top end, px."""
    left, top, right, bottom = _region(width, height, box, config.margin)
    x0, y0, x1, y1 = _content(right - left, bottom - top, config)
    across, down = (right - left) / (x1 - x0), (bottom - top) / (y1 - y0)
    return config.side_px * across, left - x0 * across, config.side_px * down, top - y0 * down


def _fill(width: int, height: int, config: Preprocessing) -> Fill:
    if config.fill != "auto":
        return config.fill
    return "gray" if max(width, height) > config.fill_above * min(width, height) else "none"


def _content(width: int, height: int, config: Preprocessing) -> Content:
    """Where a photograph of this size lies in the network input, px."""
    side = config.side_px
    if _fill(width, height, config) == "none":
        return 0, 0, side, side
    longer = max(width, height)
    return centred(*(max(1, round(side * length / longer)) for length in (width, height)), side)


def _resize(image: np.ndarray, width: int, height: int) -> np.ndarray:
    # Area averaging along every side that shrinks: fine print must not alias into false detail.
    shrunk = (min(image.shape[1], width), min(image.shape[0], height))
    image = cv2.resize(image, shrunk, interpolation=cv2.INTER_AREA)
    return image if shrunk == (width, height) else cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)


def _draw_warp(side: int, augmentation: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """A random perspective transformation of a square. (3, 3) float64, from px to px."""
    corners = np.array([[0, 0], [side, 0], [side, side], [0, side]], dtype=np.float32)
    angle = np.deg2rad(rng.uniform(-augmentation.rotation_deg, augmentation.rotation_deg))
    scale = 1.0 + rng.uniform(-augmentation.scale, augmentation.scale)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = (corners - side / 2) @ turn.T + side / 2
    moved += rng.uniform(-augmentation.shift, augmentation.shift, size=(1, 2)) * side
    moved += rng.uniform(-augmentation.perspective, augmentation.perspective, size=(4, 2)) * side
    return cv2.getPerspectiveTransform(corners, moved.astype(np.float32))


def _warp(image: np.ndarray, matrix: np.ndarray, interpolation: int) -> np.ndarray:
    size = (image.shape[1], image.shape[0])
    return cv2.warpPerspective(image, matrix, size, flags=interpolation, borderMode=cv2.BORDER_REFLECT_101)
