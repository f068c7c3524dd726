"""Authenticity thresholds from scored photographs, one function an objective. A score >= threshold says genuine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from hallmark.config import Config

Objective = Literal["f1", "far", "frr", "cost", "abstain", "argmax"]

NEED_GENUINE_ALONE = ("frr", "argmax")
"""Objectives that can do without counterfeits."""

_CERTIFIED_Z = 1.6448536269514722
"""One-sided 95 %: of the standard normal distribution."""
_RULE_OF_THREE = 3.0
"""With n counterfeits and none accepted, 95 % confidence reaches down to a rate of about 3/n and no further."""


class ObjectiveConfig(Config):
    """What the authenticity threshold is chosen for."""

    objective: Objective = Field(
        "f1",
        description="f1: highest F1, as the first paper; far: few counterfeits accepted, recommended in production "
        "where there are counterfeits enough to show it (300 for 1 %); frr: few genuine articles rejected; cost: least "
        "expected cost; abstain: both errors rare, what lies between is inconclusive; argmax: nothing is fitted, a "
        "score of 0 or more is genuine, as the third paper decides",
    )
    f1_positive: Literal["counterfeit", "genuine"] = Field("counterfeit", description="positive class of the F1")
    far_target: float = Field(0.01, gt=0, lt=1, description="far: share of counterfeits that may be accepted")
    frr_target: float = Field(
        0.05,
        gt=0,
        lt=1,
        description="frr, one_class, and far where it cannot be shown: share of genuine articles that may be rejected",
    )
    cost_false_accept: float = Field(10.0, gt=0, description="cost: of a counterfeit accepted, in any currency")
    cost_false_reject: float = Field(1.0, gt=0, description="cost: of a genuine article rejected, the same currency")
    prior_counterfeit: float = Field(
        0.1, gt=0, lt=1, description="cost: share of counterfeits in the field, not among the calibration photographs"
    )
    abstain_target: float = Field(
        0.05, gt=0, lt=1, description="abstain: share of either kind that may be called wrong"
    )


@dataclass(frozen=True)
class Thresholds:
    """The two authenticity thresholds and what they were chosen for."""

    counterfeit: float
    """Below it: counterfeit."""
    genuine: float
    """At or above it: genuine."""
    objective: str
    """In force, in words."""
    certified: bool = True
    """False where the objective asked for cannot be shown with so few photographs."""
    warnings: tuple[str, ...] = ()


def choose_thresholds(scores: np.ndarray, genuine: np.ndarray, config: ObjectiveConfig) -> Thresholds:
    """The thresholds that the configured objective asks for.

    Args:
        scores: (N,) higher = more genuine.
        genuine: (N,) bool; some of each, but for `frr` and `argmax`, which need genuine ones only.
        config: the objective and its parameters.
    """
    if config.objective == "argmax":
        return Thresholds(0.0, 0.0, "nothing: the likelier of the two at a score of 0")
    if config.objective == "far":
        return _accepting_few(scores, genuine, config)
    if config.objective == "frr":
        return _rejecting_few(scores, genuine, config.frr_target)
    if config.objective == "abstain":
        low, high = abstain_thresholds(scores, genuine, config.abstain_target)
        return Thresholds(low, high, f"error of {config.abstain_target:g} or less on either side, inconclusive between")
    if config.objective == "cost":
        threshold = cost_threshold(
            scores, genuine, config.cost_false_accept, config.cost_false_reject, config.prior_counterfeit
        )
        said = (
            f"least expected cost: {config.cost_false_accept:g} a counterfeit accepted, {config.cost_false_reject:g} "
            f"a genuine article rejected, {config.prior_counterfeit:g} of the field counterfeit"
        )
        return Thresholds(threshold, threshold, said)
    threshold, _ = best_f1_threshold(scores, genuine, config.f1_positive)
    return Thresholds(threshold, threshold, f"F1, {config.f1_positive} positive")


def best_f1_threshold(
    scores: np.ndarray, genuine: np.ndarray, positive: Literal["counterfeit", "genuine"] = "counterfeit"
) -> tuple[float, float]:
    """The threshold with the highest F1; among equals the one in the widest gap, then the lowest.

    Args:
        scores: (N,) higher = more genuine.
        genuine: (N,) bool.
        positive: the class whose precision and recall count.

    Returns:
        The threshold, finite, and its F1.
    """
    candidates, widths = _candidates(scores)
    accepted, rejected = _errors(scores, genuine, candidates)
    wrong = accepted + rejected
    found = ((~genuine).sum() - accepted) if positive == "counterfeit" else (genuine.sum() - rejected)
    f1 = 2 * found / np.maximum(2 * found + wrong, 1)
    best = _first(-f1, widths)
    return float(candidates[best]), float(f1[best])


def far_threshold(scores: np.ndarray, genuine: np.ndarray, target: float) -> float | None:
    """The lowest threshold that is shown to accept at most `target` of the counterfeits.

    Shown: the upper Wilson bound, one-sided 95 %, of the share accepted is at most the target. Wilson's bound is too
    hopeful at zero errors, so there must be at least 3/target counterfeits as well.

    Returns:
        The threshold; None where there are too few counterfeits to show it.
    """
    num_counterfeit = int((~genuine).sum())
    if num_counterfeit < _RULE_OF_THREE / target:
        return None
    candidates, _ = _candidates(scores)
    accepted, _ = _errors(scores, genuine, candidates)
    shown = wilson_upper(accepted, num_counterfeit) <= target
    return float(candidates[shown.argmax()]) if shown.any() else None


def frr_threshold(genuine_scores: np.ndarray, target: float) -> float:
    """The highest threshold that rejects at most `target` of new genuine photographs: an order statistic.

    It is the floor(target·(n + 1))-th smallest genuine score, so of n + 1 exchangeable photographs the last one lies
    below it with probability `target` at most. With fewer than 1/target - 1 photographs it is the smallest score, and
    that probability is 1/(n + 1).
    """
    rank = max(1, int(np.floor(target * (len(genuine_scores) + 1))))
    return float(np.sort(genuine_scores)[rank - 1])


def cost_threshold(
    scores: np.ndarray, genuine: np.ndarray, cost_false_accept: float, cost_false_reject: float, prior: float
) -> float:
    """The threshold of least expected cost; among equals the one in the widest gap, then the lowest.

    Args:
        scores: (N,) higher = more genuine.
        genuine: (N,) bool, some of each.
        cost_false_accept: of a counterfeit accepted.
        cost_false_reject: of a genuine article rejected.
        prior: share of counterfeits in the field.
    """
    candidates, widths = _candidates(scores)
    accepted, rejected = _errors(scores, genuine, candidates)
    false_accepts, false_rejects = accepted / (~genuine).sum(), rejected / genuine.sum()
    cost = prior * cost_false_accept * false_accepts + (1 - prior) * cost_false_reject * false_rejects
    # Sums of the same terms in another order may differ in the last digit; they are equals all the same.
    return float(candidates[_first(np.round(cost / cost.max(initial=1e-300), 12), widths)])


def abstain_thresholds(scores: np.ndarray, genuine: np.ndarray, target: float) -> tuple[float, float]:
    """The narrowest band outside which at most `target` of either kind is called wrong.

    The upper end is the lowest threshold that accepts at most that share of the counterfeits, the lower end the highest
    that rejects at most that share of the genuine. Where they pass each other no band is needed, and both are the
    threshold between them with the highest F1.

    Returns:
        The lower end, below which is counterfeit, and the upper end, from which on is genuine.
    """
    candidates, widths = _candidates(scores)
    accepted, rejected = _errors(scores, genuine, candidates)
    high = int((accepted <= target * (~genuine).sum()).argmax())
    low = int(np.flatnonzero(rejected <= target * genuine.sum())[-1])
    if low < high:
        return float(candidates[low]), float(candidates[high])
    between = slice(high, low + 1)
    found = (~genuine).sum() - accepted[between]
    f1 = 2 * found / np.maximum(2 * found + accepted[between] + rejected[between], 1)
    both = float(candidates[between][_first(-f1, widths[between])])
    return both, both


def wilson_upper(errors: np.ndarray | int, total: int) -> np.ndarray:
    """Upper end of Wilson's one-sided 95 % interval for errors of total."""
    share, squared = np.asarray(errors) / total, _CERTIFIED_Z**2
    spread = _CERTIFIED_Z * np.sqrt(share * (1 - share) / total + squared / (4 * total**2))
    return (share + squared / (2 * total) + spread) / (1 + squared / total)


