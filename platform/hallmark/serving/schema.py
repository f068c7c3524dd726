"""What HTTP answers with, beside the verdict itself."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

PROBLEM_JSON = "application/problem+json"


class Problem(BaseModel):
    """An RFC 9457 problem document."""

    model_config = ConfigDict(frozen=True)

    type: str = Field("about:blank", description="URI of the kind of problem")
    title: str = Field(description="the kind of problem, in words")
    status: int = Field(description="the HTTP status")
    detail: str = Field(description="what was found and what was wanted")
    instance: str = Field(description="the request_id, to be quoted in a report")
    reason: str | None = Field(None, description="machine-readable cause, where there is one")


class Health(BaseModel):
    """The state of the service."""

    model_config = ConfigDict(frozen=True)

    status: str = Field(description="`ok`, or `ready`")
    bundle_id: str | None = None
    gallery_version: int | None = None
    num_references: int | None = None


def _answer(status: int, description: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": f"{HTTPStatus(status).phrase}: {description}", "content": {PROBLEM_JSON: {"schema": schema}}}


PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: _answer(400, "the form cannot be read, or holds no photograph"),
    401: _answer(401, "no valid bearer key"),
    403: _answer(403, "the key lacks the scope"),
    413: _answer(413, "too many bytes or pixels"),
    415: _answer(415, "not a form, or not an accepted image format"),
    422: _answer(422, "a damaged photograph or a wrong field"),
    429: _answer(429, "too many requests; see Retry-After"),
    503: _answer(503, "not ready, or overloaded"),
}
