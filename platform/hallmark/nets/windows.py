"""Windows on the hottest parts of an image, and what the image's own pixels show there (APPM)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from hallmark.config import Config
from hallmark.errors import ConfigError

_Share = Annotated[float, Field(gt=0, le=1)]


class WindowsConfig(Config):
    """Which windows are looked into, and at what size."""

    count: int = Field(4, ge=1, le=32, description="windows an image, K")
    sides: tuple[_Share, ...] = Field(
        (96 / 448, 144 / 448, 192 / 448), min_length=1, description="sides of the windows, shares of the image's side"
    )
    stride: float = Field(
        16 / 448, gt=0, le=1, description="distance of neighbouring windows, share of the image's side"
    )
    crop_px: int = Field(224, ge=16, le=1024, description="side that a window is brought to, px")
    native: bool = Field(
        True, description="crop the pixels that were given; false: those of the shrunken image that the heat is of"
    )
    weights: Literal["heat", "mean"] = Field(
        "heat", description="a window's share of the vote: its mean heat over all windows', or alike for all"
    )
    nms_iou: float = Field(0.25, ge=0, lt=1, description="largest overlap of two windows, intersection over union")


@dataclass(frozen=True)
class Windows:
    """K windows of each of B images, the hottest first."""

    places: Tensor
    """(B, K, 4) int64: y0, x0, y1, x1 in cells of the heat map, half open, inside it."""
    scores: Tensor
    """(B, K) float32: mean heat inside, with gradient."""
    padded: Tensor
    """(B, K) bool: True where no window was left that keeps to the overlap, and the next best was taken."""


def choose_windows(heat: Tensor, config: WindowsConfig) -> Windows:
    """The K windows of highest mean heat, greedily, of which no two overlap by more than `nms_iou`.

    Candidates lie on a grid, as squares of every side. Where fewer than K can be had that keep to the overlap, the
    hottest of the rest follow, whatever they overlap, and are marked; no window comes twice.

    Args:
        heat: (B, h, w).
        config: sides, stride, count and overlap.

    Raises:
        ConfigError: the grid has fewer than K windows.
    """
    height, width = heat.shape[-2:]
    grid = _grid(height, width, config.sides, config.stride)
    if len(grid) < config.count:
        raise ConfigError(
            f"windows.count: found {config.count}, and a heat map of {height} x {width} cells has {len(grid)} windows; "
            "wanted at most as many; a smaller windows.stride or windows.sides gives more"
        )
    places = torch.tensor(grid, device=heat.device)
    scores = _mean_heat(heat, config)
    overlapping = _iou(places) > config.nms_iou
    chosen, padded = _suppressed(scores.detach(), overlapping, config.count)
    return Windows(places[chosen], scores.gather(1, chosen), padded)


def _mean_heat(heat: Tensor, config: WindowsConfig) -> Tensor:
    """(B, M) mean heat of every candidate, in the order of `_grid`."""
    step = _cells(heat.shape[-2], config.stride), _cells(heat.shape[-1], config.stride)
    sides = [(_cells(heat.shape[-2], side), _cells(heat.shape[-1], side)) for side in config.sides]
    pooled = [F.avg_pool2d(heat.float()[:, None], side, step).flatten(1) for side in sides]
    return torch.cat(pooled, dim=1)


@cache
def _grid(height: int, width: int, sides: tuple[float, ...], stride: float) -> tuple[tuple[int, int, int, int], ...]:
    """Every candidate, side by side, row by row: y0, x0, y1, x1."""
    down, across = _cells(height, stride), _cells(width, stride)
    return tuple(
        (top, left, top + tall, left + wide)
        for tall, wide in ((_cells(height, side), _cells(width, side)) for side in sides)
        for top in range(0, height - tall + 1, down)
        for left in range(0, width - wide + 1, across)
    )


def _cells(length: int, share: float) -> int:
    return min(length, max(1, round(length * share)))


def _iou(places: Tensor) -> Tensor:
    """(M, 4) -> (M, M) float, intersection over union."""
    low = torch.maximum(places[:, None, :2], places[None, :, :2])
    high = torch.minimum(places[:, None, 2:], places[None, :, 2:])
    common = (high - low).clamp_min(0).prod(dim=2)
    area = (places[:, 2:] - places[:, :2]).prod(dim=1)
    return common / (area[:, None] + area[None, :] - common)


def _suppressed(scores: Tensor, overlapping: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Greedy suppression of all images at once: (B, M) scores -> (B, K) int64 candidates, (B, K) bool: padded."""
    free = torch.ones_like(scores, dtype=torch.bool)
    left = free.clone()
    chosen, padded = [], []
    for _ in range(count):
        none_free = ~free.any(dim=1, keepdim=True)
        best = scores.masked_fill(~torch.where(none_free, left, free), -math.inf).argmax(dim=1)
        chosen.append(best)
        padded.append(none_free.squeeze(1))
        left = left.scatter(1, best[:, None], False)
        free = free & left & ~overlapping[best]
    return torch.stack(chosen, dim=1), torch.stack(padded, dim=1)


def as_fractions(places: Tensor, height: int, width: int) -> Tensor:
    """(B, K, 4) y0, x0, y1, x1 in cells of a map -> x0, y0, x1, y1 float32, fractions of its sides."""
    size = torch.tensor([height, width, height, width], device=places.device)
    return (places / size).float()[..., [1, 0, 3, 2]]


def crop(images: Tensor, windows: Tensor, crop_px: int, largest: float = 1.0) -> Tensor:
    """What an image shows in its windows, each brought to one size.

    Bilinear sampling at the output's pitch, or where windows shrink at a whole part of it and then averaged: every
    output pixel is a mean over its own part of the window, so that fine print does not alias.

    Args:
        images: (B, 3, H, W).
        windows: (B, K, 4) x0, y0, x1, y1, fractions of the image's sides.
        crop_px: S, side of the output.
        largest: side of the largest window, a fraction; decides how finely is sampled.

    Returns:
        (B·K, 3, S, S) in the images' dtype: image by image, window by window.
    """
    fine = max(1, math.ceil(largest * max(images.shape[-2:]) / crop_px - 1e-6))
    fine_px = fine * crop_px
    places = (torch.arange(fine_px, device=images.device, dtype=torch.float32) + 0.5) / fine_px
    low, high = windows.float().split(2, dim=2)
    at = low[..., None] + (high - low)[..., None] * places  # (B, K, 2, fine_px), x then y
    columns, rows = (2.0 * at - 1.0).to(images.dtype).unbind(2)
    shape = (*columns.shape[:2], fine_px, fine_px)
    grid = torch.stack([columns[:, :, None, :].expand(shape), rows[:, :, :, None].expand(shape)], dim=-1)
    # The windows of an image lie one below the other, so that the image itself need not be repeated.
    sampled = F.grid_sample(images, grid.flatten(1, 2), mode="bilinear", padding_mode="border", align_corners=False)
    crops = sampled.unflatten(2, (windows.shape[1], fine_px)).transpose(1, 2).flatten(0, 1)
    return F.avg_pool2d(crops, fine) if fine > 1 else crops
