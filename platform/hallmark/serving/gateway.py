"""The HTTP door: places, request ids, limits of bodies, problem documents and the page."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from pathlib import Path

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hallmark.errors import HallmarkError
from hallmark.serving.access import Services
from hallmark.serving.problems import answer_to, problem, request_id
from hallmark.serving.reference_routes import reference_routes
from hallmark.serving.schema import MOST_PHOTOGRAPHS, MOST_REFERENCES, Problem
from hallmark.serving.state_routes import key_routes, state_routes
from hallmark.serving.verdict_routes import verdict_routes

PAGE = Path(__file__).parent / "page"
"""The static page: index.html at `/`, the rest under `/page/`."""

PUBLIC = frozenset({"/", "/page", "/healthz", "/readyz", "/metrics", "/docs", "/docs/oauth2-redirect", "/openapi.json",
                    "/static-offline-docs"})  # fmt: skip
"""Places of the route table that want no key; every other one does."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LENGTH = re.compile(r"[0-9]{1,18}")
_FORM_OVERHEAD = 64 * 1024
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
_PRINT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; frame-ancestors 'none'"
_DATA_POLICY = "default-src 'none'; frame-ancestors 'none'"


def make_app(
    services: Callable[[], Services], max_photograph_bytes: int, names_requests: bool = True
) -> FastAPIOffline:
    """The application.

    Args:
        services: gives what the places work with, at each request.
        max_photograph_bytes: of one photograph.
        names_requests: answer with the header `x-request-id`; False behind a proxy that does, such as Serve's.
    """
    app = FastAPIOffline(
        title="hallmark",
        summary="Tells a genuine product from a counterfeit by its photographs.",
        version="1",
        docs_url="/docs",
        redoc_url=None,
    )
    for router in (
        verdict_routes(services, max_photograph_bytes),
        reference_routes(services, max_photograph_bytes),
        key_routes(services),
        state_routes(services, PAGE),
    ):
        app.router.routes.extend(router.routes)  # one flat table, which a test walks over
    app.mount("/page", StaticFiles(directory=PAGE, check_dir=False), name="page")
    # The problem documents are written by hand, so the schema they follow is added by hand too.
    app.openapi()["components"]["schemas"]["Problem"] = Problem.model_json_schema()
    _answer_problems(app)
    limits = {
        "/v1/verdicts": MOST_PHOTOGRAPHS * max_photograph_bytes,
        "/v1/certificates": MOST_PHOTOGRAPHS * max_photograph_bytes,
        "/v1/references": MOST_REFERENCES * max_photograph_bytes,
    }
    app.add_middleware(_BodyLimit, limits=limits)
    app.add_middleware(_Headers, names_requests=names_requests)
    return app


def _answer_problems(app: FastAPIOffline) -> None:
    async def known(request: Request, error: Exception) -> JSONResponse:
        return answer_to(request, error)

    for kind in (HallmarkError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, known)

    @app.exception_handler(Exception)
    async def unknown(request: Request, error: Exception) -> JSONResponse:
        answer = answer_to(request, error)
        answer.headers["x-request-id"] = request_id(request)  # this handler runs outside of what adds it
        return answer


class _Headers:
    """Gives every request an id, the client's own where it sends an acceptable one, and every answer its policies."""

    def __init__(self, app: ASGIApp, names_requests: bool):
        self._app, self._names_requests = app, names_requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sent = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
        identity = sent if _REQUEST_ID.fullmatch(sent) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = identity

        async def send_with_more(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [*message.get("headers", []), *_policies(scope["path"], message.get("headers", []))]
                if self._names_requests:
                    headers.append((b"x-request-id", identity.encode()))
                message["headers"] = headers
            await send(message)

        await self._app(scope, receive, send_with_more)


def _policies(path: str, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """What browsers are told about an answer: where its parts may come from, and that it is no one else's business."""
    told = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer")]
    there = dict(headers)
    if path == "/" or path.startswith("/page/"):
        told += [(b"content-security-policy", _PAGE_POLICY.encode()), (b"cache-control", b"no-cache")]
    elif path.startswith("/v1/"):
        is_page = there.get(b"content-type", b"").startswith(b"text/html")
        told.append((b"content-security-policy", (_PRINT_POLICY if is_page else _DATA_POLICY).encode()))
        if b"cache-control" not in there:
            told.append((b"cache-control", b"no-store"))
    return told


class _BodyLimit:
    """Refuses a body over the limit of its place, by its announced length or as it comes in."""

    def __init__(self, app: ASGIApp, limits: dict[str, int]):
        self._app, self._limits = app, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._limits.get(scope["path"], 0) + _FORM_OVERHEAD
        request = Request(scope)
        announced = request.headers.get("content-length", "0")
        if not _LENGTH.fullmatch(announced):
            detail = f"content-length: found {announced[:40]!r}; wanted a whole number of bytes"
            await problem(request, 400, "Bad request", detail)(scope, receive, send)
            return
        if int(announced) > limit:
            refusal = problem(request, 413, "Too large", _too_large(announced, limit), reason="too_many_bytes")
            await refusal(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise HTTPException(413, _too_large(f"over {limit}", limit))
            return message

        await self._app(scope, counted, send)


def _too_large(found: str, limit: int) -> str:
    return f"found a body of {found} bytes; wanted at most {limit}"
