"""A feature pyramid: what deep stages know carried down to the fine maps of the shallow ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from hallmark.config import Config


class PyramidConfig(Config):
    """The pyramid over the backbone's stages (MSFM)."""

    channels: int = Field(256, ge=1, description="channels of every level")
    smooth: bool = Field(True, description="a 3 x 3 convolution after every sum; the paper's equation has none")


class FeaturePyramid(nn.Module):
    """P_i = Conv1x1(C_i) + Up(P_{i+1}), P_5 = Conv1x1(C_5), each smoothed by a 3 x 3 convolution (MGFEN eq. 3)."""

    def __init__(self, channels: Sequence[int], config: PyramidConfig):
        """
        Args:
            channels: of the stages, fine to coarse.
            config: the levels.
        """
        super().__init__()
        size = config.channels
        self.lateral = nn.ModuleList(nn.Conv2d(of_stage, size, 1) for of_stage in channels)
        self.smooth = nn.ModuleList(
            nn.Conv2d(size, size, 3, padding=1) if config.smooth else nn.Identity() for _ in channels
        )

    def forward(self, stages: Sequence[Tensor]) -> list[Tensor]:
        """Stages (B, C_i, h_i, w_i), fine to coarse -> levels (B, D, h_i, w_i), fine to coarse.

        A coarse level is brought to the size of the next by nearest neighbours, which suits sides that do not halve.
        """
        summed = [lateral(stage) for lateral, stage in zip(self.lateral, stages, strict=True)]
        for place in reversed(range(len(summed) - 1)):
            summed[place] = summed[place] + F.interpolate(summed[place + 1], size=summed[place].shape[-2:])
        return [smooth(level) for smooth, level in zip(self.smooth, summed, strict=True)]


class PyramidHeat(nn.Module):
    """One heat map from all levels: Conv3x3(P_i) at the finest level's size, their mean, sigmoid (after MGFEN eq. 4).

    The equation takes the sigmoid of each level. A mean of log-odds lets a fine level overrule a coarse one, whose
    cells are larger than what they mark; in a mean of probabilities none can.
    """

    def __init__(self, levels: int, channels: int):
        super().__init__()
        self.heat = nn.ModuleList(nn.Conv2d(channels, 1, 3, padding=1) for _ in range(levels))

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Levels (B, D, h_i, w_i), fine to coarse -> (B, h_1, w_1) float32 in [0, 1]."""
        maps = [convolution(level).float() for convolution, level in zip(self.heat, levels, strict=True)]
        size = maps[0].shape[-2:]
        raised = [F.interpolate(one, size=size, mode="bilinear", align_corners=False) for one in maps]
        return torch.stack(raised).mean(dim=0).squeeze(1).sigmoid()


def channel_heat(features: Tensor) -> Tensor:
    """Mean over the channels of a feature map, stretched to 0 to 1 image by image: heat with nothing to be trained
    (MMAL-Net).

    Args:
        features: (B, C, h, w).

    Returns:
        (B, h, w) float32 in [0, 1]; zeros where an image's map is flat.
    """
    mean = features.float().mean(dim=1)
    low, high = mean.amin(dim=(1, 2), keepdim=True), mean.amax(dim=(1, 2), keepdim=True)
    return (mean - low) / (high - low).clamp_min(torch.finfo(torch.float32).eps)
