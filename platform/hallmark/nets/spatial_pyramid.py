"""Spatial pyramid pooling: a feature map of any size as one vector of a fixed length."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SpatialPyramid(nn.Module):
    """Means of a feature map over grids of 1 x 1, 2 x 2, 4 x 4 cells, one after another (KAG-MTLN, equation 1)."""

    def __init__(self, levels: Sequence[int] = (1, 2, 4)):
        super().__init__()
        self.levels = tuple(levels)

    @property
    def cells(self) -> int:
        """Cells of all levels: 21 for levels 1, 2, 4."""
        return sum(level**2 for level in self.levels)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, cells·C): level by level, in each channel by channel, in each row by row."""
        return torch.cat([F.adaptive_avg_pool2d(features, level).flatten(1) for level in self.levels], dim=1)
