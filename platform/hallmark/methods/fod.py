"""FoD: a global descriptor to retrieve by, local descriptors at the cues to verify by (first paper, section 3)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from hallmark.config import Config
from hallmark.losses.alignment import alignment_loss
from hallmark.losses.foreground_contrast import foreground_contrast_loss
from hallmark.losses.labels import cyclic_pairs
from hallmark.losses.local_triplet import local_triplet_loss
from hallmark.losses.multi_similarity import MultiSimilarityLoss
from hallmark.losses.pseudo_correspondence import pair_tokens, pseudo_correspondence_loss
from hallmark.losses.total import FoDLosses, alarms, median_count, off_match_cosine, peak
from hallmark.methods.base import Embedding, Gather, LossTerms, Method, alone
from hallmark.nets.aggregation import Aggregated, AggregationConfig, OptimalTransportAggregation
from hallmark.nets.backbone import BackboneConfig, Tokens, build_backbone
from hallmark.nets.cues import Cues, CueSelection, cue_mask, kept_mass, normalise_map, select_cues
from hallmark.nets.decoder import DecoderConfig, LocalDecoder, cell_positions, cells_of_tokens
from hallmark.types import Batch

__all__ = ["FoD", "FoDConfig", "FoDLosses", "alarms"]

_LEAST_WEIGHT = 1e-3
"""A cue counts for something, however little mass it kept: weight 0 is padding."""


class FoDConfig(Config):
    """The network and its losses."""

    method: Literal["fod"] = Field("fod", description="which method this configures")
    backbone: BackboneConfig
    aggregation: AggregationConfig = AggregationConfig()
    decoder: DecoderConfig = DecoderConfig()
    cue_selection: CueSelection = CueSelection()
    cue_map: Literal["confidence", "attention", "both"] = Field(
        "confidence",
        description="map that an embedding's cues are selected by: the aggregation's, the backbone's, or their mean, "
        "which training takes",
    )
    losses: FoDLosses = FoDLosses()


@dataclass(frozen=True)
class _GlobalBatch:
    """Rows of all workers that the losses compare; what no active term needs is None."""

    descriptors: Tensor
    """(B, D)."""
    identity: Tensor
    product: Tensor
    anchors: Tensor
    """(P,) int64: genuine photographs, each beside another of its product in `partners`."""
    partners: Tensor
    attention: Tensor
    """(B, N) float32, as the backbone gives it."""
    confidence: Tensor
    """(B, N) float32, mass kept after the dustbin."""
    cues: Cues
    local: Tensor
    """(B, N, l) at all tokens."""
    assignment: Tensor | None
    patch_tokens: Tensor | None


class FoD(Method):
    """Backbone, clustering aggregation and local decoder under one training loss."""

    def __init__(self, config: FoDConfig, load_weights: bool = True):
        super().__init__()
        self.config = config
        self.backbone = build_backbone(config.backbone, load_weights)
        self.aggregation = OptimalTransportAggregation(self.backbone.channels, config.aggregation)
        self.decoder = LocalDecoder(self.backbone.channels, config.decoder)
        self.multi_similarity = MultiSimilarityLoss(config.losses.multi_similarity)

    alarms = staticmethod(alarms)

    def training_loss(self, batch: Batch, gather: Gather = alone, progress: float = 1.0) -> LossTerms:
        tokens = self.backbone(batch["images"])
        if torch.is_grad_enabled() and not tokens.patch_tokens.requires_grad:
            # Under a frozen backbone too the gradient of each term can be asked for.
            tokens = replace(tokens, patch_tokens=tokens.patch_tokens.detach().requires_grad_())
        aggregated = self.aggregation(tokens.class_token, tokens.patch_tokens, tokens.attention)
        shared = self._gathered(tokens, aggregated, batch, gather)
        # Cosines of near-equal descriptors differ by less than what half precision can hold.
        with torch.autocast(device_type=shared.descriptors.device.type, enabled=False):
            terms, accepted = self._terms(shared, progress)
            diagnostics = self._diagnostics(shared, terms, accepted)
        weights = {name: weight for name, weight in self.config.losses.weights.items() if name in terms}
        if "local_triplet" in weights and progress < self.config.losses.local_triplet.start:
            weights["local_triplet"] = 0.0
        return LossTerms(terms, weights, diagnostics, tokens.patch_tokens)

    def embed(self, images: Tensor) -> Embedding:
        tokens = self.backbone(images)
        aggregated = self.aggregation(tokens.class_token, tokens.patch_tokens, tokens.attention)
        kept = kept_mass(aggregated.assignment)
        cues = select_cues(self._cue_map(tokens.attention, kept, self.config.cue_map), self.config.cue_selection)
        cells = cells_of_tokens(cues.indices, tokens.grid, self.config.decoder.local_grid)
        local = self.decoder.at_cells(tokens.patch_tokens, tokens.grid, cells)
        share = (kept / kept.amax(dim=1, keepdim=True).clamp_min(1e-12)).gather(1, cues.indices)
        per_cue = cells.rows.shape[1] // cues.indices.shape[1]
        valid = cues.valid.repeat_interleave(per_cue, dim=1) & cells.inside
        weights = share.clamp_min(_LEAST_WEIGHT).repeat_interleave(per_cue, dim=1) * valid
        positions = cell_positions(cells, tokens.grid)
        return Embedding(aggregated.descriptor, local * valid[:, :, None], positions, weights, 1 / tokens.grid[1])

    @staticmethod
    def _cue_map(attention: Tensor, kept: Tensor, which: str) -> Tensor:
        if which == "both":
            return (normalise_map(attention) + normalise_map(kept)) / 2
        return normalise_map(attention if which == "attention" else kept)

    def _gathered(self, tokens: Tokens, aggregated: Aggregated, batch: Batch, gather: Gather) -> _GlobalBatch:
        corresponds = self.config.losses.pseudo_correspondence.weight > 0
        identity, product = gather(batch["identity"]), gather(batch["product"])
        # As integers: not every backend of a process group carries bool.
        genuine = gather(batch["genuine"].long()).bool()
        anchors, partners = cyclic_pairs(identity, product, genuine)
        attention = gather(tokens.attention.float())
        confidence = gather(kept_mass(aggregated.assignment))
        return _GlobalBatch(
            descriptors=gather(aggregated.descriptor.float()),
            identity=identity,
            product=product,
            anchors=anchors,
            partners=partners,
            attention=attention,
            confidence=confidence,
            # Training follows both maps, so that the attention takes part.
            cues=select_cues(self._cue_map(attention, confidence, "both"), self.config.cue_selection),
            local=gather(self.decoder.per_token(tokens.patch_tokens, tokens.grid)),
            assignment=gather(aggregated.assignment.detach()) if corresponds else None,
            patch_tokens=gather(tokens.patch_tokens.detach().float()) if corresponds else None,
        )

    def _terms(self, shared: _GlobalBatch, progress: float) -> tuple[dict[str, Tensor], Tensor | None]:
        """The active terms, and the correspondences that each anchor got, (P,), where they are looked for."""
        losses, accepted = self.config.losses, None
        active = {name for name, weight in losses.weights.items() if weight > 0}
        terms: dict[str, Tensor] = {}
        if "multi_similarity" in active:
            terms["multi_similarity"] = self.multi_similarity(shared.descriptors, shared.identity)
        if "local_triplet" in active:
            pending = progress < losses.local_triplet.start
            terms["local_triplet"] = shared.local.sum() * 0.0 if pending else self._local_triplet(shared)
        if "alignment" in active:
            norm = losses.alignment.mask_norm
            terms["alignment"] = alignment_loss(
                normalise_map(shared.attention, norm), normalise_map(shared.confidence, norm)
            )
        if "foreground_contrast" in active:
            mask = self._cue_map(shared.attention, shared.confidence, "both")
            terms["foreground_contrast"] = foreground_contrast_loss(
                shared.local, mask, shared.anchors, shared.partners, losses.foreground_contrast
            )
        if "pseudo_correspondence" in active:
            chosen = cue_mask(shared.cues, shared.confidence.shape[1])
            pairs = pair_tokens(shared.patch_tokens, shared.assignment, chosen, shared.anchors, shared.partners)
            terms["pseudo_correspondence"], accepted = pseudo_correspondence_loss(
                shared.local, pairs, shared.anchors, shared.partners, losses.pseudo_correspondence
            )
        # Distributed training waits for the gradient of every parameter, whichever terms are on.
        first = next(iter(terms))
        terms[first] = terms[first] + (shared.descriptors.sum() + shared.local.sum()) * 0.0
        return terms, accepted

    def _local_triplet(self, shared: _GlobalBatch) -> Tensor:
        indices = shared.cues.indices[:, :, None].expand(-1, -1, shared.local.shape[2])
        local = shared.local.gather(1, indices)
        config, valid = self.config.losses.local_triplet, shared.cues.valid
        return local_triplet_loss(shared.descriptors, local, shared.identity, shared.product, config, valid)

    @torch.no_grad()
    def _diagnostics(
        self, shared: _GlobalBatch, terms: dict[str, Tensor], accepted: Tensor | None
    ) -> dict[str, Tensor]:
        """What `alarms` judges, by name."""
        norm = self.config.losses.alignment.mask_norm
        found = {
            "off_match_cosine": off_match_cosine(shared.local),
            "attention_peak": peak(normalise_map(shared.attention, norm)),
            "confidence_peak": peak(normalise_map(shared.confidence, norm)),
        }
        if "alignment" in terms:
            found["alignment_nats"] = terms["alignment"].detach()
        if accepted is not None:
            found["accepted_correspondences"] = median_count(accepted)
        return found
