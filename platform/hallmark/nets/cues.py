"""Cue maps: which patch tokens carry authenticity, and their selection."""

from __future__ import annotations

import torch
from torch import Tensor


def clip_spikes(cue_map: Tensor, quantile: float = 0.95) -> Tensor:
    """Lower every value above the row's quantile to it, against single tokens that outshine the map.

    Args:
        cue_map: (B, N).
    """
    # kthvalue, not quantile(): it picks an existing value, so two runs agree to the bit.
    rank = max(1, min(cue_map.shape[1], round(quantile * cue_map.shape[1])))
    limit = cue_map.kthvalue(rank, dim=1, keepdim=True).values
    return torch.minimum(cue_map, limit)


def normalise_map(cue_map: Tensor) -> Tensor:
    """Scale-free form of a cue map: spikes clipped, then each row divided by its sum. (B, N) -> (B, N)."""
    clipped = clip_spikes(cue_map)
    return clipped / clipped.sum(dim=1, keepdim=True).clamp_min(1e-12)


def kept_mass(assignment: Tensor) -> Tensor:
    """Aggregation confidence: the mass each token keeps after the dustbin. (B, M, N) -> (B, N) in [0, 1]."""
    return assignment.sum(dim=1)


def num_cues(num_tokens: int, ratio: float) -> int:
    """How many tokens a cue ratio selects: at least one, at most all."""
    return max(1, min(num_tokens, round(ratio * num_tokens)))


def select_cues(cue_map: Tensor, ratio: float) -> Tensor:
    """Indices of the strongest tokens of each image, ascending, ties to the lower index.

    Args:
        cue_map: (B, N).
        ratio: share of the tokens to keep, 0 to 1.

    Returns:
        (B, T) int64 with T = num_cues(N, ratio).
    """
    order = cue_map.sort(dim=1, descending=True, stable=True).indices
    return order[:, : num_cues(cue_map.shape[1], ratio)].sort(dim=1).values


def cue_positions(indices: Tensor, grid: tuple[int, int]) -> Tensor:
    """Centres of tokens as (x, y) fractions of the network input's width and height. (B, T) -> (B, T, 2) float32."""
    rows, columns = torch.div(indices, grid[1], rounding_mode="floor"), indices % grid[1]
    return torch.stack([(columns + 0.5) / grid[1], (rows + 0.5) / grid[0]], dim=-1).float()
