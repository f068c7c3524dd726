"""The local triplet: mutual-nearest-neighbour similarity of genuine pairs above that with counterfeits."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from hallmark.config import Config
from hallmark.losses.labels import positive_pairs

_PADDING = -2.0
"""Below every cosine."""


class LocalTripletConfig(Config):
    """Weights of the local triplet."""

    weight: float = Field(1.0, ge=0, description="weight in the total loss")
    margin: float = Field(0.1, ge=0, le=2, description="least lead of the positive's similarity over the negative's")
    mining: Literal["hardest", "mean"] = Field(
        "hardest",
        description="compare the hardest positive and negative by global similarity, or means over all positives and "
        "over the product's other photographs: steadier where the network starts from random weights",
    )
    start: float = Field(
        0.0, ge=0, lt=1, description="share of training after which it joins; a random decoder has nothing to compare"
    )


def mutual_similarity(
    first: Tensor, second: Tensor, first_valid: Tensor | None = None, second_valid: Tensor | None = None
) -> Tensor:
    """Mean cosine over the mutual nearest neighbours of two sets of local descriptors.

    At least one pair is mutual: the most similar of all.

    Args:
        first: (P, T, l) unit descriptors.
        second: (P, U, l) unit descriptors.
        first_valid: (P, T) bool, false where padded, at least one true a row; None: all are valid.
        second_valid: (P, U) bool, likewise.

    Returns:
        (P,) in [-1, 1].
    """
    cosines = torch.einsum("ptl,pul->ptu", first, second)
    with torch.no_grad():
        allowed = torch.ones_like(cosines, dtype=torch.bool)
        if first_valid is not None:
            allowed &= first_valid[:, :, None]
        if second_valid is not None:
            allowed &= second_valid[:, None, :]
        compared = cosines.masked_fill(~allowed, _PADDING)
        forth = compared.argmax(dim=2)
        back = compared.argmax(dim=1)
        rows = torch.arange(cosines.shape[1], device=cosines.device)
        mutual = ((back.gather(1, forth) == rows) & allowed.any(dim=2)).float()
    best = cosines.gather(2, forth[:, :, None]).squeeze(2)
    return (best * mutual).sum(dim=1) / mutual.sum(dim=1).clamp_min(1.0)


def hardest_triplets(descriptors: Tensor, identity: Tensor, product: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For every anchor with a positive and a negative in the batch, the hardest of each by global similarity.

    A negative of the same product (a counterfeit, where the anchor is genuine) is preferred to one of another product:
    that is where the details decide.

    Args:
        descriptors: (B, D) unit norm.
        identity: (B,) int64.
        product: (B,) int64, -1 for unrelated photographs.

    Returns:
        Anchor, positive and negative indices, each (A,) int64.
    """
    with torch.no_grad():
        similarity = descriptors @ descriptors.T
        positive = positive_pairs(identity)
        itself = torch.eye(identity.numel(), dtype=torch.bool, device=identity.device)
        negative = ~positive & ~itself
        near = negative & (product[:, None] == product[None, :])
        negative = torch.where(near.any(dim=1, keepdim=True), near, negative)
        anchors = (positive.any(dim=1) & negative.any(dim=1)).nonzero().squeeze(1)
        hardest_positive = similarity.masked_fill(~positive, float("inf")).argmin(dim=1)
        hardest_negative = similarity.masked_fill(~negative, float("-inf")).argmax(dim=1)
    return anchors, hardest_positive[anchors], hardest_negative[anchors]


def local_triplet_loss(
    descriptors: Tensor,
    local: Tensor,
    identity: Tensor,
    product: Tensor,
    config: LocalTripletConfig,
    valid: Tensor | None = None,
) -> Tensor:
    """Mean over anchors of max(0, margin + sim(a, n) - sim(a, p)), sim being `mutual_similarity`.

    Args:
        descriptors: (B, D) global descriptors, unit norm; they only choose the triplets.
        local: (B, T, l) local descriptors at the cues, unit norm.
        identity: (B,) int64; equal = positive pair.
        product: (B,) int64, -1 for unrelated photographs.
        config: margin and mining.
        valid: (B, T) bool, false where the cues are padding; None: all are valid.

    Returns:
        () float32; zero, with a gradient of zeros, where the batch holds no triplet.
    """
    if valid is None:
        valid = torch.ones(local.shape[:2], dtype=torch.bool, device=local.device)
    if config.mining == "mean":
        positive, negative = _mean_similarities(local, identity, product, valid)
    else:
        anchors, positives, negatives = hardest_triplets(descriptors, identity, product)
        positive = mutual_similarity(local[anchors], local[positives], valid[anchors], valid[positives])
        negative = mutual_similarity(local[anchors], local[negatives], valid[anchors], valid[negatives])
    if positive.numel() == 0:
        return local.sum() * 0.0
    return torch.relu(config.margin + negative - positive).mean()


def _mean_similarities(local: Tensor, identity: Tensor, product: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Each anchor's mean similarity to its positives and to the other photographs of its product, each (A,)."""
    same_product = (product[:, None] == product[None, :]) & (product >= 0)[:, None]
    positive = positive_pairs(identity) & same_product
    negative = same_product & ~positive & ~torch.eye(identity.numel(), dtype=torch.bool, device=identity.device)
    first, second = torch.triu(same_product, diagonal=1).nonzero(as_tuple=True)
    similarity = local.new_zeros(same_product.shape)
    similarity[first, second] = mutual_similarity(local[first], local[second], valid[first], valid[second])
    similarity = similarity + similarity.T
    anchors = positive.any(dim=1) & negative.any(dim=1)
    means = [(similarity * pairs).sum(dim=1)[anchors] / pairs.sum(dim=1)[anchors] for pairs in (positive, negative)]
    return means[0], means[1]
