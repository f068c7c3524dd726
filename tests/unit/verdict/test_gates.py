"""Usable photographs, known products, and stages that contradict one another."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hallmark.types import Quality
from hallmark.verdict.gates import (
    QualityGate,
    complaint,
    fit_quality,
    fit_rejection,
    fit_stage_check,
    rejection_threshold,
)

GATE = QualityGate(least_sharpness=0.01, least_brightness=0.2, most_brightness=0.9, most_clipped=0.5)


def quality(sharpness: float = 0.1, brightness: float = 0.5, clipped: float = 0.0) -> Quality:
    return Quality(width=9, height=9, sharpness=sharpness, brightness=brightness, clipped=clipped)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (quality(), None),
        (quality(0.01, 0.2, 0.5), None),  # exactly at the bounds
        (quality(sharpness=0.009), "focus"),
        (quality(brightness=0.19), "more light"),
        (quality(brightness=0.91), "less light"),
        (quality(clipped=0.51), "without flash"),
        (quality(sharpness=0.0), "no texture"),
        (quality(sharpness=float("nan")), "no texture"),
        (quality(brightness=float("nan")), "more light"),
        (quality(clipped=float("nan")), "without flash"),
    ],
)
def test_a_complaint_says_how_to_take_the_photograph_again(told, said):
    found = complaint(told, GATE)
    assert found is None if said is None else said in found
    if said is not None:
        assert "again" in found


def test_without_a_fitted_gate_only_texture_counts():
    assert complaint(quality(1e-3, 0.0, 1.0), None) is None
    assert "no texture" in complaint(quality(0.0), None)


def test_rounding_alone_is_no_texture():
    rng = np.random.default_rng(0)
    grey = np.round(rng.uniform(-0.5, 0.5, (300, 300)) + np.linspace(90, 110, 300)) / 255
    laplacian = -4 * grey[1:-1, 1:-1] + grey[2:, 1:-1] + grey[:-2, 1:-1] + grey[1:-1, 2:] + grey[1:-1, :-2]
    smooth = np.round(np.add.outer(np.linspace(0, 29.7, 300), np.linspace(90, 110.3, 300))) / 255
    plain = -4 * smooth[1:-1, 1:-1] + smooth[2:, 1:-1] + smooth[:-2, 1:-1] + smooth[1:-1, 2:] + smooth[1:-1, :-2]
    assert complaint(quality(float(plain.var())), None) is not None
    assert complaint(quality(float(laplacian.var()) * 4), None) is None


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(1e-4, 10), st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=50))
def test_every_calibration_photograph_passes_but_the_most_extreme(rows):
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    gate = fit_quality(*columns)
    sharpness, brightness, clipped = columns
    refused = [sharpness < gate.least_sharpness, brightness < gate.least_brightness]
    refused += [brightness > gate.most_brightness, clipped > gate.most_clipped]
    assert all(each.mean() <= 0.01 for each in refused)


@pytest.mark.parametrize(
    ("count", "target", "rank"), [(10, 0.01, 1), (99, 0.01, 1), (199, 0.01, 2), (100, 0.1, 10), (1, 0.5, 1)]
)
def test_rejection_threshold_is_an_order_statistic(count, target, rank):
    values = np.random.default_rng(0).permutation(np.arange(count) / count)
    threshold = rejection_threshold(values, target)
    assert threshold == (rank - 1) / count
    assert (values < threshold).mean() <= target


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-1, 1), st.one_of(st.none(), st.floats(0, 1))), min_size=1, max_size=60),
    st.sampled_from([0.01, 0.1, 0.3]),
)
def test_both_rules_together_reject_no_more_than_the_target(rows, target):
    similarity, ratios = np.array([s for s, _ in rows]), [r for _, r in rows]
    least, least_ratio = fit_rejection(similarity, ratios, target, use_inliers=True)
    assert (least_ratio is None) == all(ratio is None for ratio in ratios)
    rejected = [
        s < least or (least_ratio is not None and r is not None and r < least_ratio)
        for s, r in zip(similarity, ratios, strict=True)
    ]
    assert np.mean(rejected) <= target


def test_one_rule_alone_has_the_whole_target():
    values = np.arange(100) / 100
    assert fit_rejection(values, list(values), 0.1, use_inliers=False) == (rejection_threshold(values, 0.1), None)
    assert fit_rejection(values, [None] * 100, 0.1, use_inliers=True) == (rejection_threshold(values, 0.1), None)
    half = rejection_threshold(values, 0.05)
    assert fit_rejection(values, list(values), 0.1, use_inliers=True) == (half, half)


def test_stages_contradict_only_beyond_anything_that_was_wrong():
    # One genuine photograph at -0.1 and one counterfeit at 0.2: there the margin was wrong. Its best threshold is 0.25.
    genuine = np.arange(24) % 2 == 0
    check = fit_stage_check([0.3 if g else -0.3 for g in genuine[:-2]] + [-0.1, 0.2], genuine)
    assert (check.counterfeit_below, check.genuine_above) == (-0.1, pytest.approx(0.25))
    assert check.contradicts(-0.11, is_genuine=True)
    assert not check.contradicts(-0.1, is_genuine=True)
    assert not check.contradicts(-0.11, is_genuine=False)
    assert check.contradicts(0.26, is_genuine=False)
    assert not check.contradicts(0.24, is_genuine=False)
    assert not check.contradicts(None, is_genuine=True)


def test_few_margins_say_nothing():
    genuine = np.arange(19) % 2 == 0
    assert fit_stage_check([0.0] * 19, genuine) is None
    assert fit_stage_check([None] * 19, genuine) is None
    assert fit_stage_check([], np.array([], dtype=bool)) is None
