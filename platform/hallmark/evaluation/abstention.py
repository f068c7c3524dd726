"""Risk against coverage: how many errors are left when only the surest photographs are decided."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hallmark.evaluation.examined import Examined
from hallmark.evaluation.measures import Estimate, Figures, ItemBootstrap, Proportion
from hallmark.types import Authenticity

_MAX_POINTS = 100


class RiskPoint(Figures):
    """Deciding the photographs whose confidence is at least this: the share decided and the errors among them."""

    confidence: float
    coverage: Proportion
    risk: Proportion


class RiskCoverage(Figures):
    """The curve for one measure of confidence over n photographs, at most a hundred points by rising coverage.

    A photograph is called genuine from p_genuine = 0.5, without an abstain band. `area`: mean, over the photographs,
    of the risk where just those at least as sure are decided; lower is better, and a confidence that knows nothing
    has the risk of deciding all of them.
    """

    confidence: str
    area: Estimate
    n: int
    points: list[RiskPoint]


def abstain(examined: Sequence[Examined], seed: int, resamples: int) -> list[RiskCoverage]:
    """The curves over in-domain photographs that were given a probability.

    Confidence is the larger of p_genuine and 1 - p_genuine, and besides it g+, the better match score, and the inlier
    ratio, where every one of the photographs has it. Coverage counts all in-domain photographs.
    """
    in_domain = [photograph for photograph in examined if photograph.in_domain]
    judged = [photograph for photograph in in_domain if photograph.verdict.p_genuine is not None]
    wrong = np.array(
        [(p.verdict.p_genuine >= 0.5) != (p.authenticity == Authenticity.GENUINE) for p in judged], dtype=bool
    )
    bootstrap = ItemBootstrap(
        np.array([photograph.item_id for photograph in judged], dtype=str),
        np.array([str(photograph.authenticity) for photograph in judged], dtype=str),
        seed,
        resamples,
    )
    measured = {name: [_confidences(photograph)[name] for photograph in judged] for name in _CONFIDENCES}
    return [
        risk_coverage(name, np.array(values, dtype=float), wrong, len(in_domain), bootstrap)
        for name, values in measured.items()
        if name == _CONFIDENCES[0] or (values and None not in values)
    ]


def risk_coverage(
    name: str, confidence: np.ndarray, wrong: np.ndarray, num_in_domain: int, bootstrap: ItemBootstrap
) -> RiskCoverage:
    """One curve.

    Args:
        name: of the confidence.
        confidence: (N,) float, higher = surer; equal ones are decided together.
        wrong: (N,) bool.
        num_in_domain: photographs that coverage is a share of, at least N.
        bootstrap: over the N photographs.
    """
    levels, level = np.unique(-confidence, return_inverse=True)
    decided = np.cumsum(np.bincount(level, minlength=len(levels)))
    errors = np.cumsum(np.bincount(level, wrong, len(levels)))
    kept = np.unique(np.linspace(0, len(levels) - 1, min(len(levels), _MAX_POINTS)).round().astype(int))
    return RiskCoverage(
        confidence=name,
        area=bootstrap.estimate(np.ones(len(wrong), dtype=bool), lambda weights: _area(level, wrong, weights)),
        n=len(wrong),
        points=[
            RiskPoint(
                confidence=float(-levels[place]),
                coverage=Proportion.of(int(decided[place]), num_in_domain),
                risk=Proportion.of(int(errors[place]), int(decided[place])),
            )
            for place in kept
        ],
    )


_CONFIDENCES = ("p_genuine", "global_similarity", "match_score", "inlier_ratio")


def _confidences(photograph: Examined) -> dict[str, float | None]:
    scores, p_genuine = photograph.verdict.scores, photograph.verdict.p_genuine
    matches = [score for score in (scores.match_genuine, scores.match_counterfeit) if score is not None]
    values = (max(p_genuine, 1 - p_genuine), scores.global_similarity, max(matches, default=None), scores.inlier_ratio)
    return dict(zip(_CONFIDENCES, values, strict=True))


def _area(level: np.ndarray, wrong: np.ndarray, weights: np.ndarray) -> float | None:
    """Weighted mean of each photograph's risk at its own level; `level` 0 is the surest."""
    if not len(level):
        return None
    at_level = np.bincount(level, weights)
    decided, errors = np.cumsum(at_level), np.cumsum(np.bincount(level, weights * wrong, len(at_level)))
    risk = errors / np.maximum(decided, 1e-12)
    return float(at_level @ risk / decided[-1])
