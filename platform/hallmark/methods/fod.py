"""FoD: a global descriptor to retrieve by, local descriptors at the cues to verify by (first paper, section 3)."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from hallmark.config import Config
from hallmark.losses.local_triplet import LocalTripletConfig, local_triplet_loss
from hallmark.losses.multi_similarity import MultiSimilarityConfig, MultiSimilarityLoss
from hallmark.methods.base import Embedding, Gather, LossTerms, Method, alone
from hallmark.nets.aggregation import Aggregated, AggregationConfig, OptimalTransportAggregation
from hallmark.nets.backbone import BackboneConfig, Tokens, build_backbone
from hallmark.nets.cues import cue_positions, kept_mass, normalise_map, select_cues
from hallmark.nets.decoder import DecoderConfig, LocalDecoder
from hallmark.types import Batch


class FoDLosses(Config):
    """Equation 7: L = L_MS + L_local + alpha·L_align + beta·L_PC, and the mutual-nearest-neighbour triplet.

    L_MS and the triplet are computed so far; L_local, L_align and L_PC have their place beside them.
    """

    multi_similarity: MultiSimilarityConfig = MultiSimilarityConfig()
    local_triplet: LocalTripletConfig = LocalTripletConfig()


class FoDConfig(Config):
    """The network and its losses."""

    method: Literal["fod"] = Field("fod", description="which method this configures")
    backbone: BackboneConfig
    aggregation: AggregationConfig = AggregationConfig()
    decoder: DecoderConfig = DecoderConfig()
    cue_ratio: float = Field(0.425, gt=0, le=1, description="share of the patch tokens kept as cues")
    losses: FoDLosses = FoDLosses()


class FoD(Method):
    """Backbone, clustering aggregation and local decoder under one training loss."""

    def __init__(self, config: FoDConfig, load_weights: bool = True):
        super().__init__()
        self.config = config
        self.backbone = build_backbone(config.backbone, load_weights)
        self.aggregation = OptimalTransportAggregation(self.backbone.channels, config.aggregation)
        self.decoder = LocalDecoder(self.backbone.channels, config.decoder)
        self.multi_similarity = MultiSimilarityLoss(config.losses.multi_similarity)

    def training_loss(self, batch: Batch, gather: Gather = alone, progress: float = 1.0) -> LossTerms:
        tokens, aggregated = self._describe(batch["images"])
        # Training follows both maps, so that the attention takes part; see embed() for the other case.
        cue_map = (normalise_map(tokens.attention) + normalise_map(kept_mass(aggregated.assignment))) / 2
        local, _ = self._local(tokens, cue_map)
        descriptors, local = gather(aggregated.descriptor.float()), gather(local.float())
        identity, product = gather(batch["identity"]), gather(batch["product"])
        losses = self.config.losses
        # Cosines of near-equal descriptors differ by less than what half precision can hold.
        with torch.autocast(device_type=descriptors.device.type, enabled=False):
            terms = {
                "multi_similarity": self.multi_similarity(descriptors, identity),
                "local_triplet": local_triplet_loss(descriptors, local, identity, product, losses.local_triplet),
            }
        weights = {
            "multi_similarity": losses.multi_similarity.weight,
            "local_triplet": losses.local_triplet.weight if progress >= losses.local_triplet.start else 0.0,
        }
        return LossTerms(terms, weights)

    def embed(self, images: Tensor) -> Embedding:
        tokens, aggregated = self._describe(images)
        # The aggregation's confidence alone: it is what the losses have shaped.
        local, positions = self._local(tokens, normalise_map(kept_mass(aggregated.assignment)))
        return Embedding(aggregated.descriptor, local, positions)

    def _describe(self, images: Tensor) -> tuple[Tokens, Aggregated]:
        tokens = self.backbone(images)
        return tokens, self.aggregation(tokens.class_token, tokens.patch_tokens, tokens.attention)

    def _local(self, tokens: Tokens, cue_map: Tensor) -> tuple[Tensor, Tensor]:
        cues = select_cues(cue_map.detach(), self.config.cue_ratio)
        descriptors = self.decoder.at_tokens(tokens.patch_tokens)
        chosen = descriptors.gather(1, cues[:, :, None].expand(-1, -1, descriptors.shape[2]))
        return chosen, cue_positions(cues, tokens.grid)
