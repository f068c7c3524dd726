"""A photograph's product laid over another background."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from pydantic import Field

from hallmark.config import Config
from hallmark.errors import DataError

_PAD_PX = 4


class CompositeConfig(Config):
    """How a product is laid over another background."""

    mode: Literal["alpha", "poisson_bg", "poisson_fg"] = Field(
        "alpha",
        description="alpha: feathered mask; "
        "poisson_bg: the new background's gradients in the old one's colours, around the exact product; "
        "poisson_fg: the product's gradients cloned into the background, which recolours the product",
    )
    feather_px: float = Field(2.0, ge=0, le=20, description="alpha: standard deviation of the mask's soft edge, px")
    dilate_px: int = Field(3, ge=0, le=50, description="Poisson modes: how far the seam lies outside the product, px")


def replace_background(
    image: np.ndarray, probability: np.ndarray, background: np.ndarray, config: CompositeConfig
) -> np.ndarray:
    """Lay the foreground of a photograph over another background (MGFEN eq. 2).

    The foreground is where the probability exceeds one half. Eq. 2 multiplies the source by a soft mask, whose dark
    gradients a Poisson solver would integrate; here the source is whole and the mask binary.

    Args:
        image: (H, W, 3) uint8 RGB.
        probability: (H, W), foreground probability 0 to 1.
        background: (H, W, 3) uint8 RGB.

    Returns:
        (H, W, 3) uint8 RGB; the image where all is foreground, the background where nothing is.

    Raises:
        DataError: the sizes differ.
    """
    if probability.shape != image.shape[:2] or background.shape != image.shape:
        raise DataError(
            f"background replacement: found a photograph of shape {image.shape}, a mask of {probability.shape} and a "
            f"background of {background.shape}; wanted one height and width; resize the mask and the background first"
        )
    foreground = probability > 0.5
    if foreground.all():
        return image.copy()
    if not foreground.any():
        return background.copy()
    if config.mode == "alpha":
        return _alpha(image, foreground, background, config.feather_px)
    seam = _dilated(foreground, config.dilate_px)
    if config.mode == "poisson_bg":
        # The solver lets the product drift by a level or so; its own pixels are put back.
        blended = _cloned(background, image, ~seam)
        return np.where(foreground[..., None], image, blended)
    return _cloned(image, background, seam)


def _alpha(image: np.ndarray, foreground: np.ndarray, background: np.ndarray, feather_px: float) -> np.ndarray:
    alpha = foreground.astype(np.float32)
    if feather_px > 0:
        # The photograph's border is no edge of the product: a product cut off by it stays whole there.
        alpha = cv2.GaussianBlur(alpha, (0, 0), feather_px, borderType=cv2.BORDER_REPLICATE)
    mixed = background + alpha[..., None] * (image.astype(np.float32) - background)
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


def _dilated(mask: np.ndarray, radius_px: int) -> np.ndarray:
    if radius_px == 0:
        return mask
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius_px + 1,) * 2)
    return cv2.dilate(mask.astype(np.uint8), disc).astype(bool)


def _cloned(source: np.ndarray, target: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The gradients of `source` inside the mask integrated from the colours of `target` around it."""
    if not mask.any():
        return target.copy()
    # The solver refuses a mask that touches the border, and needs known colours all round it.
    pads = (_PAD_PX,) * 4
    source, target = (cv2.copyMakeBorder(picture, *pads, cv2.BORDER_REPLICATE) for picture in (source, target))
    padded = cv2.copyMakeBorder(mask.astype(np.uint8) * 255, *pads, cv2.BORDER_CONSTANT, value=0)
    # A ring of one px belongs to the solver; a mask of a few px would leave it nothing to solve.
    left, top, width, height = cv2.boundingRect(padded)
    if min(width, height) < 3:
        padded = _dilated(padded > 0, 1).astype(np.uint8) * 255
        left, top, width, height = cv2.boundingRect(padded)
    centre = (left + width // 2, top + height // 2)
    blended = cv2.seamlessClone(source, target, padded, centre, cv2.NORMAL_CLONE)
    return np.ascontiguousarray(blended[_PAD_PX:-_PAD_PX, _PAD_PX:-_PAD_PX])
