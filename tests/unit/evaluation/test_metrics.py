"""Figures of merit against plain loops, and what they are where they are not defined."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score as sklearn_f1
from sklearn.metrics import roc_auc_score

from hallmark.errors import DataError
from hallmark.evaluation import groups
from hallmark.evaluation.measures import ItemBootstrap, auroc, calibrate, f1_score
from hallmark.evaluation.metrics import Estimate, Evaluation, Examined, Proportion, evaluate_examined
from hallmark.types import Authenticity, VerdictLabel

Maker = Callable[..., Examined]
KINDS = ("genuine", "counterfeit")


@pytest.fixture(scope="module")
def evaluation(examined_set: list[Examined]) -> Evaluation:
    return evaluate_examined(examined_set, seed=1, resamples=200)


@pytest.mark.parametrize(("k", "n"), [(0, 1), (1, 1), (0, 20), (20, 20), (7, 20), (499, 1000)])
def test_wilson_interval_by_its_formula(k: int, n: int) -> None:
    z = 1.959963984540054
    centre = (k / n + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(k / n * (1 - k / n) / n + z * z / (4 * n * n))
    proportion = Proportion.of(k, n)
    assert proportion.value == k / n
    assert (proportion.low, proportion.high) == pytest.approx((centre - half, centre + half), abs=1e-9)
    assert 0 <= proportion.low <= k / n <= proportion.high <= 1


def test_nothing_of_nothing_has_no_share() -> None:
    assert Proportion.count([]) == Proportion(k=0, n=0, value=None, low=None, high=None)
    assert Proportion.count([True, False, True, True]) == Proportion.of(3, 4)


@given(st.lists(st.tuples(st.integers(-2, 2), st.booleans(), st.integers(0, 3)), max_size=15))
def test_auroc_is_the_share_of_weighted_pairs_in_order(rows: list) -> None:
    scores = np.array([score for score, _, _ in rows], dtype=float)
    positive = np.array([flag for _, flag, _ in rows], dtype=bool)
    weights = np.array([weight for _, _, weight in rows], dtype=float)
    won = pairs = 0.0
    for score, flag, weight in rows:
        for other, other_flag, other_weight in rows:
            if flag and not other_flag:
                pairs += weight * other_weight
                won += weight * other_weight * (1.0 if score > other else 0.5 if score == other else 0.0)
    found = auroc(scores, positive, weights)
    assert found is None if pairs == 0 else found == pytest.approx(won / pairs)


@given(hits=st.integers(0, 9), alarms=st.integers(0, 9), misses=st.integers(0, 9))
def test_f1_is_the_harmonic_mean_of_precision_and_recall(hits: int, alarms: int, misses: int) -> None:
    found = f1_score(hits, alarms, misses)
    if hits + misses == 0:
        assert found is None
    elif hits == 0:
        assert found == 0
    else:
        precision, recall = hits / (hits + alarms), hits / (hits + misses)
        assert found == pytest.approx(2 * precision * recall / (precision + recall))


@given(st.lists(st.tuples(st.one_of(st.floats(0, 1), st.sampled_from([0.0, 1.0, 1 / 3])), st.booleans()), max_size=40))
def test_calibration_error_against_plain_loops(rows: list) -> None:
    p = np.array([value for value, _ in rows], dtype=float)
    genuine = np.array([flag for _, flag in rows], dtype=bool)
    found = calibrate(p, genuine)
    assert len(found.bins) == 15
    assert sum(one.genuine.n for one in found.bins) == found.n == len(rows)
    error = 0.0
    for number, one in enumerate(found.bins):
        last = number == 14
        members = [(v, f) for v, f in rows if one.low <= v and (v < one.high or last)]
        assert one.genuine.n == len(members)
        if members:
            mean_p, share = np.mean([v for v, _ in members]), np.mean([f for _, f in members])
            assert one.mean_p == pytest.approx(mean_p)
            error += len(members) / len(rows) * abs(mean_p - share)
        else:
            assert one.mean_p is None
    assert found.expected_calibration_error == (pytest.approx(error) if rows else None)


def mean_of(values: np.ndarray) -> Callable[[np.ndarray], float]:
    return lambda weights: float(weights @ values / weights.sum())


def test_the_bootstrap_is_deterministic_in_its_seed() -> None:
    values = np.random.default_rng(0).random(20)
    items, truths = np.array([f"i{n}" for n in range(20)]), np.array(["genuine"] * 20)
    rows = np.ones(20, bool)
    first, again, other = (ItemBootstrap(items, truths, s, 300).estimate(rows, mean_of(values)) for s in (0, 0, 1))
    assert first == again
    assert first != other
    assert first.low < first.value < first.high
    assert first.value == pytest.approx(values.mean())


def test_the_bootstrap_interval_is_that_of_the_textbook() -> None:
    values = np.random.default_rng(0).normal(size=400)
    bootstrap = ItemBootstrap(np.arange(400).astype(str), np.array(["genuine"] * 400), 0, 2000)
    found = bootstrap.estimate(np.ones(400, bool), mean_of(values))
    half = 1.96 * values.std() / 20
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1 * half)


def test_photographs_of_one_item_stay_together() -> None:
    items, truths = np.array(["x"] * 5 + ["y"] * 5 + ["z"] * 2), np.array(["genuine"] * 10 + ["counterfeit"] * 2)
    bootstrap, seen = ItemBootstrap(items, truths, 0, 50), []
    rows = truths == "genuine"
    bootstrap.estimate(rows, lambda weights: seen.append(weights.copy()) or 0.5)
    for weights in seen:
        assert len(set(weights[:5])) == len(set(weights[5:])) == 1
        assert weights[0] + weights[5] == 2
    assert {weights[0] for weights in seen} == {0, 1, 2}


def test_one_item_of_a_truth_gives_a_figure_and_no_interval() -> None:
    items, truths = np.array(["x", "y", "z", "z"]), np.array(["genuine", "genuine", "counterfeit", "counterfeit"])
    found = ItemBootstrap(items, truths, 0, 50).estimate(np.ones(4, bool), mean_of(np.arange(4.0)))
    assert found == Estimate(value=1.5, low=None, high=None, n=4)


def test_counts_against_plain_loops(examined_set: list[Examined], evaluation: Evaluation) -> None:
    inside = [one for one in examined_set if one.authenticity != "unrelated"]
    decided = [one for one in inside if one.verdict.verdict in KINDS]
    right = [one for one in inside if one.verdict.verdict == one.authenticity]
    pairs = {
        "accuracy": (len(right), len(inside)),
        "coverage": (len(decided), len(inside)),
        "accuracy_decided": (len(right), len(decided)),
        "product_accuracy": (sum(one.verdict.product == one.product for one in inside), len(inside)),
    }
    for name, (k, n) in pairs.items():
        assert getattr(evaluation, name) == Proportion.of(k, n), name
        assert 0 < k < n
    for truth in Authenticity.GENUINE, Authenticity.COUNTERFEIT, Authenticity.UNRELATED:
        for label in VerdictLabel:
            count = sum(one.authenticity == truth and one.verdict.verdict == label for one in examined_set)
            assert evaluation.confusion[truth][label] == count
    assert evaluation.counterfeits_accepted.k == evaluation.confusion["counterfeit"]["genuine"]
    assert evaluation.genuine_accused.k == evaluation.confusion["genuine"]["counterfeit"]
    rejection = evaluation.rejection
    assert rejection.unrelated_rejected == Proportion.of(evaluation.confusion["unrelated"]["not_in_gallery"], 30)
    assert rejection.counterfeit_rejected == Proportion.of(evaluation.confusion["counterfeit"]["not_in_gallery"], 30)
    assert rejection.in_domain_rejected.n == 60
    assert (evaluation.photographs, evaluation.items) == (90, len({one.item_id for one in examined_set}))


@pytest.mark.parametrize("positive", KINDS)
def test_both_polarities_against_plain_loops(
    examined_set: list[Examined], evaluation: Evaluation, positive: str
) -> None:
    report = getattr(evaluation, f"{positive}_positive")
    inside = [one for one in examined_set if one.in_domain]
    called = [one.verdict.verdict == positive for one in inside]
    truly = [one.authenticity == positive for one in inside]
    hits = sum(c and t for c, t in zip(called, truly, strict=True))
    assert report.precision == Proportion.of(hits, sum(called))
    assert report.recall == Proportion.of(hits, sum(truly))
    assert report.f1.value == pytest.approx(sklearn_f1(truly, called))
    assert report.f1.low < report.f1.value < report.f1.high


def test_macro_is_the_mean_of_the_polarities(evaluation: Evaluation) -> None:
    reports = [evaluation.counterfeit_positive, evaluation.genuine_positive]
    assert evaluation.macro.precision == pytest.approx(np.mean([one.precision.value for one in reports]))
    assert evaluation.macro.recall == pytest.approx(np.mean([one.recall.value for one in reports]))
    assert evaluation.macro.f1.value == pytest.approx(np.mean([one.f1.value for one in reports]))


def test_aurocs_are_those_of_sklearn(examined_set: list[Examined], evaluation: Evaluation) -> None:
    scored = [one for one in examined_set if one.in_domain and one.verdict.scores.decision is not None]
    truth = [one.authenticity == "genuine" for one in scored]
    expected = roc_auc_score(truth, [one.verdict.scores.decision for one in scored])
    assert evaluation.auroc_decision.value == pytest.approx(expected)
    assert evaluation.auroc_decision.n == len(scored) < 60
    margins = [one.global_margin for one in scored]
    assert evaluation.auroc_global_margin.value == pytest.approx(roc_auc_score(truth, margins))
    similarity = [one.verdict.scores.global_similarity for one in examined_set]
    known = roc_auc_score([one.in_domain for one in examined_set], similarity)
    assert evaluation.rejection.rule("global").auroc.value == pytest.approx(known)


def test_every_score_is_evidence_by_itself(examined_set: list[Examined], evaluation: Evaluation) -> None:
    assert list(evaluation.evidence) == [
        "global_genuine",
        "global_margin",
        "match_genuine",
        "match_margin",
        "inlier_ratio",
        "cue_agreement_z",
        "decision",
    ]
    scored = [one for one in examined_set if one.in_domain and one.verdict.scores.inlier_ratio is not None]
    truth = [one.authenticity == "genuine" for one in scored]
    expected = roc_auc_score(truth, [one.verdict.scores.inlier_ratio for one in scored])
    found = evaluation.evidence["inlier_ratio"]
    assert (found.value, found.n) == (pytest.approx(expected), len(scored))
    assert found.low < found.value < found.high
    assert evaluation.evidence["decision"] == evaluation.auroc_decision
    assert evaluation.evidence["match_margin"].value == 0.5  # a constant tells nothing


def test_fused_items_are_a_group_of_their_own(make_examined: Maker) -> None:
    items = [make_examined(item="i"), make_examined("counterfeit", "counterfeit", item="j")]
    evaluation = evaluate_examined(items * 2, seed=0, resamples=5, items=items)
    assert evaluation.items_fused == groups.group("items, photographs fused", items)
    assert evaluation.items_fused.accuracy == Proportion.of(2, 2)
    assert evaluate_examined(items, seed=0, resamples=5).items_fused is None


def test_breakdowns_split_the_in_domain_photographs(examined_set: list[Examined], evaluation: Evaluation) -> None:
    for parts, key in ((evaluation.by_product, "product"), (evaluation.by_source, "source_id")):
        assert sum(group.photographs for group in parts) == 60
        for group in parts:
            members = [one for one in examined_set if one.in_domain and getattr(one, key) == group.name]
            assert group.photographs == group.accuracy.n == len(members)
            assert group.accuracy.k == sum(one.is_right for one in members)
            assert group.items == len({one.item_id for one in members})
    assert [group.name for group in evaluation.by_product] == ["a", "b"]
    assert [group.name for group in evaluation.by_source] == ["s", "t", None]


def test_an_evaluation_is_deterministic_and_survives_json(examined_set: list[Examined], evaluation: Evaluation) -> None:
    assert evaluate_examined(examined_set, seed=1, resamples=200) == evaluation
    text = json.dumps(evaluation.model_dump(mode="json"), allow_nan=False)
    assert Evaluation.model_validate_json(text) == evaluation


def test_the_order_of_photographs_changes_no_figure(examined_set: list[Examined], evaluation: Evaluation) -> None:
    turned = evaluate_examined(examined_set[::-1], seed=1, resamples=200)
    assert turned.confusion == evaluation.confusion
    assert turned.counterfeit_positive.f1.value == pytest.approx(evaluation.counterfeit_positive.f1.value)
    assert turned.auroc_decision.low == pytest.approx(evaluation.auroc_decision.low)


def nan_free(evaluation: Evaluation) -> None:
    json.dumps(evaluation.model_dump(mode="json"), allow_nan=False)


def test_of_no_photographs_nothing_is_claimed() -> None:
    empty = evaluate_examined([], seed=0, resamples=10)
    nan_free(empty)
    assert empty.photographs == empty.items == 0
    assert empty.accuracy.value is empty.auroc_decision.value is empty.macro.f1.value is None
    assert empty.calibration.expected_calibration_error is None
    assert empty.by_product == empty.by_source == []


@pytest.mark.parametrize("truth", ["genuine", "counterfeit", "unrelated"])
@pytest.mark.parametrize("label", list(VerdictLabel))
def test_one_class_alone_has_no_auroc(make_examined: Maker, truth: str, label: str) -> None:
    product = None if truth == "unrelated" else "a"
    photographs = [make_examined(truth, label, product=product, item=f"i{n}", decision=n / 5) for n in range(4)]
    evaluation = evaluate_examined(photographs, seed=0, resamples=10)
    nan_free(evaluation)
    assert evaluation.auroc_decision.value is None
    assert evaluation.rejection.rule("global").auroc.value is None
    assert evaluation.accuracy.n == (0 if truth == "unrelated" else 4)
    if truth != "unrelated":
        assert evaluation.accuracy.k == (4 if label == truth else 0)
        assert evaluation.macro.f1.value is None
        assert getattr(evaluation, f"{truth}_positive").f1.value == (1.0 if label == truth else 0.0)


@pytest.mark.parametrize("label", ["inconclusive", "not_in_gallery"])
def test_an_open_verdict_lowers_recall_and_is_no_false_alarm(make_examined: Maker, label: str) -> None:
    photographs = [
        make_examined("genuine", "genuine", item="g1"),
        make_examined("genuine", label, item="g2"),
        make_examined("counterfeit", "counterfeit", item="c1"),
        make_examined("counterfeit", label, item="c2"),
    ]
    evaluation = evaluate_examined(photographs, seed=0, resamples=10)
    for report in (evaluation.genuine_positive, evaluation.counterfeit_positive):
        assert report.precision == Proportion.of(1, 1)
        assert report.recall == Proportion.of(1, 2)
    assert evaluation.accuracy == evaluation.coverage == Proportion.of(2, 4)
    assert evaluation.accuracy_decided == Proportion.of(2, 2)
    assert evaluation.counterfeits_accepted.k == evaluation.genuine_accused.k == 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"truth": "unknown"}, "authenticity 'unknown'; wanted one of genuine, counterfeit, unrelated"),
        ({"p": 1.5}, r"p_genuine = 1\.5; wanted 0 to 1"),
        ({"p": float("nan")}, "p_genuine = nan"),
        ({"decision": float("nan")}, "= nan; wanted a finite number"),
        ({"similarity": float("inf")}, "= inf; wanted a finite number"),
        ({"inliers": float("nan")}, "inlier_ratio = nan; wanted a finite number"),
        ({"residual": [[0.0, float("nan")]]}, "residual of nan; wanted finite numbers from 0"),
        ({"residual": [[0.0, -1.0]]}, r"residual of -1\.0"),
    ],
)
def test_what_cannot_be_measured_is_named(make_examined: Maker, changes: dict, words: str) -> None:
    with pytest.raises(DataError, match=rf"odd\.jpg: found .*{words}"):
        evaluate_examined([make_examined(), make_examined(uri="odd.jpg", **changes)], seed=0, resamples=10)
