"""L_align: the backbone's attention and the aggregation's confidence agree on where to look."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from hallmark.config import Config
from hallmark.nets.cues import MaskNorm

_SMALLEST = 1e-8


class AlignmentConfig(Config):
    """Weights of the alignment."""

    weight: float = Field(0.1, ge=0, le=1, description="weight in the total loss, alpha of equation 7")
    mask_norm: MaskNorm = Field(
        "l1", description="how the maps become distributions; raw_softmax makes both nearly uniform and the term inert"
    )


def alignment_loss(attention: Tensor, confidence: Tensor) -> Tensor:
    """First paper, L_align of equation 7: KL(M_e || M_a) + KL(M_a || M_e), in nats, mean over the batch.

    The first map of each divergence is a target without gradient: one term trains the aggregation, one the attention.

    Args:
        attention: (B, N), M_e; each row sums to 1.
        confidence: (B, N), M_a; each row sums to 1.

    Returns:
        () float; zero, with a gradient of zeros, for an empty batch.
    """
    if attention.numel() == 0:
        return (attention.sum() + confidence.sum()) * 0.0
    divergence = _divergence(attention.detach(), confidence) + _divergence(confidence.detach(), attention)
    return divergence.mean()


def _divergence(target: Tensor, found: Tensor) -> Tensor:
    """KL(target || found) of each row: (B, N), (B, N) -> (B,)."""
    return (target * (target.clamp_min(_SMALLEST).log() - found.clamp_min(_SMALLEST).log())).sum(dim=1)
