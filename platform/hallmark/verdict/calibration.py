"""calibration.json: everything that is fitted on calibration photographs and kept in the bundle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from pydantic import Field, ValidationInfo, field_validator, model_validator

from hallmark.config import Config, validate
from hallmark.errors import BundleError
from hallmark.verdict.conformal import OneClassModel
from hallmark.verdict.fusion import FusedModel
from hallmark.verdict.gates import QualityGate, StageCheck
from hallmark.verdict.objectives import ObjectiveConfig
from hallmark.verdict.template import VerificationConfig

if TYPE_CHECKING:
    from hallmark.training.bundle import Bundle

Mode = Literal["paper_match", "fused", "one_class", "classifier"]
RejectBy = Literal["global", "global_or_inliers"]

_WEIGHING = ("fused", "one_class")
"""Modes that weigh all evidence there is."""

_LARGEST_LOGIT = 50.0


class CalibrationConfig(ObjectiveConfig):
    """How evidence becomes a verdict, and what the thresholds are fitted for."""

    mode: Mode = Field(
        "fused",
        description="paper_match: v+ less v-, as the first paper; fused: logistic regression of all evidence; "
        "one_class: how unusual among genuine items, needs no counterfeit; classifier: the log odds of a bundle that "
        "classifies, the one mode of such a bundle",
    )
    num_candidates: int = Field(10, ge=1, description="K, genuine and counterfeit references a query is matched with")
    match_quantile: float = Field(
        0.99,
        gt=0,
        lt=1,
        description="least cosine of a match, as quantile of those between products",
    )
    reject_by: RejectBy = Field(
        "global_or_inliers",
        description="what makes a photograph not_in_gallery: too low a global similarity, or that or too low an inlier "
        "ratio where there is one",
    )
    rejection_target: float = Field(
        0.01, gt=0, lt=1, description="share of in-domain photographs that may be called not_in_gallery"
    )
    verification: VerificationConfig = VerificationConfig()
    classifier: str | None = Field(
        None,
        description="folder of a bundle that classifies; it is copied into the one that is calibrated, and its log "
        "odds of genuine count as evidence (fused, one_class); null: none",
    )

    @model_validator(mode="after")
    def _weighs_classifier(self) -> Self:
        if self.classifier is not None and self.mode not in _WEIGHING:
            raise ValueError(
                f"classifier: found one in mode {self.mode}; wanted mode {' or '.join(_WEIGHING)}, or null"
            )
        return self


@dataclass(frozen=True)
class Judgement:
    """What the evidence says of a photograph. Both None: it says nothing; both nan: it is not finite."""

    score: float | None
    """Higher = more genuine; held against the thresholds."""
    p_genuine: float | None
    """0 to 1."""


class Calibration(Config):
    """calibration.json: every fitted threshold beside its objective and its data."""

    mode: Mode = Field("paper_match", description="how evidence becomes the decision score")
    objective: str = Field(description="what the authenticity thresholds in force were chosen for, in words")
    settings: CalibrationConfig = Field(CalibrationConfig(), description="what was asked for")
    num_candidates: int = Field(ge=1)
    verification: VerificationConfig = VerificationConfig()
    threshold_match: float = Field(description="least cosine of a matched pair of cues")
    reject_by: RejectBy = Field("global", description="what makes a photograph not_in_gallery")
    threshold_global: float = Field(description="global similarity below which a photograph is not_in_gallery")
    threshold_inliers: float | None = Field(None, description="inlier ratio below which it is too; null: not in force")
    threshold_genuine: float = Field(description="decision score at or above which a photograph is genuine")
    threshold_counterfeit: float = Field(description="decision score below which a photograph is counterfeit")
    threshold_by_product: dict[str, tuple[float, float]] = Field(
        {}, description="threshold_counterfeit and threshold_genuine of products that have photographs of their own"
    )
    threshold_interval: tuple[float, float] = Field(
        description="90 % bootstrap interval, by item, of the authenticity threshold"
    )
    slope: float = Field(
        gt=0, description="of the logistic curve from score to probability; fused, classifier: 1 / temperature"
    )
    intercept: float = Field(description="of the logistic curve; fused, classifier: 0")
    fused: FusedModel | None = Field(None, description="fused mode's model")
    one_class: OneClassModel | None = Field(None, description="one_class mode's model")
    quality: QualityGate | None = Field(None, description="what a photograph must have to be judged; null: texture")
    stages: StageCheck | None = Field(
        None, description="paper_match: where retrieval may not be overruled; null: too few photographs to tell"
    )
    f1: float | None = Field(
        description="on the calibration photographs by their out-of-fold scores, counterfeit positive; null: no "
        "counterfeits"
    )
    num_genuine: int = Field(ge=1)
    num_counterfeit: int = Field(ge=0)
    data_hash: str = Field(description="of the manifest the calibration photographs come from")
    warnings: list[str] = Field([], description="what so few or such photographs cannot show")

    @field_validator("fused", "one_class")
    @classmethod
    def _there(cls, model: Any, info: ValidationInfo) -> Any:
        if model is None and info.data.get("mode") == info.field_name:
            raise ValueError(f"wanted a model, as mode is {info.field_name}")
        return model

    def judge(self, features: Mapping[str, float | None], product: str) -> Judgement:
        """The decision score and the probability of genuine that a photograph's evidence gives.

        Args:
            features: evidence by name, None where there is none.
            product: what the photograph shows.
        """
        if not is_judged(features, self.mode):
            return Judgement(None, None)
        if self.mode == "one_class":
            return Judgement(*self.one_class.judge(features, product))
        if self.mode == "classifier":
            score = features["classifier_logit"]
        else:
            score = self.fused.score(features) if self.mode == "fused" else match_score(features)
        return Judgement(score, None if score is None else self.p_genuine(score))

    def p_genuine(self, score: float) -> float:
        """Probability of genuine for a decision score; one_class has no curve, its `judge` gives a p-value instead."""
        return float(1.0 / (1.0 + np.exp(-np.clip(self.log_odds(score), -_LARGEST_LOGIT, _LARGEST_LOGIT))))

    def log_odds(self, score: float) -> float:
        """Of genuine, both authenticities being equally likely beforehand: the log-likelihood ratio of the score."""
        return self.slope * score + self.intercept

    def thresholds_of(self, product: str | None) -> tuple[float, float]:
        """threshold_counterfeit and threshold_genuine: the product's own, or those of all products."""
        return self.threshold_by_product.get(product, (self.threshold_counterfeit, self.threshold_genuine))


