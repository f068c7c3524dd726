"""A photograph of known truth beside the verdict it was given."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hallmark.errors import DataError
from hallmark.types import Authenticity, Scores, Verdict, VerdictLabel

TRUTHS = (Authenticity.GENUINE, Authenticity.COUNTERFEIT, Authenticity.UNRELATED)
RIGHT_VERDICT = {
    Authenticity.GENUINE: VerdictLabel.GENUINE,
    Authenticity.COUNTERFEIT: VerdictLabel.COUNTERFEIT,
    Authenticity.UNRELATED: VerdictLabel.NOT_IN_GALLERY,
}
DECIDED = (VerdictLabel.GENUINE, VerdictLabel.COUNTERFEIT)

_THRESHOLDS = {name for name in Scores.model_fields if name.startswith("threshold_")}
"""May be infinite: a fitted threshold can be one that nothing, or everything, passes."""

_EVIDENCE = [
    name
    for name in Scores.model_fields
    if name not in _THRESHOLDS and name != "global_similarity" and not name.endswith("_counterfeit")
]
"""Scores that are higher for genuine photographs; g+ is as high for counterfeits."""


@dataclass(frozen=True)
class Examined:
    """One photograph of known truth and the verdict it was given.

    `product` is the true product, None for an unrelated photograph; `source_id` is None where unknown. `edit_mask` is
    the URI of a grey picture laid over the whole photograph, white where a counterfeit was edited.
    """

    image_id: str
    uri: str
    product: str | None
    part: str
    authenticity: Authenticity
    item_id: str
    source_id: str | None
    verdict: Verdict
    edit_mask: str | None = None

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
        return _margin(self.verdict.scores.global_genuine, self.verdict.scores.global_counterfeit)

    @property
    def evidence(self) -> dict[str, float | None]:
        """Every score that says something of authenticity by itself; higher = more genuine.

        A margin is the score with genuine references minus that with counterfeit ones.
        """
        scores, told = self.verdict.scores, {}
        for name in _EVIDENCE:
            told[name] = getattr(scores, name)
            opposite = f"{name.removesuffix('_genuine')}_counterfeit"
            if opposite in Scores.model_fields:
                told[f"{name.removesuffix('_genuine')}_margin"] = _margin(told[name], getattr(scores, opposite))
        return told


def check_examined(examined: Sequence[Examined]) -> None:
    """Refuse what cannot be measured.

    Raises:
        DataError: a truth is not known, or a score or residual is not a finite number; names the photograph.
    """
    for photograph in examined:
        _check(photograph)


def _margin(genuine: float | None, counterfeit: float | None) -> float | None:
    return None if genuine is None or counterfeit is None else genuine - counterfeit


def _check(photograph: Examined) -> None:
    if photograph.authenticity not in TRUTHS:
        wanted = ", ".join(TRUTHS)
        raise DataError(
            f"{photograph.uri}: found authenticity {str(photograph.authenticity)!r}; wanted one of {wanted} "
            "(label the photograph or leave it out of the evaluation)"
        )
    verdict = photograph.verdict
    if verdict.p_genuine is not None and not 0 <= verdict.p_genuine <= 1:
        raise DataError(
            f"{photograph.uri}: found p_genuine = {verdict.p_genuine}; wanted 0 to 1 (fit the calibration again)"
        )
    for name, score in verdict.scores.model_dump(exclude=_THRESHOLDS).items():
        if score is not None and not math.isfinite(score):
            raise DataError(f"{photograph.uri}: found {name} = {score}; wanted a finite number (check the bundle)")
    residual = verdict.residual_map
    if residual is not None:
        if len(residual.values) != residual.rows * residual.columns:
            raise DataError(
                f"{photograph.uri}: found a residual map of {len(residual.values)} values; "
                f"wanted {residual.rows} x {residual.columns}"
            )
        strange = [value for value in residual.values if not 0 <= value < math.inf]
        if strange:
            raise DataError(f"{photograph.uri}: found a residual of {strange[0]}; wanted finite numbers from 0")
