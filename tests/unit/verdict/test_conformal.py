"""Genuine photographs alone: the false-alarm rate holds, and p and score say the same."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hallmark.verdict.conformal import (
    GenuinePhotographs,
    OneClassModel,
    Ranked,
    Spread,
    fit_one_class,
    usualness,
)
from hallmark.verdict.folds import item_folds

NAMES = ("cue_agreement", "match_genuine", "surface_agreement")


def drawn(rng: np.random.Generator, num_items: int, each: int = 1, products: str = "p") -> GenuinePhotographs:
    """Photographs of one item resemble each other."""
    features, names, items = [], [], []
    for item in range(num_items):
        own = rng.normal(size=len(NAMES))
        for _ in range(each):
            features.append(dict(zip(NAMES, (own + 0.3 * rng.normal(size=len(NAMES))).tolist(), strict=True)))
            names.append(products[item % len(products)])
            items.append(f"item{item}")
    return GenuinePhotographs(tuple(features), tuple(names), tuple(items))


def fitted(photographs: GenuinePhotographs, eps: float = 0.1):
    folds = item_folds(photographs.item_ids, np.ones(len(photographs.item_ids), bool), photographs.products)
    return fit_one_class(photographs, folds, eps)


FIT = fitted(drawn(np.random.default_rng(0), 60, 2, "pq"))


def test_p_counts_items_at_or_below():
    ranked = Ranked(scores=[-1.0, 0.0, 0.0, 2.0], weights=[1.0, 0.5, 0.5, 1.0], num_items=3, limit=0.0)
    assert [ranked.p(score) for score in (-2, -1, -0.5, 0, 1, 2)] == pytest.approx([0.25, 0.5, 0.5, 0.75, 0.75, 1])


@pytest.mark.parametrize("each", [1, 3])
def test_false_alarms_are_as_rare_as_promised(each):
    rng = np.random.default_rng(1)
    alarms = []
    for _ in range(60):
        model = fitted(drawn(rng, 39, each), 0.1).model
        assert model.eps == 0.1
        alarms += [model.judge(f, "p")[1] <= 0.1 for f in drawn(rng, 40).features]
    assert 0.07 < np.mean(alarms) < 0.12  # 2400 draws, in clusters of 40


def test_counterfeits_are_unusual():
    fakes = [
        {**f, "surface_agreement": f["surface_agreement"] - 6} for f in drawn(np.random.default_rng(5), 40).features
    ]
    told = [FIT.model.judge(fake, "p") for fake in fakes]
    assert np.mean([p <= FIT.model.eps for _, p in told]) > 0.95


@settings(max_examples=100, deadline=None)
@given(
    st.fixed_dictionaries({name: st.one_of(st.none(), st.floats(-5, 5)) for name in NAMES}),
    st.sampled_from(NAMES),
    st.floats(0, 5),
    st.sampled_from(["p", "q", "unknown"]),
)
def test_p_and_score_agree_and_rise_with_evidence(features, name, more, product):
    score, p = FIT.model.judge(features, product)
    if score is None:
        assert all(value is None for value in features.values())
        return
    assert 0 < p <= 1
    assert (score < 0) == (p <= FIT.model.eps * (1 + 1e-9))
    if features[name] is not None:
        higher, p_higher = FIT.model.judge({**features, name: features[name] + more}, product)
        assert higher >= score
        assert p_higher >= p


def test_stages_count_whatever_their_numbers_and_none_drowns_the_others():
    names = ("cue_a", "cue_b", "inlier_ratio", "match_genuine", "surface_margin")
    spreads = {name: Spread(centre=0.0, spread=2.0) for name in names}
    told = {"cue_a": -4.0, "cue_b": -200.0, "inlier_ratio": 1.0, "match_genuine": 90.0, "other": 9.0}
    assert usualness(spreads, told) == pytest.approx(((-2 - 6) / 2 + (0.5 + 1) / 2) / 2)
    assert usualness(spreads, told | {"surface_margin": -2.0}) == pytest.approx(((-4 + 0.75) / 2 - 3) / 4)
    assert usualness(spreads, {"cue_a": None, "match_genuine": 0.0}) == 0.0
    assert usualness(spreads, {}) is None


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("name", NAMES)
def test_evidence_that_is_not_finite_gives_no_number(name, bad):
    features = {**dict.fromkeys(NAMES, 0.0), name: bad}
    assert np.isnan(FIT.model.judge(features, "p")).all()


def test_a_product_with_four_items_has_spreads_of_its_own_shrunk():
    rng = np.random.default_rng(2)
    common, rare = drawn(rng, 20), drawn(rng, 3)
    lifted = tuple({name: value + 10 for name, value in f.items()} for f in common.features[:5])
    photographs = GenuinePhotographs(
        common.features + rare.features + lifted,
        ("p",) * 20 + ("r",) * 3 + ("s",) * 5,
        (*common.item_ids, "r0", "r1", "r2", *(f"s{item}" for item in range(5))),
    )
    model = fitted(photographs).model
    assert set(model.by_product) == {"p", "s"}
    values = [f["cue_agreement"] for f in photographs.features]
    weight = 5 / 25
    told = model.by_product["s"]["cue_agreement"]
    assert told.centre == pytest.approx(weight * np.mean(values[-5:]) + (1 - weight) * np.mean(values))
    assert told.spread == pytest.approx(np.sqrt(weight * np.var(values[-5:]) + (1 - weight) * np.var(values)))
    assert model.spreads_of("r") == model.spreads


@pytest.mark.parametrize(("num_items", "in_force"), [(19, 0.05), (18, 1 / 19), (9, 0.1), (2, 1 / 3)])
def test_too_few_items_weaken_the_promise_and_say_so(num_items, in_force):
    told = fitted(drawn(np.random.default_rng(3), num_items, each=2), 0.05)
    assert told.model.eps == pytest.approx(in_force)
    assert any("at least 19 can" in warning for warning in told.warnings) == (num_items < 19)
    photographs = drawn(np.random.default_rng(4), 20)
    scores, p = zip(*(told.model.judge(f, "p") for f in photographs.features), strict=True)
    assert [score < 0 for score in scores] == [each <= told.model.eps * (1 + 1e-9) for each in p]


def test_evidence_of_a_single_item_ranks_nothing():
    told = drawn(np.random.default_rng(3), 39)
    lonely = tuple(f if row == 0 else dict.fromkeys(NAMES) for row, f in enumerate(told.features))
    assert fitted(dataclasses.replace(told, features=lonely), 0.05).model.usual is None


def test_no_evidence_that_varies_judges_nothing():
    constant = GenuinePhotographs(({"a": 1.0}, {"a": 1.0}), ("p", "p"), ("i", "j"))
    told = fitted(constant)
    assert told.model.judge({"a": 0.0}, "p") == (None, None)
    assert told.model.left_out == ["a"]
    assert any("nothing can be judged" in warning for warning in told.warnings)


def test_survives_json():
    assert OneClassModel.model_validate_json(FIT.model.model_dump_json()) == FIT.model
