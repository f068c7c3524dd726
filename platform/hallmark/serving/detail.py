"""How much of a verdict a key sees, so that the service teaches no counterfeiter."""

from __future__ import annotations

from hallmark.serving.auth import Detail
from hallmark.serving.stages import Answered
from hallmark.types import Verdict, VerdictLabel
from hallmark.verdict.items import ItemVerdict

_GENERIC = {
    VerdictLabel.GENUINE: "The photograph agrees with what is known to be genuine.",
    VerdictLabel.COUNTERFEIT: "The photograph does not agree with what is known to be genuine.",
    VerdictLabel.INCONCLUSIVE: "The photograph cannot be told from either side with certainty: a person must look.",
    VerdictLabel.NOT_IN_GALLERY: "The photograph shows no known product.",
}
_GENERIC_ITEM = {
    VerdictLabel.GENUINE: "The photographs agree with what is known to be genuine.",
    VerdictLabel.COUNTERFEIT: "The photographs do not agree with what is known to be genuine.",
    VerdictLabel.INCONCLUSIVE: "The photographs do not settle it: a person must look.",
    VerdictLabel.NOT_IN_GALLERY: "No photograph shows a known product.",
}


def limited(answered: Answered, detail: Detail) -> Verdict:
    """The verdict about a photograph as far as a key sees it."""
    verdict = answered.verdict
    if detail == Detail.FULL:
        return verdict
    withheld = {"cue_pairs": [], "residual_map": None, "attention": None, "references": []}
    if detail == Detail.LABEL:
        reason = verdict.reason if answered.unusable else _GENERIC[verdict.verdict]
        withheld |= {"scores": None, "p_genuine": None, "timings_ms": {}, "reason": reason}
    return verdict.model_copy(update=withheld)


def limited_item(item: ItemVerdict, photographs: list[Verdict], detail: Detail) -> ItemVerdict:
    """The verdict about an item as far as a key sees it.

    Args:
        item: all of it.
        photographs: the verdicts about its photographs, limited already.
        detail: what the key sees.
    """
    if detail != Detail.LABEL:
        return item
    reasons = {verdict.image_id: verdict.reason for verdict in photographs}
    aside = [entry.model_copy(update={"reason": reasons[entry.image_id]}) for entry in item.set_aside]
    withheld = {"log_likelihood_ratio": None, "threshold_genuine": None, "threshold_counterfeit": None, "parts": []}
    told = {"p_genuine": None, "reason": _GENERIC_ITEM[item.verdict], "set_aside": aside}
    return item.model_copy(update=withheld | told)
