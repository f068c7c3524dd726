"""L_MS: the multi-similarity loss on global descriptors, with its miner."""

from __future__ import annotations

from pydantic import Field
from pytorch_metric_learning.distances import CosineSimilarity, DotProductSimilarity
from pytorch_metric_learning.losses import MultiSimilarityLoss as _Loss
from pytorch_metric_learning.miners import MultiSimilarityMiner as _Miner
from torch import Tensor, nn

from hallmark.config import Config
from hallmark.losses.labels import NEGATIVE_ONLY, separate_negatives


class MultiSimilarityConfig(Config):
    """Weights of the multi-similarity loss."""

    weight: float = Field(1.0, ge=0, description="weight in the total loss")
    alpha: float = Field(1.0, gt=0, description="sharpness for positives")
    beta: float = Field(50.0, gt=0, description="sharpness for negatives")
    base: float = Field(0.0, ge=-1, le=1, description="similarity at which a pair is neutral")
    epsilon: float = Field(0.1, ge=0, description="margin within which the miner keeps a pair")


class MultiSimilarityLoss(nn.Module):
    """First paper, L_MS of equation 7.

    Mean over anchors a of (1/alpha) log(1 + sum_p exp(-alpha (S_ap - base))) + (1/beta) log(1 + sum_n exp(beta (S_an -
    base))), over the pairs that the miner keeps: positives with S_ap - epsilon < max_n S_an and negatives with S_an +
    epsilon > min_p S_ap. Zero, with a gradient of zeros, where the miner keeps none.
    """

    def __init__(self, config: MultiSimilarityConfig):
        super().__init__()
        self._miner = _Miner(epsilon=config.epsilon, distance=CosineSimilarity())
        self._loss = _Loss(config.alpha, config.beta, config.base, distance=DotProductSimilarity())

    def forward(self, descriptors: Tensor, identity: Tensor) -> Tensor:
        """The loss of a batch.

        Args:
            descriptors: (B, D) float32, unit norm.
            identity: (B,) int64; equal = positive pair. NEGATIVE_ONLY (-1) is nobody's positive and never an anchor.

        Returns:
            () float32.
        """
        if not bool((identity != NEGATIVE_ONLY).any()):
            return descriptors.sum() * 0.0
        labels = separate_negatives(identity)
        return self._loss(descriptors, labels, self._miner(descriptors, labels))
