"""The order of the decision: photograph, gallery, product, genuine reference, authenticity, abstain band."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hallmark.config import config_hash, validate
from hallmark.errors import ConfigError
from hallmark.types import (
    Authenticity,
    Candidate,
    CuePair,
    Described,
    Details,
    Quality,
    ResidualMap,
    Retrieved,
    VerdictLabel,
)
from hallmark.verdict.calibration import Calibration
from hallmark.verdict.decide import DecisionConfig, examine
from hallmark.verdict.fusion import FusedModel, Term
from hallmark.verdict.gates import QualityGate, StageCheck

GENUINE, COUNTERFEIT = Authenticity.GENUINE, Authenticity.COUNTERFEIT
GATE = QualityGate(least_sharpness=0.01, least_brightness=0.2, most_brightness=0.9, most_clipped=0.5)
NAN = float("nan")


def described(**quality: float) -> Described:
    told = {"width": 8, "height": 8, "sharpness": 1, "brightness": 0.5, "clipped": 0, **quality}
    details = Details(
        image_id="q",
        local=np.zeros((0, 1), np.float16),
        positions=np.zeros((0, 2), np.float32),
        weights=np.zeros(0, np.float16),
        stride=0.1,
        frame=np.array([1, 0, 1, 0], np.float32),
        surface=b"",
    )
    return Described("q", np.ones(1, np.float32), details, Quality(**told))


def retrieved(*kinds: Authenticity, similarity: float = 0.8, product: str | None = "a") -> Retrieved:
    told = tuple(
        Candidate(row, f"ref-{row}", f"i{row}", "a", "whole", kind, similarity - row / 100)
        for row, kind in enumerate(kinds)
    )
    return Retrieved(product, "whole" if product else None, similarity, told, 3)


@pytest.fixture
def judge(make_evidence):
    """The verdict about a photograph with these v+ and v-, and whatever else is told."""

    def judged(calibration, genuine, counterfeit=None, similarity=0.8, product="a", quality=(), **told):
        kinds = [GENUINE] * (genuine is not None) + [COUNTERFEIT] * (counterfeit is not None)
        scores = tuple(score for score in (genuine, counterfeit) if score is not None)
        told = {"global_genuine": None if genuine is None else similarity, **told}
        evidence = make_evidence(scores, match_genuine=genuine, match_counterfeit=counterfeit, **told)
        found = retrieved(*kinds, similarity=similarity, product=product)
        return examine(described(**dict(quality)), found, evidence, calibration, "bundle", "request", {"decode": 1.0})

    return judged


@pytest.fixture
def banded(calibration) -> Calibration:
    update = {"threshold_genuine": 0.25, "threshold_counterfeit": -0.25, "threshold_global": 0.5}
    return calibration.model_copy(update=update)


@pytest.fixture
def gated(banded) -> Calibration:
    return banded.model_copy(update={"quality": GATE, "threshold_inliers": 0.1, "reject_by": "global_or_inliers"})


@pytest.mark.parametrize(
    ("genuine", "counterfeit", "wanted"),
    [
        (1.0, 0.0, VerdictLabel.GENUINE),
        (0.25, 0.0, VerdictLabel.GENUINE),  # exactly at the threshold
        (0.2, 0.0, VerdictLabel.INCONCLUSIVE),
        (0.0, 0.2, VerdictLabel.INCONCLUSIVE),
        (0.0, 0.25, VerdictLabel.INCONCLUSIVE),  # exactly at the lower threshold
        (0.0, 0.3, VerdictLabel.COUNTERFEIT),
        (1.0, None, VerdictLabel.GENUINE),
        (0.0, None, VerdictLabel.INCONCLUSIVE),
        (None, 1.0, VerdictLabel.INCONCLUSIVE),  # no genuine reference: nothing to call genuine or counterfeit
    ],
)
def test_the_band(judge, banded, genuine, counterfeit, wanted):
    verdict = judge(banded, genuine, counterfeit)
    assert verdict.verdict == wanted
    assert verdict.product == "a"
    assert (verdict.p_genuine is None) == (genuine is None)
    assert verdict.scores.decision == (None if genuine is None else pytest.approx(genuine - (counterfeit or 0)))


@pytest.mark.parametrize("counterfeit", [None, 0.0, 1.0])
@pytest.mark.parametrize("genuine", [None, 0.0, 1.0, NAN])
def test_not_in_gallery_comes_before_authenticity(judge, gated, genuine, counterfeit):
    for told in ({"similarity": 0.499}, {"inlier_ratio": 0.09}):
        verdict = judge(gated, genuine, counterfeit, **told)
        assert verdict.verdict == VerdictLabel.NOT_IN_GALLERY
        assert verdict.product is verdict.part is verdict.p_genuine is None


@pytest.mark.parametrize(
    ("quality", "said"),
    [
        ({"sharpness": 0.001}, "blurred"),
        ({"brightness": 0.1}, "dark"),
        ({"brightness": 0.95}, "bright"),
        ({"clipped": 0.9}, "black or white"),
        ({"sharpness": 0.0}, "no texture"),
    ],
)
def test_an_unusable_photograph_comes_before_everything_else(judge, gated, quality, said):
    for genuine in (None, 0.0, 1.0, NAN):
        for similarity in (0.1, 0.8):
            verdict = judge(gated, genuine, 0.0, similarity=similarity, quality=quality)
            assert verdict.verdict == VerdictLabel.INCONCLUSIVE
            assert verdict.p_genuine is None
            assert said in verdict.reason
            assert "again" in verdict.reason
            # The product is named only where the photograph is near enough to show it.
            assert verdict.product == ("a" if similarity == 0.8 else None)


def test_at_the_thresholds_a_photograph_is_in_the_gallery(judge, gated):
    assert judge(gated, 1.0, 0.0, similarity=0.5, inlier_ratio=0.1).verdict == VerdictLabel.GENUINE
    assert judge(gated, 1.0, 0.0, inlier_ratio=None).verdict == VerdictLabel.GENUINE


def test_inliers_reject_only_where_they_are_in_force(judge, gated):
    alone = gated.model_copy(update={"reject_by": "global"})
    verdict = judge(alone, 1.0, 0.0, inlier_ratio=0.0)
    assert verdict.verdict == VerdictLabel.GENUINE
    assert verdict.scores.threshold_inliers is None
    assert judge(gated, 1.0, 0.0, inlier_ratio=0.5).scores.threshold_inliers == 0.1


def test_an_empty_gallery_knows_nothing(judge, calibration):
    verdict = judge(calibration, None, None, product=None, similarity=-1.0)
    assert verdict.verdict == VerdictLabel.NOT_IN_GALLERY
    assert (verdict.references, verdict.cue_pairs, verdict.scores.decision) == ([], [], None)


@pytest.mark.parametrize("bad", [NAN, float("inf"), float("-inf")])
@pytest.mark.parametrize("where", ["genuine", "counterfeit", "inlier_ratio", "similarity"])
def test_what_is_not_finite_is_never_genuine_and_stays_out_of_the_answer(judge, gated, where, bad):
    verdict = judge(gated, **{"genuine": 1.0, "counterfeit": 0.0, where: bad})
    assert verdict.verdict in (VerdictLabel.INCONCLUSIVE, VerdictLabel.NOT_IN_GALLERY)
    if math.isnan(bad):
        assert "not finite" in verdict.reason
        assert verdict.verdict == VerdictLabel.INCONCLUSIVE
    assert verdict.p_genuine is None
    assert "NaN" not in verdict.model_dump_json()
    numbers = [value for value in verdict.scores.model_dump().values() if value is not None]
    assert np.isfinite([*numbers, *(r.global_similarity + r.match_score for r in verdict.references)]).all()


def test_the_verdict_carries_what_it_rests_on(judge, banded):
    verdict = judge(banded, 0.5, 0.1, inlier_ratio=0.4, cue_agreement=0.3, surface_agreement_z=-2.0)
    assert (verdict.bundle_id, verdict.request_id, verdict.gallery_version) == ("bundle", "request", 3)
    assert verdict.config_hash == config_hash(banded)
    assert verdict.timings_ms == {"decode": 1.0}
    assert [reference.num_matches for reference in verdict.references] == [10, 2]
    assert [reference.match_score for reference in verdict.references] == pytest.approx([0.5, 0.1])
    scores = verdict.scores
    assert (scores.inlier_ratio, scores.cue_agreement, scores.surface_agreement_z) == (0.4, 0.3, -2.0)
    assert (scores.threshold_genuine, scores.threshold_counterfeit) == (0.25, -0.25)
    assert verdict.reason


def test_cue_pairs_and_residual_map_are_those_of_the_evidence(make_evidence, calibration):
    pair = CuePair(query=(0.1, 0.2), reference=(0.3, 0.4), similarity=0.9)
    residuals = ResidualMap(rows=1, columns=2, values=[0.0, 3.0])
    evidence = make_evidence((0.5,), match_genuine=0.5, global_genuine=0.8)
    evidence = dataclasses.replace(evidence, cue_pairs=(pair,), residual_map=residuals)
    verdict = examine(described(), retrieved(GENUINE), evidence, calibration, "b")
    assert (verdict.cue_pairs, verdict.residual_map) == ([pair], residuals)


def test_a_products_own_thresholds_are_used_and_shown(judge, banded):
    told = banded.model_copy(update={"threshold_by_product": {"a": (0.4, 0.6), "b": (-1.0, -1.0)}})
    verdict = judge(told, 0.5, 0.0)
    assert verdict.verdict == VerdictLabel.INCONCLUSIVE
    assert (verdict.scores.threshold_counterfeit, verdict.scores.threshold_genuine) == (0.4, 0.6)
    assert judge(told, 0.5, 0.0, product="unheard of").verdict == VerdictLabel.GENUINE
    assert judge(told, 0.3, 0.0).verdict == VerdictLabel.COUNTERFEIT


@pytest.mark.parametrize(
    ("genuine", "counterfeit", "global_counterfeit", "wanted"),
    [
        (1.0, 0.0, 0.7, VerdictLabel.GENUINE),
        (1.0, 0.0, 1.0, VerdictLabel.INCONCLUSIVE),  # much nearer to a counterfeit, though the cues match
        (0.0, 1.0, 0.9, VerdictLabel.COUNTERFEIT),
        (0.0, 1.0, 0.5, VerdictLabel.INCONCLUSIVE),  # much nearer to a genuine one, though the cues do not match
        (1.0, 0.0, None, VerdictLabel.GENUINE),
    ],
)
def test_matching_does_not_blindly_overrule_retrieval(judge, banded, genuine, counterfeit, global_counterfeit, wanted):
    told = banded.model_copy(update={"stages": StageCheck(counterfeit_below=-0.15, genuine_above=0.25)})
    verdict = judge(told, genuine, counterfeit, global_counterfeit=global_counterfeit)
    assert verdict.verdict == wanted
    if wanted == VerdictLabel.INCONCLUSIVE:
        assert "the opposite" in verdict.reason
        assert verdict.p_genuine is None
        assert judge(banded, genuine, counterfeit, global_counterfeit=global_counterfeit).verdict != wanted


def test_fused_mode_judges_by_its_model(judge, banded):
    model = FusedModel(
        terms={
            "global_genuine": Term(centre=0.0, spread=1.0, weight=0.0),
            "cue_agreement": Term(centre=0.5, spread=0.5, weight=2.0, missing=-0.1),
        },
        intercept=0.0,
        strength=0.1,
        left_out=[],
    )
    told = banded.model_copy(update={"mode": "fused", "fused": model, "slope": 0.5})
    verdict = judge(told, 0.0, 1.0, cue_agreement=1.0)
    assert verdict.verdict == VerdictLabel.GENUINE
    assert verdict.scores.decision == pytest.approx(2.0)
    assert verdict.p_genuine == pytest.approx(1 / (1 + np.exp(-1.0)))
    assert judge(told, 1.0, 0.0, cue_agreement=0.0).verdict == VerdictLabel.COUNTERFEIT
    assert judge(told, 1.0, 0.0).scores.decision == pytest.approx(-0.1)


@given(low=st.floats(-1, 1), high=st.floats(-1, 1))
def test_p_genuine_rises_with_the_score(calibration, low, high):
    low, high = sorted((low, high))
    assert 0 <= calibration.p_genuine(low) <= calibration.p_genuine(high) <= 1
    assert calibration.p_genuine(high + 0.1) > calibration.p_genuine(high)


def test_settings_lie_over_the_calibration(calibration):
    assert DecisionConfig().resolve(calibration) == calibration
    laid = DecisionConfig(num_candidates=2, threshold_genuine=5.5).resolve(calibration)
    assert (laid.num_candidates, laid.threshold_genuine, laid.threshold_counterfeit) == (2, 5.5, 0.0)
    assert config_hash(laid) != config_hash(calibration)
    inliers = DecisionConfig(threshold_inliers=0.3).resolve(calibration)
    assert (inliers.reject_by, inliers.threshold_inliers) == ("global_or_inliers", 0.3)


def test_a_threshold_set_here_wins_over_the_products_own(calibration):
    told = calibration.model_copy(update={"threshold_by_product": {"a": (0.4, 0.6)}})
    assert DecisionConfig(threshold_global=0.1).resolve(told).thresholds_of("a") == (0.4, 0.6)
    assert DecisionConfig(threshold_genuine=0.5).resolve(told).thresholds_of("a") == (0.0, 0.5)
    assert DecisionConfig(threshold_counterfeit=-0.5).resolve(told).thresholds_of("a") == (-0.5, 0.0)


def test_thresholds_in_the_wrong_order_are_refused(calibration):
    with pytest.raises(ConfigError, match=r"threshold_counterfeit 0\.3 above threshold_genuine 0"):
        DecisionConfig(threshold_counterfeit=0.3).resolve(calibration)


@pytest.mark.parametrize(
    "wrong", [{"threshold_genuin": 0}, {"num_candidates": 0}, {"threshold_global": NAN}, {"threshold_inliers": 2}]
)
def test_wrong_settings_are_named(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        validate(DecisionConfig, wrong, "decision")
