"""The fused model: against scikit-learn where no weight is bounded, and what it may never do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss as sklearn_log_loss

from hallmark.verdict.folds import item_folds
from hallmark.verdict.fusion import (
    FusedModel,
    choose_strength,
    fit_fused,
    fit_temperature,
    fused_scores,
    log_loss,
)

NAMES = ("a", "b", "c")


def drawn(count: int = 120, shifts=(2.0, 1.0, 0.5), seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Evidence of photographs, a third of them counterfeit."""
    rng = np.random.default_rng(seed)
    genuine = np.arange(count) % 3 != 0
    return rng.normal(size=(count, len(shifts))) + np.outer(genuine, shifts), genuine


TABLE, GENUINE = drawn()
MODEL = fit_fused(NAMES, TABLE, GENUINE, 0.05)


def test_equals_balanced_logistic_regression_where_no_bound_is_met():
    balance = np.where(GENUINE, 0.5 / GENUINE.sum(), 0.5 / (~GENUINE).sum())
    centre = np.average(TABLE, axis=0, weights=balance)
    spread = np.sqrt(np.average((TABLE - centre) ** 2, axis=0, weights=balance))
    # scikit-learn sums the losses, C = 1 / (mean penalty · N), and its balanced weights add up to N.
    twin = LogisticRegression(C=1 / (0.05 * len(TABLE)), class_weight="balanced", tol=1e-10, max_iter=1000)
    twin.fit((TABLE - centre) / spread, GENUINE)
    assert [MODEL.terms[name].weight for name in NAMES] == pytest.approx(twin.coef_[0], abs=1e-3)
    assert MODEL.intercept == pytest.approx(twin.intercept_[0], abs=1e-3)


def test_evidence_that_points_the_wrong_way_counts_nothing():
    table = TABLE * np.array([1, 1, -1]) + np.outer(GENUINE, [0, 0, -1])
    model = fit_fused(NAMES, table, GENUINE, 0.05)
    without = fit_fused(NAMES[:2], table[:, :2], GENUINE, 0.05)
    assert model.terms["c"].weight == 0
    assert model.terms["a"].weight == pytest.approx(without.terms["a"].weight, abs=1e-3)


@settings(max_examples=60, deadline=None)
@given(
    st.fixed_dictionaries({name: st.one_of(st.none(), st.floats(-1e6, 1e6)) for name in NAMES}),
    st.sampled_from(NAMES),
    st.floats(0, 1e6),
)
def test_more_of_any_evidence_is_never_less_genuine(features, name, more):
    if features[name] is None:
        return
    raised = {**features, name: features[name] + more}
    assert MODEL.score(raised) >= MODEL.score(features)


def test_what_is_missing_neither_acquits_nor_convicts():
    features = dict(zip(NAMES, TABLE[0].tolist(), strict=True))
    average = {**features, "b": MODEL.terms["b"].centre}
    assert MODEL.score({**features, "b": None}) == pytest.approx(MODEL.score(average))
    assert MODEL.score({name: features[name] for name in "ac"}) == pytest.approx(MODEL.score(average))
    assert MODEL.score(dict.fromkeys(NAMES)) is None
    assert MODEL.score({}) is None


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_evidence_that_is_not_finite_gives_no_number(bad):
    assert np.isnan(MODEL.score({"a": bad, "b": 0.0, "c": None}))


def test_missing_tells_something_only_where_both_authenticities_have_and_lack_it():
    rows = np.arange(len(GENUINE))
    both = TABLE.copy()
    both[np.where(GENUINE, rows % 2 == 0, rows % 5 == 0), 1] = np.nan
    assert fit_fused(NAMES, both, GENUINE, 0.05).terms["b"].missing > 0.1
    # A product without enrolled counterfeits whose calibration photographs are all genuine.
    unenrolled = TABLE.copy()
    unenrolled[GENUINE & (rows % 2 == 0), 1] = np.nan
    assert fit_fused(NAMES, unenrolled, GENUINE, 0.05).terms["b"].missing == 0


