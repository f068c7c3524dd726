"""Attention maps (GradCAM): which places of a photograph speak for the class that a classifier tells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional as F

from hallmark.data.batches import to_images
from hallmark.evaluation.canvas import LIGHTBOX, LIGHTBOX_INK, canvas, styled
from hallmark.evaluation.measures import Figures
from hallmark.evaluation.outcomes import photographs
from hallmark.methods.base import Classifier
from hallmark.training.run import RunConfig

_HEAT = "inferno"
_TILE_INCHES = 1.5


@dataclass(frozen=True)
class AttentionMap:
    """One photograph and what speaks for its class."""

    pixels: np.ndarray
    """(S, S, 3) uint8, the network's input."""
    content: np.ndarray
    """(S, S) bool: photograph and not padding."""
    heat: np.ndarray
    """(S, S) float32, 0 to 1 at the strongest place of the content; 0 over padding and where nothing speaks for it."""
    told: int
    """The class it is about, the likeliest."""
    inside: float | None
    """Share of the map's energy inside the content before padding is left out; None where the map is all zero."""


class EnergyInside(Figures):
    """How much of the maps' energy lies on photograph and not on padding; means over the n padded photographs."""

    n: int
    inside: float | None
    content: float | None
    """Share of the area that is content: what a map without preference would have."""


def grad_cam(method: Classifier, images: Tensor) -> tuple[Tensor, Tensor]:
    """The last feature map, its channels weighted by the mean gradient of the likeliest class's logit, and ReLU.

    Args:
        method: in evaluation mode, with its feature map from `method.backbone`; its parameters get no gradient.
        images: (B, 3, H, W).

    Returns:
        (B, h, w) float32, not negative, and (B,) int64 the likeliest class.
    """
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        kept.append(output.detach().requires_grad_())
        return kept[0]

    handle = method.backbone.register_forward_hook(keep)
    try:
        with torch.enable_grad():
            logits = method.classify(images).logits
            told = logits.argmax(dim=1)
            (gradient,) = torch.autograd.grad(logits.gather(1, told[:, None]).sum(), kept[0])
    finally:
        handle.remove()
    return weighted_channels(kept[0].detach(), gradient), told


def weighted_channels(features: Tensor, gradient: Tensor) -> Tensor:
    """(B, C, h, w) twice -> (B, h, w) float32: channels weighted by their mean gradient, summed, and ReLU."""
    return F.relu((gradient.mean(dim=(2, 3), keepdim=True) * features).sum(dim=1)).float()


def attention_maps(
    method: Classifier, run: RunConfig, table: pa.Table, device: torch.device | str = "cpu"
) -> list[AttentionMap]:
    """The maps of the photographs of a table, as serving shows them to the network.

    Raises:
        DecodeError, DataError: one cannot be read; names it.
    """
    maps = []
    for batch in photographs(run, table):
        heat, told = grad_cam(method, to_images(batch, run.preprocessing, device))
        contents = batch.get("content", np.ones(batch["image"].shape[:3], dtype=bool))
        rows = zip(batch["image"], contents, heat.cpu(), told.tolist(), strict=True)
        maps += [over_pixels(pixels, content, own, place) for pixels, content, own, place in rows]
    return maps


def energy_inside(maps: Sequence[AttentionMap]) -> EnergyInside:
    """Sum up the padded photographs; those whose map is all zero are left out."""
    padded = [(one.inside, one.content.mean()) for one in maps if one.inside is not None and not one.content.all()]
    if not padded:
        return EnergyInside(n=0, inside=None, content=None)
    inside, content = np.mean(padded, axis=0)
    return EnergyInside(n=len(padded), inside=float(inside), content=float(content))


@styled
def draw_attention(captions: Sequence[str], rows: Sequence[tuple[str, Sequence[AttentionMap]]]) -> Figure:
    """Photographs side by side, and below each its map by every bundle; padding stays dark.

    Args:
        captions: over each photograph; three lines at most.
        rows: name of a bundle and its maps, in the order of the captions; every bundle has the same photographs.
    """
    wide = len(captions)
    figure = canvas(_TILE_INCHES * wide + 0.5, _TILE_INCHES * (len(rows) + 1) + 0.6, LIGHTBOX)
    grid = figure.subplots(len(rows) + 1, wide, squeeze=False)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.grid(False)
        axes.spines[:].set_visible(False)
    shown = rows[0][1]
    for axes, caption, one in zip(grid[0], captions, shown, strict=True):
        axes.imshow(one.pixels)
        axes.set_title(caption, fontsize=7.5, color=LIGHTBOX_INK, fontweight="normal", loc="center")
    for line, (name, maps) in zip(grid[1:], rows, strict=True):
        for axes, one in zip(line, maps, strict=True):
            axes.imshow(np.where(one.content[..., None], one.pixels * 0.55, 0).astype(np.uint8))
            axes.imshow(one.heat, cmap=_HEAT, vmin=0, vmax=1, alpha=np.clip(1.4 * one.heat, 0, 0.8))
        line[0].set_ylabel(name, fontsize=8, color=LIGHTBOX_INK)
    grid[0][0].set_ylabel("network input", fontsize=8, color=LIGHTBOX_INK)
    return figure


def over_pixels(pixels: np.ndarray, content: np.ndarray, heat: Tensor, told: int) -> AttentionMap:
    """Carry a map of places to the pixels; energy is counted there, where padding has its exact border.

    Args:
        pixels: (S, S, 3) uint8.
        content: (S, S) bool, photograph and not padding.
        heat: (h, w), not negative.
        told: the class it is about.
    """
    side = pixels.shape[:2]
    spread = F.interpolate(heat[None, None], size=side, mode="bilinear", align_corners=False)[0, 0].double().numpy()
    total = float(spread.sum())
    kept = np.where(content, spread, 0.0)
    strongest = kept.max()
    shown = kept / strongest if strongest > 0 else kept
    return AttentionMap(pixels, content, shown.astype(np.float32), told, float(kept.sum() / total) if total else None)
