"""Places that examine: verdicts and certificates."""

# Annotations stay objects here: FastAPI reads those of the routes, which name things of their closure.

import asyncio
import base64
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import HTMLResponse

from hallmark.data.preprocess import Box
from hallmark.errors import HallmarkError
from hallmark.serving import examples
from hallmark.serving.access import Caller, Services, needs, note, recorded, spend
from hallmark.serving.auth import Detail, NotAllowedError, Scope
from hallmark.serving.certificate import Certificate, Pictures, certificate_html
from hallmark.serving.detail import limited, limited_item
from hallmark.serving.forms import read_form
from hallmark.serving.schema import (
    MOST_PHOTOGRAPHS,
    PROBLEMS,
    ItemAnswer,
    OverlayPictures,
    VerdictAnswer,
    problems,
)
from hallmark.serving.stages import Ask, Examined, Overlays
from hallmark.types import Verdict

_FIELDS = ("box", "product", "bundle")
_FORM: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["photograph"],
                "properties": {
                    "photograph": {
                        "type": "array",
                        "items": {"type": "string", "format": "binary"},
                        "minItems": 1,
                        "maxItems": MOST_PHOTOGRAPHS,
                        "description": "JPEG, PNG, WebP, TIFF or BMP; several are of one item",
                    },
                    "box": {
                        "type": "array",
                        "items": {"type": "string"},
                        "description": "where the product is, x0,y0,x1,y1 in px: none, one for all, or one a "
                        "photograph; empty = everywhere",
                    },
                    "product": {"type": "string", "description": "the one product to ask about"},
                    "bundle": {"type": "string", "description": "name of the bundle to ask"},
                },
            },
            "encoding": {"photograph": {"contentType": "image/*"}},
            "example": {"photograph": ["tag.jpg"], "box": ["10,20,300,400"], "product": "Neverfull"},
        }
    },
}
_REFUSALS = (400, 401, 403, 409, 413, 415, 422, 429, 503)


class CertificatesOffError(HallmarkError):
    """The service holds no key to sign with."""

    http_status = 409
    title = "No certificates"
    reason = "certificates_off"


