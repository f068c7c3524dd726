"""Errors as RFC 9457 problem documents."""

from __future__ import annotations

import logging
import math
from http import HTTPStatus

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from hallmark.errors import HallmarkError
from hallmark.serving.schema import PROBLEM_JSON, Problem

_log = logging.getLogger("hallmark.serving")
_HEADERS = {401: {"WWW-Authenticate": "Bearer"}, 429: {"Retry-After": "1"}, 503: {"Retry-After": "2"}}


def document(error: HallmarkError, request_id: str) -> Problem:
    """The problem document of an error that is known."""
    return Problem(
        title=error.title,
        status=error.http_status,
        detail=str(error),
        instance=request_id,
        reason=getattr(error, "reason", None),
    )


def answer(content: Problem, retry_after_s: float | None = None) -> JSONResponse:
    """A problem document as response."""
    headers = dict(_HEADERS.get(content.status, {}))
    if retry_after_s is not None and "Retry-After" in headers:
        headers["Retry-After"] = str(max(1, math.ceil(retry_after_s)))
    return JSONResponse(content.model_dump(exclude_none=True), content.status, headers=headers, media_type=PROBLEM_JSON)


def problem(request: Request, status: int, title: str, detail: str, reason: str | None = None) -> JSONResponse:
    """A problem document written on the spot."""
    return answer(Problem(title=title, status=status, detail=detail, instance=request_id(request), reason=reason))


def answer_to(request: Request, error: Exception) -> JSONResponse:
    """The answer to whatever a route raised; what nobody foresaw is logged, and tells the client nothing."""
    if isinstance(error, HallmarkError):
        return answer(document(error, request_id(request)), getattr(error, "retry_after_s", None))
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        found = f"found {str(first['input'])[:80]!r}; " if "input" in first and first["input"] is not None else ""
        return problem(request, 422, "Invalid request", f"{field}: {found}{first['msg']}", "invalid_field")
    if isinstance(error, HTTPException):
        refused = problem(request, error.status_code, HTTPStatus(error.status_code).phrase, str(error.detail))
        refused.headers.update(error.headers or {})
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            refused.headers["Allow"] = ", ".join(_methods(request))
        return refused
    if isinstance(error, ClientDisconnect):
        return problem(request, 400, "Bad request", "the request ended before its body did")
    _log.error("request %s failed", request_id(request), exc_info=error)
    return problem(request, 500, "Internal error", "the request failed; the service's log says why")


def request_id(request: Request) -> str:
    """Of the request; empty where it has none yet."""
    return getattr(request.state, "request_id", "")


def _methods(request: Request) -> list[str]:
    """Those that the place answers to; the router by itself names those of its first route alone."""
    matching = [route for route in request.app.routes if route.matches(request.scope)[0] != Match.NONE]
    return sorted({method for route in matching for method in getattr(route, "methods", None) or ()})
