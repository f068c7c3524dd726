"""Residuals and what genuine items vary by, against plain loops."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hallmark.verdict.residual import cell_residual, cue_residual, fit_norm, top_mean

NAN = float("nan")


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    vectors = rng.normal(size=shape).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def plain_cue_residual(query, places, references, window: float) -> list[float]:
    found = []
    for i, descriptor in enumerate(query):
        best = math.inf
        for descriptors, where in references:
            told = [float(descriptor @ other) for other in descriptors]
            near = told
            if places is not None and where is not None:
                near = [c for c, place in zip(told, where, strict=True) if math.dist(places[i], place) <= window]
            for cosine in near or told:
                best = min(best, 1.0 - cosine)
        found.append(best if best < math.inf else NAN)
    return found


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(0, 6),
    others=st.lists(st.integers(0, 6), max_size=4),
    window=st.floats(0.01, 0.9),
    placed=st.booleans(),
)
def test_cue_residual_agrees_with_plain_loops(seed, count, others, window, placed):
    rng = np.random.default_rng(seed)
    references = [(unit(rng, n, 5), rng.random((n, 2)) if rng.random() < 0.7 else None) for n in others]
    query, places = unit(rng, count, 5), rng.random((count, 2)) if placed else None
    found = cue_residual(query, places, references, window)
    assert found.shape == (count,)
    assert found.dtype == np.float64
    assert found == pytest.approx(plain_cue_residual(query, places, references, window), abs=1e-5, nan_ok=True)
    turned = cue_residual(query, places, references[::-1], window)
    assert np.array_equal(turned, found, equal_nan=True)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), placed=st.booleans())
def test_what_a_reference_shows_itself_leaves_no_residual(seed, placed):
    rng = np.random.default_rng(seed)
    query, places = unit(rng, 7, 5), rng.random((7, 2)) if placed else None
    found = cue_residual(query, places, [(query, places), (unit(rng, 4, 5), None)], 0.1)
    assert found == pytest.approx(np.zeros(7), abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_another_reference_never_raises_a_residual_and_the_order_of_cues_is_nothing(seed):
    rng = np.random.default_rng(seed)
    references = [(unit(rng, 5, 4), rng.random((5, 2))) for _ in range(3)]
    query, places = unit(rng, 6, 4), rng.random((6, 2))
    fewer, more = (cue_residual(query, places, references[:n], 0.3) for n in (2, 3))
    assert (more <= fewer).all()
    order = rng.permutation(6)
    assert cue_residual(query[order], places[order], references, 0.3) == pytest.approx(more[order], abs=1e-6)


def test_a_cue_is_held_against_what_lies_at_its_place():
    """A glyph that is elsewhere on the reference does not explain one that is here."""
    here, there = np.array([[0.1, 0.1]]), np.array([[0.1, 0.1], [0.9, 0.9]])
    query = np.array([[1.0, 0.0]], np.float32)
    reference = np.array([[0.6, 0.8], [1.0, 0.0]], np.float32)
    assert cue_residual(query, here, [(reference, there)], 0.2) == pytest.approx([0.4])
    assert cue_residual(query, here, [(reference, there)], 2.0) == pytest.approx([0.0])
    assert cue_residual(query, None, [(reference, there)], 0.2) == pytest.approx([0.0])
    assert np.isnan(cue_residual(query, here, [], 0.2)).all()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), references=st.integers(0, 4), side=st.integers(1, 4))
def test_cell_residual_agrees_with_plain_loops(seed, references, side):
    rng = np.random.default_rng(seed)
    directions = rng.random((side, side, 9)).astype(np.float32)
    seen = rng.random((side, side)) < 0.7
    others = rng.random((references, side, side, 9)).astype(np.float32)
    shown = rng.random((references, side, side)) < 0.7
    wanted = np.full((side, side), NAN)
    for y in range(side):
        for x in range(side):
            told = [
                sum((float(a) - float(b)) ** 2 for a, b in zip(others[r, y, x], directions[y, x], strict=True))
                for r in range(references)
                if shown[r, y, x]
            ]
            if seen[y, x] and told:
                wanted[y, x] = min(told)
    found = cell_residual(directions, seen, others, shown)
    assert found == pytest.approx(wanted, abs=1e-5, nan_ok=True)
    order = rng.permutation(references)
    assert np.array_equal(cell_residual(directions, seen, others[order], shown[order]), found, equal_nan=True)


def test_cells_leave_no_residual_with_themselves():
    directions = np.random.default_rng(0).random((5, 5, 9)).astype(np.float32)
    everywhere = np.ones((5, 5), bool)
    assert not cell_residual(directions, everywhere, directions[None], everywhere[None]).any()


def plain_norm(residuals: np.ndarray, items: list[str], least: int):
    """(mean, spread) of each location by loops; nan where fewer than `least` items show it."""
    flat = residuals.reshape(len(items), -1)
    told = []
    for location in range(flat.shape[1]):
        by_item = {}
        for row, item in enumerate(items):
            if math.isfinite(flat[row, location]):
                by_item.setdefault(item, []).append(float(flat[row, location]))
        told.append([statistics.fmean(values) for values in by_item.values()])
    variances = [statistics.variance(means) if len(means) >= max(2, least) else None for means in told]
    usual = max(statistics.median([v for v in variances if v is not None]), 1e-12)
    means, spreads = [], []
    for values in told:
        if len(values) >= max(2, least):
            own = (len(values) - 1) * statistics.variance(values)
            means.append(statistics.fmean(values))
            spreads.append(math.sqrt((own + 5 * usual) / (len(values) - 1 + 5)))
        else:
            means.append(NAN)
            spreads.append(NAN)
    return np.reshape(means, residuals.shape[1:]), np.reshape(spreads, residuals.shape[1:])


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), photographs=st.integers(3, 9), names=st.integers(2, 6), least=st.integers(2, 4))
def test_fit_norm_agrees_with_plain_loops(seed, photographs, names, least):
    rng = np.random.default_rng(seed)
    residuals = rng.random((photographs, 3, 2))
    residuals[rng.random(residuals.shape) < 0.2] = NAN
    items = [f"item{rng.integers(names)}" for _ in range(photographs)]
    found = fit_norm(residuals, items, least)
    shown = [
        len({item for item, value in zip(items, column, strict=True) if math.isfinite(value)})
        for column in residuals.reshape(photographs, -1).T
    ]
    assert (found is None) == (len(set(items)) < least or max(shown) < least)
    if found is None:
        return
    mean, spread = plain_norm(residuals, items, least)
    assert found.mean == pytest.approx(mean, abs=1e-9, nan_ok=True)
    known = np.isfinite(mean)
    assert found.spread[known] == pytest.approx(spread[known], abs=1e-9)
    assert (found.spread > 0).all()
    z = found.z(residuals[0])
    assert z[known] == pytest.approx(((residuals[0] - mean) / spread)[known], abs=1e-6, nan_ok=True)
    assert np.isnan(z[~known]).all()


def test_many_photographs_of_one_item_count_as_one():
    once = np.array([[0.0], [1.0], [2.0]])
    often = np.array([[0.0], [1.0], [2.0], [2.0], [2.0], [2.0]])
    one, other = fit_norm(once, ["a", "b", "c"], 3), fit_norm(often, ["a", "b", "c", "c", "c", "c"], 3)
    assert (one.mean, one.spread) == (pytest.approx(other.mean), pytest.approx(other.spread))
    assert one.mean[0] == pytest.approx(1.0)
    assert fit_norm(often[2:], ["c"] * 4, 2) is None


def test_locations_that_never_vary_have_a_spread_all_the_same():
    found = fit_norm(np.zeros((4, 2, 2)), ["a", "b", "c", "d"], 3)
    assert (found.spread > 0).all()
    assert np.isfinite(found.z(np.ones((2, 2)))).all()


def test_nothing_known_is_no_norm():
    assert fit_norm(np.full((4, 2), NAN), ["a", "b", "c", "d"], 3) is None
    assert fit_norm(np.zeros((0, 2)), [], 2) is None


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.one_of(st.floats(-5, 5), st.sampled_from([NAN, math.inf])), max_size=40),
    share=st.floats(0.01, 1.0),
)
def test_top_mean_agrees_with_a_sorted_list(values, share):
    finite = sorted((value for value in values if math.isfinite(value)), reverse=True)
    found = top_mean(np.array(values, dtype=float), share)
    if len(finite) < 3:
        assert found is None
    else:
        worst = finite[: max(3, int(share * len(finite)))]
        assert found == pytest.approx(sum(worst) / len(worst), abs=1e-9)
