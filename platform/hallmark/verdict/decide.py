"""From evidence to a verdict: usable photograph, not_in_gallery, then product, then authenticity, then abstain band."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from hallmark.config import Config, config_hash
from hallmark.errors import ConfigError
from hallmark.types import Described, NearestReference, Retrieved, Scores, Verdict, VerdictLabel
from hallmark.verdict.calibration import Calibration, Judgement
from hallmark.verdict.evidence import Evidence
from hallmark.verdict.gates import complaint


class DecisionConfig(Config):
    """What may change while serving, without a restart. None: as calibrated."""

    num_candidates: int | None = Field(None, ge=1, description="K, references of each authenticity to match with")
    threshold_global: float | None = Field(None, ge=-1, le=1, description="below it: not_in_gallery")
    threshold_inliers: float | None = Field(
        None, ge=0, le=1, description="inlier ratio below which: not_in_gallery; 0 rejects nothing"
    )
    threshold_genuine: float | None = Field(
        None, description="at or above it: genuine; in units of the mode's decision score, for every product"
    )
    threshold_counterfeit: float | None = Field(
        None, description="below it: counterfeit; in units of the mode's decision score, for every product"
    )

    def resolve(self, calibration: Calibration) -> Calibration:
        """The calibration with these settings laid over it; an authenticity threshold set here holds for every product.

        Raises:
            ConfigError: the two authenticity thresholds leave no order of counterfeit below genuine.
        """
        update = self.model_dump(exclude_none=True)
        if self.threshold_inliers is not None:
            update["reject_by"] = "global_or_inliers"
        if self.threshold_genuine is not None or self.threshold_counterfeit is not None:
            update["threshold_by_product"] = {}
        laid = calibration.model_copy(update=update)
        if laid.threshold_counterfeit > laid.threshold_genuine:
            raise ConfigError(
                f"decision: found threshold_counterfeit {laid.threshold_counterfeit:g} above threshold_genuine "
                f"{laid.threshold_genuine:g}; wanted it at or below, the scores between the two are inconclusive "
                f"(calibrated are {calibration.threshold_counterfeit:g} and {calibration.threshold_genuine:g})"
            )
        return laid


@dataclass(frozen=True)
class _Decision:
    label: VerdictLabel
    reason: str
    names_product: bool
    """False where nothing says that the photograph shows the product."""
    rests_on_score: bool = False


def examine(
    query: Described,
    retrieved: Retrieved,
    evidence: Evidence,
    calibration: Calibration,
    bundle_id: str,
    request_id: str | None = None,
    timings_ms: Mapping[str, float] | None = None,
) -> Verdict:
    """The verdict about one photograph; evaluation and serving both come here.

    `p_genuine` is given where the verdict rests on the decision score, and only there.

    Args:
        query: the photograph, described.
        retrieved: its product and candidates.
        evidence: of the query against its candidates.
        calibration: thresholds in force.
        bundle_id: of the bundle that described the query.
        request_id: to carry into the verdict.
        timings_ms: stages so far.
    """
    judgement = Judgement(None, None)
    if retrieved.product is not None:
        judgement = calibration.judge(evidence.features(), retrieved.product)
    decision = _decide(query, retrieved, evidence, judgement, calibration)
    return Verdict(
        verdict=decision.label,
        reason=decision.reason,
        p_genuine=judgement.p_genuine if decision.rests_on_score else None,
        product=retrieved.product if decision.names_product else None,
        part=retrieved.part if decision.names_product else None,
        scores=_scores(retrieved, evidence, judgement, calibration),
        references=_references(retrieved, evidence),
        cue_pairs=list(evidence.cue_pairs),
        residual_map=evidence.residual_map,
        attention=query.attention,
        quality=query.quality,
        image_id=query.image_id,
        bundle_id=bundle_id,
        gallery_version=retrieved.gallery_version,
        config_hash=config_hash(calibration),
        request_id=request_id,
        timings_ms=dict(timings_ms or {}),
    )


def _decide(
    query: Described, retrieved: Retrieved, evidence: Evidence, judgement: Judgement, calibration: Calibration
) -> _Decision:
    rejected = _rejection(retrieved, evidence, calibration)
    unusable = complaint(query.quality, calibration.quality)
    if unusable is not None:
        return _Decision(VerdictLabel.INCONCLUSIVE, unusable, names_product=rejected is None)
    if rejected is not None:
        return _Decision(VerdictLabel.NOT_IN_GALLERY, rejected, names_product=False)
    told = (retrieved.global_similarity, evidence.inlier_ratio, judgement.score)
    if not all(_is_finite(value) for value in told):
        reason = "The evidence is not finite: the bundle or the gallery is damaged, or the photograph is beyond both."
        return _Decision(VerdictLabel.INCONCLUSIVE, reason, names_product=_is_finite(retrieved.global_similarity))
    if judgement.score is None:
        reason = f"No genuine reference of {retrieved.product} is enrolled to compare with."
        return _Decision(VerdictLabel.INCONCLUSIVE, reason, names_product=True)
    return _authenticity(retrieved.product, evidence, judgement.score, calibration)


def _rejection(retrieved: Retrieved, evidence: Evidence, calibration: Calibration) -> str | None:
    """Why the photograph shows no product of the gallery; None where it does."""
    similarity, threshold = retrieved.global_similarity, calibration.threshold_global
    if similarity is None and retrieved.product is None:
        classifies = calibration.mode == "classifier"
        return "The bundle was not trained on the product asked for." if classifies else "The gallery is empty."
    if similarity is not None and similarity < threshold:
        return f"No enrolled product is near: global similarity {similarity:.3f}, threshold {threshold:.3f}."
    ratio, least = evidence.inlier_ratio, calibration.threshold_inliers
    if calibration.reject_by == "global_or_inliers" and least is not None and ratio is not None and ratio < least:
        return (
            f"No enrolled product is near: {ratio:.1%} of the cues match a genuine reference of {retrieved.product} "
            f"under one geometry, threshold {least:.1%}."
        )
    return None


def _authenticity(product: str, evidence: Evidence, score: float, calibration: Calibration) -> _Decision:
    low, high = calibration.thresholds_of(product)
    named = "Log odds of genuine" if calibration.mode == "classifier" else "Decision score"
    said = f"{named} {score:+.3f} as {product}"
    if low <= score < high:
        reason = f"{said}, between {low:+.3f} and {high:+.3f}."
        return _Decision(VerdictLabel.INCONCLUSIVE, reason, names_product=True, rests_on_score=True)
    is_genuine = score >= high
    margin = evidence.features()["global_margin"]
    if calibration.mode == "paper_match" and calibration.stages and calibration.stages.contradicts(margin, is_genuine):
        # The first paper's score leaves the global descriptors out; matching may overrule them, but not blindly.
        reason = (
            f"{said} says {'genuine' if is_genuine else 'counterfeit'}, but the global similarities say the opposite "
            f"(margin {margin:+.3f}), surer than they were ever wrong in calibration."
        )
        return _Decision(VerdictLabel.INCONCLUSIVE, reason, names_product=True)
    if is_genuine:
        reason = f"{said}, genuine from {high:+.3f}."
        return _Decision(VerdictLabel.GENUINE, reason, names_product=True, rests_on_score=True)
    reason = f"{said}, counterfeit below {low:+.3f}."
    return _Decision(VerdictLabel.COUNTERFEIT, reason, names_product=True, rests_on_score=True)


def _scores(retrieved: Retrieved, evidence: Evidence, judgement: Judgement, calibration: Calibration) -> Scores:
    low, high = calibration.thresholds_of(retrieved.product)
    told = {name: _finite(getattr(evidence, name)) for name in _EVIDENCE}
    return Scores(
        global_similarity=_finite(retrieved.global_similarity),
        **told,
        decision=_finite(judgement.score),
        threshold_global=calibration.threshold_global,
        threshold_inliers=calibration.threshold_inliers if calibration.reject_by == "global_or_inliers" else None,
        threshold_genuine=high,
        threshold_counterfeit=low,
    )


_EVIDENCE = (
    "global_genuine",
    "global_counterfeit",
    "match_genuine",
    "match_counterfeit",
    "inlier_ratio",
    "cue_agreement",
    "cue_agreement_z",
    "cue_agreement_counterfeit",
    "surface_agreement",
    "surface_agreement_z",
    "surface_margin",
    "classifier_logit",
)
"""Fields that Evidence and Scores have in common."""


def _references(retrieved: Retrieved, evidence: Evidence) -> list[NearestReference]:
    return [
        NearestReference(
            reference_id=candidate.reference_id,
            image_id=candidate.image_id,
            product=candidate.product,
            part=candidate.part,
            authenticity=candidate.authenticity,
            global_similarity=_number(candidate.global_similarity, -1.0),
            match_score=_number(evidence.matches.score[place], 0.0),
            num_matches=int(evidence.matches.count[place]),
        )
        for place, candidate in enumerate(retrieved.candidates)
    ]


def _is_finite(value: float | None) -> bool:
    """Evidence that there is none of is in order."""
    return value is None or bool(np.isfinite(value))


def _finite(value: float | None) -> float | None:
    """JSON has no nan: evidence that is not finite is shown as none."""
    return float(value) if value is not None and np.isfinite(value) else None


def _number(value: float, otherwise: float) -> float:
    return float(value) if np.isfinite(value) else otherwise
