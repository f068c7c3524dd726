"""Local decoder: patch tokens to a dense map of unit descriptors, and where its cells lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from hallmark.config import Config

CELLS_PER_TOKEN = 4
"""Two transposed convolutions of stride 2: token (r, c) lies at decoder cell (4r, 4c)."""

_OFFSETS = {"token": (0,), "half": (-2, 0), "full": (-2, -1, 0, 1)}
"""Cells that belong to a token, along one axis and from its own: every cell has one owner, the nearest token."""


class DecoderConfig(Config):
    """Sizes of the local decoder."""

    hidden: int = Field(256, ge=1, description="channels between the two transposed convolutions")
    local_dim: int = Field(128, ge=1, description="numbers a local descriptor has")
    centred: bool = Field(
        True, description="subtract the mean over a photograph's tokens: what all of them share tells none apart"
    )
    local_grid: Literal["token", "half", "full"] = Field(
        "token",
        description="local descriptors a cue gives: 1, at its own cell; up to 4, at every second cell; up to 16, at "
        "every cell that is nearest to it. Fewer at the border of the grid",
    )


@dataclass(frozen=True)
class Cells:
    """Decoder cells of a batch's tokens. Convention: cell (row, column) of a (4h - 3) x (4w - 3) map."""

    rows: Tensor
    """(B, K) int64."""
    columns: Tensor
    """(B, K) int64."""
    inside: Tensor
    """(B, K) bool; false where the map ends, and the cell then stands for its nearest neighbour inside."""


def cells_of_tokens(indices: Tensor, grid: tuple[int, int], local_grid: str) -> Cells:
    """The cells that belong to some tokens, token by token. (B, T) int64 -> K = T · 1, 4 or 16."""
    offsets = torch.tensor(_OFFSETS[local_grid], device=indices.device)
    rows = CELLS_PER_TOKEN * torch.div(indices, grid[1], rounding_mode="floor")
    columns = CELLS_PER_TOKEN * (indices % grid[1])
    shape = (*indices.shape, len(offsets), len(offsets))
    rows = (rows[:, :, None, None] + offsets[:, None]).expand(shape).flatten(1)
    columns = (columns[:, :, None, None] + offsets[None, :]).expand(shape).flatten(1)
    # Offsets never lead past the far border: the last token's cell is the last, and one step on belongs to nobody.
    height, width = map_size(grid)
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    return Cells(rows.clamp(0, height - 1), columns.clamp(0, width - 1), inside)


def map_size(grid: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of the decoded map of a token grid."""
    return CELLS_PER_TOKEN * (grid[0] - 1) + 1, CELLS_PER_TOKEN * (grid[1] - 1) + 1


def cell_positions(cells: Cells, grid: tuple[int, int]) -> Tensor:
    """Where cells lie, as (x, y) fractions of the network input's width and height: (B, K, 2) float32 in (0, 1).

    Cell 4c lies at the centre of token c, which is (c + 0.5) / w of the width; the cells between divide it evenly.
    """
    x = (cells.columns / CELLS_PER_TOKEN + 0.5) / grid[1]
    y = (cells.rows / CELLS_PER_TOKEN + 0.5) / grid[0]
    return torch.stack([x, y], dim=-1).float()


class LocalDecoder(nn.Module):
    """Two transposed convolutions with a ReLU between them (first paper, section 3.2), normalised at every cell."""

    def __init__(self, channels: int, config: DecoderConfig):
        super().__init__()
        self.config = config
        self.first = nn.ConvTranspose2d(channels, config.hidden, kernel_size=3, stride=2, padding=1)
        self.second = nn.ConvTranspose2d(config.hidden, config.local_dim, kernel_size=3, stride=2, padding=1)

    def forward(self, patch_tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Decode a batch.

        Args:
            patch_tokens: (B, N, C), row by row over the grid.
            grid: rows h and columns w; N = h · w.

        Returns:
            (B, l, 4h - 3, 4w - 3) float32, unit norm over l.
        """
        feature_map = patch_tokens.transpose(1, 2).unflatten(2, grid)
        local = self.second(F.relu(self.first(feature_map))).float()
        if self.config.centred:
            local = local - self._at_tokens(patch_tokens).mean(dim=1)[:, :, None, None]
        return F.normalize(local, dim=1)

    def at_tokens(self, patch_tokens: Tensor) -> Tensor:
        """The decoded map at the cells of the tokens alone, at a fraction of the cost: (B, N, C) -> (B, N, l).

        With stride 2, kernel 3 and padding 1, only the kernel's middle reaches an even cell from its token, so a
        token's own cell is two linear layers of that token.
        """
        local = self._at_tokens(patch_tokens)
        if self.config.centred:
            local = local - local.mean(dim=1, keepdim=True)
        return F.normalize(local, dim=-1)

    def at_cells(self, patch_tokens: Tensor, grid: tuple[int, int], cells: Cells) -> Tensor:
        """The decoded map at some cells: (B, K, l) float32, unit norm."""
        width = map_size(grid)[1]
        if self.config.local_grid == "token":
            tokens = cells.rows // CELLS_PER_TOKEN * grid[1] + cells.columns // CELLS_PER_TOKEN
            return _pick(self.at_tokens(patch_tokens), tokens)
        dense = self(patch_tokens, grid).flatten(2).transpose(1, 2)
        return _pick(dense, cells.rows * width + cells.columns)

    def per_token(self, patch_tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """One descriptor a token, which the losses train: (B, N, l) float32, unit norm.

        On the finer grids it is the mean of the 3 x 3 cells round the token's own, so that every weight that decodes
        the map takes part.
        """
        if self.config.local_grid == "token":
            return self.at_tokens(patch_tokens)
        dense = self(patch_tokens, grid)
        mean = F.avg_pool2d(dense, 3, stride=CELLS_PER_TOKEN, padding=1, count_include_pad=False)
        return F.normalize(mean.flatten(2).transpose(1, 2), dim=-1)

    def _at_tokens(self, patch_tokens: Tensor) -> Tensor:
        hidden = F.linear(patch_tokens, self.first.weight[:, :, 1, 1].T, self.first.bias)
        return F.linear(F.relu(hidden), self.second.weight[:, :, 1, 1].T, self.second.bias).float()


def _pick(descriptors: Tensor, indices: Tensor) -> Tensor:
    return descriptors.gather(1, indices[:, :, None].expand(-1, -1, descriptors.shape[2]))
