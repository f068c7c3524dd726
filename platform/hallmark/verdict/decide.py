"""From evidence to a verdict: not_in_gallery, then product, then authenticity, then the abstain band."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import Field

from hallmark.config import Config, config_hash
from hallmark.errors import ConfigError
from hallmark.types import (
    CuePair,
    Described,
    NearestReference,
    Retrieved,
    Scores,
    Verdict,
    VerdictLabel,
)
from hallmark.verdict.calibration import Calibration
from hallmark.verdict.evidence import Evidence, LocalCues, weigh

_MAX_CUE_PAIRS = 16


class DecisionConfig(Config):
    """What may change while serving, without a restart. None: as calibrated."""

    num_candidates: int | None = Field(None, ge=1, description="K, references of each authenticity to match with")
    threshold_global: float | None = Field(None, ge=-1, le=1, description="below it: not_in_gallery")
    threshold_genuine: float | None = Field(None, ge=-1, le=1, description="at or above it: genuine")
    threshold_counterfeit: float | None = Field(None, ge=-1, le=1, description="below it: counterfeit")

    def resolve(self, calibration: Calibration) -> Calibration:
        """The calibration with these settings laid over it.

        Raises:
            ConfigError: the two authenticity thresholds leave no order of counterfeit below genuine.
        """
        laid = calibration.model_copy(update=self.model_dump(exclude_none=True))
        if laid.threshold_counterfeit > laid.threshold_genuine:
            raise ConfigError(
                f"decision: found threshold_counterfeit {laid.threshold_counterfeit:g} above threshold_genuine "
                f"{laid.threshold_genuine:g}; wanted it at or below, the scores between the two are inconclusive "
                f"(as calibrated both are {calibration.threshold_genuine:g})"
            )
        return laid


def examine(
    query: Described,
    retrieved: Retrieved,
    cues: Sequence[LocalCues],
    calibration: Calibration,
    bundle_id: str,
    request_id: str | None = None,
    timings_ms: Mapping[str, float] | None = None,
) -> Verdict:
    """The verdict about one photograph; evaluation and serving both come here.

    Args:
        query: the photograph, described.
        retrieved: its product and candidates.
        cues: local descriptors and positions of each candidate, in order.
        calibration: thresholds in force.
        bundle_id: of the bundle that described the query.
        request_id: to carry into the verdict.
        timings_ms: stages so far.
    """
    evidence = weigh(query, retrieved, cues, calibration.threshold_match)
    label, reason = _decide(retrieved, evidence, calibration)
    judged = label in (VerdictLabel.GENUINE, VerdictLabel.COUNTERFEIT, VerdictLabel.INCONCLUSIVE)
    known = label != VerdictLabel.NOT_IN_GALLERY
    return Verdict(
        verdict=label,
        reason=reason,
        p_genuine=calibration.p_genuine(evidence.score) if judged and evidence.score is not None else None,
        product=retrieved.product if known else None,
        part=retrieved.part if known else None,
        scores=Scores(
            global_similarity=retrieved.global_similarity,
            global_genuine=evidence.global_genuine,
            global_counterfeit=evidence.global_counterfeit,
            match_genuine=evidence.match_genuine,
            match_counterfeit=evidence.match_counterfeit,
            decision=evidence.score,
            threshold_global=calibration.threshold_global,
            threshold_genuine=calibration.threshold_genuine,
            threshold_counterfeit=calibration.threshold_counterfeit,
        ),
        references=_references(retrieved, evidence),
        cue_pairs=_cue_pairs(query, cues, evidence),
        quality=query.quality,
        image_id=query.image_id,
        bundle_id=bundle_id,
        gallery_version=retrieved.gallery_version,
        config_hash=config_hash(calibration),
        request_id=request_id,
        timings_ms=dict(timings_ms or {}),
    )


def _decide(retrieved: Retrieved, evidence: Evidence, calibration: Calibration) -> tuple[VerdictLabel, str]:
    similarity, threshold = retrieved.global_similarity, calibration.threshold_global
    if retrieved.product is None:
        return VerdictLabel.NOT_IN_GALLERY, "The gallery is empty."
    if similarity < threshold:
        return (
            VerdictLabel.NOT_IN_GALLERY,
            f"No enrolled product is near: global similarity {similarity:.3f}, threshold {threshold:.3f}.",
        )
    score = evidence.score
    if score is None:
        return VerdictLabel.INCONCLUSIVE, f"No genuine reference of {retrieved.product} is enrolled to compare with."
    said = f"Decision score {score:+.3f} as {retrieved.product}"
    if score >= calibration.threshold_genuine:
        return VerdictLabel.GENUINE, f"{said}, genuine from {calibration.threshold_genuine:+.3f}."
    if score < calibration.threshold_counterfeit:
        return VerdictLabel.COUNTERFEIT, f"{said}, counterfeit below {calibration.threshold_counterfeit:+.3f}."
    return (
        VerdictLabel.INCONCLUSIVE,
        f"{said}, between {calibration.threshold_counterfeit:+.3f} and {calibration.threshold_genuine:+.3f}.",
    )


def _references(retrieved: Retrieved, evidence: Evidence) -> list[NearestReference]:
    return [
        NearestReference(
            reference_id=candidate.reference_id,
            image_id=candidate.image_id,
            product=candidate.product,
            part=candidate.part,
            authenticity=candidate.authenticity,
            global_similarity=candidate.global_similarity,
            match_score=float(evidence.matches.score[place]),
            num_matches=int(evidence.matches.count[place]),
        )
        for place, candidate in enumerate(retrieved.candidates)
    ]


def _cue_pairs(query: Described, cues: Sequence[LocalCues], evidence: Evidence) -> list[CuePair]:
    """The most similar matched cues with the first reference."""
    if not cues:
        return []
    partner, similarity = evidence.matches.partner[0], evidence.matches.similarity[0]
    matched = np.flatnonzero(partner >= 0)
    strongest = matched[np.argsort(-similarity[matched], kind="stable")][:_MAX_CUE_PAIRS]
    positions = cues[0][1]
    return [
        CuePair(
            query=(float(query.positions[cue][0]), float(query.positions[cue][1])),
            reference=(float(positions[partner[cue]][0]), float(positions[partner[cue]][1])),
            similarity=float(similarity[cue]),
        )
        for cue in strongest
    ]
