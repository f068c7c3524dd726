"""KAG-MTLN: product and authenticity as one class, helped by telling disturbed photographs (third paper, section 3)."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from hallmark.config import Config
from hallmark.losses.class_entropy import class_accuracy, class_entropy_loss
from hallmark.losses.disturbance_entropy import disturbance_entropy_loss
from hallmark.methods.base import Classification, Classifier, Embedding, Gather, LossTerms, alone, embedding_of
from hallmark.nets.backbone import BackboneConfig, build_feature_map
from hallmark.nets.head import Head
from hallmark.nets.spatial_pyramid import SpatialPyramid
from hallmark.types import Batch


class KAGLosses(Config):
    """L = alpha·L_main + (1 - alpha)·L_aux (section 3.4)."""

    alpha: float = Field(0.5, ge=0, le=1, description="weight of the main task (0 to 1); 1 = it alone")
    adjust_prior: bool = Field(
        True,
        description="train so that classes count as equally likely, however often the training stream shows each; "
        "disturbed photographs that count as counterfeits would lower every probability of genuine otherwise",
    )


class KAGMTLNConfig(Config):
    """The network and its losses."""

    method: Literal["kag_mtln"] = Field("kag_mtln", description="which method this configures")
    backbone: BackboneConfig
    reduce: int | None = Field(
        256, ge=1, description="channels of a 1 x 1 convolution and ReLU before the pyramid; null = none, as the paper"
    )
    pyramid: tuple[Annotated[int, Field(ge=1, le=16)], ...] = Field(
        (1, 2, 4), min_length=1, description="cells along each side of each level of the spatial pyramid"
    )
    hidden: int | None = Field(512, ge=1, description="units of each head's hidden layer; null = a single linear layer")
    dropout: float = Field(0.3, ge=0, lt=1, description="share of the hidden units dropped in training")
    losses: KAGLosses = KAGLosses()


class KAGMTLN(Classifier):
    """Backbone, spatial pyramid, and two heads, of which the main one alone is exported and served."""

    def __init__(
        self,
        config: KAGMTLNConfig,
        num_products: int,
        class_prior: Tensor | None = None,
        load_weights: bool = True,
        auxiliary: bool = True,
    ):
        """
        Args:
            config: the network.
            num_products: P; the main head tells 2P classes.
            class_prior: (2P,) each class's share of the training stream, all above 0; None = all alike.
            load_weights: whether the backbone's pretrained weights are loaded.
            auxiliary: whether it has the head that training alone needs.
        """
        super().__init__()
        self.config = config
        self.backbone = build_feature_map(config.backbone, load_weights)
        channels = self.backbone.channels
        self.reduce: nn.Module = nn.Identity()
        if config.reduce is not None:
            self.reduce, channels = nn.Sequential(nn.Conv2d(channels, config.reduce, 1), nn.ReLU()), config.reduce
        self.pyramid = SpatialPyramid(config.pyramid)
        size = self.pyramid.cells * channels
        self.main_head = Head(size, 2 * num_products, config.hidden, config.dropout)
        self.auxiliary_head = Head(size, 2, config.hidden, config.dropout) if auxiliary else None
        prior = torch.full((2 * num_products,), 0.5 / num_products) if class_prior is None else class_prior
        self.register_buffer("log_prior", prior.float().log(), persistent=False)

    def training_loss(self, batch: Batch, gather: Gather = alone, progress: float = 1.0) -> LossTerms:
        del progress
        features = self.backbone(batch["images"])
        if torch.is_grad_enabled() and not features.requires_grad:
            features = features.detach().requires_grad_()
        pooled = self.pyramid(self.reduce(features))
        main, auxiliary = gather(self.main_head(pooled)[0].float()), gather(self.auxiliary_head(pooled)[0].float())
        classes, scrambled = gather(batch["class_index"]), gather(_disturbed(batch))
        losses = self.config.losses
        terms = {
            "main": class_entropy_loss(main, classes, self.log_prior if losses.adjust_prior else None),
            "auxiliary": disturbance_entropy_loss(auxiliary, scrambled.bool()),
        }
        diagnostics = {
            "main_accuracy": class_accuracy(main, classes),
            "auxiliary_accuracy": class_accuracy(auxiliary, scrambled),
        }
        weights = {"main": losses.alpha, "auxiliary": 1.0 - losses.alpha}
        return LossTerms(terms, weights, diagnostics, features)

    def classify(self, images: Tensor) -> Classification:
        features = self.pyramid(self.reduce(self.backbone(images)))
        logits, told_by = self.main_head(features)
        return Classification(logits.float(), features, told_by)

    def embed(self, images: Tensor) -> Embedding:
        return embedding_of(self.classify(images))


def _disturbed(batch: Batch) -> Tensor:
    """(B,) int64, not every backend of a process group carries bool; zeros where no photograph can be disturbed."""
    return batch["scrambled"].long() if "scrambled" in batch else torch.zeros_like(batch["class_index"])
