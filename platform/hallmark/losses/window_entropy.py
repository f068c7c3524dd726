"""Losses of the local branch: what each window says, and what all say together (MGFEN, equations 5 to 8)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from hallmark.losses.class_entropy import UNCLASSED


def window_entropy_loss(logits: Tensor, class_index: Tensor, log_prior: Tensor | None = None) -> Tensor:
    """-(1/K) sum over the windows of log P_n(c), mean over the photographs that have a class.

    Equation 6 as printed has neither the minus nor a mean, equation 7 no logarithm; this is their common meaning.

    Args:
        logits: (B, K, C).
        class_index: (B,) int64; -1 leaves a photograph out.
        log_prior: (C,) log of each class's share of the training stream, added to the logits; None = nothing is.

    Returns:
        () float, not negative; 0 with a gradient of zeros where no photograph has a class.
    """
    logits = logits.float() if log_prior is None else logits.float() + log_prior
    truth = class_index[:, None].expand(logits.shape[:2])
    summed = F.cross_entropy(logits.flatten(0, 1), truth.flatten(), ignore_index=UNCLASSED, reduction="sum")
    return summed / (truth != UNCLASSED).sum().clamp_min(1)


def vote(logits: Tensor, window_logits: Tensor, weights: Tensor, global_share: float) -> Tensor:
    """log of beta·p_global + (1 - beta)·sum over the windows of w_n·p_n.

    Equation 5 sums logits; a sum of probabilities is a probability, whatever the scale of one window's logits.

    Args:
        logits: (B, C) of the whole image.
        window_logits: (B, K, C).
        weights: (B, K), above 0, a row sums to 1.
        global_share: beta, 0 to 1; 0 = the windows alone, as the paper.

    Returns:
        (B, C) float, at most 0; the exponentials of a row sum to 1.
    """
    of_windows = (window_logits.float().log_softmax(dim=2) + weights.float().log()[..., None]).logsumexp(dim=1)
    of_image = logits.float().log_softmax(dim=1)
    # The logarithm of a share of 0 has no gradient to speak of.
    if global_share == 0.0:
        return of_windows
    if global_share == 1.0:
        return of_image
    return torch.logaddexp(of_image + math.log(global_share), of_windows + math.log(1.0 - global_share))


def vote_loss(log_p: Tensor, class_index: Tensor) -> Tensor:
    """Mean of -log P(c) of the vote, over the photographs that have a class; it alone trains the windows' weights.

    Args:
        log_p: (B, C), as `vote` gives it.
        class_index: (B,) int64; -1 leaves a photograph out.

    Returns:
        () float, not negative; 0 with a gradient of zeros where no photograph has a class.
    """
    summed = F.nll_loss(log_p, class_index, ignore_index=UNCLASSED, reduction="sum")
    return summed / (class_index != UNCLASSED).sum().clamp_min(1)
