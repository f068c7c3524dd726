"""The auxiliary task's loss: was the photograph disturbed? (KAG-MTLN, section 3.4)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def disturbance_entropy_loss(logits: Tensor, scrambled: Tensor) -> Tensor:
    """Mean cross entropy in nats of undisturbed against disturbed.

    Args:
        logits: (B, 2): undisturbed, disturbed.
        scrambled: (B,) bool.

    Returns:
        () float.
    """
    return F.cross_entropy(logits.float(), scrambled.long())
