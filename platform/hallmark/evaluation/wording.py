"""An evaluation in plain sentences: what was found, and what it does not show."""

from __future__ import annotations

from collections.abc import Sequence

from hallmark.evaluation.metrics import Estimate, Evaluation, Examined, Proportion
from hallmark.evaluation.rows import interval, percent
from hallmark.types import Authenticity, VerdictLabel

_FEW = 100
"""Photographs of one truth below which the report warns that the intervals are wide."""


def summary(evaluation: Evaluation) -> list[str]:
    """What was found, a sentence or two each."""
    truths = {truth: sum(counts.values()) for truth, counts in evaluation.confusion.items()}
    sentences = [
        f"{count(evaluation.photographs, 'photograph')} of {count(evaluation.items, 'item')} "
        f"{'was' if evaluation.photographs == 1 else 'were'} examined: {truths['genuine']} genuine, "
        f"{truths['counterfeit']} counterfeit and {truths['unrelated']} unrelated."
    ]
    if truths["counterfeit"]:
        sentences.append(_fate(evaluation, "counterfeit", "counterfeit", evaluation.counterfeit_positive.recall))
    if truths["genuine"]:
        sentences.append(_fate(evaluation, "genuine", "genuine photograph", evaluation.genuine_positive.recall))
    if truths["unrelated"]:
        sentences.append(
            "Of photographs that show no product of the gallery, "
            f"{_share(evaluation.rejection.unrelated_rejected)} were called not_in_gallery{_by_kind(evaluation)}."
        )
    return [*sentences, *_separation(evaluation), *_reranking(evaluation), *_localisation(evaluation)]


def limits(evaluation: Evaluation, examined: Sequence[Examined]) -> list[str]:
    """What the figures do not show, as far as it can be read off the photographs themselves."""
    sentences = [
        "The figures hold for these products, photographed in this way. Other products, cameras, light or packaging "
        "may do better or worse.",
        "A share of right verdicts depends on the mix of genuine and counterfeit photographs, which here is that of "
        "the test set and not that of the field.",
        "Wilson intervals (k of n) treat photographs as independent; several photographs of one item are not, so the "
        "true uncertainty is larger. Bootstrap intervals resample whole items.",
        *_small_counts(evaluation),
        _sources(examined),
        "A verdict is a measurement with an error rate. It is not an expert's opinion and not proof in law; "
        "inconclusive means that a person must look.",
    ]
    if evaluation.counterfeits_accepted.n and not evaluation.counterfeits_accepted.k:
        high = percent(evaluation.counterfeits_accepted.high)
        sentences.insert(
            0,
            f"That none of {count(evaluation.counterfeits_accepted.n, 'counterfeit')} was accepted does not mean that "
            f"none ever will be: a rate of up to {high} agrees with this count.",
        )
    if any(score.low is not None and score.low == score.high for score in _estimates(evaluation)):
        sentences.append(
            "A bootstrap interval without width, as at a score of exactly 1, only says that every item of this test "
            "agreed; it is not certainty."
        )
    if len(evaluation.bundle_ids) > 1 or len(evaluation.gallery_versions) > 1:
        sentences.append("The verdicts come from more than one bundle or gallery version and are pooled here.")
    return sentences


def count(number: int, noun: str) -> str:
    """A number with its noun, in the plural where it needs one."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _by_kind(evaluation: Evaluation) -> str:
    kinds = evaluation.rejection.by_kind
    if len(kinds) < 2:
        return ""
    return ": " + ", ".join(f"{share.k} of {share.n} of {kind}" for kind, share in kinds.items())


def _separation(evaluation: Evaluation) -> list[str]:
    score = evaluation.auroc_decision
    if score.value is None:
        return []
    known = f", 95 % interval {interval(score)}" if score.low is not None else ""
    return [
        f"Picked at random, a genuine photograph scores above a counterfeit with probability {score.value:.3f} "
        f"(AUROC{known}), among the {count(score.n, 'photograph')} that {'was' if score.n == 1 else 'were'} scored."
    ]


def _reranking(evaluation: Evaluation) -> list[str]:
    before, after = evaluation.retrieval_global, evaluation.retrieval_reranked
    if before is None or after is None or not before.num_queries:
        return []
    first, then = before.recall[1], after.recall[1]
    return [
        f"The first reference retrieved was of the right product and authenticity for {_share(first)} photographs, "
        f"and after re-ranking for {_share(then)}."
    ]


def _localisation(evaluation: Evaluation) -> list[str]:
    found = evaluation.localisation
    if found is None or not found.peak_inside.n or found.concentration.value is None:
        return []
    return [
        f"The residual map had {found.concentration.value:.1f} times the energy where a counterfeit was edited as over "
        f"the whole photograph (median), and strongest at the edit in {_share(found.peak_inside)}; by chance that "
        f"would be {percent(found.peak_by_chance)}."
    ]


def _estimates(evaluation: Evaluation) -> list[Estimate]:
    f1_scores = [report.f1 for report in (evaluation.counterfeit_positive, evaluation.genuine_positive)]
    return [*f1_scores, evaluation.auroc_decision, *(rule.auroc for rule in evaluation.rejection.rules)]


def _share(proportion: Proportion) -> str:
    return f"{proportion.k} of {proportion.n} ({percent(proportion.value)}, 95 % interval {interval(proportion)})"


def _were(number: int) -> str:
    return f"{number} was" if number == 1 else f"{number or 'none'} were"


def _fate(evaluation: Evaluation, truth: str, noun: str, found: Proportion) -> str:
    counts = evaluation.confusion[truth]
    opposite = "counterfeit" if truth == "genuine" else "genuine"
    return (
        f"Of the {noun}s, {_share(found)} were called {truth}; {_were(counts[opposite])} called {opposite}, "
        f"{_were(counts[VerdictLabel.INCONCLUSIVE])} left to a person as inconclusive, and "
        f"{_were(counts[VerdictLabel.NOT_IN_GALLERY])} rejected as not in the gallery."
    )


def _small_counts(evaluation: Evaluation) -> list[str]:
    totals = {truth: sum(counts.values()) for truth, counts in evaluation.confusion.items()}
    few = [f"{total} {truth}" for truth, total in totals.items() if 0 < total < _FEW]
    if not few:
        return []
    return [f"There were only {' and '.join(few)} photographs: read the intervals, not the single figures."]


def _sources(examined: Sequence[Examined]) -> str:
    fakes = [photograph for photograph in examined if photograph.authenticity == Authenticity.COUNTERFEIT]
    sources = {photograph.source_id for photograph in fakes if photograph.source_id}
    known = f"come from {count(len(sources), 'known source')}" if sources else "have no recorded source"
    return (
        f"The counterfeits {known}. A counterfeiter who is not among them may be harder to catch; a run that leaves "
        "one source out at a time measures that."
    )
