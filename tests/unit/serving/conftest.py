"""The HTTP door before a graph that answers at once, and a client of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from hallmark.errors import UnknownReferenceError, UnknownVersionError
from hallmark.serving import auth, examples
from hallmark.serving.access import Services
from hallmark.serving.audit import AuditLog
from hallmark.serving.auth import Detail, KeyRing, Scope, add_key
from hallmark.serving.gateway import make_app
from hallmark.serving.limits import Limits
from hallmark.serving.schema import (
    BundleState,
    EnrolmentAnswer,
    Health,
    Problem,
    ProductsAnswer,
    ReferencesAnswer,
    RetiredAnswer,
    RollbackAnswer,
    VersionsAnswer,
)
from hallmark.serving.stages import Answered, Ask, Enrolment, Examined, Listing, Overlays, Query, Source
from hallmark.types import Verdict
from hallmark.verdict.items import ItemVerdict

LIMIT = 2_000
PNG = b"\x89PNG\r\n\x1a\n of nothing"
JPEG = b"\xff\xd8\xff of nothing"
SOURCE = Source("default", "/bundle", "3f2c9a0d41b7e865", "e0", "/gallery.lance")


def verdict_with(**told: Any) -> Verdict:
    """A genuine verdict, with what is told laid over it."""
    return Verdict.model_validate(examples.VERDICT).model_copy(update=told)


def answered_with(source: Source = SOURCE, unusable: bool = False, **told: Any) -> Answered:
    """The same as a bundle answers it."""
    return Answered(verdict_with(**told), source, "c0ffee", {}, unusable)


class FakeGraph:
    """Answers with what the documentation shows, or fails as told; keeps what it was asked."""

    def __init__(self):
        self.error: Exception | None = None
        self.seen: list[bytes] = []
        self.boxes: list[object] = []
        self.asks: list[Ask] = []
        self.enrolments: list[Enrolment] = []
        self.listings: list[tuple[Listing, str | None]] = []
        self.unusable = False

    def _fail(self) -> None:
        if self.error:
            raise self.error

    async def examine(self, queries: Sequence[Query], ask: Ask) -> Examined:
        self._fail()
        self.asks.append(ask)
        self.seen += [await query.photograph.read() for query in queries]
        self.boxes += [query.box for query in queries]
        overlays = Overlays(PNG, None, JPEG, JPEG, attention=PNG) if ask.overlays else None
        one = Answered(verdict_with(request_id=ask.request_id), SOURCE, "c0ffee", {}, self.unusable, overlays)
        item = ItemVerdict.model_validate(examples.ITEM["item"]) if len(queries) > 1 else None
        return Examined((one,) * len(queries), item)

    async def enrol(self, photographs: Sequence[Any], enrolment: Enrolment) -> EnrolmentAnswer:
        self._fail()
        self.enrolments.append(enrolment)
        self.seen += [await photograph.read() for photograph in photographs]
        return EnrolmentAnswer.model_validate(examples.ENROLLED)

    async def retire(self, reference_id: str, bundle: str | None) -> RetiredAnswer:
        self._fail()
        if reference_id == "none":
            raise UnknownReferenceError("version 8 has no reference none")
        return RetiredAnswer(gallery_version=9, reference_id=reference_id)

    async def rollback(self, version: int, bundle: str | None) -> RollbackAnswer:
        self._fail()
        if version > 8:
            raise UnknownVersionError(f"has no version {version}")
        return RollbackAnswer(gallery_version=10, restored=version)

    async def references(self, listing: Listing, bundle: str | None) -> ReferencesAnswer:
        self._fail()
        self.listings.append((listing, bundle))
        return ReferencesAnswer.model_validate(examples.REFERENCES)

    async def thumbnail(self, reference_id: str, bundle: str | None) -> bytes | None:
        self._fail()
        return None if reference_id == "none" else JPEG

    async def products(self, bundle: str | None) -> ProductsAnswer:
        self._fail()
        return ProductsAnswer.model_validate(examples.PRODUCTS)

    async def versions(self, bundle: str | None) -> VersionsAnswer:
        self._fail()
        return VersionsAnswer.model_validate(examples.VERSIONS)

    async def ready(self) -> Health:
        self._fail()
        state = BundleState(name="default", bundle_id="b", gallery_version=1, num_references=2)
        return Health(status="ready", bundle_id="b", gallery_version=1, num_references=2, bundles=[state])


_IN_USE: list[Services] = []
_APP = make_app(lambda: _IN_USE[-1], LIMIT)
"""One for all tests, since it holds nothing of its own: it works with the last door's services."""


class Door:
    """The application and a client of it."""

    def __init__(self, folder: Path, keys: bool = True):
        self.folder, self.keys = folder, folder / "keys.json"
        self.graph = FakeGraph()
        self.services = Services(graph=self.graph, audit=AuditLog(folder / "audit"))
        self.token: str | None = None
        if keys:
            self.token = self.add()
            self.services.keys = KeyRing(self.keys)
            self.services.limits = Limits(folder / "limits.sqlite")
        self.app = _APP
        _IN_USE.append(self.services)

    def add(self, *scopes: Scope, detail: Detail = Detail.FULL, **limits: int) -> str:
        """A further key, by default with every scope but admin."""
        return add_key(self.keys, "shop", scopes or (Scope.VERIFY, Scope.ENROL), detail, **limits)

    def send(self, method: str, path: str, client: str = "127.0.0.1", anonymous: bool = False, **request: Any):
        async def sent() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False, client=(client, 1))
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8000") as session:
                headers = httpx.Headers(request.pop("headers", {}))
                if self.token and not anonymous and "authorization" not in headers:
                    headers["authorization"] = f"Bearer {self.token}"
                return await session.request(method, path, headers=headers, **request)

        return asyncio.run(sent())

    def post(self, path: str = "/v1/verdicts", **request: Any) -> httpx.Response:
        return self.send("POST", path, **request)

    def audited(self) -> list[dict[str, Any]]:
        """The lines of the audit log."""
        files = sorted((self.folder / "audit").glob("*.jsonl"))
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]


@pytest.fixture
def make_door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Door]:
    """`make_door(keys=True)`; one at a time. Its keys are hashed at less expense than real ones."""
    monkeypatch.setitem(auth._SCRYPT, "n", 16)
    return lambda **told: Door(tmp_path, **told)


@pytest.fixture
def door(make_door) -> Door:
    return make_door()


@pytest.fixture
def photograph() -> dict[str, Any]:
    return {"photograph": ("p.jpg", b"bytes", "image/jpeg")}


def check_problem(answer: httpx.Response, status: int) -> Problem:
    """The problem document of an answer, once it is certain that it is one."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    told = Problem.model_validate(answer.json())
    assert told.status == status
    assert told.instance == answer.headers["x-request-id"] != ""
    assert told.title
    assert told.detail
    return told


@pytest.fixture(scope="session")
def is_problem() -> Callable[[httpx.Response, int], Problem]:
    return check_problem


@pytest.fixture(scope="session")
def make_answered() -> Callable[..., Answered]:
    return answered_with


@pytest.fixture(scope="session")
def source() -> Source:
    return SOURCE
