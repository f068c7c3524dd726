"""How well photographs of no product of the gallery are kept out, by kind of photograph and by rule."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from hallmark.evaluation.examined import Examined
from hallmark.evaluation.measures import Estimate, Figures, ItemBootstrap, Proportion, auroc
from hallmark.types import Authenticity, VerdictLabel

UNRELATED = "unrelated"
"""Kind of an unrelated photograph whose `source_id` does not tell a better one."""

Rule = Literal["global", "verification"]


class RuleReport(Figures):
    """One rule against one kind of unrelated photograph (kind None = all of them).

    The rule `global` looks at g+ alone; `verification` at g+ and the inlier ratio together, see
    `verification_scores`. `at_frr_*`: unrelated photographs below the highest threshold that rejects at most 1 or 5 %
    of these in-domain photographs, and `counterfeit_at_frr_*` the counterfeits below it. The threshold is read off
    the test scores: it describes them, it is not the one in use. `fpr95`: unrelated photographs let in where at least
    95 % of the in-domain ones are, the complement of `at_frr_5`.
    """

    rule: Rule
    kind: str | None
    at_frr_1: Proportion
    at_frr_5: Proportion
    counterfeit_at_frr_1: Proportion
    counterfeit_at_frr_5: Proportion
    fpr95: Proportion
    auroc: Estimate


class RejectionReport(Figures):
    """What the verdicts rejected as not_in_gallery, and what each rule could reject.

    `by_kind`: unrelated photographs called not_in_gallery by kind, which is their `source_id` where there is one.
    `rules`: for each rule all unrelated photographs, then each kind where there are several; `global` only where some
    photograph was compared with a reference, `verification` only where some has an inlier ratio.
    """

    unrelated_rejected: Proportion
    in_domain_rejected: Proportion
    counterfeit_rejected: Proportion
    by_kind: dict[str, Proportion]
    rules: list[RuleReport]

    def rule(self, name: Rule, kind: str | None = None) -> RuleReport | None:
        """The row of a rule and kind, None where there is none."""
        return next((row for row in self.rules if (row.rule, row.kind) == (name, kind)), None)


def reject(examined: Sequence[Examined], bootstrap: ItemBootstrap) -> RejectionReport:
    """Measure rejection; `bootstrap` is over all of the photographs."""
    rejected = np.array([p.verdict.verdict == VerdictLabel.NOT_IN_GALLERY for p in examined], dtype=bool)
    in_domain = np.array([p.in_domain for p in examined], dtype=bool)
    counterfeit = np.array([p.authenticity == Authenticity.COUNTERFEIT for p in examined], dtype=bool)
    kinds = np.array([kind_of(p) or "" for p in examined], dtype=object)
    names = sorted(set(kinds[~in_domain]))
    rules = []
    for rule, scores in rule_scores(examined).items():
        for kind in [None, *(names if len(names) > 1 else [])]:
            outside = ~in_domain if kind is None else ~in_domain & (kinds == kind)
            rules.append(_rule_report(rule, kind, scores, in_domain, outside, counterfeit, bootstrap))
    return RejectionReport(
        unrelated_rejected=Proportion.count(rejected[~in_domain]),
        in_domain_rejected=Proportion.count(rejected[in_domain]),
        counterfeit_rejected=Proportion.count(rejected[counterfeit]),
        by_kind={name: Proportion.count(rejected[~in_domain & (kinds == name)]) for name in names},
        rules=rules,
    )


def kind_of(photograph: Examined) -> str | None:
    """What kind of unrelated photograph it is; None for an in-domain one."""
    return None if photograph.in_domain else photograph.source_id or UNRELATED


def rule_scores(examined: Sequence[Examined]) -> dict[Rule, np.ndarray]:
    """(N,) float scores by rule, higher = more likely a product of the gallery.

    What was compared with no reference is rejected by no similarity: infinity.
    """
    similarities = [p.verdict.scores.global_similarity for p in examined]
    if examined and all(similarity is None for similarity in similarities):
        return {}
    similarity = np.array([np.inf if told is None else told for told in similarities])
    inliers = [p.verdict.scores.inlier_ratio for p in examined]
    scores: dict[Rule, np.ndarray] = {"global": similarity}
    if any(ratio is not None for ratio in inliers):
        ratios = np.array([np.nan if ratio is None else ratio for ratio in inliers], dtype=float)
        scores["verification"] = verification_scores(similarity, ratios, np.array([p.in_domain for p in examined]))
    return scores


def verification_scores(similarity: np.ndarray, inlier_ratio: np.ndarray, in_domain: np.ndarray) -> np.ndarray:
    """Global similarity and inlier ratio as one score: the lower of their ranks among in-domain photographs.

    A rank is the share of in-domain photographs at or below the value, so that a threshold rejects by either.

    Args:
        similarity: (N,) float, g+.
        inlier_ratio: (N,) float, nan where there is none; such a photograph is ranked by g+ alone.
        in_domain: (N,) bool.

    Returns:
        (N,) float, 0 to 1; by g+ itself where no in-domain photograph has an inlier ratio.
    """
    known = ~np.isnan(inlier_ratio)
    if not (known & in_domain).any():
        return similarity
    scores = _rank_among(similarity, similarity[in_domain])
    ranks = _rank_among(inlier_ratio[known], inlier_ratio[known & in_domain])
    scores[known] = np.minimum(scores[known], ranks)
    return scores


def rejected_at(in_domain: np.ndarray, others: np.ndarray, false_rejection: float) -> Proportion:
    """Photographs below the highest threshold that rejects at most a share of the in-domain ones.

    Args:
        in_domain: (N,) float scores; a photograph is rejected when its score is below the threshold.
        others: (M,) float scores.
        false_rejection: 0 to 1, below 1.
    """
    if len(in_domain) == 0:
        return Proportion.of(0, 0)
    threshold = np.sort(in_domain)[math.floor(false_rejection * len(in_domain))]
    return Proportion.count(others < threshold)


def _rule_report(
    rule: Rule,
    kind: str | None,
    scores: np.ndarray,
    in_domain: np.ndarray,
    outside: np.ndarray,
    counterfeit: np.ndarray,
    bootstrap: ItemBootstrap,
) -> RuleReport:
    inside, rows = scores[in_domain], in_domain | outside
    at_frr_5 = rejected_at(inside, scores[outside], 0.05)
    return RuleReport(
        rule=rule,
        kind=kind,
        at_frr_1=rejected_at(inside, scores[outside], 0.01),
        at_frr_5=at_frr_5,
        counterfeit_at_frr_1=rejected_at(inside, scores[counterfeit], 0.01),
        counterfeit_at_frr_5=rejected_at(inside, scores[counterfeit], 0.05),
        fpr95=Proportion.of(at_frr_5.n - at_frr_5.k, at_frr_5.n),
        auroc=bootstrap.estimate(rows, lambda weights: auroc(scores[rows], in_domain[rows], weights)),
    )


def _rank_among(values: np.ndarray, among: np.ndarray) -> np.ndarray:
    return np.searchsorted(np.sort(among), values, side="right") / len(among)
