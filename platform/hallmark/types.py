"""The words of the domain as types. Higher score = more genuine, everywhere."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum
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


class Backdrop(IntEnum):
    """What became of a training photograph's background; from NO_MASK on it stayed, though its turn had come."""

    KEPT = 0
    """Its turn to be replaced had not come."""
    REPLACED = 1
    NO_MASK = 2
    """Neither mask nor box, or an empty one."""
    TOO_SMALL = 3
    TOO_LARGE = 4
    """The product takes more of the photograph than is believed of a mask."""
    UNREADABLE = 5
    """The mask cannot be read, or is of another size than the photograph."""


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
    backdrop: NotRequired[torch.Tensor]
    """(B,) int64, a `Backdrop`; only where backgrounds are replaced."""
    content: NotRequired[torch.Tensor]
    """(B, H, W) bool: photograph and not padding; only where padding can occur."""
    foreground: NotRequired[torch.Tensor]
    """(B, h, w) float32 in [0, 1]: how much of each place shows the product; 1 everywhere where no mask can be
    trusted. Only where backgrounds are replaced."""


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
    """Scores by stage, beside the thresholds they were held against. Higher = more genuine; None = no such evidence."""

    global_similarity: float | None = Field(
        description="g+: highest cosine to a reference of the product, any authenticity; null: there is none to compare"
    )
    global_genuine: float | None = Field(description="highest cosine to a genuine reference of the product")
    global_counterfeit: float | None = Field(description="highest cosine to a counterfeit reference of the product")
    match_genuine: float | None = Field(description="v+: best match score with a genuine reference, 0 to 1")
    match_counterfeit: float | None = Field(description="v-: best match score with a counterfeit reference, 0 to 1")
    inlier_ratio: float | None = Field(
        None, description="inl+: best share of the cues that match a genuine reference under one geometry, 0 to 1"
    )
    cue_agreement: float | None = Field(
        None, description="1 - a+: how well the worst cues still agree with the genuine references, -1 to 1"
    )
    cue_agreement_z: float | None = Field(
        None, description="-a_z: the same, in standard deviations of genuine items at each location"
    )
    cue_agreement_counterfeit: float | None = Field(None, description="1 - a-: the same with counterfeit references")
    surface_agreement: float | None = Field(
        None, description="1 - mean difference of the aligned surface from the genuine references; 1 = none"
    )
    surface_agreement_z: float | None = Field(
        None, description="the same at its worst places, in standard deviations of genuine items at each location"
    )
    surface_margin: float | None = Field(
        None, description="how much nearer the genuine references are than a known counterfeit, where that one differs"
    )
    classifier_logit: float | None = Field(None, description="a classifier bundle's log odds of genuine")
    decision: float | None = Field(description="the score the verdict rests on; higher = more genuine")
    threshold_global: float = Field(description="below it a photograph is not_in_gallery")
    threshold_inliers: float | None = Field(None, description="inlier ratio below which it is not_in_gallery too")
    threshold_genuine: float = Field(description="at or above it the decision score says genuine")
    threshold_counterfeit: float = Field(description="below it the decision score says counterfeit")


class ResidualMap(_Answer):
    """Where a photograph differs from the genuine references, on a grid laid over the whole photograph."""

    rows: int = Field(ge=1)
    columns: int = Field(ge=1)
    values: list[float] = Field(
        description="row by row, 0 or more: standard deviations above what genuine items show at that location, or the "
        "plain residual where too few are enrolled to tell; 0 where nothing was compared"
    )


class AttentionWindow(_Answer):
    """A window of the photograph that a classifier looked at by itself: whole px, x1 and y1 exclusive."""

    x0: int = Field(ge=0)
    y0: int = Field(ge=0)
    x1: int = Field(ge=1)
    y1: int = Field(ge=1)
    weight: float = Field(ge=0, le=1, description="what the window counts in the classifier's vote")


class AttentionMap(_Answer):
    """Where in the photograph a classifier looked, in px of the photograph after EXIF orientation."""

    rows: int = Field(ge=1)
    columns: int = Field(ge=1)
    values: list[float] = Field(
        description="row by row, 0 to 1: how much each cell of the grid counted; a few dozen rows and columns at most"
    )
    box: tuple[float, float, float, float] = Field(
        description="x0, y0, x1, y1 px: what the grid covers; it may reach beyond the photograph, which was padded then"
    )
    windows: list[AttentionWindow] = Field(
        description="by falling weight; one that lies wholly beside the photograph is left out, and the rest then sum "
        "to less than 1"
    )