@dataclass(frozen=True)
class Sample:
    """One in-domain calibration photograph of known authenticity, neither trained on nor enrolled."""

    features: Mapping[str, float | None]
    """Evidence by name, higher = more genuine; None where there is none."""
    genuine: bool
    product: str
    item_id: str
    global_similarity: float | None
    """g+."""
    inlier_ratio: float | None
    """inl+."""
    sharpness: float
    brightness: float
    clipped: float


def match_score(features: Mapping[str, float | None]) -> float | None:
    """paper_match: v+ less v-, the latter zero where no counterfeit is enrolled; None without a genuine reference."""
    margin = features.get("match_margin")
    return features.get("match_genuine") if margin is None else margin


def is_judged(features: Mapping[str, float | None], mode: Mode) -> bool:
    """Whether there is what a mode judges by: a genuine reference to compare with, or the classifier's log odds."""
    wanted = ("classifier_logit",) if mode == "classifier" else ("global_genuine", "match_genuine")
    return any(features.get(name) is not None for name in wanted)


def calibration_of(bundle: Bundle) -> Calibration:
    """The thresholds of a bundle.

    Raises:
        BundleError: it was never calibrated.
        ConfigError: calibration.json has a wrong key or value.
    """
    if bundle.calibration is None:
        raise BundleError(f"{bundle.path}: has no calibration.json; train again, its job calibrates at the end")
    return validate(Calibration, bundle.calibration, f"{bundle.path}/calibration.json")
