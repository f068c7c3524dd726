"""Low-rank adapters: a frozen network learns through small matrices beside its projections (LoRA)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from hallmark.config import Config


class LoRAConfig(Config):
    """Adapters on the qkv and output projections of every attention layer; the network's own weights are frozen."""

    rank: int = Field(8, ge=1, description="r, rows of A and columns of B")
    alpha: float = Field(16.0, gt=0, description="the product B·A is scaled by alpha / rank")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of the adapter's inputs dropped in training")


class LoRALinear(nn.Module):
    """y = W·x + b + (alpha / r)·B·A·x with W and b frozen; B starts as zeros, so y starts as it was."""

    def __init__(self, base: nn.Linear, config: LoRAConfig):
        super().__init__()
        self.base = base.requires_grad_(False)
        place = {"device": base.weight.device, "dtype": base.weight.dtype}
        # A's spread gives A·x the size of x, whatever its width.
        self.down = nn.Parameter(torch.randn(config.rank, base.in_features, **place) / base.in_features**0.5)
        self.up = nn.Parameter(torch.zeros(base.out_features, config.rank, **place))
        self.dropout = nn.Dropout(config.dropout)
        self.scale = config.alpha / config.rank

    def forward(self, features: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        change = F.linear(F.linear(self.dropout(features), self.down), self.up)
        return self.base(features) + self.scale * change


def adapt_attention(blocks: nn.Module, config: LoRAConfig) -> None:
    """Put adapters on `attn.qkv` and `attn.proj` of each of a timm transformer's blocks, in place."""
    for block in blocks:
        block.attn.qkv = LoRALinear(block.attn.qkv, config)
        block.attn.proj = LoRALinear(block.attn.proj, config)


def adapter_parameters(network: nn.Module) -> Iterator[nn.Parameter]:
    """A and B of every adapter in a network."""
    for module in network.modules():
        if isinstance(module, LoRALinear):
            yield from (module.down, module.up)
