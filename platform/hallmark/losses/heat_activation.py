"""A weak target for a heat map: where the whole image's evidence for its class lies (MGFEN)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from hallmark.losses.class_entropy import UNCLASSED

_NOTHING = 1e-6


def class_activation(logits: Tensor, class_index: Tensor, foreground: Tensor | None = None) -> Tensor:
    """Where a photograph's class is told by more than elsewhere in it, from 0 to 1 at its strongest place.

    The class's logit less the mean of all classes, since softmax looks at differences alone, less that difference's
    mean over the image, since what speaks for the class everywhere tells no place; below the mean it is 0. What lies
    around a product must not tell its class, whatever the network reads in it: there it is 0 too.

    Args:
        logits: (B, h, w, C), a head's answer to each place's features.
        class_index: (B,) int64, 0 to C - 1; -1, no class, gives zeros.
        foreground: (B, H, W) in [0, 1], how much of each place can tell the class; None = all of it.

    Returns:
        (B, h, w), or with a foreground (B, H, W), float32 without gradient; zeros where all places speak for the class
        alike.
    """
    logits = logits.detach().float()
    centred = logits - logits.mean(dim=3, keepdim=True)
    of_class = class_index.clamp_min(0)[:, None, None, None].expand(*logits.shape[:3], 1)
    evidence = centred.gather(3, of_class).squeeze(3)
    above = F.relu(evidence - evidence.mean(dim=(1, 2), keepdim=True)) * (class_index != UNCLASSED)[:, None, None]
    if foreground is not None:
        size = foreground.shape[-2:]
        above = F.interpolate(above[:, None], size=size, mode="bilinear", align_corners=False).squeeze(1) * foreground
    strongest = above.amax(dim=(1, 2), keepdim=True)
    return torch.where(strongest > _NOTHING, above / strongest.clamp_min(_NOTHING), 0.0)


def heat_activation_loss(heat: Tensor, activation: Tensor) -> Tensor:
    """Binary cross-entropy of the heat against the activation, mean over places and the photographs that have any.

    Args:
        heat: (B, H, W), 0 to 1.
        activation: (B, h, w), 0 to 1, brought to the heat's size; a map of zeros leaves its photograph out.

    Returns:
        () float, not negative; 0 with a gradient of zeros where no photograph has an activation.
    """
    there = (activation.amax(dim=(1, 2)) > 0).float()
    target = F.interpolate(activation[:, None], size=heat.shape[-2:], mode="bilinear", align_corners=False).squeeze(1)
    heat = heat.float().clamp(_NOTHING, 1.0 - _NOTHING)
    entropy = -(target * heat.log() + (1.0 - target) * torch.log1p(-heat)).mean(dim=(1, 2))
    return (entropy * there).sum() / there.sum().clamp_min(1.0)
