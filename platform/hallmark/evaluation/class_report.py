"""Precision, recall and F1 of every class, and which class is taken for which."""

from __future__ import annotations

import numpy as np

from hallmark.evaluation.measures import Estimate, Figures, Proportion, auroc, calibrate, f1_score
from hallmark.evaluation.outcomes import Answers
from hallmark.evaluation.seed_bootstrap import SeedBootstrap


class ClassFigures(Figures):
    """One class against all others; counts are pooled over seeds."""

    name: str
    precision: Proportion
    recall: Proportion
    f1: Estimate


class ClassReport(Figures):
    """All classes, in the order of class_index = 2·product + genuine."""

    photographs: int
    items: int
    seeds: list[int]
    classes: list[ClassFigures]
    confusion: list[list[int]]
    """Truth by answer, pooled over seeds."""
    accuracy: Proportion
    """Product and authenticity both right."""
    product_right: Proportion
    authenticity_right: Proportion
    f1_macro: Estimate
    f1_counterfeit: Estimate


def class_report(answers: Answers, seeds: list[int], bootstrap: SeedBootstrap) -> ClassReport:
    """Count every class.

    Args:
        answers: of S seeds.
        seeds: these S seeds.
        bootstrap: over the same photographs and seeds.
    """
    confusion = answers.confusion
    classes = []
    for place, name in enumerate(answers.names):
        hits, called, there = confusion[place, place], confusion[:, place].sum(), confusion[place].sum()
        estimate = bootstrap.estimate(lambda weights, place=place: _class_f1(answers.confusion_by(weights))[place])
        classes.append(
            ClassFigures(
                name=name,
                precision=Proportion.of(int(hits), int(called)),
                recall=Proportion.of(int(hits), int(there)),
                f1=estimate,
            )
        )
    return ClassReport(
        photographs=len(answers.truth),
        items=len(np.unique(answers.items)),
        seeds=seeds,
        classes=classes,
        confusion=confusion.tolist(),
        accuracy=Proportion.count(answers.right.ravel()),
        product_right=Proportion.count((answers.told // 2 == answers.truth // 2).ravel()),
        authenticity_right=Proportion.count((answers.told % 2 == answers.truth % 2).ravel()),
        f1_macro=bootstrap.estimate(lambda weights: macro_f1(answers, weights)),
        f1_counterfeit=bootstrap.estimate(lambda weights: counterfeit_f1(answers, weights)),
    )


def share_right(answers: Answers, weights: np.ndarray) -> float | None:
    """Weighted share of answers with product and authenticity both right; weights (S, N)."""
    total = weights.sum()
    return float((weights * answers.right).sum() / total) if total else None


def macro_f1(answers: Answers, weights: np.ndarray) -> float | None:
    """Mean F1 over the classes that occur, from counts pooled over seeds; weights (S, N)."""
    known = [figure for figure in _class_f1(answers.confusion_by(weights)) if figure is not None]
    return float(np.mean(known)) if known else None


def counterfeit_f1(answers: Answers, weights: np.ndarray) -> float | None:
    """F1 of counterfeit by the likeliest class, whatever its product; weights (S, N)."""
    confusion = answers.confusion_by(weights)
    return f1_score(confusion[::2, ::2].sum(), confusion[1::2, ::2].sum(), confusion[::2, 1::2].sum())


def mean_auroc(answers: Answers, weights: np.ndarray) -> float | None:
    """Area under the ROC curve of the log-odds of genuine, mean over the seeds; weights (S, N)."""
    genuine = answers.truth % 2 == 1
    shares = weights.sum(axis=1)
    areas = [auroc(own, genuine, by) for own, by, share in zip(answers.log_odds, weights, shares, strict=True) if share]
    return None if None in areas or not areas else float(np.average(areas, weights=shares[shares > 0]))


def calibration_error(answers: Answers) -> float | None:
    """Expected calibration error of the sigmoid of the log-odds, as it leaves the network, pooled over seeds."""
    probability = 1 / (1 + np.exp(-np.clip(answers.log_odds.ravel(), -500, 500)))
    genuine = np.tile(answers.truth % 2 == 1, len(answers.log_odds))
    return calibrate(probability, genuine).expected_calibration_error


def _class_f1(confusion: np.ndarray) -> list[float | None]:
    hits, called, there = confusion.diagonal(), confusion.sum(axis=0), confusion.sum(axis=1)
    return [f1_score(own, by - own, of - own) for own, by, of in zip(hits, called, there, strict=True)]
