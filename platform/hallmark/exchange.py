"""Requests to the HTTP service: how they are written, how their answers are read, and when they are sent again."""

from __future__ import annotations

import math
import os
import random
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError

from hallmark.errors import DataError, ServiceError
from hallmark.serving.schema import (
    EnrolmentAnswer,
    ItemAnswer,
    ReferencesAnswer,
    RetiredAnswer,
    RollbackAnswer,
    VerdictAnswer,
)
from hallmark.types import Verdict

if TYPE_CHECKING:
    from hallmark.serving.certificate import Certificate

Photograph = str | os.PathLike[str] | bytes
"""A path, or the bytes of an encoded photograph."""
Box = tuple[float, float, float, float]

T = TypeVar("T")
ModelT = TypeVar("ModelT", bound=BaseModel)

_REFUSED = (429, 503)
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 8.0
_PAGE = 500


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request, and how its answer is read."""

    method: str
    path: str
    read: Callable[[httpx.Response], T]
    repeatable: bool = True
    """Whether it may be sent again when nobody knows if the first one arrived."""
    query: dict[str, str] = field(default_factory=dict)
    form: dict[str, list[str]] | None = None
    photographs: list[tuple[str, bytes]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)

    def arguments(self) -> dict[str, Any]:
        """Of httpx's `request`."""
        files = [("photograph", photograph) for photograph in self.photographs]
        return {
            "method": self.method,
            "url": self.path,
            "params": self.query or None,
            "data": self.form,
            "files": files or None,
            "headers": self.headers,
        }


class Exchange:
    """What both clients know: where the service is, how patient to be, and how calls are written."""

    def __init__(
        self, url: str, key: str | None, timeout: float, retries: int, longest_wait: float, bundle: str | None
    ):
        self._url = _checked_url(url)
        self._headers = {"Accept": "application/json"}
        if key is not None:
            self._headers["Authorization"] = f"Bearer {_checked_key(key)}"
        self._timeout, self._retries, self._longest_wait = timeout, retries, longest_wait
        self._bundle = {} if bundle is None else {"bundle": bundle}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._url)!r})"

    def _pause_after(self, call: Call, attempt: int, answer: httpx.Response) -> float | None:
        """Seconds until a refused call may be tried again; None where the answer stands.

        Raises:
            ServiceError: it is an error that will not pass, or not soon.
        """
        if answer.is_success:
            return None
        error = _problem(answer)
        # A refusal for lack of readiness says nothing of what a proxy has done with the request before.
        may_repeat = answer.status_code == HTTPStatus.TOO_MANY_REQUESTS or call.repeatable
        passes = answer.status_code in _REFUSED or _never_answered(answer)
        if not passes or not may_repeat or attempt >= self._retries:
            raise error
        pause = _backoff(attempt) if error.retry_after is None else error.retry_after
        if pause > self._longest_wait:
            raise error
        return pause

    def _pause_after_failure(self, call: Call, attempt: int, error: httpx.TransportError) -> float:
        """Seconds until a call that got no answer may be tried again.

        Raises:
            ServiceError: it may not be, or was tried often enough.
        """
        if attempt >= self._retries or not (call.repeatable or isinstance(error, _NEVER_SENT)):
            said = " ".join(str(error).split()) or type(error).__name__
            raise ServiceError(0, "No answer", f"{self._url}: {said}; is the service running there?") from None
        return _backoff(attempt)

    def _asking(
        self, photographs: Sequence[Photograph], product: str | None, boxes: Sequence[Box | None] | None, overlays: bool
    ) -> Call[Verdict | VerdictAnswer | ItemAnswer]:
        query = {"overlays": "true"} if overlays else {}
        form, files = self._form(photographs, product, boxes)
        return Call("POST", "/v1/verdicts", _read_verdict, query=query, form=form, photographs=files)

    def _certifying(
        self,
        photographs: Sequence[Photograph],
        product: str | None,
        boxes: Sequence[Box | None] | None,
        public_key: str | None,
    ) -> Call[Certificate]:
        # Not at the top: only whoever asks for certificates needs cryptography.
        from hallmark.serving.certificate import check_certificate

        form, files = self._form(photographs, product, boxes)
        read = lambda answer: check_certificate(answer.content, public_key)  # noqa: E731
        return Call("POST", "/v1/certificates", read, form=form, photographs=files)

    def _printing(
        self, photographs: Sequence[Photograph], product: str | None, boxes: Sequence[Box | None] | None
    ) -> Call[str]:
        form, files = self._form(photographs, product, boxes)
        wanted = {"Accept": "text/html"}
        return Call(
            "POST", "/v1/certificates", lambda answer: answer.text, form=form, photographs=files, headers=wanted
        )

    def _form(
        self, photographs: Sequence[Photograph], product: str | None, boxes: Sequence[Box | None] | None
    ) -> tuple[dict[str, list[str]], list[tuple[str, bytes]]]:
        files = _files(photographs)
        form = {name: [value] for name, value in self._bundle.items()}
        if product is not None:
            form["product"] = [product]
        if boxes is not None:
            if len(boxes) != len(files):
                raise DataError(f"boxes: found {len(boxes)} for {len(files)} photographs; wanted one each, or None")
            form["box"] = ["" if box is None else ",".join(f"{float(edge)!r}" for edge in box) for box in boxes]
        return form, files

    def _enrolment(
        self,
        photographs: Sequence[Photograph],
        product: str,
        part: str,
        authenticity: str,
        item_id: str,
        idempotency_key: str | None,
    ) -> Call[EnrolmentAnswer]:
        told = {"product": product, "part": part, "authenticity": str(authenticity), "item_id": item_id} | self._bundle
        return Call(
            "POST",
            "/v1/references",
            _reads(EnrolmentAnswer),
            form={name: [value] for name, value in told.items()},
            photographs=_files(photographs),
            headers={"Idempotency-Key": idempotency_key or uuid.uuid4().hex},
        )

    def _page(
        self, product: str | None, part: str | None, authenticity: str | None, after: str | None
    ) -> Call[ReferencesAnswer]:
        told = {"product": product, "part": part, "authenticity": authenticity, "after": after, "limit": str(_PAGE)}
        query = {name: str(value) for name, value in told.items() if value is not None} | self._bundle
        return Call("GET", "/v1/references", _reads(ReferencesAnswer), query=query)

    def _get(self, path: str, model: type[ModelT]) -> Call[ModelT]:
        return Call("GET", path, _reads(model), query=self._bundle)

    def _thumbnail(self, reference_id: str) -> Call[bytes]:
        path = f"/v1/references/{quote(reference_id, safe='')}/thumbnail"
        return Call("GET", path, lambda answer: answer.content, query=self._bundle)

    def _retirement(self, reference_id: str) -> Call[RetiredAnswer]:
        # Not repeatable: sent twice, the second would find nothing and call it an error.
        path = f"/v1/references/{quote(reference_id, safe='')}"
        return Call("DELETE", path, _reads(RetiredAnswer), repeatable=False, query=self._bundle)

    def _rollback(self, version: int) -> Call[RollbackAnswer]:
        path = f"/v1/gallery/versions/{version}/rollback"
        return Call("POST", path, _reads(RollbackAnswer), repeatable=False, query=self._bundle)


