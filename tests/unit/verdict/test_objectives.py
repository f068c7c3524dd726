"""Thresholds by objective against exhaustive search."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from hallmark.config import validate
from hallmark.errors import ConfigError
from hallmark.verdict.objectives import (
    ObjectiveConfig,
    abstain_thresholds,
    best_f1_threshold,
    choose_thresholds,
    cost_threshold,
    far_threshold,
    frr_threshold,
    wilson_upper,
)

OBJECTIVES = ("f1", "far", "frr", "cost", "abstain")
labelled = st.lists(
    st.tuples(st.one_of(st.floats(-1, 1), st.sampled_from([0.0, 0.25, 0.5])), st.booleans()), min_size=2, max_size=16
).filter(lambda pairs: 0 < sum(genuine for _, genuine in pairs) < len(pairs))


def apart(pairs) -> tuple[np.ndarray, np.ndarray]:
    return np.array([s for s, _ in pairs]), np.array([g for _, g in pairs])


def everywhere(scores) -> list[float]:
    """Every way to part the scores: just above each of them, and below all."""
    return [-2.0, *[float(np.nextafter(score, np.inf)) for score in scores]]


def errors_at(scores, genuine, threshold) -> tuple[int, int]:
    """Counterfeits accepted, genuine rejected."""
    accepted = sum(s >= threshold and not g for s, g in zip(scores, genuine, strict=True))
    return accepted, sum(s < threshold and g for s, g in zip(scores, genuine, strict=True))


def f1_at(scores, genuine, threshold, positive="counterfeit") -> float:
    accepted, rejected = errors_at(scores, genuine, threshold)
    total = sum(not g for g in genuine) if positive == "counterfeit" else sum(genuine)
    right = total - (accepted if positive == "counterfeit" else rejected)
    return 2 * right / (2 * right + accepted + rejected) if right else 0.0


@settings(max_examples=80, deadline=None)
@given(labelled, st.sampled_from(["counterfeit", "genuine"]))
def test_no_other_threshold_has_a_higher_f1(pairs, positive):
    scores, genuine = apart(pairs)
    threshold, f1 = best_f1_threshold(scores, genuine, positive)
    assert np.isfinite(threshold)
    assert f1 == pytest.approx(f1_at(scores, genuine, threshold, positive))
    assert f1 == pytest.approx(max(f1_at(scores, genuine, other, positive) for other in everywhere(scores)))


def test_among_equals_the_widest_gap_wins():
    # Equal F1 of 2/3 at 0.1 (one of two found) and at 2.0 (both found, two false alarms).
    scores, genuine = np.array([0.0, 0.2, 0.3, 1.0, 3.0]), np.array([False, True, True, False, True])
    assert f1_at(scores, genuine, 0.1) == pytest.approx(f1_at(scores, genuine, 2.0))
    assert best_f1_threshold(scores, genuine) == (pytest.approx(2.0), pytest.approx(2 / 3))
    # One counterfeit accepted at 0.1, half of 2; two of three genuine rejected at 2.0: equal at these costs.
    assert cost_threshold(scores, genuine, 4.0, 3.0, 0.5) == pytest.approx(2.0)


@pytest.mark.parametrize("scores", [[0.5, 0.5], [0.0, 5e-324], [1.0, float(np.nextafter(1.0, 2.0))]])
def test_scores_that_hardly_differ(scores):
    threshold, f1 = best_f1_threshold(np.array(scores), np.array([False, True]))
    assert np.isfinite(threshold)
    assert f1 == pytest.approx(f1_at(scores, [False, True], threshold))
    assert f1 == pytest.approx(1.0 if scores[0] < scores[1] else 2 / 3)


@settings(max_examples=50, deadline=None)
@given(labelled, st.floats(0.1, 100), st.floats(0.1, 100), st.floats(0.01, 0.99))
def test_no_other_threshold_costs_less(pairs, false_accept, false_reject, prior):
    scores, genuine = apart(pairs)

    def cost(threshold: float) -> float:
        accepted, rejected = errors_at(scores, genuine, threshold)
        return prior * false_accept * accepted / sum(~genuine) + (1 - prior) * false_reject * rejected / sum(genuine)

    threshold = cost_threshold(scores, genuine, false_accept, false_reject, prior)
    assert cost(threshold) == pytest.approx(min(cost(other) for other in everywhere(scores)), rel=1e-6)


def test_the_dearer_an_accepted_counterfeit_the_higher_the_threshold():
    rng = np.random.default_rng(0)
    scores, genuine = np.concatenate([rng.normal(0, 1, 60), rng.normal(1.5, 1, 40)]), np.arange(100) >= 60
    by_cost = [cost_threshold(scores, genuine, cost, 1.0, 0.1) for cost in (1, 10, 100, 1000)]
    by_prior = [cost_threshold(scores, genuine, 10.0, 1.0, prior) for prior in (0.01, 0.1, 0.5, 0.9)]
    assert by_cost == sorted(by_cost)
    assert by_prior == sorted(by_prior)
    assert by_cost[0] < by_cost[-1]


@settings(max_examples=50, deadline=None)
@given(labelled, st.sampled_from([0.3, 0.5, 0.9]))
def test_far_is_the_lowest_threshold_that_is_shown(pairs, target):
    scores, genuine = apart(pairs)
    # Forty of each counterfeit, so that something can be shown.
    scores, genuine = np.repeat(scores, 40), np.repeat(genuine, 40)
    threshold = far_threshold(scores, genuine, target)

    def shown(other: float) -> bool:
        return wilson_upper(errors_at(scores, genuine, other)[0], int((~genuine).sum())) <= target

    assert shown(threshold)
    assert all(not shown(other) for other in np.unique(scores) if other < threshold)


@pytest.mark.parametrize(("errors", "total"), [(0, 10), (3, 10), (10, 10), (1, 400)])
def test_wilson_upper_is_the_upper_end_of_a_90_percent_interval(errors, total):
    high = binomtest(errors, total).proportion_ci(0.9, method="wilson").high
    assert wilson_upper(errors, total) == pytest.approx(high)


@pytest.mark.parametrize(
    ("num_counterfeit", "target", "certified"),
    [(299, 0.01, False), (300, 0.01, True), (59, 0.05, False), (60, 0.05, True), (29, 0.1, False), (30, 0.1, True)],
)
def test_three_over_the_target_counterfeits_certify_and_fewer_fall_back(num_counterfeit, target, certified):
    scores = np.concatenate([np.linspace(-2, -1, num_counterfeit), np.linspace(1, 2, 50)])
    genuine = np.arange(len(scores)) >= num_counterfeit
    told = choose_thresholds(scores, genuine, ObjectiveConfig(objective="far", far_target=target))
    assert told.certified == certified
    if certified:
        # The few errors that the bound leaves room for are allowed, no more.
        assert told.warnings == ()
        assert -2 < told.genuine < 1
        assert wilson_upper((scores[~genuine] >= told.genuine).sum(), num_counterfeit) <= target
    else:
        assert told.genuine == frr_threshold(scores[genuine], 0.05)
        assert f"{num_counterfeit} counterfeit" in told.warnings[0]
        assert f"at least {round(3 / target)} can" in told.warnings[0]
        assert "genuine articles rejected" in told.objective


@pytest.mark.parametrize(("count", "target", "rank"), [(10, 0.05, 1), (19, 0.05, 1), (39, 0.05, 2), (9, 0.5, 5)])
def test_frr_is_an_order_statistic(count, target, rank):
    values = np.random.default_rng(0).permutation(np.arange(count) / count)
    assert frr_threshold(values, target) == (rank - 1) / count
    assert (values < frr_threshold(values, target)).mean() <= target


def test_frr_holds_for_new_photographs():
    rng = np.random.default_rng(0)
    told = [rng.normal() < frr_threshold(rng.normal(size=39), 0.05) for _ in range(4000)]
    assert np.mean(told) == pytest.approx(0.05, abs=0.012)


def test_frr_says_when_there_are_too_few():
    few, enough = (np.arange(count, dtype=float) for count in (18, 19))
    config = ObjectiveConfig(objective="frr")
    assert "at least 19 can" in choose_thresholds(few, np.ones(18, bool), config).warnings[0]
    assert choose_thresholds(enough, np.ones(19, bool), config).warnings == ()


@settings(max_examples=80, deadline=None)
@given(labelled, st.sampled_from([0.01, 0.1, 0.3]))
def test_outside_the_band_either_error_is_rare_and_no_narrower_band_does_it(pairs, target):
    scores, genuine = apart(pairs)
    low, high = abstain_thresholds(scores, genuine, target)
    assert low <= high
    most_accepted, most_rejected = target * sum(~genuine), target * sum(genuine)
    assert errors_at(scores, genuine, high)[0] <= most_accepted
    assert errors_at(scores, genuine, low)[1] <= most_rejected
    if low < high:
        assert all(errors_at(scores, genuine, s)[0] > most_accepted for s in scores if s < high)
        assert all(errors_at(scores, genuine, np.nextafter(s, 9))[1] > most_rejected for s in scores if s > low)


def test_no_band_where_none_is_needed():
    low, high = abstain_thresholds(np.array([0.0, 1.0, 3.0, 4.0]), np.array([False, False, True, True]), 0.05)
    assert low == high == 2.0


@settings(max_examples=60, deadline=None)
@given(labelled, st.sampled_from(OBJECTIVES), st.randoms())
def test_thresholds_are_finite_in_order_and_blind_to_the_order_of_photographs(pairs, objective, random):
    config = ObjectiveConfig(objective=objective, far_target=0.5)
    told = choose_thresholds(*apart(pairs), config)
    assert np.isfinite([told.counterfeit, told.genuine]).all()
    assert told.counterfeit <= told.genuine
    shuffled = list(pairs)
    random.shuffle(shuffled)
    assert choose_thresholds(*apart(shuffled), config) == told


@pytest.mark.parametrize("wrong", [{"objective": "f2"}, {"far_target": 0}, {"prior_counterfeit": 1}, {"cost": 1}])
def test_wrong_settings_are_named(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        validate(ObjectiveConfig, wrong, "calibration")
