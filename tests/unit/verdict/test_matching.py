"""Mutual nearest neighbours against a plain twin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hallmark.verdict.matching import match, mutual_cosines


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    vectors = rng.normal(size=shape).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def cues(rng: np.random.Generator, count: int, dim: int = 6, blank: float = 0.0):
    """Random cues, some of them of weight 0."""
    weights = np.where(rng.random(count) < blank, 0.0, rng.uniform(0.1, 1.0, count))
    return unit(rng, count, dim), weights.astype(np.float32)


def whole(descriptors: np.ndarray):
    """These descriptors, each of weight 1."""
    return descriptors, np.ones(len(descriptors), np.float32)


def plain(query, reference, threshold: float) -> tuple[float, list[int]]:
    """Double loops over the cues of one pair of photographs."""
    (ours, counts), (theirs, there) = query, reference
    mine = [i for i in range(len(ours)) if counts[i] > 0]
    yours = [j for j in range(len(theirs)) if there[j] > 0]
    cosine = [[float(np.dot(a, b)) for b in theirs] for a in ours]
    partner, total, weight = [-1] * len(ours), 0.0, 0.0
    for i in mine:
        weight += float(counts[i])
        if not yours:
            continue
        j = max(yours, key=lambda place: cosine[i][place])
        back = max(mine, key=lambda place: cosine[place][j])
        if back == i and cosine[i][j] >= threshold:
            partner[i] = j
            total += float(counts[i]) * min(1.0, max(0.0, cosine[i][j]))
    return (total / weight if weight else 0.0), partner


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 8),
    others=st.lists(st.integers(0, 8), min_size=1, max_size=4),
    blank=st.sampled_from([0.0, 0.4, 1.0]),
    threshold=st.sampled_from([-2.0, 0.0, 0.3, 0.9]),
)
def test_agrees_with_double_loops(seed, count, others, blank, threshold):
    rng = np.random.default_rng(seed)
    query, references = cues(rng, count, blank=blank), [cues(rng, other, blank=blank) for other in others]
    found = match(query, references, threshold)
    for place, reference in enumerate(references):
        score, partner = plain(query, reference, threshold)
        assert found.score[place] == pytest.approx(score, abs=1e-5)
        assert found.partner[place].tolist() == partner
        assert found.count[place] == sum(entry >= 0 for entry in partner)
    assert ((found.score >= 0) & (found.score <= 1)).all()
    assert found.partner.shape == found.similarity.shape == (len(others), count)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 12))
def test_a_photograph_matches_itself_wholly(seed, count):
    query = cues(np.random.default_rng(seed), count, 8)
    found = match(query, [query], threshold=0.99)
    assert found.score[0] == pytest.approx(1.0, abs=1e-6)
    assert found.score[0] <= 1.0
    assert found.partner[0].tolist() == list(range(count))
    half = (query[0].astype(np.float16).astype(np.float32), query[1])
    assert match(half, [(half[0].astype(np.float16), half[1])], 0.99).score[0] == pytest.approx(1.0, abs=2e-3)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 9), other=st.integers(1, 9))
def test_matching_is_symmetric(seed, count, other):
    rng = np.random.default_rng(seed)
    a, b = cues(rng, count, 5, blank=0.2), cues(rng, other, 5, blank=0.2)
    there, back = match(a, [b], 0.1), match(b, [a], 0.1)
    assert there.count[0] == back.count[0]
    for ours, theirs in ((there, back), (back, there)):
        for cue, partner in enumerate(ours.partner[0]):
            assert partner < 0 or theirs.partner[0][partner] == cue


def test_neither_the_batch_nor_the_order_of_references_matters():
    rng = np.random.default_rng(3)
    query, references = cues(rng, 6, 5), [cues(rng, count, 5) for count in (8, 3, 12, 1, 7)]
    together = match(query, references, 0.1)
    turned = match(query, references[::-1], 0.1)
    assert np.array_equal(turned.score[::-1], together.score)
    assert np.array_equal(turned.partner[::-1], together.partner)
    for place, reference in enumerate(references):
        alone = match(query, [reference], 0.1)
        assert alone.score[0] == pytest.approx(together.score[place], abs=1e-6)
        assert np.array_equal(alone.partner[0], together.partner[place])


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), extra=st.integers(1, 9))
def test_cues_of_weight_nought_are_not_there(seed, extra):
    rng = np.random.default_rng(seed)
    query, reference = cues(rng, 6, 5), cues(rng, 7, 5)
    bare = match(query, [reference], 0.0)
    # Padding may hold anything, the very descriptors of the other side too.
    filled = [
        (np.vstack([ours[0], theirs[0][:extra], np.zeros((extra, 5), np.float32)]), weights)
        for ours, theirs, weights in (
            (query, reference, np.pad(query[1], (0, min(extra, 7) + extra))),
            (reference, query, np.pad(reference[1], (0, min(extra, 6) + extra))),
        )
    ]
    padded = match(filled[0], [filled[1]], 0.0)
    assert padded.score[0] == pytest.approx(bare.score[0], abs=1e-6)
    assert padded.partner[0][:6].tolist() == bare.partner[0].tolist()
    assert (padded.partner[0][6:] == -1).all()
    assert padded.similarity[0][:6] == pytest.approx(bare.similarity[0], abs=1e-6)


def test_the_order_of_cues_does_not_matter():
    rng = np.random.default_rng(4)
    query, (local, weights) = cues(rng, 6, 5), cues(rng, 8, 5)
    order, other = rng.permutation(8), rng.permutation(6)
    straight = match(query, [(local, weights)], 0.0)
    shuffled = match((query[0][other], query[1][other]), [(local[order], weights[order])], 0.0)
    assert shuffled.score[0] == pytest.approx(straight.score[0], abs=1e-6)
    back = [order[partner] if partner >= 0 else -1 for partner in shuffled.partner[0]]
    assert back == straight.partner[0][other].tolist()


@pytest.mark.parametrize(("references", "count", "others"), [(0, 4, 3), (3, 0, 4), (3, 4, 0), (0, 0, 0)])
def test_nothing_to_match_scores_zero(references, count, others):
    query = (np.zeros((count, 5), np.float16), np.ones(count, np.float16))
    found = match(query, [(np.zeros((others, 5), np.float16), np.ones(others, np.float16))] * references, 0.0)
    assert found.score.shape == found.count.shape == (references,)
    assert found.partner.shape == found.similarity.shape == (references, count)
    assert not found.score.any()
    assert not found.count.any()
    assert (found.partner == -1).all()


@pytest.mark.parametrize("blank", ["query", "reference", "both"])
def test_blank_photographs_match_nothing(blank):
    """Two of them would be alike everywhere."""
    same = unit(np.random.default_rng(7), 6, 5)
    nothing, everything = np.zeros(6, np.float32), np.ones(6, np.float32)
    query = (same, everything if blank == "reference" else nothing)
    reference = (same, everything if blank == "query" else nothing)
    found = match(query, [reference], -2.0)
    assert (found.score[0], found.count[0]) == (0.0, 0)
    assert (found.partner == -1).all()


def test_the_threshold_is_inclusive_and_unmatched_cues_count_as_zero():
    query = np.eye(4, dtype=np.float32)[:2]
    reference = np.array([[1, 0, 0, 0], [0, 0, 0, 1]], dtype=np.float32)
    found = match(whole(query), [whole(reference)], threshold=1.0)
    assert found.count[0] == 1
    assert found.score[0] == pytest.approx(0.5)
    weighted = match((query, np.array([0.25, 1.0], np.float32)), [whole(reference)], threshold=1.0)
    assert weighted.score[0] == pytest.approx(0.2)
    assert match(whole(query), [whole(reference)], threshold=1.0001).count[0] == 0


def test_opposed_cues_never_lower_the_score():
    query = np.array([[1.0, 0.0]], dtype=np.float32)
    found = match(whole(query), [whole(-query)], threshold=-2.0)
    assert found.count[0] == 1
    assert found.score[0] == 0.0


def test_half_precision_changes_little():
    rng = np.random.default_rng(5)
    query, references = cues(rng, 12, 16), [cues(rng, 12, 16) for _ in range(3)]
    rounded = [tuple(each.astype(np.float16) for each in one) for one in (query, *references)]
    full, half = match(query, references, 0.2), match(rounded[0], rounded[1:], 0.2)
    assert half.score == pytest.approx(full.score, abs=2e-3)
    assert np.array_equal(half.count, full.count)


def test_descriptors_that_are_not_finite_match_nothing():
    rng = np.random.default_rng(8)
    query, reference = cues(rng, 5), cues(rng, 6)
    found = match((np.full_like(query[0], np.nan), query[1]), [reference], 0.1)
    assert (found.score[0], found.count[0]) == (0.0, 0)


def test_mutual_cosines_are_those_of_the_matched_cues():
    rng = np.random.default_rng(6)
    query, reference = cues(rng, 6, 4, blank=0.2), cues(rng, 5, 4)
    _, partner = plain(query, reference, -2.0)
    wanted = [float(query[0][i] @ reference[0][j]) for i, j in enumerate(partner) if j >= 0]
    assert mutual_cosines(query, reference) == pytest.approx(wanted, abs=1e-6)
    assert len(mutual_cosines(query, (reference[0][:0], reference[1][:0]))) == 0
