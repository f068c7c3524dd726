"""L_local: the cues of two genuine photographs of a product are alike, and unlike what lies around them."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from hallmark.config import Config

_PULL_FOREGROUND, _PULL_BACKGROUND = 0.7, 0.3


class ForegroundContrastConfig(Config):
    """Weights of the foreground contrast."""

    weight: float = Field(1.0, ge=0, description="weight in the total loss")
    form: Literal["soft_triplet", "triplet", "weighted_pull"] = Field(
        "soft_triplet",
        description="triplet: foregrounds nearer to each other than to backgrounds by the margin, as the paper has it; "
        "soft_triplet: the same without an end, since centred prototypes soon lie the margin apart; "
        "weighted_pull: foregrounds together and backgrounds together, as the ancestor's code has it",
    )
    margin: float = Field(0.3, ge=0, le=2, description="triplets: least lead of the foregrounds' cosine")
    train_features: bool = Field(
        False, description="true: the local descriptors learn too; false: only the mask does, and cannot be cheated"
    )


def foreground_contrast_loss(
    local: Tensor, mask: Tensor, anchors: Tensor, partners: Tensor, config: ForegroundContrastConfig
) -> Tensor:
    """First paper, L_local of equation 7, mean over pairs of genuine photographs of a product.

    With M the mask over its largest value, fg = sum_i M_i d_i and bg = sum_i (1 - M_i) d_i are the prototypes of a
    photograph. `triplet` is max(0, margin + max(cos(fg_a, bg_a), cos(fg_p, bg_p), cos(fg_a, bg_p)) - cos(fg_a, fg_p))
    on descriptors less their mean over the batch: without that all prototypes point the same way. `soft_triplet` is
    log(1 + exp(.)) of the same in place of max(0, .): centring sets background against foreground, so that the hinge
    is satisfied within a few epochs and teaches the mask nothing more. `weighted_pull` is
    0.7 (1 - cos(fg_a, fg_p)) + 0.3 (1 - cos(bg_a, bg_p)) on the descriptors as they are.

    Args:
        local: (B, N, l) local descriptors at all tokens, unit norm.
        mask: (B, N), not negative.
        anchors: (P,) int64, photographs of the batch.
        partners: (P,) int64, beside each anchor a genuine photograph of its product.

    Returns:
        () float; zero, with a gradient of zeros, where there is no pair.
    """
    if anchors.numel() == 0:
        return (local.sum() + mask.sum()) * 0.0
    if not config.train_features:
        local = local.detach()
    if config.form != "weighted_pull":
        local = local - local.mean(dim=(0, 1))
    foreground, background = prototypes(local, mask)
    fg_a, fg_p, bg_a, bg_p = foreground[anchors], foreground[partners], background[anchors], background[partners]
    together = (fg_a * fg_p).sum(dim=1)
    if config.form == "weighted_pull":
        apart = (bg_a * bg_p).sum(dim=1)
        return (_PULL_FOREGROUND * (1 - together) + _PULL_BACKGROUND * (1 - apart)).mean()
    around = torch.stack([(fg_a * bg_a).sum(dim=1), (fg_p * bg_p).sum(dim=1), (fg_a * bg_p).sum(dim=1)])
    short = config.margin + around.amax(dim=0) - together
    return (F.softplus(short) if config.form == "soft_triplet" else torch.relu(short)).mean()


def prototypes(local: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Unit sums of the descriptors inside and outside the mask: (B, N, l), (B, N) -> twice (B, l)."""
    inside = mask / mask.amax(dim=1, keepdim=True).clamp_min(1e-12)
    foreground = torch.einsum("bn,bnl->bl", inside, local)
    background = torch.einsum("bn,bnl->bl", 1 - inside, local)
    return F.normalize(foreground, dim=1), F.normalize(background, dim=1)
