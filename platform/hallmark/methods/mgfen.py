"""MGFEN: a photograph and its hottest parts, told by one network and put to a vote (second paper, section 3)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from hallmark.config import Config
from hallmark.losses.background_consistency import background_consistency_loss
from hallmark.losses.class_entropy import class_accuracy, class_entropy_loss
from hallmark.losses.heat_activation import class_activation, heat_activation_loss
from hallmark.losses.window_entropy import vote, vote_loss, window_entropy_loss
from hallmark.methods.base import (
    Attended,
    Classification,
    Classifier,
    Embedding,
    Gather,
    LossTerms,
    alone,
    embedding_of,
)
from hallmark.nets.backbone import BackboneConfig, build_feature_stages
from hallmark.nets.feature_pyramid import FeaturePyramid, PyramidConfig, PyramidHeat, channel_heat
from hallmark.nets.head import Head
from hallmark.nets.windows import WindowsConfig, as_fractions, choose_windows, crop
from hallmark.types import Backdrop, Batch

_FLAT_HEAT = 0.005
_COLD = 1e-6
_TELLING_SIDE = 64


class MGFENLosses(Config):
    """L = L_global + local·L_local + vote·L_vote + activation·L_activation + consistency·L_consistency.

    The first two are those of section 3.4.
    """

    local: float = Field(1.0, ge=0, description="weight of the windows' own entropy, lambda of equation 8")
    vote: float = Field(
        0.5, ge=0, description="weight of the vote's entropy, which trains what windows weigh; paper: 0"
    )
    activation: float = Field(
        0.5,
        ge=0,
        description="weight of drawing the pyramid's heat to where the whole image's class is told by, on the product "
        "where a mask is known and backgrounds are replaced",
    )
    consistency: float = Field(
        0.0,
        ge=0,
        description="weight of telling a photograph alike on two backgrounds; wants `sampling.pairs`; paper: 0",
    )
    adjust_prior: bool = Field(
        True,
        description="train so that classes count as equally likely, however many photographs each has; paper: false",
    )
    start: float = Field(
        0.04, ge=0, le=1, description="share of training that has the global loss alone: where windows lie means little"
    )


class MGFENConfig(Config):
    """The network and its losses."""

    method: Literal["mgfen"] = Field("mgfen", description="which method this configures")
    backbone: BackboneConfig
    global_px: int = Field(
        448, ge=16, le=1536, description="side that the given image is shrunk to for the global branch, px"
    )
    pyramid: PyramidConfig | None = Field(
        PyramidConfig(), description="the heat's feature pyramid; null: heat is the last stage's mean over its channels"
    )
    windows: WindowsConfig | None = Field(
        WindowsConfig(), description="the parts that are looked into; null: none, a plain classifier"
    )
    global_share: float = Field(
        0.5,
        ge=0,
        le=1,
        description="the whole image's share of the vote, beta; 0 = the windows alone, as the paper",
    )
    hidden: int | None = Field(None, ge=1, description="units of the head's hidden layer; null = a single linear layer")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of the head's units dropped in training")
    losses: MGFENLosses = MGFENLosses()


@dataclass(frozen=True)
class _Whole:
    """What the whole image shows."""

    small: Tensor
    """(B, 3, S, S) the image as it was shrunk."""
    last: Tensor
    """(B, F, h, w) the backbone's last stage."""
    pooled: Tensor
    """(B, F)."""
    heat: Tensor | None
    """(B, h', w'); None where no windows are looked into."""


@dataclass(frozen=True)
class _Closely:
    """What the windows show."""

    pooled: Tensor
    """(B, K, F)."""
    windows: Tensor
    """(B, K, 4) x0, y0, x1, y1, fractions."""
    weights: Tensor
    """(B, K) above 0, with gradient; a row sums to 1."""
    padded: Tensor
    """(B, K) bool."""