def test_absent_and_constant_evidence_is_left_out():
    table = np.column_stack([TABLE[:, 0], np.full(len(TABLE), np.nan), np.full(len(TABLE), 0.3)])
    model = fit_fused(NAMES, table, GENUINE, 0.05)
    assert model.left_out == ["b", "c"]
    assert list(model.terms) == ["a"]
    nothing = fit_fused(NAMES[1:], table[:, 1:], GENUINE, 0.05)
    assert nothing.terms == {}
    assert nothing.score({"b": 1.0}) is None
    assert nothing.intercept == pytest.approx(0.0, abs=1e-3)


def test_the_share_of_counterfeits_makes_no_difference():
    counted = np.concatenate([np.flatnonzero(GENUINE)] + [np.flatnonzero(~GENUINE)] * 5)
    model = fit_fused(NAMES, TABLE[counted], GENUINE[counted], 0.05)
    assert fused_scores(model, NAMES, TABLE) == pytest.approx(fused_scores(MODEL, NAMES, TABLE), abs=5e-3)


def test_survives_json():
    assert FusedModel.model_validate_json(MODEL.model_dump_json()) == MODEL


def test_log_loss_is_balanced():
    logits = np.array([2.0, -1.0, 0.5, 3.0, -4.0])
    genuine = np.array([True, True, True, True, False])
    p = 1 / (1 + np.exp(-logits))
    assert log_loss(logits, genuine) == pytest.approx(
        sklearn_log_loss(genuine, p, sample_weight=np.where(genuine, 1 / 4, 1.0))
    )


@pytest.mark.parametrize(("sharpened", "wanted"), [(1.0, 1.0), (4.0, 4.0), (0.2, 1.0)])
def test_temperature_takes_back_over_confidence_and_adds_none(sharpened, wanted):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, 20000)
    genuine = rng.random(20000) < 1 / (1 + np.exp(-logits))
    assert fit_temperature(sharpened * logits, genuine) == pytest.approx(wanted, rel=0.06)


def test_out_of_fold_scores_are_those_of_models_that_have_not_seen_the_item():
    items = [f"item{row // 2}" for row in range(len(GENUINE))]
    genuine = np.arange(len(GENUINE)) // 2 % 2 == 0
    folds = item_folds(items, genuine, ["p"] * len(items))
    strength, scores = choose_strength(NAMES, TABLE, genuine, folds, items)
    fold = folds == folds[7]
    model = fit_fused(NAMES, TABLE[~fold], genuine[~fold], strength)
    assert scores[fold] == pytest.approx(fused_scores(model, NAMES, TABLE[fold]))
    # Evidence that is noise earns the strongest penalty.
    noise = np.random.default_rng(1).normal(size=TABLE.shape)
    assert choose_strength(NAMES, noise, genuine, folds, items)[0] == 1.0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.booleans(), st.sampled_from("pq")), min_size=1, max_size=30))
def test_no_item_lies_in_two_folds_and_every_fold_leaves_both_kinds_to_fit_on(rows):
    items, genuine = [str(item) for item, _, _ in rows], np.array([kind for _, kind, _ in rows])
    folds = item_folds(items, genuine, [product for _, _, product in rows])
    if folds is None:
        return
    for item in set(items):
        assert len({fold for fold, own in zip(folds, items, strict=True) if own == item}) == 1
    for fold in set(folds):
        assert set(genuine[folds != fold]) == set(genuine)
    order = np.random.default_rng(0).permutation(len(rows))
    shuffled = item_folds([items[row] for row in order], genuine[order], [rows[row][2] for row in order])
    assert (shuffled == folds[order]).all()


def test_a_single_item_of_a_kind_cannot_be_held_out():
    assert item_folds(["a", "a", "b"], np.array([True, True, False]), ["p"] * 3) is None
    assert item_folds(["a", "a"], np.array([True, True]), ["p"] * 2) is None
    assert set(item_folds(["a", "b"], np.array([True, True]), ["p"] * 2)) == {0, 1}
