"""Places that keep the gallery: references, products and versions."""

# Annotations stay objects here: FastAPI reads those of the routes, which name things of their closure.

import re
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response

from hallmark.errors import HallmarkError
from hallmark.serving import examples
from hallmark.serving.access import Caller, Services, needs, note, recorded, spend
from hallmark.serving.auth import Scope
from hallmark.serving.forms import FieldError, read_form
from hallmark.serving.schema import (
    GUARDED,
    MOST_REFERENCES,
    EnrolmentAnswer,
    ProductsAnswer,
    ReferencesAnswer,
    RetiredAnswer,
    RollbackAnswer,
    VersionsAnswer,
    problems,
)
from hallmark.serving.stages import Enrolment, Listing
from hallmark.types import Authenticity

_FIELDS = ("product", "part", "item_id", "authenticity", "bundle")
_KINDS = (Authenticity.GENUINE, Authenticity.COUNTERFEIT)
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,128}")
_WHOLE = "whole"
_FORM: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["photograph", "product", "authenticity"],
                "properties": {
                    "photograph": {
                        "type": "array",
                        "items": {"type": "string", "format": "binary"},
                        "minItems": 1,
                        "maxItems": MOST_REFERENCES,
                        "description": "JPEG, PNG, WebP, TIFF or BMP; all of one item and part",
                    },
                    "product": {"type": "string", "minLength": 1, "maxLength": 200, "description": "what they show"},
                    "part": {"type": "string", "maxLength": 200, "default": _WHOLE, "description": "what of it"},
                    "item_id": {
                        "type": "string",
                        "maxLength": 200,
                        "default": "",
                        "description": "the physical object, where it is known; templates want several",
                    },
                    "authenticity": {"type": "string", "enum": list(_KINDS), "description": "what is known of them"},
                    "bundle": {"type": "string", "description": "enrol for this bundle alone"},
                },
            },
            "encoding": {"photograph": {"contentType": "image/*"}},
            "example": {
                "photograph": ["tag.jpg"],
                "product": "Neverfull",
                "part": "leather_tag",
                "item_id": "bag-17",
                "authenticity": "genuine",
            },
        }
    },
}

Bundle = Annotated[str | None, Query(max_length=200, description="name of the bundle; default: the first")]
ReferenceId = Annotated[str, Path(min_length=1, max_length=200, description="as a verdict or a listing names it")]


class UnknownPictureError(HallmarkError):
    """There is no such reference, or it has no thumbnail."""

    http_status = 404
    title = "Unknown reference"


