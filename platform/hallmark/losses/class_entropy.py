"""The main task's loss: cross entropy over product and authenticity (KAG-MTLN, section 3.4)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

UNCLASSED = -1
"""Class index of a photograph that the loss leaves out."""


def class_entropy_loss(logits: Tensor, class_index: Tensor, log_prior: Tensor | None = None) -> Tensor:
    """Mean cross entropy in nats of the photographs that have a class.

    With a prior, the stream's own shares of the classes are added to the logits, so that the logits themselves come to
    stand for classes that are equally likely: disturbed photographs that count as counterfeits would otherwise teach
    that most of what is seen is counterfeit.

    Args:
        logits: (B, C).
        class_index: (B,) int64; -1 leaves a photograph out.
        log_prior: (C,) log of each class's share of the training stream; None = as the stream has them.

    Returns:
        () float; 0 with a gradient of zeros where no photograph has a class.
    """
    logits = logits.float() if log_prior is None else logits.float() + log_prior
    summed = F.cross_entropy(logits, class_index, ignore_index=UNCLASSED, reduction="sum")
    return summed / (class_index != UNCLASSED).sum().clamp_min(1)


@torch.no_grad()
def class_accuracy(logits: Tensor, class_index: Tensor) -> Tensor:
    """() share of the photographs that have a class whose likeliest class it is; NaN where none has one."""
    known = class_index != UNCLASSED
    return ((logits.argmax(dim=1) == class_index) & known).sum() / known.sum()
