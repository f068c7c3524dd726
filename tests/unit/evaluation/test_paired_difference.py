"""Two recipes on the same photographs."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hallmark.evaluation.outcomes import Answers
from hallmark.evaluation.paired_difference import holm, paired_difference
from hallmark.evaluation.seed_bootstrap import SeedBootstrap


def answers(right: np.ndarray) -> Answers:
    """(S, N) bool: right, or told the other authenticity."""
    count = right.shape[1]
    truth = np.arange(count) % 2
    told = np.where(right, truth, 1 - truth)
    return Answers(["a counterfeit", "a genuine"], np.arange(count).astype(str), truth, told, np.zeros(right.shape))


def compared(variant: np.ndarray, base: np.ndarray):
    first = answers(variant)
    bootstrap = SeedBootstrap(first.items, first.truth, len(variant), 0, 400)
    return paired_difference(first, answers(base), bootstrap)


@given(
    rows=st.lists(st.tuples(st.booleans(), st.booleans()), min_size=4, max_size=24).filter(lambda r: len(r) % 2 == 0)
)
def test_the_test_is_the_binomial_one(rows: list) -> None:
    variant, base = (np.array([[row[place] for row in rows]]) for place in (0, 1))
    found = compared(variant, base)
    won = sum(one and not other for one, other in rows)
    lost = sum(other and not one for one, other in rows)
    assert (found.won, found.lost) == (won, lost)
    assert found.accuracy.value == pytest.approx((won - lost) / len(rows))
    if won + lost == 0:
        assert found.p_value is None
        return
    tail = sum(comb(won + lost, k) for k in range(min(won, lost) + 1)) / 2 ** (won + lost)
    assert found.p_value == pytest.approx(min(1.0, 2 * tail))


def test_words_follow_both_the_interval_and_the_test() -> None:
    better, worse = np.ones((3, 20), dtype=bool), np.zeros((3, 20), dtype=bool)
    assert compared(better, worse).words == "better than the base"
    assert compared(worse, better).words == "worse than the base"
    assert compared(better, better).words == "no significant difference"
    told = compared(better, worse)
    assert told.model_copy(update={"p_adjusted": 0.051}).words == "no significant difference"
    low = told.accuracy.model_copy(update={"low": -0.01})
    assert told.model_copy(update={"accuracy": low}).words == "no significant difference"
    alone = told.accuracy.model_copy(update={"low": None, "high": None})
    assert told.model_copy(update={"accuracy": alone}).words == "not tested: too few items"


def test_a_gain_of_one_training_alone_is_none() -> None:
    """One training of three is much better, which another three might not show."""
    rng = np.random.default_rng(0)
    base = rng.random((3, 40)) < 0.5
    variant = base.copy()
    variant[0] = True
    found = compared(variant, base)
    assert found.p_value < 0.01
    assert found.accuracy.low == 0.0
    assert not found.is_significant


def test_holm_by_hand() -> None:
    assert holm([0.01, None, 0.04, 0.03]) == pytest.approx([0.03, None, 0.06, 0.06], nan_ok=True)
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []
    assert holm([None]) == [None]


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=8))
def test_holm_keeps_the_order_and_lies_between_none_and_bonferroni(values: list) -> None:
    adjusted = holm(values)
    known = [(value, own) for value, own in zip(values, adjusted, strict=True) if value is not None]
    assert [value is None for value in values] == [value is None for value in adjusted]
    for value, own in known:
        assert value <= own + 1e-12
        assert own <= min(1.0, len(known) * value) + 1e-12
    ordered = [own for _, own in sorted(known)]
    assert ordered == sorted(ordered)
