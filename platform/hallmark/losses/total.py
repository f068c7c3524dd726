"""Equation 7: which terms there are, their named sets of weights, and the signs that one of them does nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from pydantic import BaseModel, Field, model_validator
from torch import Tensor

from hallmark.config import Config
from hallmark.losses.alignment import AlignmentConfig
from hallmark.losses.foreground_contrast import ForegroundContrastConfig
from hallmark.losses.local_triplet import LocalTripletConfig
from hallmark.losses.multi_similarity import MultiSimilarityConfig
from hallmark.losses.pseudo_correspondence import PseudoCorrespondenceConfig

LOSS_PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    # The paper's terms, the ancestor's local triplet, and a contrast that keeps correspondences apart from the rest.
    "default": {},
    # Equation 7 as the paper's text has it.
    "paper": {
        "local_triplet": {"weight": 0.0},
        "alignment": {"weight": 0.1},
        "foreground_contrast": {"form": "triplet"},
        "pseudo_correspondence": {"weight": 0.1, "contrast": 0.0},
    },
    # What the ancestor's published code computes, two nearly inert terms included.
    "fol_repo": {
        "local_triplet": {"margin": 0.0, "mining": "hardest"},
        "alignment": {"weight": 5e-3, "mask_norm": "raw_softmax"},
        "foreground_contrast": {"form": "weighted_pull"},
        "pseudo_correspondence": {"weight": 1e-2, "selection": "repo", "contrast": 0.0},
    },
}
"""Named sets, laid over the terms' own defaults and under the keys that are given."""

_FEWEST_ACCEPTED = 3
_INERT_NATS = 1e-4
_COLLAPSED_COSINE = 0.9
_FLAT_PEAK = 1.05


class FoDLosses(Config):
    """Equation 7: L = L_MS + L_local + alpha·L_align + beta·L_PC, and the mutual-nearest-neighbour triplet.

    A term of weight 0 is not computed.
    """

    preset: Literal["default", "paper", "fol_repo"] = Field(
        "default", description="named set of weights and forms that the other keys are laid over"
    )
    multi_similarity: MultiSimilarityConfig = MultiSimilarityConfig()
    local_triplet: LocalTripletConfig = LocalTripletConfig()
    alignment: AlignmentConfig = AlignmentConfig()
    foreground_contrast: ForegroundContrastConfig = ForegroundContrastConfig()
    pseudo_correspondence: PseudoCorrespondenceConfig = PseudoCorrespondenceConfig()

    @model_validator(mode="before")
    @classmethod
    def _over_named_set(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        # An unknown name is left to the check of the field, which lists the known ones.
        named = LOSS_PRESETS.get(str(given.get("preset", "default")), {})
        laid = dict(given)
        for term, settings in named.items():
            own = given.get(term, {})
            if isinstance(own, Mapping):
                laid[term] = settings | dict(own)
        return laid

    @model_validator(mode="after")
    def _some_term(self) -> FoDLosses:
        if not any(self.weights.values()):
            raise ValueError("every term has weight 0; wanted at least one above it")
        return self

    @property
    def weights(self) -> dict[str, float]:
        """Weight of each term."""
        return {name: part.weight for name, part in self if isinstance(part, BaseModel)}


def off_match_cosine(local: Tensor) -> Tensor:
    """Mean cosine of the local descriptors of different tokens of a photograph; near 1 they have collapsed.

    Args:
        local: (B, N, l) unit norm.

    Returns:
        () float; NaN for a single token.
    """
    num_tokens = local.shape[1]
    if num_tokens < 2:
        return _nan(local)
    # |sum of unit vectors|^2 counts every ordered pair, and each vector with itself.
    squares = local.sum(dim=1).square().sum(dim=1)
    return (squares - num_tokens).mean() / (num_tokens * (num_tokens - 1))


def peak(distribution: Tensor) -> Tensor:
    """How far a map is from flat: largest value over mean, 1 = flat, mean over the batch. (B, N) -> ()."""
    return (distribution.amax(dim=1) / distribution.mean(dim=1).clamp_min(1e-12)).mean()


def median_count(accepted: Tensor) -> Tensor:
    """Median of the accepted correspondences of an image: (P,) int64 -> () float; NaN without pairs."""
    return accepted.double().quantile(0.5).float() if accepted.numel() else _nan(accepted)


def alarms(diagnostics: Mapping[str, float]) -> list[str]:
    """What is wrong with a training, in words, from the diagnostics of its `LossTerms`; empty where nothing is.

    What was not measured, or is NaN, raises no alarm.
    """
    found = []
    accepted = diagnostics.get("accepted_correspondences", torch.inf)
    if accepted < _FEWEST_ACCEPTED:
        found.append(
            f"dead term: pseudo_correspondence has {accepted:g} accepted correspondences an image (median); wanted at "
            f"least {_FEWEST_ACCEPTED}"
        )
    nats = diagnostics.get("alignment_nats", torch.inf)
    if abs(nats) < _INERT_NATS:
        found.append(f"dead term: alignment is {nats:.1e} nats; wanted at least {_INERT_NATS:g}")
    cosine = diagnostics.get("off_match_cosine", -torch.inf)
    if cosine > _COLLAPSED_COSINE:
        found.append(
            f"collapsed descriptors: local descriptors of different places have a mean cosine of {cosine:.3f}; wanted "
            f"at most {_COLLAPSED_COSINE}"
        )
    for name in ("attention", "confidence"):
        highest = diagnostics.get(f"{name}_peak", torch.inf)
        if highest < _FLAT_PEAK:
            found.append(
                f"flat masks: the {name} map's largest value is {highest:.3f} of its mean; wanted at least {_FLAT_PEAK}"
            )
    return found


def _nan(like: Tensor) -> Tensor:
    return torch.tensor(torch.nan, device=like.device)
