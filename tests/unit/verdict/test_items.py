"""Several photographs of one item."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hallmark.config import config_hash
from hallmark.types import Quality, Scores, Verdict, VerdictLabel
from hallmark.verdict.calibration import Calibration
from hallmark.verdict.conformal import OneClassModel
from hallmark.verdict.items import ItemVerdict, fuse

G, C, U, N = (VerdictLabel(name) for name in ("genuine", "counterfeit", "inconclusive", "not_in_gallery"))


def photograph(ratio: float | None, part: str = "tag", product: str | None = "a", label=None, name: str = "x"):
    """A verdict whose log-likelihood ratio, at slope 2, is `ratio`; None: not judged."""
    score = None if ratio is None else ratio / 2
    return Verdict(
        verdict=label or (G if ratio is not None and ratio >= 0 else U if ratio is None else C),
        reason=f"because of {name}",
        p_genuine=None if ratio is None else float(1 / (1 + np.exp(-ratio))),
        product=product,
        part=part if product else None,
        scores=Scores(
            global_similarity=0.5,
            global_genuine=0.5,
            global_counterfeit=None,
            match_genuine=None,
            match_counterfeit=None,
            decision=score,
            threshold_global=0.0,
            threshold_genuine=0.0,
            threshold_counterfeit=0.0,
        ),
        references=[],
        cue_pairs=[],
        quality=Quality(width=1, height=1, sharpness=1, brightness=0.5, clipped=0),
        image_id=name,
        bundle_id="b",
        gallery_version=1,
        config_hash="c",
        timings_ms={},
    )


@pytest.fixture
def banded(calibration) -> Calibration:
    """At slope 2 and intercept 0: genuine from a log-likelihood ratio of 1, counterfeit below -1."""
    return calibration.model_copy(update={"threshold_genuine": 0.5, "threshold_counterfeit": -0.5})


def test_parts_add_up_and_photographs_of_a_part_are_averaged(banded):
    told = [photograph(0.6, name="1"), photograph(1.0, name="2"), photograph(0.5, "buckle", name="3")]
    item = fuse(told, banded)
    assert (item.verdict, item.product) == (G, "a")
    assert item.log_likelihood_ratio == pytest.approx(0.8 + 0.5)
    assert item.p_genuine == pytest.approx(1 / (1 + np.exp(-1.3)))
    assert [(p.part, p.image_ids, p.log_likelihood_ratio) for p in item.parts] == [
        ("buckle", ["3"], 0.5),
        ("tag", ["1", "2"], pytest.approx(0.8)),
    ]
    assert (item.threshold_counterfeit, item.threshold_genuine) == (-1.0, 1.0)
    assert item.config_hash == config_hash(banded)
    assert "3 photographs of 2 parts" in item.reason
    assert ItemVerdict.model_validate_json(item.model_dump_json()) == item


@settings(max_examples=60, deadline=None)
@given(st.floats(-30, 30))
def test_one_photograph_says_what_it_says_alone(calibration, ratio):
    told = calibration.model_copy(update={"threshold_genuine": 0.5, "threshold_counterfeit": -0.5})
    item = fuse([photograph(ratio)], told)
    assert item.verdict == (G if ratio >= 1 else C if ratio < -1 else U)
    assert item.p_genuine == pytest.approx(told.p_genuine(ratio / 2))
    # The same photograph again is no more evidence.
    again = fuse([photograph(ratio)] * 3, told)
    assert (again.verdict, again.log_likelihood_ratio) == (item.verdict, pytest.approx(item.log_likelihood_ratio))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.none(), st.floats(-9, 9)), st.sampled_from(["tag", "buckle"]), st.sampled_from(["a", "b"])
        ),
        max_size=8,
    ),
    st.randoms(),
)
def test_the_order_of_photographs_makes_no_difference(calibration, rows, random):
    told = [photograph(ratio, part, product, name=str(place)) for place, (ratio, part, product) in enumerate(rows)]
    shuffled = list(told)
    random.shuffle(shuffled)
    one, other = fuse(told, calibration), fuse(shuffled, calibration)
    assert one.model_copy(update={"set_aside": []}) == other.model_copy(update={"set_aside": []})
    assert {aside.image_id for aside in one.set_aside} == {aside.image_id for aside in other.set_aside}
    counted = [name for part in one.parts for name in part.image_ids]
    assert sorted([*counted, *(aside.image_id for aside in one.set_aside)]) == sorted(v.image_id for v in told)


def test_what_was_not_judged_and_other_products_are_told_but_not_counted(banded):
    told = [
        photograph(2.0, name="1"),
        photograph(2.0, "buckle", name="2"),
        photograph(-9.0, product="b", name="3"),
        photograph(None, product=None, label=N, name="4"),
        photograph(None, name="5"),
    ]
    item = fuse(told, banded)
    assert (item.verdict, item.log_likelihood_ratio) == (G, 4.0)
    assert [(a.image_id, a.verdict, a.product) for a in item.set_aside] == [
        ("3", C, "b"),
        ("4", N, None),
        ("5", U, "a"),
    ]
    assert item.set_aside[0].reason == "Shows b, the item is a."
    assert item.set_aside[1].reason == "because of 4"


def test_no_product_that_most_photographs_show_is_inconclusive(banded):
    item = fuse([photograph(5.0), photograph(5.0, product="b")], banded)
    assert (item.verdict, item.product, item.p_genuine, item.parts) == (U, None, None, [])
    assert "different products (a, b)" in item.reason
    assert len(item.set_aside) == 2


def test_never_genuine_over_a_part_that_is_counterfeit_by_itself(banded):
    item = fuse([photograph(9.0, "tag"), photograph(-1.5, "buckle")], banded)
    assert item.verdict == U
    assert "buckle is counterfeit by itself" in item.reason
    assert fuse([photograph(9.0, "tag"), photograph(-0.9, "buckle")], banded).verdict == G
    assert fuse([photograph(1.5, "tag"), photograph(-9.0, "buckle")], banded).verdict == C


def test_nothing_judged(banded):
    assert fuse([], banded).verdict == U
    unknown = photograph(None, product=None, label=N)
    assert fuse([unknown, unknown], banded).verdict == N
    mixed = fuse([unknown, photograph(None)], banded)
    assert (mixed.verdict, mixed.product, mixed.p_genuine) == (U, "a", None)


def test_a_products_own_thresholds_hold_for_its_items(banded):
    told = banded.model_copy(update={"threshold_by_product": {"a": (1.0, 1.0)}})
    assert fuse([photograph(1.5)], told).verdict == C
    assert fuse([photograph(2.5)], told).verdict == G


def test_one_class_p_values_are_joined_by_bonferroni(calibration):
    model = OneClassModel(spreads={}, by_product={}, usual=None, eps=0.05, left_out=[])
    told = calibration.model_copy(update={"mode": "one_class", "one_class": model})

    def seen(*p_values: float) -> ItemVerdict:
        return fuse(
            [
                photograph(0.0, f"part{place}", name=str(place)).model_copy(update={"p_genuine": p})
                for place, p in enumerate(p_values)
            ],
            told,
        )

    assert (seen(0.05).verdict, seen(0.051).verdict) == (C, G)
    item = seen(0.03, 0.9, 0.5)
    assert (item.verdict, item.p_genuine) == (G, pytest.approx(0.09))
    assert item.log_likelihood_ratio is item.threshold_genuine is None
    assert seen(0.01, 0.9, 0.5).verdict == C
    assert seen(0.6, 0.7).p_genuine == 1.0
    # Genuine items are called counterfeit no more often than promised, however many photographs they have.
    rng = np.random.default_rng(0)
    assert np.mean([seen(*rng.uniform(size=4)).verdict == C for _ in range(400)]) <= 0.08
