"""Clustering aggregation: patch tokens to one global descriptor by optimal transport."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from hallmark.config import Config
from hallmark.errors import ConfigError


class AggregationConfig(Config):
    """Sizes of the aggregation; the global descriptor has `token_dim + clusters · cluster_dim` numbers."""

    clusters: int = Field(64, ge=1, description="M, learned cluster centres; at most half the number of patch tokens")
    cluster_dim: int = Field(128, ge=1, description="l, numbers a cluster contributes")
    token_dim: int = Field(256, ge=1, description="g, numbers the class token contributes")
    hidden: int = Field(512, ge=1, description="width of the hidden layers")
    dropout: float = Field(0.3, ge=0, lt=1, description="before the activation of the two token branches")
    iterations: int = Field(3, ge=1, description="Sinkhorn iterations")
    score_gain: float = Field(
        12.0,
        gt=0,
        description="factor on the initial weights of the cluster scores; at 1 they hardly differ between tokens, and "
        "every token keeps the same mass",
    )
    attention_dustbin: bool = Field(
        True, description="true: the dustbin's score falls with the backbone's attention; false: one learned score"
    )


@dataclass(frozen=True)
class Aggregated:
    """A batch of global descriptors and how they came about."""

    descriptor: Tensor
    """(B, D) float32, unit norm."""
    assignment: Tensor
    """(B, M, N) float32 in [0, 1]: share of token n given to cluster m; what is missing to 1 went to the dustbin."""


def sinkhorn(scores: Tensor, log_rows: Tensor, log_columns: Tensor, iterations: int) -> Tensor:
    """Log of the transport plan that entropy-regularised optimal transport reaches from `scores`.

    Alternates u = log r - logsumexp_columns(Z + v) and v = log c - logsumexp_rows(Z + u), columns last, so column
    sums are exact after any number of iterations and row sums in the limit.

    Args:
        scores: (B, R, C) float32, Z.
        log_rows: (R,) log of the row masses.
        log_columns: (C,) log of the column masses; both masses sum to the same total.
        iterations: how often rows and columns are updated.

    Returns:
        (B, R, C) log plan.
    """
    v = scores.new_zeros(scores.shape[0], 1, scores.shape[2])
    for _ in range(iterations):
        u = log_rows[None, :, None] - torch.logsumexp(scores + v, dim=2, keepdim=True)
        v = log_columns[None, None, :] - torch.logsumexp(scores + u, dim=1, keepdim=True)
    return scores + u + v


class OptimalTransportAggregation(nn.Module):
    """Global descriptor of the first paper (section 3.2), in the optimal-transport form of its clustering branch.

    Every cluster receives about one token's mass, the dustbin the other n - M, so that uninformative patches stay
    out of the descriptor. Convention: tokens (B, N, C), plan (B, M, N).
    """

    def __init__(self, channels: int, config: AggregationConfig):
        super().__init__()
        self.config = config
        self.token_branch = _branch(channels, config.hidden, config.token_dim, dropout=0.0)
        self.feature_branch = _branch(channels, config.hidden, config.cluster_dim, config.dropout)
        self.score_branch = _branch(channels, config.hidden, config.clusters, config.dropout)
        with torch.no_grad():
            self.score_branch[-1].weight *= config.score_gain
        self.dustbin = nn.Parameter(torch.tensor(1.0))
        if config.attention_dustbin:
            self.dustbin_slope = nn.Parameter(torch.tensor(1.0))

    @property
    def descriptor_dim(self) -> int:
        return self.config.token_dim + self.config.clusters * self.config.cluster_dim

    def forward(self, class_token: Tensor, patch_tokens: Tensor, attention: Tensor) -> Aggregated:
        """Aggregate a batch.

        Args:
            class_token: (B, C).
            patch_tokens: (B, N, C).
            attention: (B, N), not negative.

        Raises:
            ConfigError: there are too few patch tokens for the clusters.
        """
        num_tokens = patch_tokens.shape[1]
        if self.config.clusters > num_tokens / 2:
            raise ConfigError(
                f"aggregation.clusters: found {self.config.clusters} for {num_tokens} patch tokens; wanted at most "
                f"{num_tokens // 2} (half of them): fewer clusters or a larger image"
            )
        features = self.feature_branch(patch_tokens).float()
        assignment = self._assign(self.score_branch(patch_tokens).float().transpose(1, 2), attention.float())
        clusters = F.normalize(torch.einsum("bmn,bnl->bml", assignment, features), dim=-1)
        token = F.normalize(self.token_branch(class_token).float(), dim=-1)
        descriptor = F.normalize(torch.cat([token, clusters.flatten(1)], dim=1), dim=-1)
        return Aggregated(descriptor, assignment)

    def _assign(self, scores: Tensor, attention: Tensor) -> Tensor:
        batch, num_clusters, num_tokens = scores.shape
        dustbin = self.dustbin.expand(batch, 1, num_tokens)
        if self.config.attention_dustbin:
            # Relative to the most attended token, so that the scale of the attention does not matter.
            peak = attention.amax(dim=1, keepdim=True).clamp_min(1e-12)
            dustbin = dustbin - self.dustbin_slope * (attention / peak)[:, None, :]
        total = num_clusters + num_tokens
        log_rows = scores.new_full((num_clusters + 1,), -math.log(total))
        log_rows[-1] = math.log(num_tokens - num_clusters) - math.log(total)
        log_columns = scores.new_full((num_tokens,), -math.log(total))
        # Row masses sum to n / (M + n), as the column masses do.
        with torch.autocast(device_type=scores.device.type, enabled=False):
            log_plan = sinkhorn(torch.cat([scores, dustbin], dim=1), log_rows, log_columns, self.config.iterations)
        return (log_plan + math.log(total)).exp()[:, :num_clusters]


def _branch(channels: int, hidden: int, out: int, dropout: float) -> nn.Sequential:
    # A linear layer on (B, N, C) is the 1x1 convolution of the papers.
    return nn.Sequential(nn.Linear(channels, hidden), nn.Dropout(dropout), nn.ReLU(), nn.Linear(hidden, out))
