"""Thresholds and probabilities, fitted on validation photographs and kept in the bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field
from sklearn.linear_model import LogisticRegression

from hallmark.config import Config, validate
from hallmark.errors import BundleError, DataError

if TYPE_CHECKING:
    from hallmark.training.bundle import Bundle

_RESAMPLES = 1000
_REGULARISATION = 1.0


class CalibrationConfig(Config):
    """How the thresholds are fitted."""

    num_candidates: int = Field(10, ge=1, description="K, genuine and counterfeit references a query is matched with")
    match_quantile: float = Field(
        0.99,
        gt=0,
        lt=1,
        description="least cosine of a match, as quantile of those between products",
    )
    rejection_target: float = Field(
        0.01, gt=0, lt=1, description="share of in-domain photographs that may be called not_in_gallery"
    )


class Calibration(Config):
    """calibration.json: every fitted threshold beside its objective and its data."""

    mode: Literal["paper_match"] = Field("paper_match", description="how evidence becomes the decision score")
    objective: str = Field(description="what the authenticity threshold maximises")
    num_candidates: int = Field(ge=1)
    threshold_match: float = Field(description="least cosine of a matched pair of cues")
    threshold_global: float = Field(description="global similarity below which a photograph is not_in_gallery")
    threshold_genuine: float = Field(description="decision score at or above which a photograph is genuine")
    threshold_counterfeit: float = Field(description="decision score below which a photograph is counterfeit")
    threshold_interval: tuple[float, float] = Field(
        description="90 % bootstrap interval, by item, of the authenticity threshold"
    )
    slope: float = Field(gt=0, description="of the logistic curve from score to probability")
    intercept: float = Field(description="of the logistic curve")
    f1: float = Field(description="on the calibration photographs, counterfeit positive")
    num_genuine: int = Field(ge=1)
    num_counterfeit: int = Field(ge=1)
    data_hash: str = Field(description="of the manifest the calibration photographs come from")

    def p_genuine(self, score: float) -> float:
        """Probability of genuine for a decision score."""
        return float(1.0 / (1.0 + np.exp(-np.clip(self.slope * score + self.intercept, -50, 50))))


def calibration_of(bundle: Bundle) -> Calibration:
    """The thresholds of a bundle.

    Raises:
        BundleError: it was never calibrated.
        ConfigError: calibration.json has a wrong key or value.
    """
    if bundle.calibration is None:
        raise BundleError(f"{bundle.path}: has no calibration.json; train again, its job calibrates at the end")
    return validate(Calibration, bundle.calibration, f"{bundle.path}/calibration.json")


@dataclass(frozen=True)
class Sample:
    """One calibration photograph of known authenticity."""

    score: float
    genuine: bool
    global_similarity: float
    item_id: str


def fit_calibration(
    samples: Sequence[Sample], threshold_match: float, config: CalibrationConfig, data_hash: str, seed: int
) -> Calibration:
    """Fit every threshold.

    Args:
        samples: in-domain calibration photographs, genuine and counterfeit, none of them trained on or enrolled.
        threshold_match: as fitted by `fit_match_threshold`; the scores were made with it.
        config: objectives.
        data_hash: of the manifest.
        seed: of the bootstrap.

    Raises:
        DataError: one of the two authenticities is missing.
    """
    scores = np.array([sample.score for sample in samples])
    genuine = np.array([sample.genuine for sample in samples], dtype=bool)
    if not genuine.any() or genuine.all():
        raise DataError(
            f"calibration: found {int(genuine.sum())} genuine and {int((~genuine).sum())} counterfeit validation "
            "photographs; wanted some of each (a larger `splits.ratio`, or more photographs)"
        )
    threshold, f1 = best_f1_threshold(scores, genuine)
    slope, intercept = _fit_logistic(scores, genuine)
    return Calibration(
        objective="F1, counterfeit positive",
        num_candidates=config.num_candidates,
        threshold_match=threshold_match,
        threshold_global=rejection_threshold(
            np.array([sample.global_similarity for sample in samples]), config.rejection_target
        ),
        threshold_genuine=threshold,
        threshold_counterfeit=threshold,
        threshold_interval=_bootstrap_threshold(scores, genuine, [s.item_id for s in samples], seed),
        slope=slope,
        intercept=intercept,
        f1=f1,
        num_genuine=int(genuine.sum()),
        num_counterfeit=int((~genuine).sum()),
        data_hash=data_hash,
    )


def best_f1_threshold(scores: np.ndarray, genuine: np.ndarray) -> tuple[float, float]:
    """The threshold with the highest F1, counterfeit positive and said where score < threshold.

    Candidates are the midpoints between distinct scores, and one beyond either end; among equals the one in the widest
    gap, then the lowest.

    Args:
        scores: (N,) higher = more genuine.
        genuine: (N,) bool.

    Returns:
        The threshold, finite, and its F1.
    """
    distinct = np.unique(scores)
    gaps = np.diff(distinct)
    # Beyond the ends: as far as the widest gap, so that the threshold stays finite; such a gap has no width.
    reach = max(float(gaps.max(initial=0.0)), 1e-3)
    between = distinct[:-1] + gaps / 2
    # Halfway between neighbouring floats may round to the lower one, which would then not be below the threshold.
    between = np.where(between > distinct[:-1], between, distinct[1:])
    candidates = np.concatenate([[distinct[0] - reach], between, [distinct[-1] + reach]])
    widths = np.concatenate([[0.0], gaps, [0.0]])
    called = np.sort(scores[~genuine]).searchsorted(candidates, side="left")
    wrongly = np.sort(scores[genuine]).searchsorted(candidates, side="left")
    f1 = 2 * called / np.maximum(called + wrongly + (~genuine).sum(), 1)
    best = max(range(len(candidates)), key=lambda place: (f1[place], widths[place], -place))
    return float(candidates[best]), float(f1[best])


def rejection_threshold(similarity: np.ndarray, target: float) -> float:
    """Global similarity below which a photograph is rejected: the floor(target·(n + 1))-th smallest in-domain value.

    With fewer than 1/target - 1 photographs it is the smallest, and the share rejected in use may exceed the target.
    """
    rank = max(1, int(np.floor(target * (len(similarity) + 1))))
    return float(np.sort(similarity)[rank - 1])


def fit_match_threshold(cosines: np.ndarray, quantile: float) -> float:
    """Least cosine of a match: a quantile of the mutual-nearest-neighbour cosines between different products.

    Zero where there is no second product to compare with.
    """
    return float(np.quantile(cosines, quantile)) if len(cosines) else 0.0


def _fit_logistic(scores: np.ndarray, genuine: np.ndarray) -> tuple[float, float]:
    # Standardised, so that the penalty does not depend on the score's scale; balanced, since the share of counterfeits
    # among the calibration photographs says nothing of the field.
    centre, spread = float(scores.mean()), float(scores.std()) or 1.0
    model = LogisticRegression(C=_REGULARISATION, class_weight="balanced")
    model.fit(((scores - centre) / spread)[:, None], genuine)
    # A score that ranks the wrong way round must not turn the meaning of the probability.
    slope = max(float(model.coef_[0, 0]) / spread, 1e-6)
    return slope, float(model.intercept_[0]) - slope * centre


def _bootstrap_threshold(
    scores: np.ndarray, genuine: np.ndarray, item_ids: Sequence[str], seed: int
) -> tuple[float, float]:
    rng = np.random.default_rng(seed)
    items = {item: np.flatnonzero(np.array(item_ids) == item) for item in sorted(set(item_ids))}
    names = list(items)
    thresholds = []
    for _ in range(_RESAMPLES):
        rows = np.concatenate([items[names[place]] for place in rng.integers(len(names), size=len(names))])
        if genuine[rows].any() and not genuine[rows].all():
            thresholds.append(best_f1_threshold(scores[rows], genuine[rows])[0])
    low, high = np.quantile(thresholds, [0.05, 0.95]) if thresholds else (-1.0, 1.0)
    return float(low), float(high)
