"""The charts of a report as inline SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

from hallmark.evaluation import figures
from hallmark.evaluation.metrics import TRUTHS, Evaluation, Examined
from hallmark.types import Scores

_LINES = {"threshold_counterfeit": "counterfeit below", "threshold_genuine": "genuine from"}


def charts(
    evaluation: Evaluation, examined: Sequence[Examined], training_records: Sequence[Mapping[str, Any]]
) -> dict[str, Markup]:
    """Inline SVG by name; `to_svg` escapes what users supply. What there is nothing to draw of is left out."""
    aurocs = {"decision score": evaluation.auroc_decision, "global margin": evaluation.auroc_global_margin}
    drawn = {
        **_histograms(examined),
        "confusion": figures.confusion_matrix(evaluation),
        "roc": figures.roc(examined, aurocs),
        "reliability": figures.reliability_diagram(evaluation.calibration),
        "abstention": figures.risk_coverage_curves(evaluation.risk_coverage),
    }
    if evaluation.rejection.unrelated_rejected.n and evaluation.rejection.rules:
        drawn["rejection"] = figures.rejection_curves(examined)
    if training_records:
        drawn["training"] = figures.training_curves(training_records)
    return {name: Markup(figures.to_svg(figure, name, f"chart: {name}")) for name, figure in drawn.items()}


def thresholds_of(examined: Sequence[Examined]) -> dict[str, list[float]]:
    """The distinct values each threshold had over the verdicts; those that no verdict had are left out."""
    names = [name for name in Scores.model_fields if name.startswith("threshold_")]
    found = {name: {getattr(one.verdict.scores, name) for one in examined} - {None} for name in names}
    return {name: sorted(values) for name, values in found.items() if values}


def _histograms(examined: Sequence[Examined]) -> dict[str, Figure]:
    decision = {
        str(truth): [
            one.verdict.scores.decision
            for one in examined
            if one.authenticity == truth and one.verdict.scores.decision is not None
        ]
        for truth in TRUTHS[:2]
    }
    similarity = {
        str(truth): [
            one.verdict.scores.global_similarity
            for one in examined
            if one.authenticity == truth and one.verdict.scores.global_similarity is not None
        ]
        for truth in TRUTHS
    }
    unique = {name: values[0] for name, values in thresholds_of(examined).items() if len(values) == 1}
    lines = {_LINES[name]: unique[name] for name in _LINES if name in unique}
    if len(set(lines.values())) == 1:
        lines = {"threshold": next(iter(lines.values()))}
    gate = {"in gallery from": unique["threshold_global"]} if "threshold_global" in unique else {}
    return {
        "scores": figures.score_histogram(decision, "decision score (higher = more genuine)", lines),
        "similarity": figures.score_histogram(similarity, "global similarity g+ (higher = more alike)", gate),
    }