def reference_routes(services: Callable[[], Services], max_photograph_bytes: int) -> APIRouter:
    """The router of `/v1/references`, `/v1/products` and `/v1/gallery`."""
    router = APIRouter(prefix="/v1", tags=["gallery"], route_class=recorded(services))
    reader = Annotated[Caller, Depends(needs(services, Scope.VERIFY))]
    enroller = Annotated[Caller, Depends(needs(services, Scope.ENROL))]
    admin = Annotated[Caller, Depends(needs(services, Scope.ADMIN))]

    @router.post(
        "/references",
        status_code=201,
        summary="Enrol photographs of known authenticity",
        description="Each photograph is enrolled once, however often it is sent; those that cannot be used are told "
        "apart. With an `Idempotency-Key` a repeated request gets the same answer again.",
        response_model=EnrolmentAnswer,
        responses={
            201: examples.answer("Enrolled, and on disk", ("enrolled", examples.ENROLLED)),
            **problems(400, 409, 413, 415, *GUARDED),
        },
        openapi_extra={"requestBody": _FORM},
    )
    async def enrol(
        request: Request,
        caller: enroller,
        idempotency_key: Annotated[
            str | None,
            Header(pattern=r"^[\x21-\x7e]{1,128}$", description="names this enrolment, for it to be repeated safely"),
        ] = None,
    ) -> Response:
        if idempotency_key is not None and not _IDEMPOTENCY_KEY.fullmatch(idempotency_key):
            raise FieldError("Idempotency-Key: wanted 1 to 128 visible ASCII characters")
        own = services()
        async with read_form(request, _FIELDS, MOST_REFERENCES, max_photograph_bytes) as form:
            enrolment = Enrolment(
                product=form.text("product"),
                part=form.text("part", _WHOLE),
                item_id=form.text("item_id", ""),
                authenticity=_authenticity(form.text("authenticity")),
                request_id=request.state.request_id,
                bundle=form.text("bundle", "") or None,
                key_id=caller.key_id,
                idempotency_key=idempotency_key,
            )
            note(request, product=enrolment.product, part=enrolment.part, authenticity=enrolment.authenticity)
            await spend(own, caller, len(form.photographs))
            answer = await own.graph.enrol(form.photographs, enrolment)
        own.metrics.enrolled(sum(reference.created for reference in answer.references))
        note(
            request,
            image_ids=[reference.image_id for reference in answer.references],
            reference_ids=[reference.reference_id for reference in answer.references],
            gallery_version=answer.gallery_version,
            num_refused=len(answer.refused),
        )
        return Response(answer.model_dump_json(exclude_none=True), 201, media_type="application/json")

    @router.get(
        "/references",
        summary="The references that are enrolled",
        response_model=ReferencesAnswer,
        responses={200: examples.answer("A page of them", ("page", examples.REFERENCES)), **problems(409, *GUARDED)},
    )
    async def references(
        caller: reader,
        product: Annotated[str | None, Query(max_length=200)] = None,
        part: Annotated[str | None, Query(max_length=200)] = None,
        authenticity: Annotated[Authenticity | None, Query(description="genuine or counterfeit")] = None,
        limit: Annotated[int, Query(ge=1, le=500, description="references a page")] = 100,
        after: Annotated[str | None, Query(max_length=400, description="`after` of the page before")] = None,
        bundle: Bundle = None,
    ) -> ReferencesAnswer:
        return await services().graph.references(Listing(product, part, authenticity, limit, after), bundle)

    @router.get(
        "/references/{reference_id}/thumbnail",
        summary="A small picture of a reference",
        response_class=Response,
        responses={
            200: {"description": "JPEG", "content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}},
            **problems(404, 409, *GUARDED),
        },
    )
    async def thumbnail(caller: reader, reference_id: ReferenceId, bundle: Bundle = None) -> Response:
        picture = await services().graph.thumbnail(reference_id, bundle)
        if not picture:
            raise UnknownPictureError(f"reference {reference_id!r}: the gallery has no picture of it")
        return Response(picture, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=86400"})

    @router.delete(
        "/references/{reference_id}",
        summary="Retire a reference",
        description="It is asked no more; earlier versions of the gallery keep it.",
        response_model=RetiredAnswer,
        responses={200: examples.answer("Retired", ("retired", examples.RETIRED)), **problems(404, 409, *GUARDED)},
    )
    async def retire(
        request: Request,
        caller: enroller,
        reference_id: ReferenceId,
        bundle: Annotated[str | None, Query(max_length=200, description="default: of every gallery")] = None,
    ) -> RetiredAnswer:
        note(request, reference_ids=[reference_id])
        answer = await services().graph.retire(reference_id, bundle)
        note(request, gallery_version=answer.gallery_version)
        return answer

    @router.get(
        "/products",
        summary="What is enrolled",
        response_model=ProductsAnswer,
        responses={200: examples.answer("Products and parts", ("all", examples.PRODUCTS)), **problems(409, *GUARDED)},
    )
    async def products(caller: reader, bundle: Bundle = None) -> ProductsAnswer:
        return await services().graph.products(bundle)

    @router.get(
        "/gallery/versions",
        summary="What the gallery was and is",
        response_model=VersionsAnswer,
        responses={200: examples.answer("Newest first", ("all", examples.VERSIONS)), **problems(409, *GUARDED)},
    )
    async def versions(caller: reader, bundle: Bundle = None) -> VersionsAnswer:
        return await services().graph.versions(bundle)

    @router.post(
        "/gallery/versions/{version}/rollback",
        summary="Make an earlier version the latest",
        description="Its content becomes a new version; nothing is forgotten.",
        response_model=RollbackAnswer,
        responses={
            200: examples.answer("Restored", ("restored", examples.ROLLED_BACK)),
            **problems(404, 409, *GUARDED),
        },
    )
    async def rollback(
        request: Request,
        caller: admin,
        version: Annotated[int, Path(ge=1, le=2**53, description="whose content is wanted back")],
        bundle: Bundle = None,
    ) -> RollbackAnswer:
        note(request, restored=version)
        answer = await services().graph.rollback(version, bundle)
        note(request, gallery_version=answer.gallery_version)
        return answer

    return router


def _authenticity(value: str) -> Authenticity:
    if value not in tuple(_KINDS):
        raise FieldError(f"authenticity: found {value!r}; wanted {' or '.join(_KINDS)}")
    return Authenticity(value)
