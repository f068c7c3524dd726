"""What makes two photographs a positive pair."""

from __future__ import annotations

import torch
from torch import Tensor

from hallmark.types import NEGATIVE_ONLY


def separate_negatives(identity: Tensor) -> Tensor:
    """Give every NEGATIVE_ONLY photograph an identity of its own, below zero. (B,) int64 -> (B,) int64."""
    own = -1 - torch.arange(identity.numel(), device=identity.device)
    return torch.where(identity == NEGATIVE_ONLY, own, identity)


def positive_pairs(identity: Tensor) -> Tensor:
    """(B,) int64 -> (B, B) bool: same identity, not the same photograph."""
    labels = separate_negatives(identity)
    same = labels[:, None] == labels[None, :]
    return same & ~torch.eye(identity.numel(), dtype=torch.bool, device=identity.device)


def cyclic_pairs(identity: Tensor, product: Tensor, genuine: Tensor) -> tuple[Tensor, Tensor]:
    """Every genuine photograph beside the next of its product and identity in the batch, the last beside the first.

    Args:
        identity: (B,) int64; NEGATIVE_ONLY photographs are in no pair.
        product: (B,) int64; -1 for unrelated photographs, which are in no pair.
        genuine: (B,) bool.

    Returns:
        Anchors, ascending within a class, and their partners, each (P,) int64. One of a kind is in no pair.
    """
    eligible = (genuine.bool() & (identity != NEGATIVE_ONLY) & (product >= 0)).nonzero().squeeze(1)
    classes = torch.stack([product[eligible], identity[eligible]], dim=1)
    of_class = torch.unique(classes, dim=0, return_inverse=True)[1]
    anchors = eligible[of_class.argsort(stable=True)]
    counts = torch.bincount(of_class)
    ends = counts.cumsum(0)
    # Places in the sorted row: the one after, and for the last of a class the place where the class begins.
    following = torch.arange(1, anchors.numel() + 1, device=identity.device)
    following[ends - 1] = ends - counts
    partners = anchors[following]
    paired = anchors != partners
    return anchors[paired], partners[paired]