class MGFEN(Classifier):
    """One backbone and one head for the image and for its windows; a feature pyramid says where the windows lie."""

    def __init__(
        self, config: MGFENConfig, num_products: int, class_prior: Tensor | None = None, load_weights: bool = True
    ):
        """
        Args:
            config: the network.
            num_products: P; the head tells 2P classes.
            class_prior: (2P,) each class's share of the training stream, all above 0; None = all alike.
            load_weights: whether the backbone's pretrained weights are loaded.
        """
        super().__init__()
        self.config = config
        self.backbone = build_feature_stages(config.backbone, load_weights)
        channels = self.backbone.channels
        self.pyramid: FeaturePyramid | None = None
        if config.windows is not None and config.pyramid is not None:
            self.pyramid = FeaturePyramid(channels, config.pyramid)
            self.heat = PyramidHeat(len(channels), config.pyramid.channels)
        self.head = Head(channels[-1], 2 * num_products, config.hidden, config.dropout)
        prior = torch.full((2 * num_products,), 0.5 / num_products) if class_prior is None else class_prior
        self.register_buffer("log_prior", prior.float().log(), persistent=False)

    def training_loss(self, batch: Batch, gather: Gather = alone, progress: float = 1.0) -> LossTerms:
        """See Method. Where a batch has `backdrop`, its rows 2i and 2i + 1 may be a pair for the consistency: they must
        show one photograph, as `ShuffleConfig.pairs` lays them out.
        """
        losses, together = self.config.losses, progress >= self.config.losses.start
        whole = self._globally(batch["images"])
        close = self._closely(batch["images"], whole) if together and whole.heat is not None else None
        pooled = whole.pooled[:, None]
        tokens = pooled if close is None else torch.cat([pooled, close.pooled], dim=1)
        if torch.is_grad_enabled() and not tokens.requires_grad:
            tokens = tokens.detach().requires_grad_()
        logits, classes = gather(self.head(tokens)[0].float()), gather(batch["class_index"])
        shown = logits + self.log_prior if losses.adjust_prior else logits
        log_p = shown[:, 0].log_softmax(dim=1)
        terms = {"global": class_entropy_loss(shown[:, 0], classes)}
        diagnostics = {"global_accuracy": class_accuracy(logits[:, 0], classes)}
        if close is not None:
            log_p = vote(shown[:, 0], shown[:, 1:], gather(close.weights), self.config.global_share)
            terms |= {"local": window_entropy_loss(shown[:, 1:], classes), "vote": vote_loss(log_p, classes)}
            diagnostics |= {"vote_accuracy": class_accuracy(log_p, classes), **_heat_diagnostics(whole.heat, close)}
        if together and "backdrop" in batch and losses.consistency:
            terms["consistency"] = background_consistency_loss(log_p, _pairs(gather(batch["backdrop"])))
        if together and self.pyramid is not None and losses.activation:
            logits_everywhere = self.head.everywhere(whole.last)
            activation = class_activation(logits_everywhere, batch["class_index"], _telling(batch))
            terms["activation"] = heat_activation_loss(gather(whole.heat), gather(activation))
        if whole.heat is not None:
            # Distributed training waits for every parameter's gradient, also while the heat has no say in any loss.
            terms["global"] = terms["global"] + 0.0 * whole.heat.sum()
        weights = {"global": 1.0, **losses.model_dump(include={"local", "vote", "activation", "consistency"})}
        terms = {name: term for name, term in terms.items() if weights[name]}
        weights = {name: weights[name] for name in terms}
        return LossTerms(terms, weights, diagnostics, tokens, frozenset({"activation"}))

    def classify(self, images: Tensor) -> Classification:
        """See Classifier. The logits are log p of the vote; the windows are cut from the images as they are given."""
        whole = self._globally(images)
        logits, told_by = self.head(whole.pooled)
        if whole.heat is None:
            return Classification(logits.float(), whole.pooled, told_by)
        close = self._closely(images, whole)
        log_p = vote(logits, self.head(close.pooled)[0], close.weights, self.config.global_share)
        return Classification(log_p, whole.pooled, told_by, Attended(whole.heat, close.windows, close.weights))

    def embed(self, images: Tensor) -> Embedding:
        return embedding_of(self.classify(images))

    def _globally(self, images: Tensor) -> _Whole:
        small = shrunk(images, self.config.global_px)
        stages = self.backbone(small)
        last = stages[-1]
        heat = None
        if self.config.windows is not None:
            heat = channel_heat(last) if self.pyramid is None else self.heat(self.pyramid(stages))
        return _Whole(small, last, last.mean(dim=(2, 3)), heat)

    def _closely(self, images: Tensor, whole: _Whole) -> _Closely:
        config = self.config.windows
        chosen = choose_windows(whole.heat, config)
        windows = as_fractions(chosen.places, *whole.heat.shape[-2:])
        crops = crop(images if config.native else whole.small, windows, config.crop_px, max(config.sides))
        pooled = self.backbone(crops)[-1].mean(dim=(2, 3)).unflatten(0, (len(images), config.count))
        shares = chosen.scores + _COLD if config.weights == "heat" else torch.ones_like(chosen.scores)
        return _Closely(pooled, windows, shares / shares.sum(dim=1, keepdim=True), chosen.padded)

    @staticmethod
    def alarms(diagnostics: Mapping[str, float]) -> list[str]:
        """See Method."""
        told = []
        spread, bare = diagnostics.get("heat_spread", math.inf), diagnostics.get("backdrop_bare", 0.0)
        if spread < _FLAT_HEAT:
            told.append(
                f"flat heat map: it spreads by {spread:.2g} round its mean, below {_FLAT_HEAT}; where the windows lie "
                "and what they weigh means little (more method.losses.activation, or method.pyramid: null)"
            )
        if bare > 0:
            told.append(
                f"no foreground: in {100 * bare:.3g} % of the batches no background could be replaced, for want of "
                "masks that can be trusted (`hallmark data prepare` finds masks; background: null switches it off)"
            )
        return told


