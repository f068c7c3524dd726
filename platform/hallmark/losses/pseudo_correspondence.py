"""L_PC: tokens that the backbone and the clusters take for the same detail get the same local descriptor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from hallmark.config import Config

_NO_CANDIDATE = -2.0
"""Below every cosine."""


class PseudoCorrespondenceConfig(Config):
    """Which correspondences are believed, and what they weigh."""

    weight: float = Field(0.1, ge=0, le=1, description="weight in the total loss, beta of equation 7")
    selection: Literal["mutual", "repo"] = Field(
        "mutual",
        description="mutual: distinct mutual nearest neighbours within a cluster; repo: cosines above 0.8 and twice "
        "the second best, at most five a photograph, as the ancestor's code has it: nearly none",
    )
    distance_ratio: float = Field(
        0.8, gt=0, le=1, description="mutual: largest cosine distance of a match over that of the second candidate"
    )
    quantile: float = Field(
        0.25,
        ge=0,
        lt=1,
        description="mutual: share of a photograph's distinct matches that is left out, the least alike first",
    )
    temperature: float = Field(0.07, gt=0, description="of the contrast")
    contrast: float = Field(
        1.0, ge=0, description="weight of the contrast with the partner's other tokens; 0: matches are only pulled"
    )


@dataclass(frozen=True)
class TokenPairs:
    """Both sides of P pairs of photographs, as the selection sees them; nothing here has a gradient."""

    first: Tensor
    """(P, N, C) backbone tokens."""
    second: Tensor
    """(P, N, C)."""
    first_assignment: Tensor
    """(P, M, N) share of token n given to cluster m."""
    second_assignment: Tensor
    """(P, M, N)."""
    first_cues: Tensor
    """(P, N) bool."""
    second_cues: Tensor
    """(P, N) bool."""


@dataclass(frozen=True)
class Correspondences:
    """For every token of the first photographs the token of the second that it is matched with."""

    accepted: Tensor
    """(P, N) bool."""
    partner: Tensor
    """(P, N) int64; means nothing where not accepted."""
    confidence: Tensor
    """(P, N), not negative, 0 where not accepted."""


def pair_tokens(
    patch_tokens: Tensor, assignment: Tensor, cues: Tensor, anchors: Tensor, partners: Tensor
) -> TokenPairs:
    """The sides of the pairs from a batch's tokens (B, N, C), assignment (B, M, N) and cues (B, N)."""
    sides = []
    for part in (patch_tokens.detach(), assignment.detach(), cues):
        sides += [part[anchors], part[partners]]
    return TokenPairs(*sides)


@torch.no_grad()
def select_mutual(pairs: TokenPairs, config: PseudoCorrespondenceConfig) -> Correspondences:
    """Mutual nearest neighbours among the cues of one cluster that are distinct and not the least alike.

    A token's cluster is the one that got most of it: a threshold on the share would depend on how decided the clusters
    are, and leave nothing at the start. Every limit is relative (mutual, ratio of distances, quantile of the
    photograph's own cosines), so it holds however much all tokens of a backbone are alike. A lone candidate is
    distinct.
    """
    cosines = _cosines(pairs)
    clusters, partner_clusters = pairs.first_assignment.argmax(dim=1), pairs.second_assignment.argmax(dim=1)
    candidates = clusters[:, :, None] == partner_clusters[:, None, :]
    candidates &= pairs.first_cues[:, :, None] & pairs.second_cues[:, None, :]
    cosines = cosines.masked_fill(~candidates, _NO_CANDIDATE)
    best, second, partner = _two_best(cosines)
    rows = torch.arange(cosines.shape[1], device=cosines.device)
    mutual = (cosines.argmax(dim=1).gather(1, partner) == rows) & (best > _NO_CANDIDATE)
    distinct = (1 - best < config.distance_ratio * (1 - second)) | (second == _NO_CANDIDATE)
    matched = mutual & distinct
    accepted = matched & (best >= _lowest_kept(best.masked_fill(~matched, _NO_CANDIDATE), matched, config.quantile))
    shares = _share(pairs.first_assignment, clusters) * _share(pairs.second_assignment, clusters, partner)
    return Correspondences(accepted, partner, (best.clamp_min(0) * shares).masked_fill(~accepted, 0.0))


