"""Fitted thresholds against exhaustive search."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hallmark.config import validate
from hallmark.errors import BundleError, ConfigError, DataError
from hallmark.verdict.calibration import (
    Calibration,
    CalibrationConfig,
    Sample,
    best_f1_threshold,
    calibration_of,
    fit_calibration,
    fit_match_threshold,
    rejection_threshold,
)

CONFIG = CalibrationConfig()


def f1_at(scores, genuine, threshold) -> float:
    """Counterfeit positive, said where score < threshold."""
    right = sum(s < threshold and not g for s, g in zip(scores, genuine, strict=True))
    wrong = sum(s < threshold and g for s, g in zip(scores, genuine, strict=True))
    missed = sum(s >= threshold and not g for s, g in zip(scores, genuine, strict=True))
    return 2 * right / (2 * right + wrong + missed) if right else 0.0


def drawn(count: int = 40, shift: float = 1.0, seed: int = 0) -> list[Sample]:
    rng = np.random.default_rng(seed)
    return [
        Sample(float(rng.normal(shift if place % 2 else 0.0, 0.4)), bool(place % 2), place / count, f"item{place // 2}")
        for place in range(count)
    ]


labelled = st.lists(
    st.tuples(st.one_of(st.floats(-1, 1), st.sampled_from([0.0, 0.25, 0.5])), st.booleans()), min_size=2, max_size=24
).filter(lambda pairs: 0 < sum(genuine for _, genuine in pairs) < len(pairs))


@settings(max_examples=200, deadline=None)
@given(labelled)
def test_no_other_threshold_has_a_higher_f1(pairs):
    scores, genuine = np.array([s for s, _ in pairs]), np.array([g for _, g in pairs])
    threshold, f1 = best_f1_threshold(scores, genuine)
    assert np.isfinite(threshold)
    assert f1 == pytest.approx(f1_at(scores, genuine, threshold))
    # Every way to part the scores: just above each of them, and below all.
    everywhere = [-2.0, *[float(np.nextafter(score, np.inf)) for score in scores]]
    assert f1 == pytest.approx(max(f1_at(scores, genuine, other) for other in everywhere))


def test_among_equals_the_widest_gap_wins():
    # Equal F1 of 2/3 at 0.1 (one of two found) and at 2.0 (both found, two false alarms).
    scores, genuine = np.array([0.0, 0.2, 0.3, 1.0, 3.0]), np.array([False, True, True, False, True])
    assert f1_at(scores, genuine, 0.1) == pytest.approx(f1_at(scores, genuine, 2.0))
    assert best_f1_threshold(scores, genuine) == (pytest.approx(2.0), pytest.approx(2 / 3))


@pytest.mark.parametrize("scores", [[0.5, 0.5], [0.0, 5e-324], [1.0, float(np.nextafter(1.0, 2.0))]])
def test_scores_that_hardly_differ(scores):
    threshold, f1 = best_f1_threshold(np.array(scores), np.array([False, True]))
    assert np.isfinite(threshold)
    assert f1 == pytest.approx(f1_at(scores, [False, True], threshold))
    assert f1 == pytest.approx(1.0 if scores[0] < scores[1] else 2 / 3)


@pytest.mark.parametrize(
    ("count", "target", "rank"), [(10, 0.01, 1), (99, 0.01, 1), (199, 0.01, 2), (100, 0.1, 10), (1, 0.5, 1)]
)
def test_rejection_threshold_is_an_order_statistic(count, target, rank):
    values = np.random.default_rng(0).permutation(np.arange(count) / count)
    threshold = rejection_threshold(values, target)
    assert threshold == (rank - 1) / count
    assert (values < threshold).mean() <= target


def test_match_threshold_is_a_quantile_and_zero_without_pairs():
    assert fit_match_threshold(np.linspace(0, 1, 101), 0.9) == pytest.approx(0.9)
    assert fit_match_threshold(np.empty(0), 0.9) == 0.0


def test_everything_is_fitted():
    samples = drawn()
    fitted = fit_calibration(samples, 0.3, CONFIG, "hash", seed=0)
    scores, genuine = np.array([s.score for s in samples]), np.array([s.genuine for s in samples])
    assert (fitted.threshold_genuine, fitted.f1) == best_f1_threshold(scores, genuine)
    assert fitted.threshold_counterfeit == fitted.threshold_genuine
    assert fitted.threshold_interval[0] <= fitted.threshold_interval[1]
    assert (fitted.num_genuine, fitted.num_counterfeit) == (20, 20)
    assert (fitted.threshold_match, fitted.data_hash, fitted.num_candidates) == (0.3, "hash", CONFIG.num_candidates)
    assert fitted.threshold_global == 0.0
    assert fitted.p_genuine(2.0) > 0.5 > fitted.p_genuine(-1.0)


def test_is_deterministic_in_the_seed_and_blind_to_the_order_of_the_scale():
    samples = drawn()
    first = fit_calibration(samples, 0.3, CONFIG, "hash", seed=1)
    assert fit_calibration(samples, 0.3, CONFIG, "hash", seed=1) == first
    assert fit_calibration(samples, 0.3, CONFIG, "hash", seed=2).threshold_interval != first.threshold_interval
    tenfold = [dataclasses.replace(sample, score=10 * sample.score) for sample in samples]
    scaled = fit_calibration(tenfold, 0.3, CONFIG, "hash", seed=1)
    assert scaled.p_genuine(5.0) == pytest.approx(first.p_genuine(0.5), abs=1e-3)


@pytest.mark.parametrize("samples", [drawn(shift=-3.0), [Sample(0.5, g, 0.5, str(g)) for g in (True, False)]])
def test_the_slope_is_positive_even_for_reversed_or_equal_scores(samples):
    fitted = fit_calibration(samples, 0.0, CONFIG, "hash", seed=0)
    assert fitted.slope > 0
    assert fitted.p_genuine(1.0) >= fitted.p_genuine(-1.0)


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        ([Sample(0.1, True, 0.5, "a")] * 3, "found 3 genuine and 0 counterfeit"),
        ([Sample(0.1, False, 0.5, "a")], "found 0 genuine and 1 counterfeit"),
        ([], "found 0 genuine and 0 counterfeit"),
    ],
)
def test_one_authenticity_alone_cannot_be_calibrated(samples, said):
    with pytest.raises(DataError, match=said):
        fit_calibration(samples, 0.0, CONFIG, "hash", seed=0)


def test_survives_json():
    fitted = fit_calibration(drawn(), 0.3, CONFIG, "hash", seed=0)
    assert Calibration.model_validate_json(fitted.model_dump_json()) == fitted


def test_calibration_of_a_bundle(bundle, calibration):
    assert calibration_of(bundle) == calibration
    with pytest.raises(BundleError, match=r"has no calibration\.json"):
        calibration_of(dataclasses.replace(bundle, calibration=None))
    damaged = {**bundle.calibration, "slope": -1.0}
    with pytest.raises(ConfigError, match=r"calibration\.json: slope: found -1\.0"):
        calibration_of(dataclasses.replace(bundle, calibration=damaged))


@pytest.mark.parametrize("wrong", [{"match_quantile": 1.0}, {"rejection_target": 0}, {"quantile": 0.9}])
def test_wrong_settings_are_named(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        validate(CalibrationConfig, wrong, "calibration")