def shrunk(images: Tensor, side_px: int) -> Tensor:
    """(B, 3, H, W) -> (B, 3, side, side), bilinear and antialiased; the images themselves where they have that size."""
    if tuple(images.shape[-2:]) == (side_px, side_px):
        return images
    return F.interpolate(images, size=(side_px, side_px), mode="bilinear", align_corners=False, antialias=True)


def _telling(batch: Batch) -> Tensor | None:
    """(B, h, w) in [0, 1]: how much of each place is product, as far as known, and not padding; None = all of it."""
    foreground, content = batch.get("foreground"), batch.get("content")
    if content is None:
        return foreground
    size = _TELLING_SIDE if foreground is None else foreground.shape[-2:]
    shares = F.adaptive_avg_pool2d(content[:, None].float(), size).squeeze(1)
    return shares if foreground is None else foreground * shares


def _pairs(backdrop: Tensor) -> Tensor:
    """(M, 2) rows 2i, 2i + 1 of a batch whose backgrounds differ: at least one of them was replaced."""
    replaced = (backdrop == Backdrop.REPLACED).unflatten(0, (-1, 2)).any(dim=1)
    first = 2 * replaced.nonzero().squeeze(1)
    return torch.stack([first, first + 1], dim=1)


@torch.no_grad()
def _heat_diagnostics(heat: Tensor, close: _Closely) -> dict[str, Tensor]:
    """Per image the heat's deviation and its entropy (1 = flat), and the share of windows that had to overlap."""
    places = heat.flatten(1)
    share = places / places.sum(dim=1, keepdim=True).clamp_min(_COLD)
    entropy = -(share * share.clamp_min(_COLD**2).log()).sum(dim=1) / math.log(max(2, places.shape[1]))
    return {
        "heat_spread": places.std(dim=1),
        "heat_entropy": entropy,
        "padded_windows": close.padded.float().mean(),
    }
