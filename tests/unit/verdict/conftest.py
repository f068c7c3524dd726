"""Evidence made by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from hallmark.verdict.evidence import Evidence
from hallmark.verdict.matching import Matches

EvidenceMaker = Callable[..., Evidence]


@pytest.fixture(scope="session")
def make_evidence() -> EvidenceMaker:
    """Evidence with what is named, no other, and a match score for each candidate."""

    def make(match_scores: tuple[float, ...] = (), **told: float | None) -> Evidence:
        num = len(match_scores)
        count = np.round(np.nan_to_num(np.array(match_scores), posinf=0, neginf=0) * 20).astype(np.int64)
        matches = Matches(np.array(match_scores, dtype=float), count, np.full((num, 20), -1), np.zeros((num, 20)))
        fields = dict.fromkeys(
            (
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
                "surface_agreement_counterfeit",
                "classifier_logit",
            )
        )
        return Evidence(**{**fields, **told}, matches=matches, residual_map=None, cue_pairs=())

    return make
