"""The words of the domain as types. Higher score = more genuine, everywhere."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NotRequired, TypedDict

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    import torch


class Authenticity(StrEnum):
    """What is known about a photograph before it is examined."""

    GENUINE = "genuine"
    COUNTERFEIT = "counterfeit"
    UNRELATED = "unrelated"
    UNKNOWN = "unknown"


class Role(StrEnum):
    """What a photograph is used for."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"
    REFERENCE = "reference"


class VerdictLabel(StrEnum):
    """The four answers."""

    GENUINE = "genuine"
    COUNTERFEIT = "counterfeit"
    INCONCLUSIVE = "inconclusive"
    NOT_IN_GALLERY = "not_in_gallery"


NEGATIVE_ONLY = -1
"""Identity of a photograph that is everyone's negative and nobody's positive in metric learning."""


class Batch(TypedDict):
    """What a pipeline yields and a method takes."""

    images: torch.Tensor
    """(B, 3, H, W) float32, normalised."""
    product: torch.Tensor
    """(B,) int64; -1 for an unrelated photograph."""
    genuine: torch.Tensor
    """(B,) bool."""
    class_index: torch.Tensor
    """(B,) int64 = 2·product + genuine; -1 for an unrelated photograph."""
    identity: torch.Tensor
    """(B,) int64: equal = positive pair in metric learning; -1 = nobody's positive."""
    scrambled: NotRequired[torch.Tensor]
    """(B,) bool, KAG-MTLN only."""


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CuePair(_Answer):
    """One matched pair of cues. Points are (x, y) as fractions of the photograph's width and height."""

    query: tuple[float, float]
    reference: tuple[float, float]
    similarity: float = Field(description="cosine of the two local descriptors, -1 to 1")


class NearestReference(_Answer):
    """One enrolled photograph the query was compared with."""

    reference_id: str
    image_id: str
    product: str
    part: str
    authenticity: Authenticity
    global_similarity: float = Field(description="cosine of the global descriptors, -1 to 1")
    match_score: float = Field(description="sum of matched similarities over the query's cues, 0 to 1")
    num_matches: int = Field(ge=0, description="mutual nearest neighbours above the match threshold")


class Quality(_Answer):
    """How usable the photograph is."""

    width: int = Field(description="px, after EXIF orientation")
    height: int = Field(description="px, after EXIF orientation")
    sharpness: float = Field(description="variance of the Laplacian of luminance at network size; low = blurred")
    brightness: float = Field(description="mean luminance, 0 to 1")
    clipped: float = Field(description="share of pixels that are black or white, 0 to 1")


class Scores(_Answer):
    """Scores by stage, beside the thresholds they were held against."""

    global_similarity: float = Field(description="g+: highest cosine to a reference of the product, any authenticity")
    global_genuine: float | None = Field(description="highest cosine to a genuine reference of the product")
    global_counterfeit: float | None = Field(description="highest cosine to a counterfeit reference of the product")
    match_genuine: float | None = Field(description="v+: best match score with a genuine reference, 0 to 1")
    match_counterfeit: float | None = Field(description="v-: best match score with a counterfeit reference, 0 to 1")
    decision: float | None = Field(description="the score the verdict rests on; higher = more genuine")
    threshold_global: float = Field(description="below it a photograph is not_in_gallery")
    threshold_genuine: float = Field(description="at or above it the decision score says genuine")
    threshold_counterfeit: float = Field(description="below it the decision score says counterfeit")


class Verdict(_Answer):
    """The answer about one photograph, as evaluation and HTTP both return it."""

    verdict: VerdictLabel
    reason: str = Field(description="one sentence: what the verdict rests on")
    p_genuine: float | None = Field(description="calibrated probability of genuine, 0 to 1; null when not judged")
    product: str | None = Field(description="null when not_in_gallery")
    part: str | None
    scores: Scores
    references: list[NearestReference]
    cue_pairs: list[CuePair] = Field(description="matched cues with the first reference of the list")
    quality: Quality
    image_id: str = Field(description="SHA-256 of the photograph's bytes")
    bundle_id: str
    gallery_version: int
    config_hash: str
    request_id: str | None = None
    timings_ms: dict[str, float] = Field(description="milliseconds by stage")


@dataclass(frozen=True)
class Candidate:
    """A reference that retrieval proposes for comparison."""

    row: int
    """Row of the gallery version."""
    reference_id: str
    image_id: str
    product: str
    part: str
    authenticity: Authenticity
    global_similarity: float
    """Cosine with the query's global descriptor."""


@dataclass(frozen=True)
class Retrieved:
    """What retrieval says of a query: the likeliest product and its nearest references."""

    product: str | None
    """None where the gallery is empty."""
    part: str | None
    global_similarity: float
    """g+, highest cosine to a reference of the product; -1 where the gallery is empty."""
    candidates: tuple[Candidate, ...]
    """Genuine references first, then counterfeit ones, each by falling similarity, ties by reference_id."""
    gallery_version: int


@dataclass(frozen=True)
class Described:
    """A photograph as retrieval and verification see it."""

    image_id: str
    descriptor: np.ndarray
    """(D,) float32, unit norm."""
    local: np.ndarray
    """(T, l) float16, unit norm before rounding."""
    positions: np.ndarray
    """(T, 2) float32, (x, y) as fractions of the photograph."""
    quality: Quality
