"""What HTTP answers with, beside the verdict itself."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from hallmark.serving.auth import Detail, Scope
from hallmark.types import GalleryVersion, ProductCount, ReferenceRecord, Verdict
from hallmark.verdict.items import ItemVerdict

PROBLEM_JSON = "application/problem+json"

MOST_PHOTOGRAPHS = 8
"""Of one item, in one request for a verdict."""
MOST_REFERENCES = 32
"""Enrolled by one request."""


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class Problem(_Answer):
    """An RFC 9457 problem document."""

    type: str = Field("about:blank", description="URI of the kind of problem")
    title: str = Field(description="the kind of problem, in words")
    status: int = Field(description="the HTTP status")
    detail: str = Field(description="what was found and what was wanted")
    instance: str = Field(description="the request_id, to be quoted in a report")
    reason: str | None = Field(None, description="machine-readable cause, where there is one")


class BundleState(_Answer):
    """One bundle that the application serves."""

    name: str
    bundle_id: str
    gallery_version: int = Field(description="in use; 0: none, the bundle classifies by itself")
    num_references: int


class Health(_Answer):
    """The state of the service; ids and numbers are those of the first bundle."""

    status: str = Field(description="`ok`, or `ready`")
    bundle_id: str | None = None
    gallery_version: int | None = None
    num_references: int | None = None
    bundles: list[BundleState] = Field([], description="every bundle served, the first is the default")


class OverlayPictures(_Answer):
    """Pictures of the evidence: PNG in base64, null where there is nothing to show or the key may not see it."""

    residual: str | None = Field(description="where the photograph differs from the genuine references")
    matches: str | None = Field(description="the matched cues, beside the first reference")
    attention: str | None = Field(
        None, description="where a classifier looked: its heat and windows on the photograph, and each window by itself"
    )


class VerdictAnswer(Verdict):
    """A verdict with pictures of its evidence, for `overlays=true`."""

    overlays: OverlayPictures


class ItemAnswer(_Answer):
    """What is answered about several photographs of one item."""

    item: ItemVerdict
    photographs: list[VerdictAnswer | Verdict] = Field(description="a verdict about each, in the order they came")
    request_id: str


class EnrolledReference(_Answer):
    """A photograph that is a reference now."""

    reference_id: str
    image_id: str = Field(description="SHA-256 of the photograph's bytes")
    file: str = Field(description="as the client called it")
    created: bool = Field(description="false where it was enrolled before")


class RefusedReference(_Answer):
    """A photograph that was not enrolled, and why."""

    file: str
    problem: Problem


class EnrolmentAnswer(_Answer):
    """What became of photographs that were to be enrolled."""

    gallery_version: int = Field(description="that has them; queries see it within two seconds")
    references: list[EnrolledReference]
    refused: list[RefusedReference]


class ReferencesAnswer(_Answer):
    """A page of references."""

    gallery_version: int
    references: list[ReferenceRecord]
    after: str | None = Field(description="the next page's `after`; null on the last")


class RetiredAnswer(_Answer):
    """A reference that is no longer asked."""

    gallery_version: int = Field(description="the first without it")
    reference_id: str


class ProductsAnswer(_Answer):
    """What is enrolled."""

    gallery_version: int
    products: list[ProductCount]


class VersionsAnswer(_Answer):
    """The gallery's versions."""

    current: int = Field(description="the one in use")
    versions: list[GalleryVersion] = Field(description="newest first")


class RollbackAnswer(_Answer):
    """An earlier version's content, made the latest."""

    gallery_version: int = Field(description="the new version")
    restored: int = Field(description="the version whose content it has")


class KeyAnswer(_Answer):
    """The key that the request came with."""

    key_id: str | None = Field(description="null where the service runs without keys")
    name: str
    scopes: list[Scope]
    detail: Detail = Field(description="how much of a verdict it sees")
    rate_per_minute: int | None = Field(description="requests; null: no limit")
    daily_quota: int | None = Field(description="photographs a day, UTC; null: no limit")
    used_today: int = Field(description="photographs examined or enrolled today, UTC; counted where there is a quota")


_PROBLEM_EXAMPLES = {
    400: ("Bad request", "the form is torn; wanted multipart/form-data", None),
    401: ("Not authenticated", "no valid key; wanted the header `Authorization: Bearer <key>`", None),
    403: ("Not allowed", "key 0123456789ab (shop) has no scope enrol; make one that has", None),
    404: ("Unknown reference", "reference ref-0: the gallery has none of that name", None),
    409: ("Unusable gallery", "gallery.lance: another process writes to it", None),
    413: ("Unusable photograph", "found 40000000 bytes; wanted at most 33554432 bytes (max_bytes)", "too_many_bytes"),
    415: ("Unusable photograph", "found a file of type GIF; wanted JPEG, PNG, WEBP, TIFF, BMP", "unknown_format"),
    422: ("Unusable photograph", "found a damaged JPEG of 2000 bytes; wanted a complete photograph", "corrupt"),
    429: ("Too many requests", "found more than 60 requests a minute; wanted no more", None),
    503: ("Not ready", "a stage of the graph is not available; try again shortly", None),
}
_MEANING = {
    400: "the form cannot be read",
    401: "no valid bearer key",
    403: "the key lacks the scope",
    404: "there is none of that name or number",
    409: "it contradicts what is enrolled, or the gallery cannot be written now",
    413: "too many bytes or pixels",
    415: "not a form, or not an accepted image format",
    422: "a damaged photograph or a wrong field",
    429: "too many requests; see Retry-After",
    503: "not ready, or overloaded; see Retry-After",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """`responses` of a route that can refuse with these statuses."""
    return {status: _refusal(status) for status in statuses}


def _refusal(status: int) -> dict[str, Any]:
    title, detail, reason = _PROBLEM_EXAMPLES[status]
    example = Problem(
        title=title, status=status, detail=detail, instance="0f8fad5bd9cb469fa16570867728950e", reason=reason
    )
    answer: dict[str, Any] = {
        "description": f"{HTTPStatus(status).phrase}: {_MEANING[status]}",
        "content": {
            PROBLEM_JSON: {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "example": example.model_dump(exclude_none=True),
            }
        },
    }
    if status in (429, 503):
        answer["headers"] = {"Retry-After": {"description": "seconds", "schema": {"type": "integer"}}}
    return answer


GUARDED = (401, 403, 422, 429, 503)
"""With what every route that wants a key can refuse."""
PROBLEMS = problems(*_MEANING)
