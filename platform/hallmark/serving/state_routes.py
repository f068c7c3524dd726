"""Places that tell of the service itself, and the page."""

# Annotations stay objects here: FastAPI reads those of the routes, which name things of their closure.

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Response
from fastapi.responses import FileResponse

from hallmark.serving import examples
from hallmark.serving.access import Caller, Services, needs, recorded
from hallmark.serving.auth import Detail, Scope
from hallmark.serving.metrics import CONTENT_TYPE
from hallmark.serving.schema import GUARDED, Health, KeyAnswer, problems


def state_routes(services: Callable[[], Services], page: Path) -> APIRouter:
    """The router of what anyone may see: health, figures and the page.

    Args:
        services: gives them, at each request.
        page: folder of the page.
    """
    router = APIRouter(tags=["state"])

    @router.get(
        "/healthz",
        summary="Is the process alive?",
        responses={200: examples.answer("It is", ("alive", examples.ALIVE))},
    )
    async def healthz() -> Health:
        return Health(status="ok")

    @router.get(
        "/readyz",
        summary="Can it give verdicts?",
        responses={200: examples.answer("It can", ("ready", examples.READY)), **problems(409, 429, 503)},
    )
    async def readyz() -> Health:
        own = services()
        if own.audit is not None:
            own.audit.check()
        return await own.graph.ready()

    @router.get(
        "/metrics",
        summary="Counters and times, for Prometheus",
        response_class=Response,
        responses={
            200: {
                "description": "Prometheus' text format",
                "content": {"text/plain": {"schema": {"type": "string"}, "example": "hallmark_gateway 1.0"}},
            }
        },
    )
    async def metrics() -> Response:
        return Response(services().metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    @router.get("/", include_in_schema=False)
    async def index() -> FileResponse:
        return FileResponse(page / "index.html", media_type="text/html; charset=utf-8")

    return router


def key_routes(services: Callable[[], Services]) -> APIRouter:
    """The router of `/v1/key`."""
    router = APIRouter(prefix="/v1", tags=["state"], route_class=recorded(services))
    anyone = Annotated[Caller, Depends(needs(services, None, costs=False))]

    @router.get(
        "/key",
        summary="What the key in use may do",
        response_model=KeyAnswer,
        responses={200: examples.answer("The key", ("key", examples.KEY)), **problems(*GUARDED)},
    )
    async def key(caller: anyone) -> KeyAnswer:
        if caller.key is None:
            told = {"key_id": None, "name": "anyone on this machine", "scopes": list(Scope), "detail": Detail.FULL}
            return KeyAnswer(**told, rate_per_minute=None, daily_quota=None, used_today=0)
        used = 0
        if caller.key.daily_quota is not None:
            used = await asyncio.to_thread(services().limits.used_today, caller.key.key_id)
        told = caller.key.model_dump(include={"key_id", "name", "scopes", "detail", "rate_per_minute", "daily_quota"})
        return KeyAnswer(**told, used_today=used)

    return router
