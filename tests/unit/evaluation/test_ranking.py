"""Ranked lists against plain loops, before and after re-ranking."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from hallmark.errors import DataError
from hallmark.evaluation.metrics import Examined, evaluate_examined
from hallmark.evaluation.ranking import Ranking, rank, rank_twice, rerank

Maker = Callable[..., Examined]


@given(seed=st.integers(0, 10**6), queries=st.integers(0, 5), references=st.integers(1, 12))
def test_ranked_lists_against_plain_loops(seed: int, queries: int, references: int) -> None:
    rng = np.random.default_rng(seed)
    similarity = rng.integers(0, 5, (queries, references)).astype(float)  # many ties
    relevant = rng.random((queries, references)) < 0.3
    found = rank(similarity, relevant)
    precisions, hits, without = [], {1: 0, 5: 0, 10: 0}, 0
    for row in range(queries):
        if not relevant[row].any():
            without += 1
            continue
        order = sorted(range(references), key=lambda j: (-similarity[row, j], relevant[row, j]))
        places = [place for place, j in enumerate(order, 1) if relevant[row, j]]
        precisions.append(np.mean([(number + 1) / place for number, place in enumerate(places)]))
        for depth in hits:
            hits[depth] += places[0] <= depth
    assert (found.num_queries, found.num_without_relevant) == (len(precisions), without)
    mean = found.mean_average_precision
    assert mean.value == (pytest.approx(np.mean(precisions)) if precisions else None)
    assert (mean.n, mean.low, mean.high) == (len(precisions), None, None)
    assert {depth: share.k for depth, share in found.recall.items()} == hits


def test_a_constant_similarity_earns_nothing() -> None:
    relevant = np.array([[True] + [False] * 9])
    assert rank(np.zeros((1, 10)), relevant, depths=(1, 9, 10)).recall[9].k == 0


@pytest.mark.parametrize(
    ("similarity", "relevant", "words"),
    [
        (np.zeros((2, 3)), np.zeros((3, 2), bool), r"\(2, 3\) and \(3, 2\)"),
        (np.zeros(3), np.zeros(3, bool), r"\(3,\)"),
        (np.full((1, 2), np.nan), np.ones((1, 2), bool), "nan"),
    ],
)
def test_lists_that_cannot_be_ranked_are_refused(similarity: np.ndarray, relevant: np.ndarray, words: str) -> None:
    with pytest.raises(DataError, match=words):
        rank(similarity, relevant)


@given(seed=st.integers(0, 10**6), references=st.integers(1, 10), verified=st.integers(0, 10))
def test_reranking_against_a_plain_sort(seed: int, references: int, verified: int) -> None:
    rng = np.random.default_rng(seed)
    similarity = rng.integers(0, 4, references) / 4  # many ties
    candidates = rng.permutation(references)[:verified]
    matches = rng.integers(0, 3, len(candidates)) / 2
    score = dict(zip(candidates.tolist(), matches.tolist(), strict=True))
    found = rerank(similarity, candidates, matches)
    for one in range(references):
        for other in range(references):
            keys = [(row in score, score.get(row, 0.0), similarity[row]) for row in (one, other)]
            assert (found[one] > found[other]) == (keys[0] > keys[1])
            assert (found[one] == found[other]) == (keys[0] == keys[1])


def test_the_photograph_itself_stays_last() -> None:
    found = rerank(np.array([0.5, -np.inf, 0.25]), np.array([2]), np.array([0.0]))
    assert found[2] > found[0] > found[1] == -np.inf


def test_without_candidates_the_order_stays() -> None:
    found = rerank(np.array([0.1, 0.3, 0.2]), np.array([], int), np.array([]))
    assert np.argsort(-found).tolist() == [1, 2, 0]


def rankings_of(examined: list[Examined]) -> list[Ranking]:
    """Twelve references; re-ranking brings a relevant one to the front of every other photograph."""
    made = []
    for number, one in enumerate(examined):
        rng = np.random.default_rng(number)
        before, relevant = rng.random(12), np.arange(12) < 3
        after = np.where(relevant, before + 1, before) if number % 2 else before
        made.append(Ranking(one.image_id, before, after, relevant))
    return made


@pytest.fixture
def queries(make_examined: Maker) -> list[Examined]:
    truths = ("genuine", "counterfeit")
    made = [make_examined(truths[n % 2], truths[n % 2], item=f"i{n // 4}{truths[n % 2]}") for n in range(24)]
    return [replace(one, image_id=f"{number:064x}") for number, one in enumerate(made)]


def test_both_orders_are_measured_with_their_difference(queries: list[Examined]) -> None:
    rankings = rankings_of(queries)
    evaluation = evaluate_examined(queries, seed=3, resamples=100, rankings=rankings[::-1])
    before, after, change = evaluation.retrieval_global, evaluation.retrieval_reranked, evaluation.reranking
    relevant = np.stack([one.relevant for one in rankings])
    for found, name in ((before, "before"), (after, "after")):
        plain = rank(np.stack([getattr(one, name) for one in rankings]), relevant)
        assert found.recall == plain.recall
        assert found.mean_average_precision.value == pytest.approx(plain.mean_average_precision.value)
        assert found.mean_average_precision.low < found.mean_average_precision.high
    gain = after.mean_average_precision.value - before.mean_average_precision.value
    assert change.gain.value == pytest.approx(gain)
    assert 0 < change.gain.low < change.gain.value < change.gain.high
    first = [(one.relevant[one.before.argmax()], one.relevant[one.after.argmax()]) for one in rankings]
    assert (change.won, change.lost) == (sum(b and not a for a, b in first), sum(a and not b for a, b in first))
    assert change.p_value == pytest.approx(binomtest(change.won, change.won + change.lost).pvalue)


def test_an_order_that_stays_gains_nothing(queries: list[Examined]) -> None:
    rankings = [replace(one, after=one.before) for one in rankings_of(queries)]
    before, after, change = rank_twice(rankings, queries, 0, 20)
    assert before == after
    assert (change.gain.value, change.won, change.lost, change.p_value) == (0, 0, 0, None)


def test_queries_with_nothing_to_find_count_nowhere(queries: list[Examined]) -> None:
    rankings = [replace(one, relevant=np.zeros(12, bool)) for one in rankings_of(queries)]
    before, _, change = rank_twice(rankings, queries, 0, 20)
    assert (before.num_queries, before.num_without_relevant) == (0, 24)
    assert before.mean_average_precision.value is before.recall[1].value is change.gain.value is None


def test_without_rankings_nothing_is_claimed(queries: list[Examined]) -> None:
    evaluation = evaluate_examined(queries, seed=0, resamples=5)
    assert evaluation.retrieval_global is evaluation.retrieval_reranked is evaluation.reranking is None


def test_rankings_that_do_not_fit_are_refused(queries: list[Examined]) -> None:
    first, second, *_ = rankings_of(queries)
    with pytest.raises(DataError, match="different lengths"):
        rank_twice([first, Ranking(second.image_id, np.zeros(3), np.zeros(3), np.zeros(3, bool))], queries, 0, 5)
    with pytest.raises(DataError, match="abc, which was not examined"):
        rank_twice([replace(first, image_id="abc")], queries, 0, 5)
