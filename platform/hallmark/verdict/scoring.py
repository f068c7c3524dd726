"""Scores of calibration photographs, by models that have not seen their items, and the model that stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from sklearn.linear_model import LogisticRegression

from hallmark.errors import DataError
from hallmark.verdict.calibration import CalibrationConfig, Sample, is_judged, match_score
from hallmark.verdict.conformal import GenuinePhotographs, OneClassModel, fit_one_class
from hallmark.verdict.folds import item_folds
from hallmark.verdict.fusion import (
    DEFAULT_STRENGTH,
    FusedModel,
    choose_strength,
    fit_fused,
    fit_temperature,
    fused_scores,
)
from hallmark.verdict.gates import StageCheck, fit_stage_check
from hallmark.verdict.objectives import NEED_GENUINE_ALONE, Thresholds, choose_thresholds

_REGULARISATION = 1.0


@dataclass(frozen=True)
class Scored:
    """Calibration photographs that can be judged, with scores by models that have not seen their items."""

    scores: np.ndarray
    genuine: np.ndarray
    products: np.ndarray
    item_ids: tuple[str, ...]
    thresholds: Thresholds
    slope: float = 1.0
    intercept: float = 0.0
    fused: FusedModel | None = None
    one_class: OneClassModel | None = None
    stages: StageCheck | None = None
    warnings: tuple[str, ...] = ()

    def chosen(self, rows: np.ndarray) -> Scored:
        """Some of the photographs."""
        return replace(
            self,
            scores=self.scores[rows],
            genuine=self.genuine[rows],
            products=self.products[rows],
            item_ids=tuple(self.item_ids[row] for row in rows),
        )


def score_samples(samples: Sequence[Sample], config: CalibrationConfig) -> Scored:
    """Fit the mode's model and score the photographs that it judges, out of fold.

    Raises:
        DataError: an authenticity that the mode needs is missing.
    """
    judged = [sample for sample in samples if is_judged(sample.features, config.mode)]
    _check(judged, config)
    return _SCORING[config.mode](judged, config)


def _check(samples: Sequence[Sample], config: CalibrationConfig) -> None:
    num_genuine = sum(sample.genuine for sample in samples)
    num_counterfeit = len(samples) - num_genuine
    classifies = config.mode == "classifier"
    alone = config.objective in NEED_GENUINE_ALONE if classifies else config.mode == "one_class"
    if num_genuine and (num_counterfeit or alone):
        return
    wanted = ("genuine ones" if alone else "some of each") + ("" if classifies else " that have a genuine reference")
    instead = "calibration.objective: frr" if classifies else "calibration.mode: one_class"
    without = f" or `{instead}`, which needs no counterfeit" if num_genuine else ""
    raise DataError(
        f"calibration: found {num_genuine} genuine and {num_counterfeit} counterfeit validation photographs; wanted "
        f"{wanted} (a larger `splits.ratio`, more photographs{',' if without else ''}{without})"
    )


def _columns(samples: Sequence[Sample]) -> dict[str, np.ndarray | tuple[str, ...]]:
    return {
        "genuine": np.array([sample.genuine for sample in samples], dtype=bool),
        "products": np.array([sample.product for sample in samples]),
        "item_ids": tuple(sample.item_id for sample in samples),
    }


def _paper_match(samples: Sequence[Sample], config: CalibrationConfig) -> Scored:
    told = [(sample, score) for sample in samples if (score := match_score(sample.features)) is not None]
    _check([sample for sample, _ in told], config)
    columns = _columns([sample for sample, _ in told])
    scores, genuine = np.array([score for _, score in told]), columns["genuine"]
    slope, intercept = _fit_logistic(scores, genuine)
    return Scored(
        scores=scores,
        **columns,
        thresholds=choose_thresholds(scores, genuine, config),
        slope=slope,
        intercept=intercept,
        stages=fit_stage_check([sample.features.get("global_margin") for sample, _ in told], genuine),
    )


def _fused(samples: Sequence[Sample], config: CalibrationConfig) -> Scored:
    columns = _columns(samples)
    genuine, items = columns["genuine"], columns["item_ids"]
    names = sorted({name for sample in samples for name in sample.features})
    table = np.array([[np.nan if (v := s.features.get(n)) is None else v for n in names] for s in samples], dtype=float)
    folds = item_folds(items, genuine, columns["products"])
    warnings: tuple[str, ...] = ()
    if folds is None:
        # Nothing can be held out: a middling penalty, and scores of the very photographs fitted on.
        model = fit_fused(names, table, genuine, DEFAULT_STRENGTH)
        scores = fused_scores(model, names, table)
        warnings = ("fused: an authenticity has a single calibration item; thresholds and probabilities are too sure",)
    else:
        strength, scores = choose_strength(names, table, genuine, folds, items)
        model = fit_fused(names, table, genuine, strength)
    return Scored(
        scores=scores,
        **columns,
        thresholds=choose_thresholds(scores, genuine, config),
        slope=1.0 / fit_temperature(scores, genuine),
        fused=model,
        warnings=warnings,
    )


def _classifier(samples: Sequence[Sample], config: CalibrationConfig) -> Scored:
    columns = _columns(samples)
    # None of them was trained on, so that no score needs to be held out.
    scores, genuine = np.array([sample.features["classifier_logit"] for sample in samples]), columns["genuine"]
    told = not genuine.all()
    warning = "classifier: no counterfeit calibration photograph; probabilities are the network's own, perhaps too sure"
    return Scored(
        scores=scores,
        **columns,
        thresholds=choose_thresholds(scores, genuine, config),
        slope=1.0 / fit_temperature(scores, genuine) if told else 1.0,
        warnings=() if told else (warning,),
    )


def _one_class(samples: Sequence[Sample], config: CalibrationConfig) -> Scored:
    columns = _columns(samples)
    genuine, items = columns["genuine"], columns["item_ids"]
    rows = np.flatnonzero(genuine)
    photographs = GenuinePhotographs(
        tuple(samples[row].features for row in rows),
        tuple(samples[row].product for row in rows),
        tuple(items[row] for row in rows),
    )
    folds = item_folds(photographs.item_ids, genuine[rows], photographs.products)
    if folds is None:
        raise DataError(
            f"calibration: found genuine validation photographs of one item, {photographs.item_ids[0]}; wanted two or "
            "more to see how genuine items differ (their item_id tells photographs of one item)"
        )
    fitted = fit_one_class(photographs, folds, config.frr_target)
    scores = np.full(len(samples), np.nan)
    scores[rows] = fitted.scores
    for row in np.flatnonzero(~genuine):
        score, _ = fitted.model.judge(samples[row].features, samples[row].product)
        scores[row] = np.nan if score is None else score
    # The limits are in the model, so the score is held against zero.
    said = f"at most {fitted.model.eps:.3g} of genuine articles called counterfeit, by conformal p-value"
    scored = Scored(
        scores=scores,
        **columns,
        thresholds=Thresholds(0.0, 0.0, said),
        one_class=fitted.model,
        warnings=fitted.warnings,
    )
    told = np.flatnonzero(~np.isnan(scores))
    return scored.chosen(told) if genuine[told].any() else scored


def _fit_logistic(scores: np.ndarray, genuine: np.ndarray) -> tuple[float, float]:
    # Standardised, so that the penalty does not depend on the score's scale; balanced, since the share of counterfeits
    # among the calibration photographs says nothing of the field.
    centre, spread = float(scores.mean()), float(scores.std()) or 1.0
    model = LogisticRegression(C=_REGULARISATION, class_weight="balanced")
    model.fit(((scores - centre) / spread)[:, None], genuine)
    # A score that ranks the wrong way round must not turn the meaning of the probability.
    slope = max(float(model.coef_[0, 0]) / spread, 1e-6)
    return slope, float(model.intercept_[0]) - slope * centre


_SCORING = {"paper_match": _paper_match, "fused": _fused, "one_class": _one_class, "classifier": _classifier}
