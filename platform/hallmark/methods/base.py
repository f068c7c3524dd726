"""The contract every method keeps: no device, rank or Ray knowledge."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn
from torch.nn import functional as F

from hallmark.config import Config
from hallmark.types import Batch

Gather = Callable[[Tensor], Tensor]
"""Joins a tensor's rows over all workers, with gradient; the identity for one worker."""


def alone(rows: Tensor) -> Tensor:
    """The gather of a single worker."""
    return rows


@dataclass(frozen=True)
class LossTerms:
    """Named loss terms and their weights, and what tells whether each of them does anything."""

    terms: dict[str, Tensor]
    """() each, with gradient; a term that is switched off is absent."""
    weights: dict[str, float]
    diagnostics: dict[str, Tensor] = field(default_factory=dict)
    """() each, without gradient; NaN where the batch did not allow to measure it."""
    features: Tensor | None = None
    """This worker's features as the losses used them, (B, N, C) tokens or a (B, C, h, w) map; the gradient of any term
    can be asked for here."""
    aside: frozenset[str] = frozenset()
    """Terms that teach by another way than these features, and have no gradient there."""

    @property
    def total(self) -> Tensor:
        """() the weighted sum."""
        return sum(self.weights[name] * term for name, term in self.terms.items())


@dataclass(frozen=True)
class Attended:
    """Where a method that classifies looked closely. Positions: x0, y0, x1, y1 as fractions of the network input."""

    heat: Tensor
    """(B, h, w) float32 in [0, 1]: how much each place of the input is worth a close look."""
    windows: Tensor
    """(B, K, 4) float32 in [0, 1], x0 < x1 and y0 < y1: the parts looked at, the most worth first."""
    weights: Tensor
    """(B, K) float32, not negative, a row sums to 1: each window's share of the windows' vote."""


@dataclass(frozen=True)
class Embedding:
    """What a method says of a batch of images. Positions: (x, y) as fractions of the network input.

    Where images have different numbers of cues, the slots left over are padding: weight 0, local descriptor all zeros.
    """

    descriptor: Tensor
    """(B, D) float32, unit norm."""
    local: Tensor
    """(B, T, l) float32, unit norm: local descriptors at the cues."""
    positions: Tensor
    """(B, T, 2) float32 in (0, 1): where the decoder has each descriptor from."""
    weights: Tensor
    """(B, T) float32 in [0, 1]: the cue's kept mass over the largest of its image; above 0 but for padding."""
    stride: float
    """Distance of neighbouring tokens as a fraction of the input's width."""
    class_logits: Tensor | None = None
    """(B, 2P) float32 over class_index, as `Classification` has them; None where the method does not classify."""
    attended: Attended | None = None
    """None where the method looks at the whole image alone."""


@dataclass(frozen=True)
class Classification:
    """What a method that classifies says of a batch of images."""

    logits: Tensor
    """(B, 2P) float32 over class_index = 2·product + genuine; their softmax is the probability of each class, all
    classes being equally likely beforehand."""
    features: Tensor
    """(B, F) pooled from the whole image, what the heads read."""
    told_by: Tensor
    """(B, D) the last layer before the classes."""
    attended: Attended | None = None
    """None where the method looks at the whole image alone."""


def embedding_of(told: Classification) -> Embedding:
    """A classification as a gallery takes it: what the classes are told by as descriptor, and no cues."""
    batch, none = len(told.logits), told.logits.new_zeros
    return Embedding(
        descriptor=F.normalize(told.told_by.float(), dim=1),
        local=none(batch, 0, 1),
        positions=none(batch, 0, 2),
        weights=none(batch, 0),
        stride=1.0,
        class_logits=told.logits,
        attended=told.attended,
    )


class Method(nn.Module, ABC):
    """Built from its frozen config; trained through `forward`, which is `training_loss`."""

    config: Config

    @abstractmethod
    def training_loss(self, batch: Batch, gather: Gather = alone, progress: float = 1.0) -> LossTerms:
        """Loss terms of a batch.

        Args:
            batch: this worker's share of the global batch.
            gather: joins rows over workers, so that losses over pairs see the global batch.
            progress: share of training that is done, 0 to 1, for losses that join later.
        """

    @abstractmethod
    def embed(self, images: Tensor) -> Embedding:
        """Describe images (B, 3, H, W) for retrieval and verification."""

    @staticmethod
    def alarms(diagnostics: Mapping[str, float]) -> list[str]:
        """What is wrong with a training, in words, by an epoch's mean diagnostics; empty where nothing is."""
        del diagnostics
        return []

    def forward(self, batch: Batch, gather: Gather = alone, progress: float = 1.0) -> LossTerms:
        return self.training_loss(batch, gather, progress)


class Classifier(Method):
    """A method that tells product and authenticity by itself, with no gallery."""

    @abstractmethod
    def classify(self, images: Tensor) -> Classification:
        """Tell product and authenticity of images (B, 3, H, W)."""
