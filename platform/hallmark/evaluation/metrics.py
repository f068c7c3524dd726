"""Figures of merit of a set of verdicts, each with its counts and an interval.

Conventions: higher score = more genuine. In-domain = truly genuine or counterfeit; the rest is unrelated. An
in-domain photograph that is called `inconclusive` or `not_in_gallery` is called neither genuine nor counterfeit: it
lowers accuracy and the recall of its own class, and it is nobody's false alarm. A figure that is not defined (no
photographs, one class only) is None, never nan.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hallmark.evaluation.abstention import RiskCoverage, abstain
from hallmark.evaluation.costs import Costs, StageTime, stage_times
from hallmark.evaluation.examined import DECIDED, RIGHT_VERDICT, TRUTHS, Examined, check_examined
from hallmark.evaluation.groups import Group, count_items, group, group_by, share
from hallmark.evaluation.localisation import Localisation, localise
from hallmark.evaluation.measures import (
    Calibration,
    Estimate,
    Figures,
    ItemBootstrap,
    Proportion,
    auroc,
    calibrate,
    f1_score,
)
from hallmark.evaluation.ranking import Ranking, Reranking, Retrieval, rank_twice
from hallmark.evaluation.rejection import RejectionReport, reject
from hallmark.types import Authenticity, VerdictLabel

__all__ = [
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
    "Ranking",
    "evaluate_examined",
]


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


class Evaluation(Figures):
    """Everything measured on one set of verdicts. `confusion[truth][verdict]` counts photographs.

    `evidence`: AUROC of genuine against counterfeit for each score by itself, see `Examined.evidence`; scores that no
    photograph has are left out. `retrieval_*` and `reranking` are None where no rankings were given, `localisation`
    where no counterfeit has an edit mask. `class_accuracy`: in-domain photographs of which both product and
    authenticity were told rightly. `items_fused`: the verdicts about whole items, where they were given.
    """

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
    evidence: dict[str, Estimate]
    product_accuracy: Proportion
    class_accuracy: Proportion
    rejection: RejectionReport
    calibration: Calibration
    risk_coverage: list[RiskCoverage]
    retrieval_global: Retrieval | None
    retrieval_reranked: Retrieval | None
    reranking: Reranking | None
    localisation: Localisation | None
    timings: dict[str, StageTime]
    costs: Costs | None
    items_fused: Group | None
    by_product: list[Group]
    by_part: list[Group]
    by_source: list[Group]


def evaluate_examined(
    examined: Sequence[Examined],
    seed: int,
    resamples: int = 1000,
    rankings: Sequence[Ranking] = (),
    items: Sequence[Examined] = (),
    costs: Costs | None = None,
) -> Evaluation:
    """Measure a set of verdicts; edit masks are read from where they lie.

    Args:
        examined: one entry a photograph; may be empty.
        seed: of the bootstrap.
        resamples: of the bootstrap.
        rankings: how near the gallery's references are to the in-domain photographs among them, where it was measured.
        items: the in-domain items with the verdict that all their photographs gave together, one entry an item.
        costs: of the bundle and the gallery, where they were measured.

    Raises:
        DataError: a photograph's truth is not known, or a score is not finite; names the photograph.
    """
    check_examined([*examined, *items])
    in_domain = [photograph for photograph in examined if photograph.in_domain]
    decided = [photograph for photograph in in_domain if photograph.verdict.verdict in DECIDED]
    measure = _Measure.of(examined, seed, resamples)
    polarity = {positive: measure.polarity(positive) for positive in TRUTHS[:2]}
    before, after, reranking = rank_twice(rankings, examined, seed, resamples) or (None, None, None)
    return Evaluation(
        photographs=len(examined),
        items=count_items(examined),
        seed=seed,
        resamples=resamples,
        bundle_ids=sorted({photograph.verdict.bundle_id for photograph in examined}),
        gallery_versions=sorted({photograph.verdict.gallery_version for photograph in examined}),
        config_hashes=sorted({photograph.verdict.config_hash for photograph in examined}),
        confusion=_confusion(examined),
        accuracy=Proportion.count(photograph.is_right for photograph in in_domain),
        coverage=Proportion.of(len(decided), len(in_domain)),
        accuracy_decided=Proportion.count(photograph.is_right for photograph in decided),
        counterfeits_accepted=share(in_domain, Authenticity.COUNTERFEIT, VerdictLabel.GENUINE),
        genuine_accused=share(in_domain, Authenticity.GENUINE, VerdictLabel.COUNTERFEIT),
        counterfeit_positive=polarity[Authenticity.COUNTERFEIT],
        genuine_positive=polarity[Authenticity.GENUINE],
        macro=measure.macro(list(polarity.values())),
        auroc_decision=measure.auroc([p.verdict.scores.decision for p in examined]),
        auroc_global_margin=measure.auroc([p.global_margin for p in examined]),
        evidence=measure.evidence(),
        product_accuracy=Proportion.count(p.verdict.product == p.product for p in in_domain),
        class_accuracy=Proportion.count(p.is_right and p.verdict.product == p.product for p in in_domain),
        rejection=reject(examined, measure.bootstrap),
        calibration=_calibration(in_domain),
        risk_coverage=abstain(examined, seed, resamples),
        retrieval_global=before,
        retrieval_reranked=after,
        reranking=reranking,
        localisation=localise(examined, seed, resamples),
        timings=stage_times(examined),
        costs=costs,
        items_fused=group("items, photographs fused", items) if items else None,
        by_product=group_by(in_domain, lambda photograph: photograph.product),
        by_part=group_by(in_domain, lambda photograph: photograph.part),
        by_source=group_by(in_domain, lambda photograph: photograph.source_id or None),
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
        genuine = self.truth == Authenticity.GENUINE
        return self.bootstrap.estimate(rows, lambda weights: auroc(column[rows], genuine[rows], weights))

    def evidence(self) -> dict[str, Estimate]:
        columns: dict[str, list[float | None]] = {}
        for photograph in self.examined:
            for name, score in photograph.evidence.items():
                columns.setdefault(name, []).append(score)
        estimates = {name: self.auroc(scores) for name, scores in columns.items()}
        return {name: estimate for name, estimate in estimates.items() if estimate.n}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def _confusion(examined: Sequence[Examined]) -> dict[str, dict[str, int]]:
    counts = Counter((photograph.authenticity, photograph.verdict.verdict) for photograph in examined)
    return {str(truth): {str(label): counts[truth, label] for label in VerdictLabel} for truth in TRUTHS}


def _calibration(in_domain: Sequence[Examined]) -> Calibration:
    judged = [photograph for photograph in in_domain if photograph.verdict.p_genuine is not None]
    return calibrate(
        np.array([p.verdict.p_genuine for p in judged], dtype=float),
        np.array([p.authenticity == Authenticity.GENUINE for p in judged], dtype=bool),
    )
