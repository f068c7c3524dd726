"""The order of the decision: gallery, product, genuine reference, abstain band."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hallmark.config import config_hash, validate
from hallmark.errors import ConfigError
from hallmark.types import Authenticity, Candidate, Described, Quality, Retrieved, VerdictLabel
from hallmark.verdict.decide import DecisionConfig, examine

GENUINE, COUNTERFEIT = Authenticity.GENUINE, Authenticity.COUNTERFEIT
CUES = 20


def described() -> Described:
    positions = np.stack([np.arange(CUES), np.zeros(CUES)], axis=1).astype(np.float32) / CUES
    quality = Quality(width=8, height=8, sharpness=1, brightness=0.5, clipped=0)
    return Described("q", np.ones(1, np.float32), np.eye(CUES, dtype=np.float16), positions, quality)


def cues_sharing(count: int) -> tuple[np.ndarray, np.ndarray]:
    """A reference whose first `count` cues are the query's; its match score is count / CUES."""
    local = np.zeros((CUES, CUES), np.float16)
    local[:count, :count] = np.eye(count)
    return local, np.full((CUES, 2), 0.25, np.float32) + np.arange(CUES)[:, None].astype(np.float32) / 100


def retrieved(*kinds: Authenticity, similarity: float = 0.8, product: str | None = "a") -> Retrieved:
    told = tuple(
        Candidate(row, f"ref-{row}", f"i{row}", "a", "whole", kind, similarity - row / 100)
        for row, kind in enumerate(kinds)
    )
    return Retrieved(product, "whole" if product else None, similarity, told, 3)


def judge(calibration, genuine: int | None, counterfeit: int | None, **settings):
    kinds = [GENUINE] * (genuine is not None) + [COUNTERFEIT] * (counterfeit is not None)
    cues = [cues_sharing(count) for count in (genuine, counterfeit) if count is not None]
    return examine(described(), retrieved(*kinds, **settings), cues, calibration, "bundle", "request", {"decode": 1.0})


@pytest.fixture
def banded(calibration):
    return calibration.model_copy(
        update={"threshold_genuine": 0.2, "threshold_counterfeit": -0.2, "threshold_global": 0.5}
    )


@pytest.mark.parametrize(
    ("genuine", "counterfeit", "wanted"),
    [
        (20, 0, VerdictLabel.GENUINE),
        (4, 0, VerdictLabel.GENUINE),  # exactly at the threshold
        (3, 0, VerdictLabel.INCONCLUSIVE),
        (0, 3, VerdictLabel.INCONCLUSIVE),
        (0, 4, VerdictLabel.INCONCLUSIVE),  # exactly at the lower threshold
        (0, 5, VerdictLabel.COUNTERFEIT),
        (20, None, VerdictLabel.GENUINE),
        (0, None, VerdictLabel.INCONCLUSIVE),
        (None, 20, VerdictLabel.INCONCLUSIVE),  # no genuine reference: nothing to call genuine or counterfeit
    ],
)
def test_the_band(banded, genuine, counterfeit, wanted):
    verdict = judge(banded, genuine, counterfeit)
    assert verdict.verdict == wanted
    assert verdict.product == "a"
    assert (verdict.p_genuine is None) == (genuine is None)
    assert verdict.scores.decision == (
        None if genuine is None else pytest.approx(genuine / CUES - (counterfeit or 0) / CUES)
    )


@pytest.mark.parametrize("counterfeit", [None, 0, 20])
@pytest.mark.parametrize("genuine", [None, 0, 20])
def test_not_in_gallery_comes_before_everything_else(banded, genuine, counterfeit):
    verdict = judge(banded, genuine, counterfeit, similarity=0.499)
    assert verdict.verdict == VerdictLabel.NOT_IN_GALLERY
    assert verdict.product is verdict.part is verdict.p_genuine is None


def test_similarity_at_the_threshold_is_in_the_gallery(banded):
    assert judge(banded, 20, 0, similarity=0.5).verdict == VerdictLabel.GENUINE


def test_an_empty_gallery_knows_nothing(calibration):
    verdict = judge(calibration, None, None, product=None, similarity=-1.0)
    assert verdict.verdict == VerdictLabel.NOT_IN_GALLERY
    assert verdict.references == []
    assert verdict.cue_pairs == []


def test_the_verdict_carries_what_it_rests_on(banded):
    verdict = judge(banded, 10, 2)
    assert (verdict.bundle_id, verdict.request_id, verdict.gallery_version) == ("bundle", "request", 3)
    assert verdict.config_hash == config_hash(banded)
    assert verdict.timings_ms == {"decode": 1.0}
    assert [reference.num_matches for reference in verdict.references] == [10, 2]
    assert [reference.match_score for reference in verdict.references] == pytest.approx([0.5, 0.1])
    assert verdict.scores.threshold_genuine == 0.2
    assert verdict.reason


def test_cue_pairs_are_those_of_the_first_reference_strongest_first(calibration):
    local, positions = cues_sharing(CUES)
    fade = np.linspace(0.5, 1, CUES)
    verdict = examine(
        described(), retrieved(GENUINE), [((local * fade[:, None]).astype(np.float16), positions)], calibration, "b"
    )
    similarities = [pair.similarity for pair in verdict.cue_pairs]
    assert len(similarities) == 16
    assert similarities == sorted(similarities, reverse=True)
    assert verdict.cue_pairs[0].query == pytest.approx(((CUES - 1) / CUES, 0.0))
    assert verdict.cue_pairs[0].reference == pytest.approx(positions[CUES - 1].tolist())


def test_the_order_of_tied_candidates_does_not_change_the_verdict(banded):
    told = [(GENUINE, 12), (GENUINE, 3), (COUNTERFEIT, 6), (COUNTERFEIT, 2)]
    said = set()
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]):
        chosen = [told[place] for place in order]
        candidates = tuple(
            Candidate(row, f"r{row}", f"i{row}", "a", "whole", kind, 0.8) for row, (kind, _) in enumerate(chosen)
        )
        verdict = examine(
            described(),
            Retrieved("a", "whole", 0.8, candidates, 1),
            [cues_sharing(count) for _, count in chosen],
            banded,
            "b",
        )
        said.add((verdict.verdict, verdict.scores.decision, verdict.p_genuine))
    assert len(said) == 1


@given(low=st.floats(-1, 1), high=st.floats(-1, 1))
def test_p_genuine_rises_with_the_score(calibration, low, high):
    low, high = sorted((low, high))
    assert 0 <= calibration.p_genuine(low) <= calibration.p_genuine(high) <= 1
    assert calibration.p_genuine(high + 0.1) > calibration.p_genuine(high)


def test_settings_lie_over_the_calibration(calibration):
    assert DecisionConfig().resolve(calibration) == calibration
    laid = DecisionConfig(num_candidates=2, threshold_genuine=0.5).resolve(calibration)
    assert (laid.num_candidates, laid.threshold_genuine, laid.threshold_counterfeit) == (2, 0.5, 0.0)
    assert config_hash(laid) != config_hash(calibration)


def test_thresholds_in_the_wrong_order_are_refused(calibration):
    with pytest.raises(ConfigError, match=r"threshold_counterfeit 0\.3 above threshold_genuine 0"):
        DecisionConfig(threshold_counterfeit=0.3).resolve(calibration)


@pytest.mark.parametrize("wrong", [{"threshold_genuin": 0}, {"num_candidates": 0}, {"threshold_global": float("nan")}])
def test_wrong_settings_are_named(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        validate(DecisionConfig, wrong, "decision")
