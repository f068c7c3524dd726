"""Cue maps: which patch tokens carry authenticity, and their selection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from hallmark.config import Config

MaskNorm = Literal["l1", "zsoftmax", "raw_softmax"]
"""How a map becomes a distribution over the tokens: see `normalise_map`."""

_SHARPNESS = 2.0


class CueSelection(Config):
    """How many of a map's tokens become cues."""

    by: Literal["ratio", "mass"] = Field(
        "ratio", description="ratio: a fixed share of the tokens; mass: as few tokens as hold a share of the map's mass"
    )
    ratio: float = Field(0.425, gt=0, le=1, description="share of the tokens, where selected by ratio")
    mass: float = Field(0.6, gt=0, le=1, description="share of the map's mass, where selected by mass")


@dataclass(frozen=True)
class Cues:
    """The selected tokens of a batch; where images keep different numbers of them, the rest is padding."""

    indices: Tensor
    """(B, T) int64, ascending among the valid ones; 0 where padded."""
    valid: Tensor
    """(B, T) bool, false where padded; padding comes last."""


def clip_spikes(cue_map: Tensor, quantile: float = 0.95) -> Tensor:
    """Lower every value above the row's quantile to it, against single tokens that outshine the map.

    Args:
        cue_map: (B, N).
    """
    # kthvalue, not quantile(): it picks an existing value, so two runs agree to the bit.
    rank = max(1, min(cue_map.shape[1], round(quantile * cue_map.shape[1])))
    limit = cue_map.kthvalue(rank, dim=1, keepdim=True).values
    return torch.minimum(cue_map, limit)


def normalise_map(cue_map: Tensor, norm: MaskNorm = "l1") -> Tensor:
    """A cue map as a distribution over the tokens, spikes clipped. (B, N), not negative -> (B, N).

    Args:
        norm: `l1` divides a row by its sum; `zsoftmax` takes the softmax of twice its z-score; both are free of scale.
            `raw_softmax` takes the softmax of the values as they are: nearly uniform, as the ancestor's code has it.
    """
    clipped = clip_spikes(cue_map)
    if norm == "raw_softmax":
        return clipped.softmax(dim=1)
    if norm == "zsoftmax":
        centred = clipped - clipped.mean(dim=1, keepdim=True)
        # Root of a clamped square: a flat row has no gradient rather than an infinite one.
        deviation = centred.square().mean(dim=1, keepdim=True).clamp_min(1e-24).sqrt()
        return (_SHARPNESS * centred / deviation).softmax(dim=1)
    return clipped / clipped.sum(dim=1, keepdim=True).clamp_min(1e-12)


def kept_mass(assignment: Tensor) -> Tensor:
    """Aggregation confidence: the mass each token keeps after the dustbin. (B, M, N) -> (B, N) in [0, 1]."""
    return assignment.sum(dim=1)


def num_cues(num_tokens: int, ratio: float) -> int:
    """How many tokens a cue ratio selects: at least one, at most all."""
    return max(1, min(num_tokens, round(ratio * num_tokens)))


def select_cues(cue_map: Tensor, selection: CueSelection) -> Cues:
    """The strongest tokens of each image, ties to the lower index; at least one.

    Args:
        cue_map: (B, N), not negative.
        selection: how many. By ratio every image has `num_cues(N, ratio)`; by mass the count varies.
    """
    num_tokens = cue_map.shape[1]
    ordered = cue_map.detach().sort(dim=1, descending=True, stable=True)
    if selection.by == "ratio":
        indices = ordered.indices[:, : num_cues(num_tokens, selection.ratio)].sort(dim=1).values
        return Cues(indices, torch.ones_like(indices, dtype=torch.bool))
    counts = _counts_by_mass(ordered.values, selection.mass)
    slots = torch.arange(int(counts.max()) if counts.numel() else 1, device=cue_map.device)
    valid = slots[None, :] < counts[:, None]
    # Padding sorts behind every token, then points at token 0.
    indices = ordered.indices[:, : slots.numel()].masked_fill(~valid, num_tokens).sort(dim=1).values
    return Cues(indices.masked_fill(~valid, 0), valid)


def cue_mask(cues: Cues, num_tokens: int) -> Tensor:
    """Cues as a mask over all tokens: (B, N) bool."""
    counts = torch.zeros(len(cues.indices), num_tokens, dtype=torch.int64, device=cues.indices.device)
    return counts.scatter_add_(1, cues.indices, cues.valid.long()) > 0


def _counts_by_mass(descending: Tensor, mass: float) -> Tensor:
    """Size of the smallest set of tokens that holds the share of a row's mass: (B, N) -> (B,) int64, at least 1."""
    reached = descending.double().cumsum(dim=1)
    # A token is needed as long as those before it hold too little.
    before = reached - descending.double()
    return (before < mass * reached[:, -1:]).sum(dim=1).clamp_min(1)
