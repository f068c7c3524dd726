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


def plain(query: np.ndarray, reference: np.ndarray, threshold: float) -> tuple[float, list[int]]:
    """Double loops over the cues of one pair of photographs."""
    cosine = [[float(np.dot(a, b)) for b in reference] for a in query]
    partner, total = [], 0.0
    for i in range(len(query)):
        j = max(range(len(reference)), key=lambda place: cosine[i][place])
        back = max(range(len(query)), key=lambda place: cosine[place][j])
        if back == i and cosine[i][j] >= threshold:
            partner.append(j)
            total += max(0.0, cosine[i][j])
        else:
            partner.append(-1)
    return total / len(query), partner


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    cues=st.integers(1, 8),
    others=st.integers(1, 8),
    references=st.integers(1, 4),
    threshold=st.sampled_from([-2.0, 0.0, 0.3, 0.9]),
)
def test_agrees_with_double_loops(seed, cues, others, references, threshold):
    rng = np.random.default_rng(seed)
    query, stacked = unit(rng, cues, 6), unit(rng, references, others, 6)
    found = match(query, stacked, threshold)
    for place, reference in enumerate(stacked):
        score, partner = plain(query, reference, threshold)
        assert found.score[place] == pytest.approx(score, abs=1e-5)
        assert found.partner[place].tolist() == partner
        assert found.count[place] == sum(entry >= 0 for entry in partner)
    assert ((found.score >= 0) & (found.score <= 1)).all()


def test_a_photograph_matches_itself_wholly():
    query = unit(np.random.default_rng(1), 9, 8)
    found = match(query, query[None], threshold=0.99)
    assert found.score[0] == pytest.approx(1.0, abs=1e-6)
    assert found.score[0] <= 1.0
    assert found.partner[0].tolist() == list(range(9))


def test_is_symmetric_for_equal_numbers_of_cues():
    rng = np.random.default_rng(2)
    a, b = unit(rng, 7, 5), unit(rng, 7, 5)
    there, back = match(a, b[None], 0.1), match(b, a[None], 0.1)
    assert there.score[0] == pytest.approx(back.score[0], abs=1e-6)
    assert there.count[0] == back.count[0]
    for cue, partner in enumerate(there.partner[0]):
        assert partner < 0 or back.partner[0][partner] == cue


def test_neither_the_batch_nor_the_order_of_references_matters():
    rng = np.random.default_rng(3)
    query, references = unit(rng, 6, 5), unit(rng, 5, 8, 5)
    together = match(query, references, 0.1)
    turned = match(query, references[::-1], 0.1)
    assert np.array_equal(turned.score[::-1], together.score)
    for place, reference in enumerate(references):
        alone = match(query, reference[None], 0.1)
        assert alone.score[0] == pytest.approx(together.score[place], abs=1e-7)
        assert np.array_equal(alone.partner[0], together.partner[place])


def test_the_order_of_cues_does_not_matter():
    rng = np.random.default_rng(4)
    query, reference = unit(rng, 6, 5), unit(rng, 8, 5)
    order = rng.permutation(8)
    straight, shuffled = match(query, reference[None], 0.0), match(query, reference[order][None], 0.0)
    assert shuffled.score[0] == pytest.approx(straight.score[0], abs=1e-6)
    back = [order[partner] if partner >= 0 else -1 for partner in shuffled.partner[0]]
    assert back == straight.partner[0].tolist()


@pytest.mark.parametrize(("references", "cues", "others"), [(0, 4, 3), (3, 0, 4), (3, 4, 0), (0, 0, 0)])
def test_nothing_to_match_scores_zero(references, cues, others):
    found = match(np.zeros((cues, 5), np.float16), np.zeros((references, others, 5), np.float16), 0.0)
    assert found.score.shape == found.count.shape == (references,)
    assert found.partner.shape == found.similarity.shape == (references, cues)
    assert not found.score.any()
    assert not found.count.any()
    assert (found.partner == -1).all()


def test_the_threshold_is_inclusive_and_unmatched_cues_count_as_zero():
    query = np.eye(4, dtype=np.float32)[:2]
    reference = np.array([[1, 0, 0, 0], [0, 0, 0, 1]], dtype=np.float32)
    found = match(query, reference[None], threshold=1.0)
    assert found.count[0] == 1
    assert found.score[0] == pytest.approx(0.5)
    assert match(query, reference[None], threshold=1.0001).count[0] == 0


def test_opposed_cues_never_lower_the_score():
    query = np.array([[1.0, 0.0]], dtype=np.float32)
    found = match(query, -query[None], threshold=-2.0)
    assert found.count[0] == 1
    assert found.score[0] == 0.0


def test_half_precision_changes_little():
    rng = np.random.default_rng(5)
    query, references = unit(rng, 12, 16), unit(rng, 3, 12, 16)
    full, half = match(query, references, 0.2), match(query.astype(np.float16), references.astype(np.float16), 0.2)
    assert half.score == pytest.approx(full.score, abs=2e-3)
    assert np.array_equal(half.count, full.count)


def test_mutual_cosines_are_those_of_the_matched_cues():
    rng = np.random.default_rng(6)
    query, reference = unit(rng, 6, 4), unit(rng, 5, 4)
    _, partner = plain(query, reference, -2.0)
    wanted = [float(query[i] @ reference[j]) for i, j in enumerate(partner) if j >= 0]
    assert mutual_cosines(query, reference) == pytest.approx(wanted, abs=1e-6)
    assert len(mutual_cosines(query, reference[:0])) == 0
