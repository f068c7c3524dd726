"""Evidence: the best genuine and the best counterfeit reference, and the score between them."""

from __future__ import annotations

import numpy as np
import pytest

from hallmark.types import Authenticity, Candidate, Described, Quality, Retrieved
from hallmark.verdict.evidence import weigh
from hallmark.verdict.matching import match

GENUINE, COUNTERFEIT = Authenticity.GENUINE, Authenticity.COUNTERFEIT
QUALITY = Quality(width=8, height=8, sharpness=1, brightness=0.5, clipped=0)


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    vectors = rng.normal(size=shape).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def described(local: np.ndarray) -> Described:
    return Described("q", np.ones(1, np.float32), local, np.zeros((len(local), 2), np.float32), QUALITY)


def retrieved(*candidates: tuple[Authenticity, float]) -> Retrieved:
    told = tuple(
        Candidate(row, f"ref-{row}", f"i{row}", "a", "whole", kind, similarity)
        for row, (kind, similarity) in enumerate(candidates)
    )
    return Retrieved("a", "whole", max((c.global_similarity for c in told), default=-1.0), told, 1)


def test_takes_the_best_of_each_side():
    rng = np.random.default_rng(0)
    query, references = unit(rng, 6, 4), unit(rng, 4, 6, 4)
    kinds = [(GENUINE, 0.3), (GENUINE, 0.7), (COUNTERFEIT, 0.9), (COUNTERFEIT, 0.1)]
    cues = [(local, np.zeros((6, 2), np.float32)) for local in references]
    found = weigh(described(query), retrieved(*kinds), cues, 0.1)
    scores = match(query, references, 0.1).score
    assert found.global_genuine == 0.7
    assert found.global_counterfeit == 0.9
    assert found.match_genuine == pytest.approx(max(scores[0], scores[1]))
    assert found.match_counterfeit == pytest.approx(max(scores[2], scores[3]))
    assert found.score == pytest.approx(max(scores[:2]) - max(scores[2:]))
    assert np.array_equal(found.matches.score, scores)


def test_a_photograph_enrolled_as_counterfeit_scores_below_one_enrolled_as_genuine():
    rng = np.random.default_rng(1)
    query, other = unit(rng, 6, 4), unit(rng, 6, 4)
    place = np.zeros((6, 2), np.float32)
    kinds = retrieved((GENUINE, 0.5), (COUNTERFEIT, 0.5))
    assert weigh(described(query), kinds, [(query, place), (other, place)], 0.0).score > 0
    assert weigh(described(query), kinds, [(other, place), (query, place)], 0.0).score < 0


@pytest.mark.parametrize(
    ("kinds", "defined"), [([GENUINE], True), ([COUNTERFEIT], False), ([], False), ([GENUINE, COUNTERFEIT], True)]
)
def test_a_missing_side_is_none_and_not_zero(kinds, defined):
    rng = np.random.default_rng(2)
    query = unit(rng, 3, 4)
    cues = [(unit(rng, 3, 4), np.zeros((3, 2), np.float32)) for _ in kinds]
    found = weigh(described(query), retrieved(*[(kind, 0.5) for kind in kinds]), cues, -1.0)
    assert (found.match_genuine is None) == (GENUINE not in kinds)
    assert (found.global_genuine is None) == (GENUINE not in kinds)
    assert (found.match_counterfeit is None) == (COUNTERFEIT not in kinds)
    assert (found.global_counterfeit is None) == (COUNTERFEIT not in kinds)
    assert (found.score is not None) == defined
    if kinds == [GENUINE]:
        assert found.score == found.match_genuine
