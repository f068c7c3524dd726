"""The calibration as a whole: every mode and objective, from samples to JSON."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hallmark.config import validate
from hallmark.errors import BundleError, ConfigError, DataError
from hallmark.verdict.calibration import Calibration, CalibrationConfig, Sample, calibration_of
from hallmark.verdict.fitting import fit_calibration, fit_match_threshold
from hallmark.verdict.objectives import best_f1_threshold, frr_threshold

MODES = ("paper_match", "fused", "one_class")
OBJECTIVES = ("f1", "far", "frr", "cost", "abstain")
PAPER = CalibrationConfig(mode="paper_match")


def sample(score: float, genuine: bool, item: str = "i", product: str = "a", similarity: float = 0.5, **told) -> Sample:
    """A photograph whose paper_match score is `score`."""
    features = {"match_genuine": score, "match_margin": None, "global_genuine": similarity, "global_margin": None}
    return Sample({**features, **told}, genuine, product, item, similarity, told.get("inlier_ratio"), 0.1, 0.5, 0.0)


def with_features(told: Sample, **features: float | None) -> Sample:
    return dataclasses.replace(told, features={**told.features, **features})


def drawn(count: int = 40, shift: float = 1.0, seed: int = 0, products: str = "ab", each: int = 2) -> list[Sample]:
    """Photographs of both authenticities in turn, `each` an item, with some evidence missing."""
    rng = np.random.default_rng(seed)
    samples = []
    for item in range(count // each):
        genuine = item % 2 == 1
        for photograph in range(each):
            told = {
                "cue_agreement": float(rng.normal(shift * genuine, 0.5)),
                "surface_agreement": None if (item + photograph) % 3 == 0 else float(rng.normal(shift * genuine, 0.6)),
                "inlier_ratio": None if item % 5 == 0 else float(rng.uniform(0.3, 0.9)),
                "cue_margin": None,
            }
            score, product = float(rng.normal(shift * genuine, 0.4)), products[item // 2 % len(products)]
            samples.append(sample(score, genuine, f"item{item}", product, float(rng.uniform(0.4, 0.9)), **told))
    return samples


def fit(samples, seed: int = 0, **settings) -> Calibration:
    return fit_calibration(samples, 0.3, CalibrationConfig(**settings), "hash", seed)


def test_match_threshold_is_a_quantile_and_zero_without_pairs():
    assert fit_match_threshold(np.linspace(0, 1, 101), 0.9) == pytest.approx(0.9)
    assert fit_match_threshold(np.empty(0), 0.9) == 0.0


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_and_objective_gives_finite_numbers_in_order(mode, objective):
    fitted = fit(drawn(), mode=mode, objective=objective)
    told = json.loads(json.dumps(fitted.model_dump(mode="json"), allow_nan=False))
    assert Calibration.model_validate(told) == fitted
    assert fitted.threshold_counterfeit <= fitted.threshold_genuine
    assert fitted.threshold_interval[0] <= fitted.threshold_interval[1]
    assert all(low <= high for low, high in fitted.threshold_by_product.values())
    assert (fitted.num_genuine, fitted.num_counterfeit) == (20, 20)
    assert (fitted.threshold_match, fitted.data_hash, fitted.num_candidates) == (0.3, "hash", 10)
    assert (fitted.fused is None, fitted.one_class is None) == (mode != "fused", mode != "one_class")
    assert fitted.settings.objective == objective
    assert 0 <= fitted.f1 <= 1


def test_paper_match_takes_its_threshold_from_the_plain_scores():
    samples = [sample(s, g, f"i{row}") for row, (s, g) in enumerate([(0.1, False), (0.3, False), (0.2, True)] * 5)]
    samples = [with_features(s, match_margin=0.5) if s.genuine else s for s in samples]
    fitted = fit(samples, mode="paper_match")
    scores = np.array([0.5 if s.genuine else s.features["match_genuine"] for s in samples])
    genuine = np.array([s.genuine for s in samples])
    assert (fitted.threshold_genuine, fitted.f1) == best_f1_threshold(scores, genuine)
    assert fitted.judge({"match_genuine": 0.9, "match_margin": 0.2}, "a").score == 0.2
    assert fitted.judge({"match_genuine": 0.9, "match_margin": None}, "a").score == 0.9
    assert fitted.judge({"match_genuine": None, "match_margin": None}, "a").score is None


@pytest.mark.parametrize("mode", MODES)
def test_blind_to_the_order_of_the_samples_and_deterministic_in_the_seed(mode):
    samples = drawn()
    first = fit(samples, mode=mode)
    order = np.random.default_rng(3).permutation(len(samples))
    assert fit([samples[row] for row in order], mode=mode) == first
    assert fit(samples, mode=mode) == first


def test_the_interval_is_drawn_by_the_seed_and_holds_the_threshold():
    told = [fit(drawn(120, shift=0.5), seed=seed, mode="paper_match") for seed in range(4)]
    assert len({one.threshold_interval for one in told}) > 1
    assert all(one.threshold_interval[0] <= one.threshold_genuine <= one.threshold_interval[1] for one in told)


def test_fused_thresholds_and_probabilities_come_from_out_of_fold_scores():
    # Evidence that is noise: in sample it would seem to tell, out of fold it does not.
    rng = np.random.default_rng(0)
    noise = [
        sample(float(rng.normal()), bool(row % 2), f"i{row}", **{f"e{n}": float(rng.normal()) for n in range(20)})
        for row in range(60)
    ]
    fitted = fit(noise, mode="fused")
    assert fitted.f1 < 0.75
    p = [fitted.judge(s.features, "a").p_genuine for s in noise]
    assert max(abs(np.array(p) - 0.5)) < 0.35
    assert fitted.slope < 1.0


def test_probabilities_are_about_right():
    fitted, fresh = fit(drawn(400, seed=0)), drawn(1200, seed=1)
    p = np.array([fitted.judge(s.features, s.product).p_genuine for s in fresh])
    genuine = np.array([s.genuine for s in fresh])
    for low, high in ((0.0, 0.3), (0.3, 0.7), (0.7, 1.01)):
        inside = (p >= low) & (p < high)
        assert genuine[inside].mean() == pytest.approx(p[inside].mean(), abs=0.12)
    called = np.array([fitted.judge(s.features, s.product).score >= fitted.threshold_genuine for s in fresh])
    assert (called == genuine).mean() > 0.9


@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["match_genuine", "cue_agreement", "surface_agreement"]), st.floats(-9, 9)),
    st.sampled_from(["match_genuine", "cue_agreement", "surface_agreement"]),
    st.floats(0, 9),
    st.sampled_from(MODES),
)
def test_p_lies_in_0_to_1_and_rises_with_evidence(fitted_modes, features, name, more, mode):
    fitted = fitted_modes[mode]
    features = {"match_genuine": 0.1, **features}
    told = fitted.judge(features, "a")
    assert 0 <= told.p_genuine <= 1
    if name in features:
        higher = fitted.judge({**features, name: features[name] + more}, "a")
        assert higher.score >= told.score
        assert higher.p_genuine >= told.p_genuine


@pytest.fixture(scope="module")
def fitted_modes() -> dict[str, Calibration]:
    return {mode: fit(drawn(), mode=mode) for mode in MODES}


@pytest.mark.parametrize("mode", MODES)
def test_no_genuine_reference_and_nothing_finite(fitted_modes, mode):
    fitted = fitted_modes[mode]
    nothing = fitted.judge({"global_genuine": None, "match_genuine": None, "cue_agreement": 1.0}, "a")
    assert (nothing.score, nothing.p_genuine) == (None, None)
    damaged = fitted.judge({"global_genuine": 0.5, "match_genuine": float("nan")}, "a")
    assert np.isnan([damaged.score, damaged.p_genuine]).all()


def test_paper_match_is_blind_to_the_scale():
    samples = drawn()
    tenfold = [with_features(s, match_genuine=10 * s.features["match_genuine"]) for s in samples]
    first, scaled = fit(samples, mode="paper_match"), fit(tenfold, mode="paper_match")
    assert scaled.p_genuine(5.0) == pytest.approx(first.p_genuine(0.5), abs=1e-3)


@pytest.mark.parametrize("samples", [drawn(shift=-3.0), [sample(0.5, g, str(g)) for g in (True, False)]])
def test_the_slope_is_positive_even_for_reversed_or_equal_scores(samples):
    for mode in ("paper_match", "fused"):
        fitted = fit(samples, mode=mode)
        assert fitted.slope > 0
        assert fitted.p_genuine(1.0) >= fitted.p_genuine(-1.0)


@pytest.mark.parametrize("mode", ["paper_match", "fused"])
@pytest.mark.parametrize(
    ("samples", "said"),
    [
        ([sample(0.1, True)] * 3, "found 3 genuine and 0 counterfeit.*one_class"),
        ([sample(0.1, False)], "found 0 genuine and 1 counterfeit"),
        ([], "found 0 genuine and 0 counterfeit"),
        ([sample(None, kind, similarity=None) for kind in (True, False)], "found 0 genuine and 0 counterfeit"),
        ([sample(float("nan"), kind) for kind in (True, False)], "found 0 genuine and 0 counterfeit"),
    ],
)
def test_one_authenticity_alone_cannot_be_calibrated(mode, samples, said):
    samples = [s if s.global_similarity is not None else dataclasses.replace(s, global_similarity=0.1) for s in samples]
    with pytest.raises(DataError, match=said):
        fit(samples, mode=mode)


def test_one_class_needs_genuine_photographs_only():
    genuine = [s for s in drawn(80) if s.genuine]
    fitted = fit(genuine, mode="one_class")
    assert (fitted.num_counterfeit, fitted.f1) == (0, None)
    assert (fitted.threshold_genuine, fitted.threshold_counterfeit) == (0.0, 0.0)
    few = fit([s for s in drawn(20) if s.genuine], mode="one_class")
    assert not any("one_class" in warning for warning in fitted.warnings)
    assert any("at least 19 can" in warning for warning in few.warnings)
    with pytest.raises(DataError, match="found 0 genuine"):
        fit([s for s in drawn() if not s.genuine], mode="one_class")
    with pytest.raises(DataError, match="of one item, item1"):
        fit([s for s in drawn() if s.item_id in ("item0", "item1")], mode="one_class")


def test_a_single_item_of_an_authenticity_is_warned_of():
    samples = [sample(0.0, False, "fake"), sample(0.1, False, "fake")] + [s for s in drawn() if s.genuine]
    assert any("single calibration item" in warning for warning in fit(samples, mode="fused").warnings)


def test_photographs_that_are_not_finite_are_left_out_and_counted():
    samples = drawn()
    damaged = [
        with_features(samples[0], cue_agreement=float("inf")),
        dataclasses.replace(samples[1], global_similarity=float("nan")),
    ]
    fitted, without = fit(samples + damaged), fit(samples)
    assert fitted.warnings == ["2 calibration photographs left out: their evidence is not finite", *without.warnings]
    assert fitted.model_copy(update={"warnings": without.warnings}) == without


def test_rejection_counts_photographs_that_cannot_be_judged():
    unenrolled = sample(None, False, "x", similarity=0.01)
    unenrolled = with_features(unenrolled, global_genuine=None)
    fitted = fit([*drawn(), unenrolled])
    assert fitted.threshold_global == 0.01
    assert fitted.num_counterfeit == 20


def test_inliers_are_in_force_where_there_are_any_and_they_are_wanted():
    fitted = fit(drawn())
    assert fitted.reject_by == "global_or_inliers"
    assert fitted.threshold_inliers == min(s.inlier_ratio for s in drawn() if s.inlier_ratio is not None)
    for told in (
        fit(drawn(), reject_by="global"),
        fit([dataclasses.replace(s, inlier_ratio=None) for s in drawn()]),
    ):
        assert (told.reject_by, told.threshold_inliers) == ("global", None)


def test_a_product_of_its_own_is_shrunk_to_all():
    samples = drawn(160, products="ab")
    samples = [with_features(s, match_genuine=s.features["match_genuine"] + (s.product == "b")) for s in samples]
    lonely = sample(0.4, True, "lonely", "c")
    fitted = fit([*samples, lonely], mode="paper_match")
    assert set(fitted.threshold_by_product) == {"a", "b"}
    own = [s for s in samples if s.product == "b"]
    threshold, _ = best_f1_threshold(
        np.array([s.features["match_genuine"] for s in own]), np.array([s.genuine for s in own])
    )
    weight = 40 / 60
    wanted = weight * threshold + (1 - weight) * fitted.threshold_genuine
    assert fitted.threshold_by_product["b"] == (pytest.approx(wanted), pytest.approx(wanted))
    assert fitted.thresholds_of("b") == fitted.threshold_by_product["b"]
    assert fitted.thresholds_of("c") == fitted.thresholds_of(None)
    assert fitted.thresholds_of("c") == (fitted.threshold_counterfeit, fitted.threshold_genuine)


def test_frr_needs_only_genuine_photographs_of_a_product():
    samples = [*drawn(80), *(sample(0.9, True, f"g{row}", "c") for row in range(20))]
    fitted = fit(samples, mode="paper_match", objective="frr")
    scores = np.array([s.features["match_genuine"] for s in samples if s.genuine])
    assert fitted.threshold_genuine == frr_threshold(scores, 0.05)
    assert fitted.threshold_by_product["c"][0] == pytest.approx(0.5 * 0.9 + 0.5 * fitted.threshold_genuine)


def test_far_never_lowers_a_threshold_for_a_product():
    rng = np.random.default_rng(0)
    samples = [
        sample(float(rng.normal(2 * g + 0.5 * (p == "b"), 0.5)), bool(g), f"{p}{row}", p)
        for p in "abc"
        for row in range(120 if p != "c" else 20)
        for g in [row % 2]
    ]
    fitted = fit(samples, mode="paper_match", objective="far", far_target=0.06)
    assert fitted.warnings == []
    assert set(fitted.threshold_by_product) == {"a", "b"}
    assert all(high >= fitted.threshold_genuine for _, high in fitted.threshold_by_product.values())
    assert fitted.threshold_by_product["b"][1] > fitted.threshold_genuine


def test_stage_check_is_for_paper_match_alone():
    margins = [with_features(s, global_margin=float(s.genuine)) for s in drawn()]
    assert fit(margins, mode="paper_match").stages.counterfeit_below == 0.5
    assert fit(margins, mode="fused").stages is None


def test_calibration_of_a_bundle(bundle, calibration):
    assert calibration_of(bundle) == calibration
    with pytest.raises(BundleError, match=r"has no calibration\.json"):
        calibration_of(dataclasses.replace(bundle, calibration=None))
    for wrong, said in (({"slope": -1.0}, r"slope: found -1\.0"), ({"mode": "fused"}, "fused: found None; .*wanted a")):
        with pytest.raises(ConfigError, match=rf"calibration\.json: {said}"):
            calibration_of(dataclasses.replace(bundle, calibration={**bundle.calibration, **wrong}))


@pytest.mark.parametrize(
    "wrong", [{"match_quantile": 1.0}, {"rejection_target": 0}, {"quantile": 0.9}, {"mode": "x"}, {"reject_by": "y"}]
)
def test_wrong_settings_are_named(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        validate(CalibrationConfig, wrong, "calibration")


def classified(count: int = 40, scale: float = 3.0, seed: int = 0) -> list[Sample]:
    """Photographs without any evidence but a classifier's log odds, drawn so that those less `scale` times over mean
    what they say."""
    rng = np.random.default_rng(seed)
    samples = []
    for number in range(count):
        told = float(rng.normal(0, 2))
        genuine = bool(rng.random() < 1 / (1 + np.exp(-told)))
        one = sample(0.0, genuine, f"item{number}", "ab"[number % 2], 0.3 + number / 100)
        features = dict.fromkeys(one.features) | {"classifier_logit": scale * told}
        samples.append(dataclasses.replace(one, features=features))
    return samples


@pytest.mark.parametrize("objective", [*OBJECTIVES, "argmax"])
def test_a_classifier_is_judged_by_its_log_odds(objective):
    fitted = fit(classified(), mode="classifier", objective=objective)
    told = json.loads(json.dumps(fitted.model_dump(mode="json"), allow_nan=False))
    assert Calibration.model_validate(told) == fitted
    judged = fitted.judge({"classifier_logit": 1.5}, "a")
    assert judged.score == 1.5
    assert judged.p_genuine == pytest.approx(1 / (1 + np.exp(-1.5 * fitted.slope)))
    assert fitted.judge({"classifier_logit": None, "global_genuine": 0.9}, "a").score is None
    assert (fitted.fused, fitted.one_class, fitted.intercept) == (None, None, 0.0)
    assert fitted.threshold_global <= 0.31
    assert (objective == "argmax") == (fitted.threshold_genuine == fitted.threshold_counterfeit == 0.0)


def test_a_classifiers_over_confidence_is_taken_back():
    slopes = [fit(classified(2000, scale), mode="classifier").slope for scale in (1.0, 3.0)]
    assert slopes[0] == pytest.approx(1.0, rel=0.15)
    assert slopes[1] == pytest.approx(1 / 3, rel=0.15)


def test_a_classifier_without_counterfeits_wants_an_objective_that_can_do_without():
    genuine = [one for one in classified() if one.genuine]
    with pytest.raises(DataError, match=r"wanted some of each \(.* or `calibration\.objective: frr`"):
        fit(genuine, mode="classifier")
    for objective in ("frr", "argmax"):
        fitted = fit(genuine, mode="classifier", objective=objective)
        assert (fitted.slope, fitted.num_counterfeit, fitted.f1) == (1.0, 0, None)
        assert "too sure" in fitted.warnings[0]


def test_photographs_that_were_compared_with_nothing_reject_nothing():
    alone = [dataclasses.replace(one, global_similarity=None) for one in classified()]
    assert fit(alone, mode="classifier").threshold_global == -1.0
    assert fit([*alone, *classified()], mode="classifier").threshold_global == pytest.approx(0.3)


def test_a_classifier_can_be_evidence_among_others_and_decides_nothing_by_itself():
    mixed = [with_features(one, classifier_logit=2.0 * one.genuine) for one in drawn()]
    assert fit(mixed, mode="fused").fused.terms["classifier_logit"].weight > 0
    for mode in ("paper_match", "classifier"):
        with pytest.raises(ConfigError, match=f"classifier: found one in mode {mode}; wanted mode fused or one_class"):
            validate(CalibrationConfig, {"mode": mode, "classifier": "c"}, "t")