@torch.no_grad()
def select_repo(pairs: TokenPairs) -> Correspondences:
    """The ancestor's choice: cosine above 0.8 and above twice the second best, at most the five best a photograph.

    Candidates are the tokens that gave more than a tenth to the token's cluster; a lone one is refused.
    """
    clusters = pairs.first_assignment.argmax(dim=1)
    num_tokens = clusters.shape[1]
    shares = pairs.second_assignment.gather(1, clusters[:, :, None].expand(-1, -1, num_tokens))
    cosines = _cosines(pairs).masked_fill(~((shares > 0.1) & pairs.first_cues[:, :, None]), _NO_CANDIDATE)
    best, second, partner = _two_best(cosines)
    matched = (best > 0.8) & (best > 2 * second) & (second > _NO_CANDIDATE)
    ranks = best.masked_fill(~matched, _NO_CANDIDATE).argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    accepted = matched & (ranks < 5)
    return Correspondences(accepted, partner, best.masked_fill(~accepted, 0.0))


def pseudo_correspondence_loss(
    local: Tensor, pairs: TokenPairs, anchors: Tensor, partners: Tensor, config: PseudoCorrespondenceConfig
) -> tuple[Tensor, Tensor]:
    """First paper, L_PC of equation 7: mean over correspondences of (1 - cos(D_i, D_j)) + contrast · InfoNCE.

    InfoNCE is -log(exp(D_i·D_j / t) / sum over all tokens j' of the partner of exp(D_i·D_j' / t)). The mean is weighted
    by the confidence cos(F_i, F_j) P_ki P_kj; with `repo` it is the sum over cos(F_i, F_j) by the count.

    Args:
        local: (B, N, l) local descriptors at all tokens, unit norm.
        pairs: what the correspondences are chosen by; see `pair_tokens`.
        anchors: (P,) int64, photographs of the batch.
        partners: (P,) int64, beside each anchor a genuine photograph of its product.

    Returns:
        () float, zero with a gradient of zeros where nothing is accepted; and (P,) int64, how many correspondences each
        anchor has.
    """
    if anchors.numel() == 0:
        return local.sum() * 0.0, anchors.new_zeros(0)
    chosen = select_repo(pairs) if config.selection == "repo" else select_mutual(pairs, config)
    similarity = torch.einsum("pnl,pml->pnm", local[anchors], local[partners])
    matched = similarity.gather(2, chosen.partner[:, :, None]).squeeze(2)
    costs = 1 - matched
    if config.contrast > 0:
        spread = torch.logsumexp(similarity / config.temperature, dim=2)
        costs = costs + config.contrast * (spread - matched / config.temperature)
    confidence = chosen.confidence.to(costs.dtype)
    total = chosen.accepted.sum() if config.selection == "repo" else confidence.sum()
    return (confidence * costs).sum() / total.clamp_min(1e-12), chosen.accepted.sum(dim=1)


def _cosines(pairs: TokenPairs) -> Tensor:
    return torch.einsum("pnc,pmc->pnm", F.normalize(pairs.first, dim=2), F.normalize(pairs.second, dim=2))


def _two_best(cosines: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Highest and second highest of the last axis, and the place of the highest: (P, N, M) -> three times (P, N)."""
    partner = cosines.argmax(dim=2)
    best = cosines.gather(2, partner[:, :, None]).squeeze(2)
    others = cosines.scatter(2, partner[:, :, None], _NO_CANDIDATE)
    return best, others.amax(dim=2), partner


def _lowest_kept(cosines: Tensor, matched: Tensor, quantile: float) -> Tensor:
    """The cosine from which on a photograph's matches are kept: (P, N) -> (P, 1). At least one match is kept."""
    counts = matched.sum(dim=1, keepdim=True)
    left_out = torch.floor(counts * quantile).long()
    ordered = cosines.sort(dim=1, descending=True).values
    return ordered.gather(1, (counts - left_out - 1).clamp_min(0))


def _share(assignment: Tensor, clusters: Tensor, tokens: Tensor | None = None) -> Tensor:
    """What token n, or tokens[n], gave to clusters[n]: (P, M, N), (P, N) -> (P, N)."""
    pair = torch.arange(len(assignment), device=assignment.device)[:, None]
    place = torch.arange(assignment.shape[2], device=assignment.device)[None, :] if tokens is None else tokens
    return assignment[pair, clusters, place]
