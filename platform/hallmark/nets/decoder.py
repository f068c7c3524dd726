"""Local decoder: patch tokens to a dense map of unit descriptors."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from hallmark.config import Config

CELLS_PER_TOKEN = 4
"""Two transposed convolutions of stride 2: token (r, c) lies at decoder cell (4r, 4c)."""


class DecoderConfig(Config):
    """Sizes of the local decoder."""

    hidden: int = Field(256, ge=1, description="channels between the two transposed convolutions")
    local_dim: int = Field(128, ge=1, description="numbers a local descriptor has")
    centred: bool = Field(
        False, description="subtract the mean over a photograph's tokens: what all of them share tells none apart"
    )


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

    def _at_tokens(self, patch_tokens: Tensor) -> Tensor:
        hidden = F.linear(patch_tokens, self.first.weight[:, :, 1, 1].T, self.first.bias)
        return F.linear(F.relu(hidden), self.second.weight[:, :, 1, 1].T, self.second.bias).float()
