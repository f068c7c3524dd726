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
