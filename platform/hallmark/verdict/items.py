"""Several photographs of one item, one verdict about the item."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from hallmark.config import config_hash
from hallmark.types import Verdict, VerdictLabel
from hallmark.verdict.calibration import Calibration


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PartEvidence(_Answer):
    """What the photographs of one part say together."""

    part: str = Field(description="empty where nothing tells it")
    image_ids: list[str] = Field(min_length=1, description="the photographs, sorted")
    log_likelihood_ratio: float | None = Field(
        description="of genuine, mean over the photographs, natural logarithm; null in one_class mode"
    )
    p_genuine: float = Field(description="of this part alone, 0 to 1")


class SetAside(_Answer):
    """A photograph that does not count."""

    image_id: str
    verdict: VerdictLabel
    product: str | None
    reason: str = Field(description="one sentence")


class ItemVerdict(_Answer):
    """The answer about an item, from its photographs' verdicts."""

    verdict: VerdictLabel
    reason: str = Field(description="one sentence: what the verdict rests on")
    p_genuine: float | None = Field(description="0 to 1; null when not judged")
    product: str | None = Field(description="null when not_in_gallery, or when the photographs disagree")
    log_likelihood_ratio: float | None = Field(description="of genuine, sum over parts; null when there is none")
    threshold_genuine: float | None = Field(description="log-likelihood ratio at or above which the item is genuine")
    threshold_counterfeit: float | None = Field(description="log-likelihood ratio below which it is counterfeit")
    parts: list[PartEvidence] = Field(description="by name")
    set_aside: list[SetAside] = Field(description="photographs that do not count, in their order")
    config_hash: str = Field(description="of the thresholds in force")


def fuse(verdicts: Sequence[Verdict], calibration: Calibration) -> ItemVerdict:
    """The verdict about an item, the same in whatever order its photographs come.

    Calibration counts both authenticities alike, so the log odds of p_genuine are a log-likelihood ratio. Those of
    different parts add up: a tag and a buckle are made, and forged, apart. Photographs of one part show the same print
    and err together, so they are averaged: ten pictures of one tag are no more evidence than a good one. In one_class
    mode there is no likelihood of a counterfeit; the p-values are joined by Bonferroni, which holds however the
    photographs depend on each other.

    Photographs that were not judged (not_in_gallery, unusable, nothing to judge by) do not count, nor do those of
    another product than more than half of the judged ones show. An item is not called genuine over a part that is
    counterfeit by itself: it may be a fake that carries a genuine tag.

    Args:
        verdicts: of the item's photographs.
        calibration: thresholds that they were made with.
    """
    judged = [verdict for verdict in verdicts if verdict.p_genuine is not None]
    if not judged:
        return _unjudged(verdicts, calibration)
    (product, count), *_ = Counter(sorted(verdict.product for verdict in judged)).most_common()
    if 2 * count <= len(judged):
        named = ", ".join(sorted({verdict.product for verdict in judged}))
        reason = f"The photographs show different products ({named}): give photographs of one item."
        aside = [_aside(verdict, verdict.reason) for verdict in verdicts]
        return _answer(VerdictLabel.INCONCLUSIVE, reason, calibration, set_aside=aside)
    counted = [verdict for verdict in judged if verdict.product == product]
    aside = [
        _aside(v, v.reason if v.p_genuine is None else f"Shows {v.product}, the item is {product}.")
        for v in verdicts
        if v.p_genuine is None or v.product != product
    ]
    # Without references nothing tells parts apart, and all photographs count as those of one.
    named = [(verdict.part or "", verdict) for verdict in counted]
    by_part = {part: [v for name, v in named if name == part] for part in sorted({name for name, _ in named})}
    if calibration.mode == "one_class":
        return _by_p_value(product, by_part, aside, calibration)
    return _by_likelihood(product, by_part, aside, calibration)


