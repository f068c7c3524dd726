"""Fits a calibration: evidence of photographs of known authenticity in, calibration.json out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hallmark.verdict.calibration import Calibration, CalibrationConfig, Sample
from hallmark.verdict.folds import resamples
from hallmark.verdict.gates import fit_quality, fit_rejection
from hallmark.verdict.objectives import NEED_GENUINE_ALONE, ObjectiveConfig, choose_thresholds, far_threshold
from hallmark.verdict.scoring import Scored, score_samples

_QUALITY = ("sharpness", "brightness", "clipped")
_SHRINKAGE = 20.0


def fit_calibration(
    samples: Sequence[Sample], threshold_match: float, config: CalibrationConfig, data_hash: str, seed: int
) -> Calibration:
    """Fit every threshold; the order of the samples makes no difference.

    Args:
        samples: in-domain calibration photographs, genuine and counterfeit, none of them trained on or enrolled.
        threshold_match: as fitted by `fit_match_threshold`; the evidence was made with it.
        config: mode and objectives.
        data_hash: of the manifest.
        seed: of the bootstrap.

    Raises:
        DataError: an authenticity that the mode needs is missing.
    """
    finite = sorted((sample for sample in samples if _is_finite(sample)), key=_identity)
    scored = score_samples(finite, config)
    threshold_global, threshold_inliers = fit_rejection(
        np.array([sample.global_similarity for sample in finite if sample.global_similarity is not None]),
        [sample.inlier_ratio for sample in finite],
        config.rejection_target,
        config.reject_by == "global_or_inliers",
    )
    num_left_out = len(samples) - len(finite)
    left_out = [f"{num_left_out} calibration photographs left out: their evidence is not finite"] * bool(num_left_out)
    return Calibration(
        mode=config.mode,
        objective=scored.thresholds.objective,
        settings=config,
        num_candidates=config.num_candidates,
        verification=config.verification,
        threshold_match=threshold_match,
        reject_by="global" if threshold_inliers is None else "global_or_inliers",
        threshold_global=threshold_global,
        threshold_inliers=threshold_inliers,
        threshold_genuine=scored.thresholds.genuine,
        threshold_counterfeit=scored.thresholds.counterfeit,
        threshold_by_product=_by_product(scored, config),
        threshold_interval=_interval(scored, config, seed),
        slope=scored.slope,
        intercept=scored.intercept,
        fused=scored.fused,
        one_class=scored.one_class,
        quality=fit_quality(*(np.array([getattr(s, told) for s in finite]) for told in _QUALITY)),
        stages=scored.stages,
        f1=_f1(scored),
        num_genuine=int(scored.genuine.sum()),
        num_counterfeit=int((~scored.genuine).sum()),
        data_hash=data_hash,
        warnings=[*left_out, *scored.warnings, *scored.thresholds.warnings],
    )


def fit_match_threshold(cosines: np.ndarray, quantile: float) -> float:
    """Least cosine of a match: a quantile of the mutual-nearest-neighbour cosines between different products.

    Zero where there is no second product to compare with.
    """
    return float(np.quantile(cosines, quantile)) if len(cosines) else 0.0


def _is_finite(sample: Sample) -> bool:
    told = [*sample.features.values(), sample.inlier_ratio, sample.global_similarity]
    told += [getattr(sample, name) for name in _QUALITY]
    return all(value is None or np.isfinite(value) for value in told)


def _identity(sample: Sample) -> tuple[str, ...]:
    """Sorts samples: sums of floats depend on their order in the last digit, calibrations must not."""
    rest = (sorted(sample.features.items()), sample.global_similarity, sample.inlier_ratio)
    return sample.product, sample.item_id, str(sample.genuine), repr(rest), repr([getattr(sample, q) for q in _QUALITY])


def _in_force(scored: Scored, config: CalibrationConfig) -> ObjectiveConfig:
    """The objective that chose the thresholds, which is not always the one asked for."""
    falls_back = config.objective == "far" and not scored.thresholds.certified
    return config.model_copy(update={"objective": "frr"}) if falls_back else config


def _by_product(scored: Scored, config: CalibrationConfig) -> dict[str, tuple[float, float]]:
    """Each product's own thresholds, shrunk to those of all products by how few items it has.

    Only where a product has the photographs that the objective needs; `argmax` fits none. one_class has none: it knows
    products by their spreads already, and moving its limit would void its false-alarm rate. For `far` a product's own
    threshold counts only where its own counterfeits show it, and only where it is stricter, so that what was shown for
    all still holds.
    """
    products = sorted({str(product) for product in scored.products})
    if scored.one_class is not None or config.objective == "argmax" or len(products) == 1:
        return {}
    config, overall = _in_force(scored, config), scored.thresholds
    own: dict[str, tuple[float, float]] = {}
    for product in products:
        told = scored.chosen(np.flatnonzero(scored.products == product))
        if not told.genuine.any() or (told.genuine.all() and config.objective != "frr"):
            continue
        if config.objective == "far" and far_threshold(told.scores, told.genuine, config.far_target) is None:
            continue
        chosen = choose_thresholds(told.scores, told.genuine, config)
        counted = told.genuine if config.objective == "frr" else np.ones(len(told.scores), dtype=bool)
        num_items = len({item for item, counts in zip(told.item_ids, counted, strict=True) if counts})
        weight = num_items / (num_items + _SHRINKAGE)
        low = weight * chosen.counterfeit + (1 - weight) * overall.counterfeit
        high = weight * chosen.genuine + (1 - weight) * overall.genuine
        if config.objective == "far":
            low, high = max(low, overall.counterfeit), max(high, overall.genuine)
        own[product] = (low, high)
    return own


def _interval(scored: Scored, config: CalibrationConfig, seed: int) -> tuple[float, float]:
    """90 % bootstrap interval, by item, of threshold_genuine: an unstable threshold must be visible."""
    config = _in_force(scored, config)
    if scored.one_class is not None:
        config = config.model_copy(update={"objective": "frr", "frr_target": scored.one_class.eps})
    thresholds = []
    for rows in resamples(scored.item_ids, seed):
        genuine = scored.genuine[rows]
        if not genuine.any() or (genuine.all() and config.objective not in NEED_GENUINE_ALONE):
            continue
        chosen = choose_thresholds(scored.scores[rows], genuine, config)
        if chosen.certified or config.objective != "far":
            thresholds.append(chosen.genuine)
    if not thresholds or not np.isfinite(thresholds).all():
        return scored.thresholds.genuine, scored.thresholds.genuine
    low, high = np.quantile(thresholds, [0.05, 0.95])
    return float(low), float(high)


def _f1(scored: Scored) -> float | None:
    if scored.genuine.all():
        return None
    called = scored.scores < scored.thresholds.counterfeit
    found = int((called & ~scored.genuine).sum())
    return 2 * found / (int(called.sum()) + int((~scored.genuine).sum()))
