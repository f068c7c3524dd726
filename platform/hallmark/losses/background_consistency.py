"""That a product is told alike on whatever background it lies."""

from __future__ import annotations

from torch import Tensor


def background_consistency_loss(log_p: Tensor, pairs: Tensor) -> Tensor:
    """Mean over the pairs of the symmetric Kullback-Leibler divergence, (KL(p||q) + KL(q||p)) / 2, in nats.

    Args:
        log_p: (B, C) log probabilities of photographs.
        pairs: (M, 2) int64: rows that show one foreground on two backgrounds; a row in no pair is left out.

    Returns:
        () float, not negative; 0 with a gradient of zeros where there is no pair.
    """
    first, second = log_p.float()[pairs[:, 0]], log_p.float()[pairs[:, 1]]
    return ((first.exp() - second.exp()) * (first - second)).sum() / (2 * max(1, len(pairs)))