class Verdict(_Answer):
    """The answer about one photograph, as evaluation and HTTP both return it."""

    verdict: VerdictLabel
    reason: str = Field(description="one sentence: what the verdict rests on")
    p_genuine: float | None = Field(description="calibrated probability of genuine, 0 to 1; null when not judged")
    product: str | None = Field(description="null when not_in_gallery")
    part: str | None
    scores: Scores | None = Field(description="null in an answer over HTTP to a key that may not see them")
    references: list[NearestReference]
    cue_pairs: list[CuePair] = Field(description="matched cues with the first reference of the list")
    residual_map: ResidualMap | None = Field(None, description="null where nothing could be aligned")
    attention: AttentionMap | None = Field(None, description="null where no classifier tells where it looked")
    quality: Quality
    image_id: str = Field(description="SHA-256 of the photograph's bytes")
    bundle_id: str
    gallery_version: int = Field(description="0: the bundle classifies, and no gallery was asked")
    config_hash: str
    request_id: str | None = None
    timings_ms: dict[str, float] = Field(description="milliseconds by stage")


class ReferenceRecord(_Answer):
    """An enrolled reference as a listing shows it."""

    reference_id: str
    image_id: str = Field(description="SHA-256 of the photograph's bytes")
    product: str
    part: str
    item_id: str = Field(description="the physical object; empty where it was not told")
    authenticity: Authenticity
    bundle_id: str = Field(description="of the bundle that described it")
    enrolled_at: datetime


class ProductCount(_Answer):
    """How many references of a product and part are enrolled."""

    product: str
    part: str
    genuine: int = Field(ge=0)
    counterfeit: int = Field(ge=0)


class GalleryVersion(_Answer):
    """One version of a gallery, and what it changed."""

    version: int = Field(ge=1)
    at: datetime = Field(description="when it was written, UTC")
    change: str = Field(
        description="created, enrolled, retired, rolled_back or compacted (the same references in fewer files); "
        "changed where the store no longer knows"
    )
    num_references: int = Field(ge=0)


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
    """None where there is no reference to tell it by, nor a classifier that does."""
    part: str | None
    global_similarity: float | None
    """g+, highest cosine to a reference of the product; None where there is no reference of it, nan where the
    descriptor is not finite."""
    candidates: tuple[Candidate, ...]
    """Genuine references first, then counterfeit ones, each by falling similarity, ties by reference_id."""
    gallery_version: int
    """0: no gallery was asked."""
    classifier_logit: float | None = None
    """A classifier's log odds of genuine; None where none knows the product."""


@dataclass(frozen=True)
class Keypoints:
    """Points of a photograph's surface that are found again in another photograph of it."""

    points: np.ndarray
    """(P, 2) float32, (x, y) as fractions of the network input."""
    descriptors: np.ndarray
    """(P, 128) uint8: histograms of gradient directions round each point."""


@dataclass(frozen=True)
class Details:
    """What verification compares of a photograph; `image_id` names it."""

    image_id: str
    local: np.ndarray
    """(T, l) float16, unit norm before rounding: local descriptors at the cues."""
    positions: np.ndarray
    """(T, 2) float32, (x, y) as fractions of the network input."""
    weights: np.ndarray
    """(T,) float16 in [0, 1]: how much each cue counts; 0 where the photograph has no texture."""
    stride: float
    """Distance of neighbouring tokens, as a fraction of the network input's side."""
    frame: np.ndarray
    """(4,) float32: a point (x, y) of the network input lies at (f0·x + f1, f2·y + f3) of the photograph."""
    surface: bytes
    """The luminance of the network input at a finer size, encoded (`hallmark.data.surface`)."""
    keypoints: Keypoints | None = None
    """Of the surface as decoded; None = still to be found, since they are not stored with a reference."""


@dataclass(frozen=True)
class Member:
    """A reference of a product and part, with what verification compares."""

    reference_id: str
    item_id: str
    details: Details


@dataclass(frozen=True)
class Classified:
    """What a network that classifies says of one photograph."""

    products: tuple[str, ...]
    """The P products that it was trained on."""
    logits: np.ndarray
    """(P, 2) float32: counterfeit, genuine; their softmax over all 2P is the probability of each class."""

    @property
    def product(self) -> str:
        """The likeliest, both authenticities taken together; of equal ones the first."""
        return self.products[int(np.logaddexp(self.logits[:, 0], self.logits[:, 1]).argmax())]

    def log_odds(self, product: str | None = None) -> float:
        """Of genuine: of one product, or of all together, p(genuine) being summed over the products.

        Raises:
            ValueError: it was not trained on that product.
        """
        chosen = slice(None) if product is None else [self.products.index(product)]
        counterfeit, genuine = np.logaddexp.reduce(self.logits[chosen].astype(np.float64), axis=0)
        return float(genuine - counterfeit)


@dataclass(frozen=True)
class Described:
    """A photograph as retrieval and verification see it."""

    image_id: str
    descriptor: np.ndarray
    """(D,) float32, unit norm."""
    details: Details
    quality: Quality
    classified: Classified | None = None
    """None where no network classifies."""
    attention: AttentionMap | None = None
    """None where no network tells where it looked. It is said of queries, and not stored with a reference."""
