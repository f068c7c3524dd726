"""Who names the product: the references, or a classifier."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from hallmark.types import Authenticity, Candidate, Classified, Retrieved
from hallmark.verdict.calibration import Calibration
from hallmark.verdict.comparison import Examiner
from hallmark.verdict.retrieval import retrieve

LOGITS = np.array([[0.0, 1.0], [2.0, 4.0], [3.0, -1.0]], np.float32)
"""Of a, b and c: b is the likeliest."""


class Shelf:
    """An index, and the references behind it: one genuine reference of a and of b, nothing to compare in detail."""

    def __init__(self):
        self.asked: list[str | None] = []

    def retrieve(self, descriptor, num_candidates, *, product=None):
        self.asked.append(product)
        if not np.isfinite(descriptor).all():
            return Retrieved(None, None, float("nan"), (), 4)
        if product == "c":
            return Retrieved(None, None, None, (), 4)
        named = product or "a"
        candidate = Candidate(0, "ref-0", "i0", named, "tag", Authenticity.GENUINE, 0.75)
        return Retrieved(named, "tag", 0.75, (candidate,), 4)

    def details(self, rows):
        pytest.fail("a photograph without cues has no details to compare")

    members = member_ids = details


@pytest.fixture
def query(make_described):
    described = make_described(local=np.zeros((0, 1)))
    return dataclasses.replace(described, classified=Classified(("a", "b", "c"), LOGITS))


@pytest.fixture
def fitted(calibration) -> Calibration:
    return calibration.model_copy(update={"mode": "classifier", "slope": 0.5, "threshold_global": 0.5})


def log_odds(*rows: int) -> float:
    """Of the probabilities, summed one by one."""
    p = np.exp(LOGITS.astype(float)) / np.exp(LOGITS.astype(float)).sum()
    return math.log(sum(p[row, 1] for row in rows) / sum(p[row, 0] for row in rows))


def test_a_classifier_names_the_product_and_its_log_odds_are_of_all(query):
    shelf = Shelf()
    found = retrieve(shelf, query, "classifier", 3)
    assert shelf.asked == ["b"]
    assert (found.product, found.part, found.global_similarity) == ("b", "tag", 0.75)
    assert found.classifier_logit == pytest.approx(log_odds(0, 1, 2))


@pytest.mark.parametrize(("place", "product"), [(0, "a"), (1, "b"), (2, "c")])
def test_of_the_product_that_is_asked_for_the_log_odds_are_its_own(query, place, product):
    found = retrieve(Shelf(), query, "classifier", 3, product)
    assert found.product == product
    assert found.classifier_logit == pytest.approx(log_odds(place))


def test_elsewhere_the_references_name_the_product_and_the_classifier_speaks_of_it_if_it_knows_it(query):
    found = retrieve(Shelf(), query, "fused", 3)
    assert (found.product, found.classifier_logit) == ("a", pytest.approx(log_odds(0)))
    assert retrieve(Shelf(), query, "fused", 3, "d").classifier_logit is None
    assert retrieve(Shelf(), query, "fused", 3, "c").classifier_logit is None  # of which there is no reference
    plain = dataclasses.replace(query, classified=None)
    assert retrieve(Shelf(), plain, "fused", 3) == Shelf().retrieve(plain.descriptor, 3)


def verdict_of(query, fitted, product=None, shelf=None):
    shelf = shelf or Shelf()
    return Examiner(shelf, fitted, "bundle").examine(query, retrieve(shelf, query, "classifier", 3, product))


def test_the_verdict_rests_on_the_log_odds_alone(query, fitted):
    verdict = verdict_of(query, fitted)
    wanted = log_odds(0, 1, 2)
    assert (verdict.verdict, verdict.product, verdict.part) == ("genuine", "b", "tag")
    assert verdict.scores.decision == verdict.scores.classifier_logit == pytest.approx(wanted)
    assert verdict.p_genuine == pytest.approx(1 / (1 + math.exp(-0.5 * wanted)))
    assert verdict.reason == f"Log odds of genuine {wanted:+.3f} as b, genuine from +0.000."
    assert [reference.product for reference in verdict.references] == ["b"]
    assert (verdict.scores.match_genuine, verdict.cue_pairs, verdict.residual_map) == (None, [], None)
    assert verdict_of(query, fitted, "a").verdict == "genuine"


def test_a_product_without_references_is_not_rejected_by_similarity(query, fitted):
    verdict = verdict_of(query, fitted, "c")
    assert (verdict.verdict, verdict.product, verdict.part) == ("counterfeit", "c", None)
    assert (verdict.scores.global_similarity, verdict.references) == (None, [])


def test_too_unlike_its_references_is_not_in_gallery(query, fitted):
    verdict = verdict_of(query, fitted.model_copy(update={"threshold_global": 0.76}))
    assert (verdict.verdict, verdict.product, verdict.p_genuine) == ("not_in_gallery", None, None)


def test_a_product_it_was_not_trained_on_is_said_to_be_so(query, fitted):
    verdict = verdict_of(query, fitted, "d")
    assert (verdict.verdict, verdict.product, verdict.p_genuine) == ("not_in_gallery", None, None)
    assert "not trained on the product" in verdict.reason
    assert verdict.references == []


def test_what_is_not_finite_is_left_to_a_person(query, fitted):
    bad = dataclasses.replace(query, classified=Classified(("a", "b", "c"), np.full((3, 2), np.nan, np.float32)))
    assert verdict_of(bad, fitted).verdict == "inconclusive"
    verdict = verdict_of(dataclasses.replace(query, descriptor=np.full(1, np.nan, np.float32)), fitted)
    assert (verdict.verdict, verdict.scores.global_similarity) == ("inconclusive", None)
    assert "not finite" in verdict.reason


def test_an_unusable_photograph_is_no_case_for_a_classifier_either(query, fitted):
    blurred = dataclasses.replace(query, quality=query.quality.model_copy(update={"sharpness": 0.0}))
    verdict = verdict_of(blurred, fitted)
    assert (verdict.verdict, verdict.product, verdict.p_genuine) == ("inconclusive", "b", None)