def _by_likelihood(
    product: str, by_part: dict[str, list[Verdict]], aside: list[SetAside], calibration: Calibration
) -> ItemVerdict:
    low, high = (calibration.log_odds(threshold) for threshold in calibration.thresholds_of(product))
    ratios = {
        part: float(np.mean(sorted(calibration.log_odds(v.scores.decision) for v in told)))
        for part, told in by_part.items()
    }
    total = float(sum(ratios.values()))
    said = f"Log-likelihood ratio {total:+.2f} over {_counted(by_part)} of {product}"
    fake = next((part for part in by_part if ratios[part] < low), None)
    if total < low:
        label, reason = VerdictLabel.COUNTERFEIT, f"{said}, counterfeit below {low:+.2f}."
    elif total >= high and fake is not None:
        label = VerdictLabel.INCONCLUSIVE
        reason = f"{said} says genuine, but the part {fake} is counterfeit by itself ({ratios[fake]:+.2f})."
    elif total >= high:
        label, reason = VerdictLabel.GENUINE, f"{said}, genuine from {high:+.2f}."
    else:
        label, reason = VerdictLabel.INCONCLUSIVE, f"{said}, between {low:+.2f} and {high:+.2f}."
    parts = [_part(part, told, ratios[part], _sigmoid(ratios[part])) for part, told in by_part.items()]
    answer = _answer(label, reason, calibration, product, _sigmoid(total), parts, aside)
    return answer.model_copy(
        update={"log_likelihood_ratio": total, "threshold_genuine": high, "threshold_counterfeit": low}
    )


def _by_p_value(
    product: str, by_part: dict[str, list[Verdict]], aside: list[SetAside], calibration: Calibration
) -> ItemVerdict:
    joined = {part: min(1.0, len(told) * min(v.p_genuine for v in told)) for part, told in by_part.items()}
    everyone = [verdict for told in by_part.values() for verdict in told]
    p_genuine = min(1.0, len(everyone) * min(verdict.p_genuine for verdict in everyone))
    eps = calibration.one_class.eps
    # A hair's breadth for sums of fractions, as where eps was fitted.
    is_genuine = p_genuine > eps * (1 + 1e-9)
    reason = (
        f"p-value {p_genuine:.3g} over {_counted(by_part)} of {product}, counterfeit at {eps:.3g} or less, "
        "genuine above."
    )
    label = VerdictLabel.GENUINE if is_genuine else VerdictLabel.COUNTERFEIT
    parts = [_part(part, told, None, joined[part]) for part, told in by_part.items()]
    return _answer(label, reason, calibration, product, p_genuine, parts, aside)


def _unjudged(verdicts: Sequence[Verdict], calibration: Calibration) -> ItemVerdict:
    aside = [_aside(verdict, verdict.reason) for verdict in verdicts]
    if verdicts and all(verdict.verdict == VerdictLabel.NOT_IN_GALLERY for verdict in verdicts):
        reason = "No photograph shows a known product."
        return _answer(VerdictLabel.NOT_IN_GALLERY, reason, calibration, set_aside=aside)
    products = {verdict.product for verdict in verdicts if verdict.product is not None}
    reason = "No photograph could be judged; see what each one lacks." if verdicts else "There is no photograph."
    product = next(iter(products)) if len(products) == 1 else None
    return _answer(VerdictLabel.INCONCLUSIVE, reason, calibration, product, set_aside=aside)


def _answer(
    label: VerdictLabel,
    reason: str,
    calibration: Calibration,
    product: str | None = None,
    p_genuine: float | None = None,
    parts: Sequence[PartEvidence] = (),
    set_aside: Sequence[SetAside] = (),
) -> ItemVerdict:
    return ItemVerdict(
        verdict=label,
        reason=reason,
        p_genuine=p_genuine,
        product=product,
        log_likelihood_ratio=None,
        threshold_genuine=None,
        threshold_counterfeit=None,
        parts=list(parts),
        set_aside=list(set_aside),
        config_hash=config_hash(calibration),
    )


def _part(part: str, told: Sequence[Verdict], ratio: float | None, p_genuine: float) -> PartEvidence:
    return PartEvidence(
        part=part,
        image_ids=sorted(verdict.image_id for verdict in told),
        log_likelihood_ratio=ratio,
        p_genuine=p_genuine,
    )


def _aside(verdict: Verdict, reason: str) -> SetAside:
    return SetAside(image_id=verdict.image_id, verdict=verdict.verdict, product=verdict.product, reason=reason)


def _counted(by_part: dict[str, list[Verdict]]) -> str:
    num_photographs = sum(len(told) for told in by_part.values())
    return (
        f"{num_photographs} photograph{'s' * (num_photographs != 1)} of {len(by_part)} part{'s' * (len(by_part) != 1)}"
    )


def _sigmoid(log_odds: float) -> float:
    return float(1.0 / (1.0 + np.exp(-np.clip(log_odds, -50.0, 50.0))))