def _accepting_few(scores: np.ndarray, genuine: np.ndarray, config: ObjectiveConfig) -> Thresholds:
    threshold = far_threshold(scores, genuine, config.far_target)
    if threshold is not None:
        return Thresholds(threshold, threshold, f"at most {config.far_target:g} of counterfeits accepted")
    instead = _rejecting_few(scores, genuine, config.frr_target)
    wanted = int(np.ceil(_RULE_OF_THREE / config.far_target))
    warning = (
        f"far: {int((~genuine).sum())} counterfeit calibration photographs cannot show that at most "
        f"{config.far_target:g} of counterfeits are accepted, at least {wanted} can; in force instead: "
        f"{instead.objective}"
    )
    return Thresholds(
        instead.counterfeit, instead.genuine, instead.objective, certified=False, warnings=(warning, *instead.warnings)
    )


def _rejecting_few(scores: np.ndarray, genuine: np.ndarray, target: float) -> Thresholds:
    num_genuine = int(genuine.sum())
    threshold = frr_threshold(scores[genuine], target)
    said = f"at most {target:g} of genuine articles rejected"
    if target * (num_genuine + 1) >= 1:
        return Thresholds(threshold, threshold, said)
    warning = (
        f"frr: {num_genuine} genuine calibration photographs cannot hold the share of genuine articles rejected to "
        f"{target:g}, at least {int(np.ceil(1 / target - 1))} can; expected is up to {1 / (num_genuine + 1):.3f}"
    )
    return Thresholds(threshold, threshold, said, certified=False, warnings=(warning,))


def _candidates(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Midpoints between distinct scores and one threshold beyond either end, rising; and the gap each lies in."""
    distinct = np.unique(scores)
    gaps = np.diff(distinct)
    # Beyond the ends: as far as the widest gap, so that the threshold stays finite; such a gap has no width.
    reach = max(float(gaps.max(initial=0.0)), 1e-3)
    between = distinct[:-1] + gaps / 2
    # Halfway between neighbouring floats may round to the lower one, which would then not be below the threshold.
    between = np.where(between > distinct[:-1], between, distinct[1:])
    return (
        np.concatenate([[distinct[0] - reach], between, [distinct[-1] + reach]]),
        np.concatenate([[0.0], gaps, [0.0]]),
    )


def _errors(scores: np.ndarray, genuine: np.ndarray, candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counterfeits accepted and genuine photographs rejected at each candidate."""
    accepted = (~genuine).sum() - np.sort(scores[~genuine]).searchsorted(candidates, side="left")
    return accepted, np.sort(scores[genuine]).searchsorted(candidates, side="left")


def _first(loss: np.ndarray, widths: np.ndarray) -> int:
    """Place of the least loss; among equals of the widest gap, then of the first."""
    return int(np.lexsort((np.arange(len(loss)), -widths, loss))[0])
