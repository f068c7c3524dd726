"""Risk against coverage, against plain loops."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hallmark.evaluation.abstention import abstain, risk_coverage
from hallmark.evaluation.measures import ItemBootstrap
from hallmark.evaluation.metrics import Examined

Maker = Callable[..., Examined]


def bootstrap(count: int) -> ItemBootstrap:
    return ItemBootstrap(np.arange(count).astype(str), np.full(count, "genuine"), 0, 50)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=20), st.integers(0, 3))
def test_the_curve_and_its_area_against_plain_loops(rows: list, unjudged: int) -> None:
    confidence, wrong = np.array([row[0] for row in rows], float), np.array([row[1] for row in rows], bool)
    found = risk_coverage("p_genuine", confidence, wrong, len(rows) + unjudged, bootstrap(len(rows)))
    assert found.n == found.area.n == len(rows)
    risks = [np.mean([w for c, w in rows if c >= own]) for own, _ in rows]
    assert found.area.value == (pytest.approx(np.mean(risks)) if rows else None)
    assert [point.confidence for point in found.points] == sorted({c for c, _ in rows}, reverse=True)
    for point in found.points:
        decided = [w for c, w in rows if c >= point.confidence]
        assert (point.coverage.k, point.coverage.n) == (len(decided), len(rows) + unjudged)
        assert (point.risk.k, point.risk.n) == (sum(decided), len(decided))


def test_a_long_curve_is_told_by_a_hundred_points() -> None:
    rng = np.random.default_rng(0)
    found = risk_coverage("p_genuine", rng.random(5000), rng.random(5000) < 0.1, 5000, bootstrap(5000))
    assert len(found.points) == 100
    assert (found.points[0].coverage.k, found.points[-1].coverage.k) == (1, 5000)


def test_who_knows_when_it_is_wrong_has_the_smaller_area() -> None:
    wrong = np.arange(100) % 5 == 0
    knowing, blind = (
        risk_coverage("p_genuine", confidence, wrong, 100, bootstrap(100)).area
        for confidence in (-wrong.astype(float), np.zeros(100))
    )
    assert blind.value == pytest.approx(0.2)
    assert knowing.value == pytest.approx(0.04)
    assert knowing.high < blind.low


def test_photographs_are_sorted_by_each_confidence_they_all_have(make_examined: Maker) -> None:
    made = [
        make_examined("genuine", p=0.9, similarity=0.2, item="a", inliers=0.5),
        make_examined("genuine", p=0.4, similarity=0.9, item="b"),
        make_examined("counterfeit", p=0.2, similarity=0.5, item="c", inliers=0.1),
        make_examined("counterfeit", "not_in_gallery", p=None, decision=None, item="d"),
        make_examined("unrelated", p=0.5, product=None, item="e"),
    ]
    curves = {curve.confidence: curve for curve in abstain(made, 0, 20)}
    assert list(curves) == ["p_genuine", "global_similarity", "match_score"]
    assert [point.risk.k for point in curves["p_genuine"].points] == [0, 0, 1]
    assert [point.risk.k for point in curves["global_similarity"].points] == [1, 1, 1]
    assert curves["p_genuine"].points[-1].coverage.n == 4
    assert curves["p_genuine"].points[-1].coverage.k == 3


def test_of_nobody_judged_there_is_an_empty_curve(make_examined: Maker) -> None:
    (curve,) = abstain([make_examined(p=None)], 0, 5)
    assert (curve.n, curve.points, curve.area.value) == (0, [], None)
    assert len(abstain([], 0, 5)) == 1
