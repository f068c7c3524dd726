"""What an epoch is judged by."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hallmark.training.validation import global_margin, separation


def unit(rng: np.random.Generator, rows: int) -> np.ndarray:
    vectors = rng.standard_normal((rows, 5))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@given(seed=st.integers(0, 10**6), queries=st.integers(0, 5), references=st.integers(0, 8))
def test_global_margin_against_plain_loops(seed: int, queries: int, references: int) -> None:
    rng = np.random.default_rng(seed)
    q, r = unit(rng, queries), unit(rng, references)
    of_query, of_reference = rng.integers(0, 3, queries), rng.integers(0, 3, references)
    genuine = rng.random(references) < 0.5
    margin = global_margin(q, of_query, r, of_reference, genuine)
    assert margin.shape == (queries,)
    for i in range(queries):
        best = {True: [], False: []}
        for j in range(references):
            if of_reference[j] == of_query[i]:
                best[bool(genuine[j])].append(float(q[i] @ r[j]))
        expected = max(best[True], default=0.0) - max(best[False], default=0.0)
        assert margin[i] == pytest.approx(expected, abs=1e-12)


def test_a_negative_cosine_is_kept_and_a_missing_side_is_zero() -> None:
    q = np.array([[1.0, 0.0]])
    r = np.array([[-1.0, 0.0]])
    zero = np.array([0])
    assert global_margin(q, zero, r, zero, np.array([True])).tolist() == [-1.0]
    assert global_margin(q, zero, r, zero, np.array([False])).tolist() == [1.0]
    assert global_margin(q, zero, r, np.array([1]), np.array([True])).tolist() == [0.0]


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), max_size=12))
def test_separation_is_the_share_of_pairs_in_order(rows: list) -> None:
    margin = np.array([value for value, _ in rows], dtype=float)
    genuine = np.array([flag for _, flag in rows], dtype=bool)
    pairs = [(g, c) for g in margin[genuine] for c in margin[~genuine]]
    expected = np.mean([1.0 if g > c else 0.5 if g == c else 0.0 for g, c in pairs]) if pairs else 0.5
    assert separation(margin, genuine) == pytest.approx(expected)


@pytest.mark.parametrize("flags", [[], [True, True], [False, False]])
def test_one_class_alone_separates_nothing(flags: list) -> None:
    assert separation(np.arange(len(flags), dtype=float), np.array(flags, dtype=bool)) == 0.5
