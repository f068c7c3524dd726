"""Classes, and which is taken for which, against scikit-learn and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, f1_score, precision_recall_fscore_support, roc_auc_score

from hallmark.evaluation.class_report import (
    calibration_error,
    class_report,
    counterfeit_f1,
    macro_f1,
    mean_auroc,
    share_right,
)
from hallmark.evaluation.outcomes import Answers
from hallmark.evaluation.seed_bootstrap import SeedBootstrap

NAMES = ["a counterfeit", "a genuine", "b counterfeit", "b genuine"]


def drawn(seed: int, seeds: int = 3, count: int = 24) -> Answers:
    """Answers that are right a little more often than not; every class occurs."""
    rng = np.random.default_rng(seed)
    truth = np.arange(count) % 4
    told = np.where(rng.random((seeds, count)) < 0.6, truth, rng.integers(0, 4, (seeds, count)))
    log_odds = rng.normal(np.where(truth % 2 == 1, 0.7, -0.7), 1.0, (seeds, count))
    return Answers(NAMES, np.array([f"item{place // 2}" for place in range(count)]), truth, told, log_odds)


def report_of(answers: Answers) -> object:
    seeds = list(range(len(answers.told)))
    return class_report(answers, seeds, SeedBootstrap(answers.items, answers.truth % 2, len(seeds), 0, 100))


@given(seed=st.integers(0, 10**6))
def test_every_class_against_another_implementation(seed: int) -> None:
    answers = drawn(seed)
    truth, told = np.tile(answers.truth, 3), answers.told.ravel()
    report = report_of(answers)
    assert report.confusion == confusion_matrix(truth, told, labels=range(4)).tolist()
    precision, recall, f1, _ = precision_recall_fscore_support(truth, told, labels=range(4), zero_division=0)
    for place, one in enumerate(report.classes):
        assert one.name == NAMES[place]
        if one.precision.n:
            assert one.precision.value == pytest.approx(precision[place])
        else:
            assert one.precision.value is None
        assert one.recall.value == pytest.approx(recall[place])
        assert one.f1.value == pytest.approx(f1[place])
    assert report.f1_macro.value == pytest.approx(f1.mean())
    assert report.accuracy.value == pytest.approx((truth == told).mean())
    assert report.product_right.value == pytest.approx((truth // 2 == told // 2).mean())
    assert report.authenticity_right.value == pytest.approx((truth % 2 == told % 2).mean())
    assert report.f1_counterfeit.value == pytest.approx(f1_score(truth % 2 == 0, told % 2 == 0))
    assert (report.photographs, report.items, report.seeds) == (24, 12, [0, 1, 2])


@given(seed=st.integers(0, 10**6), data=st.data())
def test_a_weight_is_that_many_answers(seed: int, data: st.DataObject) -> None:
    answers = drawn(seed, seeds=2, count=8)
    weights = np.array(data.draw(st.lists(st.integers(0, 3), min_size=16, max_size=16))).reshape(2, 8)
    truth, told = (
        np.repeat(np.tile(answers.truth, 2), weights.ravel()),
        np.repeat(answers.told.ravel(), weights.ravel()),
    )
    found = [figure(answers, weights.astype(float)) for figure in (share_right, macro_f1, counterfeit_f1)]
    if not len(truth):
        assert found == [None, None, None]
        return
    assert found[0] == pytest.approx((truth == told).mean())
    occurring = sorted({*truth})
    assert found[1] == pytest.approx(f1_score(truth, told, labels=occurring, average="macro", zero_division=0))
    if (truth % 2 == 0).any():
        assert found[2] == pytest.approx(f1_score(truth % 2 == 0, told % 2 == 0, zero_division=0))
    else:
        assert found[2] is None


@given(seed=st.integers(0, 10**6))
def test_the_area_is_a_mean_over_the_trainings(seed: int) -> None:
    answers = drawn(seed)
    areas = [roc_auc_score(answers.truth % 2 == 1, own) for own in answers.log_odds]
    assert mean_auroc(answers, np.ones(answers.told.shape)) == pytest.approx(np.mean(areas))
    twice = np.array([2.0, 1.0, 0.0])[:, None] * np.ones(answers.told.shape)
    assert mean_auroc(answers, twice) == pytest.approx((2 * areas[0] + areas[1]) / 3)


def test_one_authenticity_alone_has_no_area() -> None:
    answers = drawn(0)
    weights = np.tile((answers.truth % 2 == 1).astype(float), (3, 1))
    assert mean_auroc(answers, weights) is None


def test_probabilities_that_mean_what_they_say_have_no_calibration_error() -> None:
    rng = np.random.default_rng(0)
    odds = rng.normal(0, 2, (1, 20_000))
    truth = (rng.random(20_000) < 1 / (1 + np.exp(-odds[0]))).astype(int)
    answers = Answers(NAMES, np.arange(20_000).astype(str), truth, truth[None], odds)
    assert calibration_error(answers) < 0.02
    assert calibration_error(Answers(NAMES, answers.items, truth, truth[None], 4 * odds)) > 0.08


def test_several_trainings_are_parted_by_their_place() -> None:
    answers = drawn(0)
    part = answers.of([2, 0])
    assert np.array_equal(part.told, answers.told[[2, 0]])
    assert np.array_equal(part.right, answers.right[[2, 0]])
    assert part.confusion.sum() == 48
