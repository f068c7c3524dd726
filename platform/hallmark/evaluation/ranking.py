"""Ranked lists of references: Recall@k and mean average precision before and after re-ranking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

from hallmark.errors import DataError
from hallmark.evaluation.examined import Examined
from hallmark.evaluation.measures import Estimate, Figures, ItemBootstrap, Proportion

DEPTHS = (1, 5, 10)
"""The k of Recall@k."""


@dataclass(frozen=True)
class Ranking:
    """How near every reference of a gallery is to one in-domain photograph, in the gallery's row order.

    Higher = nearer; only the order counts. A reference that is the photograph itself has -inf twice and is not
    relevant.
    """

    image_id: str
    before: np.ndarray
    """(R,) float: similarity of the global descriptors."""
    after: np.ndarray
    """(R,) float: what `rerank` gives of `before` and the match scores of the candidates."""
    relevant: np.ndarray
    """(R,) bool: same product and same authenticity as the photograph."""


class Retrieval(Figures):
    """Quality of ranked lists; `recall[k]`: share of queries with a relevant reference among the first k.

    `num_without_relevant` queries had nothing to find; they count in no other figure.
    """

    recall: dict[int, Proportion]
    mean_average_precision: Estimate
    num_queries: int
    num_without_relevant: int


class Reranking(Figures):
    """What re-ranking changed, query by query.

    `gain`: mean average precision after minus before. `won` and `lost`: queries whose first reference became relevant,
    or ceased to be; `p_value`: exact McNemar test that winning and losing are equally likely, None where neither
    happened.
    """

    gain: Estimate
    won: int
    lost: int
    p_value: float | None


def rerank(similarity: np.ndarray, candidates: np.ndarray, match_scores: np.ndarray) -> np.ndarray:
    """The order after verification: candidates first, by match score, then by similarity; the rest as they were.

    Args:
        similarity: (R,) float, higher = nearer.
        candidates: (K,) int, the rows that were verified, each once.
        match_scores: (K,) float, higher = more alike.

    Returns:
        (R,) float ranks, higher = nearer, equal where match score and similarity are.
    """
    verified = np.zeros(len(similarity), dtype=bool)
    verified[candidates] = True
    matches = np.zeros(len(similarity))
    matches[candidates] = match_scores
    keys = np.stack([verified, matches, similarity], axis=1)
    # Row for row: equal keys share one rank.
    ranks = np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1).astype(float)
    ranks[np.isneginf(similarity)] = -np.inf
    return ranks


def rank(
    similarity: np.ndarray,
    relevant: np.ndarray,
    depths: Sequence[int] = DEPTHS,
    bootstrap: ItemBootstrap | None = None,
) -> Retrieval:
    """Recall@k and mean average precision of the lists that sorting by similarity gives.

    Equal similarities are ranked with the relevant ones last, so that a constant score earns nothing. Give a query's
    own photograph similarity -inf and relevance False.

    Args:
        similarity: (Q, R) float, higher = nearer.
        relevant: (Q, R) bool.
        depths: the k of Recall@k.
        bootstrap: over the Q queries, for the interval; None = no interval.

    Raises:
        DataError: the shapes differ, or a similarity is nan.
    """
    hits = _hits(similarity, relevant)
    answerable = hits.any(axis=1)
    found = hits[answerable]
    return Retrieval(
        recall={int(depth): Proportion.count(found[:, :depth].any(axis=1)) for depth in depths},
        mean_average_precision=_mean(_average_precision(hits), answerable, bootstrap),
        num_queries=len(found),
        num_without_relevant=int((~answerable).sum()),
    )


def rank_twice(
    rankings: Sequence[Ranking], examined: Sequence[Examined], seed: int, resamples: int
) -> tuple[Retrieval, Retrieval, Reranking] | None:
    """The lists before re-ranking, after it, and what changed; None where there are no rankings.

    Raises:
        DataError: a ranking is of a photograph that was not examined, or the rankings are of different galleries.
    """
    if not rankings:
        return None
    if len({ranking.before.shape for ranking in rankings}) > 1:
        raise DataError("rankings: found lists of different lengths; wanted one entry a reference of one gallery")
    known = {photograph.image_id: photograph for photograph in examined}
    strange = [ranking.image_id for ranking in rankings if ranking.image_id not in known]
    if strange:
        raise DataError(f"rankings: found photograph {strange[0]}, which was not examined; wanted those that were")
    queries = [known[ranking.image_id] for ranking in rankings]
    bootstrap = ItemBootstrap(
        np.array([query.item_id for query in queries], dtype=str),
        np.array([str(query.authenticity) for query in queries], dtype=str),
        seed,
        resamples,
    )
    before, after, relevant = (
        np.stack([getattr(ranking, name) for ranking in rankings]) for name in ("before", "after", "relevant")
    )
    return (
        rank(before, relevant, bootstrap=bootstrap),
        rank(after, relevant, bootstrap=bootstrap),
        _reranking(_hits(before, relevant), _hits(after, relevant), bootstrap),
    )


def _reranking(before: np.ndarray, after: np.ndarray, bootstrap: ItemBootstrap) -> Reranking:
    gain = _average_precision(after) - _average_precision(before)
    won = int((after[:, :1] & ~before[:, :1]).sum())
    lost = int((before[:, :1] & ~after[:, :1]).sum())
    return Reranking(
        gain=_mean(gain, before.any(axis=1), bootstrap),
        won=won,
        lost=lost,
        p_value=float(binomtest(won, won + lost).pvalue) if won + lost else None,
    )


def _hits(similarity: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """(Q, R) bool: relevance of each list's references, nearest first."""
    if similarity.shape != relevant.shape or similarity.ndim != 2:
        raise DataError(f"ranked lists: found shapes {similarity.shape} and {relevant.shape}; wanted one (Q, R) twice")
    if np.isnan(similarity).any():
        raise DataError("ranked lists: found a similarity that is nan; wanted numbers (check the descriptors)")
    order = np.lexsort((relevant, -similarity), axis=1)
    return np.take_along_axis(relevant, order, axis=1)


def _average_precision(hits: np.ndarray) -> np.ndarray:
    """(Q,) float: mean precision at the places of the relevant references; 0 where there is none."""
    precision = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    return (precision * hits).sum(axis=1) / np.maximum(hits.sum(axis=1), 1)


def _mean(values: np.ndarray, rows: np.ndarray, bootstrap: ItemBootstrap | None) -> Estimate:
    chosen = values[rows]
    if bootstrap is None:
        return Estimate(value=float(chosen.mean()) if len(chosen) else None, low=None, high=None, n=len(chosen))
    return bootstrap.estimate(rows, lambda weights: float(weights @ chosen / weights.sum()))
