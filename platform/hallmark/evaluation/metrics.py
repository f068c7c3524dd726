"""Figures of merit of a set of verdicts, each with its counts and an interval.

Conventions: higher score = more genuine. In-domain = truly genuine or counterfeit; the rest is unrelated. An
in-domain photograph that is called `inconclusive` or `not_in_gallery` is called neither genuine nor counterfeit: it
lowers accuracy and the recall of its own class, and it is nobody's false alarm. A figure that is not defined (no
photographs, one class only) is None, never nan.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hallmark.errors import DataError
from hallmark.evaluation.measures import (
    CONFIDENCE,
    Calibration,
    Estimate,
    Figures,
    ItemBootstrap,
    Proportion,
    ReliabilityBin,
    Retrieval,
    auroc,
    calibrate,
    f1_score,
    rank,
    rejected_at,
)
from hallmark.types import Authenticity, Verdict, VerdictLabel

__all__ = [
    "CONFIDENCE",
    "RIGHT_VERDICT",
    "TRUTHS",
    "Calibration",
    "Estimate",
    "Evaluation",
    "Examined",
    "Group",
    "MacroReport",
    "PolarityReport",
    "Proportion",
    "RejectionReport",
    "ReliabilityBin",
    "Retrieval",
    "auroc",
    "calibrate",
    "evaluate_examined",
    "f1_score",
    "rank",
    "rejected_at",
]

TRUTHS = (Authenticity.GENUINE, Authenticity.COUNTERFEIT, Authenticity.UNRELATED)
RIGHT_VERDICT = {
    Authenticity.GENUINE: VerdictLabel.GENUINE,
    Authenticity.COUNTERFEIT: VerdictLabel.COUNTERFEIT,
    Authenticity.UNRELATED: VerdictLabel.NOT_IN_GALLERY,
}

_THRESHOLDS = {"threshold_global", "threshold_genuine", "threshold_counterfeit"}
"""May be infinite: a fitted threshold can be one that nothing, or everything, passes."""


@dataclass(frozen=True)
class Examined:
    """One photograph of known truth and the verdict it was given.

    `product` is the true product, None for an unrelated photograph; `source_id` is None where unknown.
    """

    image_id: str
    uri: str
    product: str | None
    part: str
    authenticity: Authenticity
    item_id: str
    source_id: str | None
    verdict: Verdict

    @property
    def in_domain(self) -> bool:
        """Whether the photograph shows a product of the gallery, genuine or counterfeit."""
        return self.authenticity in (Authenticity.GENUINE, Authenticity.COUNTERFEIT)

    @property
    def is_right(self) -> bool:
        """Whether the verdict is the one the truth asks for; `inconclusive` never is."""
        return self.verdict.verdict == RIGHT_VERDICT.get(self.authenticity)

    @property
    def global_margin(self) -> float | None:
        """Genuine minus counterfeit global similarity; None unless both kinds of reference were compared."""
        scores = self.verdict.scores
        if scores.global_genuine is None or scores.global_counterfeit is None:
            return None
        return scores.global_genuine - scores.global_counterfeit


class PolarityReport(Figures):
    """Precision, recall and F1 with one authenticity as the positive class, over in-domain photographs."""

    positive: Authenticity
    precision: Proportion
    recall: Proportion
    f1: Estimate


class MacroReport(Figures):
    """Means over the two polarities; None unless both are defined."""

    precision: float | None
    recall: float | None
    f1: Estimate


class RejectionReport(Figures):
    """How well photographs of unknown products are kept out, and what that costs.

    `at_frr_*`: share of unrelated photographs below the highest g+ threshold that rejects at most 1 or 5 % of these
    in-domain photographs. The threshold is read off the test scores: it describes them, it is not the one in use.
    """

    unrelated_rejected: Proportion
    in_domain_rejected: Proportion
    counterfeit_rejected: Proportion
    at_frr_1: Proportion
    at_frr_5: Proportion
    auroc_global_similarity: Estimate


class Group(Figures):
    """The main figures of the in-domain photographs that share a product, part or source (name None = not known)."""

    name: str | None
    photographs: int
    items: int
    accuracy: Proportion
    genuine_recall: Proportion
    counterfeit_recall: Proportion
    coverage: Proportion
    product_accuracy: Proportion
    auroc: float | None


class Evaluation(Figures):
    """Everything measured on one set of verdicts. `confusion[truth][verdict]` counts photographs."""

    photographs: int
    items: int
    seed: int
    resamples: int
    bundle_ids: list[str]
    gallery_versions: list[int]
    config_hashes: list[str]
    confusion: dict[str, dict[str, int]]
    accuracy: Proportion
    coverage: Proportion
    accuracy_decided: Proportion
    counterfeits_accepted: Proportion
    genuine_accused: Proportion
    counterfeit_positive: PolarityReport
    genuine_positive: PolarityReport
    macro: MacroReport
    auroc_decision: Estimate
    auroc_global_margin: Estimate
    product_accuracy: Proportion
    rejection: RejectionReport
    calibration: Calibration
    retrieval: Retrieval | None
    by_product: list[Group]
    by_part: list[Group]
    by_source: list[Group]


def evaluate_examined(
    examined: Sequence[Examined], seed: int, resamples: int = 1000, retrieval: Retrieval | None = None
) -> Evaluation:
    """Measure a set of verdicts.

    Args:
        examined: one entry a photograph; may be empty.
        seed: of the bootstrap.
        resamples: of the bootstrap.
        retrieval: what `rank` gave on the same photographs, where it was run.

    Raises:
        DataError: a photograph's truth is not known, or a score is not finite; names the photograph.
    """
    for photograph in examined:
        _check(photograph)
    in_domain = [photograph for photograph in examined if photograph.in_domain]
    decided = [p for p in in_domain if p.verdict.verdict in (VerdictLabel.GENUINE, VerdictLabel.COUNTERFEIT)]
    measure = _Measure.of(examined, seed, resamples)
    polarity = {positive: measure.polarity(positive) for positive in TRUTHS[:2]}
    judged = [photograph for photograph in in_domain if photograph.verdict.p_genuine is not None]
    return Evaluation(
        photographs=len(examined),
        items=_count_items(examined),
        seed=seed,
        resamples=resamples,
        bundle_ids=sorted({photograph.verdict.bundle_id for photograph in examined}),
        gallery_versions=sorted({photograph.verdict.gallery_version for photograph in examined}),
        config_hashes=sorted({photograph.verdict.config_hash for photograph in examined}),
        confusion=_confusion(examined),
        accuracy=Proportion.count(photograph.is_right for photograph in in_domain),
        coverage=Proportion.of(len(decided), len(in_domain)),
        accuracy_decided=Proportion.count(photograph.is_right for photograph in decided),
        counterfeits_accepted=_share(in_domain, Authenticity.COUNTERFEIT, VerdictLabel.GENUINE),
        genuine_accused=_share(in_domain, Authenticity.GENUINE, VerdictLabel.COUNTERFEIT),
        counterfeit_positive=polarity[Authenticity.COUNTERFEIT],
        genuine_positive=polarity[Authenticity.GENUINE],
        macro=measure.macro(list(polarity.values())),
        auroc_decision=measure.auroc([p.verdict.scores.decision for p in examined]),
        auroc_global_margin=measure.auroc([p.global_margin for p in examined]),
        product_accuracy=Proportion.count(p.verdict.product == p.product for p in in_domain),
        rejection=measure.rejection(),
        calibration=calibrate(
            np.array([p.verdict.p_genuine for p in judged], dtype=float),
            np.array([p.authenticity == Authenticity.GENUINE for p in judged], dtype=bool),
        ),
        retrieval=retrieval,
        by_product=_groups(in_domain, lambda photograph: photograph.product),
        by_part=_groups(in_domain, lambda photograph: photograph.part),
        by_source=_groups(in_domain, lambda photograph: photograph.source_id or None),
    )


@dataclass(frozen=True)
class _Measure:
    """The examined photographs as (N,) columns, for the figures that need a bootstrap."""

    examined: Sequence[Examined]
    truth: np.ndarray
    label: np.ndarray
    bootstrap: ItemBootstrap

    @classmethod
    def of(cls, examined: Sequence[Examined], seed: int, resamples: int) -> _Measure:
        truth = np.array([str(photograph.authenticity) for photograph in examined], dtype=str)
        label = np.array([str(photograph.verdict.verdict) for photograph in examined], dtype=str)
        item_ids = np.array([photograph.item_id for photograph in examined], dtype=str)
        return cls(examined, truth, label, ItemBootstrap(item_ids, truth, seed, resamples))

    @property
    def in_domain(self) -> np.ndarray:
        return self.truth != Authenticity.UNRELATED

    def f1(self, positive: Authenticity) -> Callable[[np.ndarray], float | None]:
        called, is_positive = (column[self.in_domain] == positive for column in (self.label, self.truth))
        hits, alarms, misses = called & is_positive, called & ~is_positive, ~called & is_positive
        return lambda weights: f1_score(weights @ hits, weights @ alarms, weights @ misses)

    def polarity(self, positive: Authenticity) -> PolarityReport:
        called, is_positive = (column[self.in_domain] == positive for column in (self.label, self.truth))
        return PolarityReport(
            positive=positive,
            precision=Proportion.count(is_positive[called]),
            recall=Proportion.count(called[is_positive]),
            f1=self.bootstrap.estimate(self.in_domain, self.f1(positive)),
        )

    def macro(self, reports: list[PolarityReport]) -> MacroReport:
        statistics = [self.f1(report.positive) for report in reports]
        return MacroReport(
            precision=_mean([report.precision.value for report in reports]),
            recall=_mean([report.recall.value for report in reports]),
            f1=self.bootstrap.estimate(self.in_domain, lambda weights: _mean([one(weights) for one in statistics])),
        )

    def auroc(self, scores: Sequence[float | None]) -> Estimate:
        """Genuine against counterfeit, over in-domain photographs that have the score."""
        column = np.array([np.nan if score is None else score for score in scores], dtype=float)
        rows = self.in_domain & ~np.isnan(column)
        return self._auroc(column, self.truth == Authenticity.GENUINE, rows)

    def _auroc(self, scores: np.ndarray, positive: np.ndarray, rows: np.ndarray) -> Estimate:
        return self.bootstrap.estimate(rows, lambda weights: auroc(scores[rows], positive[rows], weights))

    def rejection(self) -> RejectionReport:
        similarity = np.array([p.verdict.scores.global_similarity for p in self.examined], dtype=float)
        rejected = self.label == VerdictLabel.NOT_IN_GALLERY
        inside, outside = similarity[self.in_domain], similarity[~self.in_domain]
        return RejectionReport(
            unrelated_rejected=Proportion.count(rejected[~self.in_domain]),
            in_domain_rejected=Proportion.count(rejected[self.in_domain]),
            counterfeit_rejected=Proportion.count(rejected[self.truth == Authenticity.COUNTERFEIT]),
            at_frr_1=rejected_at(inside, outside, 0.01),
            at_frr_5=rejected_at(inside, outside, 0.05),
            auroc_global_similarity=self._auroc(similarity, self.in_domain, np.ones(len(similarity), bool)),
        )


def _check(photograph: Examined) -> None:
    if photograph.authenticity not in TRUTHS:
        wanted = ", ".join(TRUTHS)
        raise DataError(
            f"{photograph.uri}: found authenticity {str(photograph.authenticity)!r}; wanted one of {wanted} "
            "(label the photograph or leave it out of the evaluation)"
        )
    p_genuine = photograph.verdict.p_genuine
    if p_genuine is not None and not 0 <= p_genuine <= 1:
        raise DataError(f"{photograph.uri}: found p_genuine = {p_genuine}; wanted 0 to 1 (fit the calibration again)")
    for name, score in photograph.verdict.scores.model_dump(exclude=_THRESHOLDS).items():
        if score is not None and not math.isfinite(score):
            raise DataError(f"{photograph.uri}: found {name} = {score}; wanted a finite number (check the bundle)")


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def _count_items(photographs: Sequence[Examined]) -> int:
    return len({photograph.item_id for photograph in photographs})


def _confusion(examined: Sequence[Examined]) -> dict[str, dict[str, int]]:
    counts = Counter((photograph.authenticity, photograph.verdict.verdict) for photograph in examined)
    return {str(truth): {str(label): counts[truth, label] for label in VerdictLabel} for truth in TRUTHS}


def _share(photographs: Sequence[Examined], truth: Authenticity, label: VerdictLabel) -> Proportion:
    return Proportion.count(p.verdict.verdict == label for p in photographs if p.authenticity == truth)


def _groups(in_domain: Sequence[Examined], key: Callable[[Examined], str | None]) -> list[Group]:
    members: dict[str | None, list[Examined]] = {}
    for photograph in in_domain:
        members.setdefault(key(photograph), []).append(photograph)
    names = sorted(members, key=lambda name: (name is None, name))
    return [_group(name, members[name]) for name in names]


def _group(name: str | None, members: list[Examined]) -> Group:
    scored = [p for p in members if p.verdict.scores.decision is not None]
    decided = (VerdictLabel.GENUINE, VerdictLabel.COUNTERFEIT)
    return Group(
        name=name,
        photographs=len(members),
        items=_count_items(members),
        accuracy=Proportion.count(photograph.is_right for photograph in members),
        genuine_recall=_share(members, Authenticity.GENUINE, VerdictLabel.GENUINE),
        counterfeit_recall=_share(members, Authenticity.COUNTERFEIT, VerdictLabel.COUNTERFEIT),
        coverage=Proportion.count(photograph.verdict.verdict in decided for photograph in members),
        product_accuracy=Proportion.count(p.verdict.product == p.product for p in members),
        auroc=auroc(
            np.array([p.verdict.scores.decision for p in scored], dtype=float),
            np.array([p.authenticity == Authenticity.GENUINE for p in scored], dtype=bool),
        ),
    )
