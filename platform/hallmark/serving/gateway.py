"""The HTTP door: keys, limits, request ids and problem documents around the graph."""

# Annotations stay objects here: FastAPI reads those of the routes, which name things of their closure.

import logging
import re
import uuid
from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Protocol

from fastapi import Depends, File, Form, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hallmark.data.preprocess import Box
from hallmark.data.table import read_box
from hallmark.errors import HallmarkError
from hallmark.serving.auth import KeyRing, NotAllowedError
from hallmark.serving.auth import Scope as KeyScope
from hallmark.serving.schema import PROBLEM_JSON, PROBLEMS, Health, Problem
from hallmark.types import Verdict

_log = logging.getLogger("hallmark.serving")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LENGTH = re.compile(r"[0-9]{1,18}")
_FORM_OVERHEAD = 64 * 1024
_LOOPBACK = {"127.0.0.1", "::1"}


class Graph(Protocol):
    """The stages behind the door."""

    async def verdict(self, data: bytes, box: Box | None, request_id: str) -> Verdict:
        """The verdict about one encoded photograph, or about what lies in a box of it, px."""

    async def ready(self) -> Health:
        """Raises while a stage is not ready."""


class NotReadyError(HallmarkError):
    """A stage behind the door cannot answer yet."""

    http_status = 503
    title = "Not ready"


class OverloadedError(HallmarkError):
    """The queue of a stage is full."""

    http_status = 429
    title = "Too many requests"


def make_app(
    graph: Callable[[], Graph], keys: KeyRing | None, max_photograph_bytes: int, names_requests: bool = True
) -> FastAPIOffline:
    """The application.

    Args:
        graph: gives the stages, at each request.
        keys: None lets anyone on this machine in; requests from elsewhere are refused then.
        max_photograph_bytes: of one photograph; a body may be a little larger.
        names_requests: answer with the header `x-request-id`; False behind a proxy that does, such as Serve's.
    """
    app = FastAPIOffline(
        title="hallmark",
        summary="Tells a genuine product from a counterfeit by its photograph.",
        version="1",
        docs_url="/docs",
        redoc_url=None,
    )
    bearer = HTTPBearer(auto_error=False, description="a key made by `hallmark keys add`")

    def verify_scope(
        request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
    ) -> None:
        if keys is not None:
            keys.check(credentials.credentials if credentials else None, KeyScope.VERIFY)
        elif request.client is None or request.client.host not in _LOOPBACK:
            raise NotAllowedError("this service runs without keys and answers its own machine only")

    @app.get("/healthz", tags=["state"], summary="Is the process alive?")
    async def healthz() -> Health:
        return Health(status="ok")

    @app.get("/readyz", tags=["state"], summary="Can it give verdicts?", responses={503: PROBLEMS[503]})
    async def readyz() -> Health:
        return await graph().ready()

    @app.post(
        "/v1/verdicts",
        tags=["verdicts"],
        summary="Is this photograph of a genuine product?",
        responses=PROBLEMS,
        dependencies=[Depends(verify_scope)],
    )
    async def verdicts(
        request: Request,
        photograph: Annotated[UploadFile, File(description="JPEG, PNG, WebP, TIFF or BMP")],
        box: Annotated[str, Form(description="where the product is: x0,y0,x1,y1 in px; empty = everywhere")] = "",
    ) -> Verdict:
        found = len((await request.form()).getlist("photograph"))
        if found != 1:
            raise HTTPException(422, f"photograph: found {found} of them; wanted one file a request")
        return await graph().verdict(await photograph.read(), read_box(box, "box"), request.state.request_id)

    # The problem documents are written by hand, so the schema they follow is added by hand too.
    app.openapi()["components"]["schemas"]["Problem"] = Problem.model_json_schema()
    _answer_problems(app)
    app.add_middleware(_BodyLimit, limit=max_photograph_bytes + _FORM_OVERHEAD)
    app.add_middleware(_RequestId, answers=names_requests)
    return app


def problem(request: Request, status: int, title: str, detail: str, reason: str | None = None) -> JSONResponse:
    """A problem document as response."""
    request_id = getattr(request.state, "request_id", "")
    content = Problem(title=title, status=status, detail=detail, instance=request_id, reason=reason)
    headers = {401: {"WWW-Authenticate": "Bearer"}, 429: {"Retry-After": "1"}, 503: {"Retry-After": "2"}}
    return JSONResponse(
        content.model_dump(exclude_none=True), status, headers=headers.get(status), media_type=PROBLEM_JSON
    )


def _answer_problems(app: FastAPIOffline) -> None:
    @app.exception_handler(HallmarkError)
    async def known(request: Request, error: HallmarkError) -> JSONResponse:
        return problem(request, error.http_status, error.title, str(error), getattr(error, "reason", None))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
        if kind != "multipart/form-data":
            wanted = "wanted multipart/form-data with a file in the field `photograph`"
            return problem(request, 415, "Unsupported media type", f"found {kind or 'no content type'}; {wanted}")
        return problem(request, 422, "Invalid request", f"{field}: {first['msg']}; wanted a file in `photograph`")

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        answer = problem(request, error.status_code, HTTPStatus(error.status_code).phrase, str(error.detail))
        answer.headers.update(error.headers or {})  # such as Allow beside 405
        return answer

    @app.exception_handler(Exception)
    async def unknown(request: Request, error: Exception) -> JSONResponse:
        request_id = getattr(request.state, "request_id", "")
        _log.exception("request %s failed", request_id)
        answer = problem(request, 500, "Internal error", "the request failed; the service's log says why")
        answer.headers["x-request-id"] = request_id  # this handler runs outside of the one that adds it
        return answer


class _RequestId:
    """Gives every request an id, the client's own where it sends an acceptable `x-request-id`."""

    def __init__(self, app: ASGIApp, answers: bool):
        self._app, self._answers = app, answers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sent = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
        request_id = sent if _REQUEST_ID.fullmatch(sent) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_id(message: Message) -> None:
            if self._answers and message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), (b"x-request-id", request_id.encode())]
            await send(message)

        await self._app(scope, receive, send_with_id)


class _BodyLimit:
    """Refuses a body over the limit, by its announced length or as it comes in."""

    def __init__(self, app: ASGIApp, limit: int):
        self._app, self._limit = app, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        announced = request.headers.get("content-length", "0")
        if not _LENGTH.fullmatch(announced):
            detail = f"content-length: found {announced[:40]!r}; wanted a whole number of bytes"
            await problem(request, 400, "Bad request", detail)(scope, receive, send)
            return
        if int(announced) > self._limit:
            refusal = problem(request, 413, "Too large", self._detail(announced), reason="too_many_bytes")
            await refusal(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._limit:
                raise HTTPException(413, self._detail(f"over {self._limit}"))
            return message

        await self._app(scope, counted, send)

    def _detail(self, found: str) -> str:
        return f"found a body of {found} bytes; wanted at most {self._limit}"