def verdict_routes(services: Callable[[], Services], max_photograph_bytes: int) -> APIRouter:
    """The router of `/v1/verdicts` and `/v1/certificates`."""
    router = APIRouter(prefix="/v1", tags=["verdicts"], route_class=recorded(services))
    verifier = Annotated[Caller, Depends(needs(services, Scope.VERIFY))]

    async def examined(
        request: Request, caller: Caller, overlays: bool, single: bool = False
    ) -> tuple[Examined, Ask, list[Box | None]]:
        own = services()
        async with read_form(request, _FIELDS, MOST_PHOTOGRAPHS, max_photograph_bytes) as form:
            queries = form.queries()
            product, bundle = form.text("product", "") or None, form.text("bundle", "") or None
            await spend(own, caller, len(queries))
            ask = Ask(request.state.request_id, bundle, product, overlays, single, canary=not single)
            answered = await own.graph.examine(queries, ask)
        _note_verdicts(request, own, answered)
        return answered, ask, [query.box for query in queries]

    @router.post(
        "/verdicts",
        summary="Are these photographs of a genuine product?",
        description="One photograph is answered by a Verdict; several, of one item, by a verdict about the item and "
        "one about each. A key may see less than all of it: `GET /v1/key` says what.",
        response_model=Verdict | VerdictAnswer | ItemAnswer,
        responses={
            200: examples.answer("The verdict", ("one", examples.VERDICT), ("several", examples.ITEM)),
            **problems(*_REFUSALS),
        },
        openapi_extra={"requestBody": _FORM},
    )
    async def verdicts(
        request: Request,
        caller: verifier,
        overlays: Annotated[bool, Query(description="add pictures of the evidence, PNG in base64")] = False,
    ) -> Response:
        seen = overlays and caller.detail == Detail.FULL
        answered, ask, _ = await examined(request, caller, seen)
        told = [limited(one, caller.detail) for one in answered.photographs]
        shown = told
        if overlays:
            shown = [
                _with_overlays(verdict, one.overlays) for verdict, one in zip(told, answered.photographs, strict=True)
            ]
        if answered.item is None:
            return _json(shown[0])
        item = limited_item(answered.item, told, caller.detail)
        return _json(ItemAnswer.model_construct(item=item, photographs=shown, request_id=ask.request_id))

    @router.post(
        "/certificates",
        summary="A signed verdict, to be kept or printed",
        description="The same form as for a verdict. Answers with signed JSON, which `hallmark verify-certificate` and "
        "`hallmark recompute` check, or with a page to print where `Accept` prefers text/html. For keys that see "
        "all of a verdict.",
        response_model=Certificate,
        responses={
            200: {"description": "The certificate", "content": {"text/html": {"schema": {"type": "string"}}}},
            **PROBLEMS,
        },
        openapi_extra={"requestBody": _FORM},
    )
    async def certificates(request: Request, caller: verifier) -> Response:
        issuer = services().issuer
        if issuer is None:
            raise CertificatesOffError(
                "this service issues no certificates; wanted args.certificate_key in its configuration"
            )
        if caller.detail != Detail.FULL:
            raise NotAllowedError(
                f"a certificate holds whole verdicts; this key sees no more of them than {caller.detail}"
            )
        printed = prefers_html(request.headers.get("accept", ""))
        answered, ask, boxes = await examined(request, caller, overlays=printed, single=True)
        first = answered.photographs[0]
        certificate = issuer.issue(
            [one.verdict for one in answered.photographs],
            answered.item,
            first.gallery_content_id,
            embedding_id=first.source.embedding_id,
            boxes=boxes,
            decision=first.decision,
            product_asked=ask.product,
        )
        if not printed:
            return _json(certificate)
        pictures = [_pictures(one.overlays) for one in answered.photographs]
        return HTMLResponse(await asyncio.to_thread(certificate_html, certificate, pictures))

    return router


def prefers_html(accept: str) -> bool:
    """Whether an Accept header would rather have text/html than application/json."""
    weights = {"text/html": 0.0, "application/json": 0.0, "*/*": 0.0}
    for entry in accept.lower().split(","):
        kind, *parameters = [part.strip() for part in entry.split(";")]
        told = [part[2:] for part in parameters if part.startswith("q=")]
        try:
            weight = float(told[0]) if told else 1.0
        except ValueError:
            weight = 0.0
        if kind in weights:
            weights[kind] = weight
    return weights["text/html"] > max(weights["application/json"], weights["*/*"])


def _note_verdicts(request: Request, services: Services, answered: Examined) -> None:
    first = answered.photographs[0].verdict
    for one in answered.photographs:
        services.metrics.verdict(one.verdict.verdict, one.source.name, one.verdict.timings_ms)
    label, product = (
        (first.verdict, first.product) if answered.item is None else (answered.item.verdict, answered.item.product)
    )
    note(
        request,
        image_ids=[one.verdict.image_id for one in answered.photographs],
        verdict=label,
        product=product,
        bundle_id=first.bundle_id,
        gallery_version=first.gallery_version,
        config_hash=first.config_hash,
    )


def _with_overlays(verdict: Verdict, overlays: Overlays | None) -> VerdictAnswer:
    told = OverlayPictures(residual=None, matches=None)
    if overlays is not None:
        told = OverlayPictures(
            residual=_text(overlays.residual), matches=_text(overlays.matches), attention=_text(overlays.attention)
        )
    return VerdictAnswer.model_construct(**dict(verdict), overlays=told)


def _pictures(overlays: Overlays) -> Pictures:
    return Pictures(overlays.photograph, overlays.reference, overlays.residual, overlays.matches, overlays.attention)


def _text(png: bytes | None) -> str | None:
    return None if png is None else base64.b64encode(png).decode()


def _json(answer: Any) -> Response:
    return Response(answer.model_dump_json(), media_type="application/json")