def _files(photographs: Sequence[Photograph]) -> list[tuple[str, bytes]]:
    """(name, bytes) of each."""
    if not photographs:
        raise DataError("photographs: found none; wanted at least one path or encoded photograph")
    files = []
    for number, photograph in enumerate(photographs, start=1):
        if isinstance(photograph, bytes | bytearray | memoryview):
            files.append((f"photograph-{number}", bytes(photograph)))
            continue
        try:
            path = Path(photograph)
            files.append((path.name.encode("utf-8", "backslashreplace").decode(), path.read_bytes()))
        except OSError as error:
            raise DataError(f"{photograph}: cannot be read ({error.strerror}); wanted a photograph") from None
    return files


def _reads(model: type[ModelT]) -> Callable[[httpx.Response], ModelT]:
    return lambda answer: _read(answer, model)


def _read(answer: httpx.Response, model: type[ModelT]) -> ModelT:
    try:
        return model.model_validate_json(answer.content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the answer"
        raise ServiceError(
            answer.status_code, "Unintelligible answer", f"{place}: {first['msg']}; wanted a {model.__name__} of /v1"
        ) from None


def _read_verdict(answer: httpx.Response) -> Verdict | VerdictAnswer | ItemAnswer:
    try:
        told = answer.json()
    except ValueError:
        told = None
    names = told.keys() if isinstance(told, dict) else ()
    return _read(answer, ItemAnswer if "item" in names else VerdictAnswer if "overlays" in names else Verdict)


def _problem(answer: httpx.Response) -> ServiceError:
    """The error of an answer, a problem document or whatever a proxy on the way says."""
    try:
        told = answer.json()
    except ValueError:
        told = None
    told = told if isinstance(told, dict) else {}
    status = answer.status_code
    phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else f"HTTP {status}"
    reason, request_id = told.get("reason"), told.get("instance") or answer.headers.get("x-request-id")
    return ServiceError(
        status,
        str(told.get("title") or phrase),
        str(told.get("detail") or f"HTTP {status}"),
        None if reason is None else str(reason),
        _retry_after(answer.headers.get("retry-after")),
        None if request_id is None else str(request_id),
    )


def _never_answered(answer: httpx.Response) -> bool:
    """Whether a proxy speaks for a service that ended before it answered: its own errors are problem documents."""
    ours = answer.headers.get("content-type", "").startswith("application/problem+json")
    return answer.is_server_error and not ours


def _retry_after(header: str | None) -> float | None:
    """Seconds; the header holds these or a date."""
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(header).astimezone(UTC) - datetime.now(UTC)).total_seconds()
        except ValueError:
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _backoff(attempt: int) -> float:
    """Twice as long each time; never the same for two clients that were cut off together."""
    return min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**attempt) * random.uniform(0.5, 1.0)


def _checked_url(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url.rstrip("/") + "/")
    except httpx.InvalidURL:
        parsed = httpx.URL("")
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise DataError(f"url: found {url!r}; wanted that of a service, such as http://127.0.0.1:8000")
    return parsed


def _checked_key(key: str) -> str:
    found = key.strip()
    if not found or not all("!" <= character <= "~" for character in found):
        raise DataError("key: found something else than one word of ASCII characters; wanted a key of `hallmark keys`")
    return found
