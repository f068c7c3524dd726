"""A client of the HTTP service: `hallmark.Client`, and `hallmark.AsyncClient` for asyncio."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import count
from typing import TYPE_CHECKING, Self, TypeVar, overload

import httpx

from hallmark.exchange import Box, Call, Exchange, Photograph
from hallmark.serving.schema import (
    EnrolmentAnswer,
    Health,
    ItemAnswer,
    KeyAnswer,
    ProductsAnswer,
    RetiredAnswer,
    RollbackAnswer,
    VerdictAnswer,
    VersionsAnswer,
)
from hallmark.types import Authenticity, ReferenceRecord, Verdict

if TYPE_CHECKING:
    from hallmark.serving.certificate import Certificate

T = TypeVar("T")


class Client(Exchange):
    """The service, as plain calls; safe to share between threads.

    A call that the service refuses for now (429, 503) is made again after the time it names; one that got no answer,
    or the error of a proxy in its place, is made again where that does no harm. Everything that fails in the end
    raises `hallmark.errors.ServiceError`.

    Args:
        url: of the service, such as http://127.0.0.1:8000.
        key: made by `hallmark keys add`; None for a service without keys.
        timeout: seconds to wait for a connection, and for each answer.
        retries: how often a call is made again at most.
        longest_wait: seconds to wait before one of these at most; where the service asks for more, the call fails.
        bundle: name of the bundle to ask; None leaves the choice to the service.
        transport: of httpx, in place of the network.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        timeout: float = 60.0,
        *,
        retries: int = 4,
        longest_wait: float = 30.0,
        bundle: str | None = None,
        transport: httpx.BaseTransport | None = None,
    ):
        super().__init__(url, key, timeout, retries, longest_wait, bundle)
        self._http = httpx.Client(base_url=self._url, headers=self._headers, timeout=timeout, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    @overload
    def verdict(
        self,
        photograph: Photograph,
        /,
        *,
        product: str | None = None,
        boxes: Sequence[Box | None] | None = None,
        overlays: bool = False,
    ) -> Verdict | VerdictAnswer: ...

    @overload
    def verdict(
        self,
        photograph: Photograph,
        other: Photograph,
        /,
        *more: Photograph,
        product: str | None = None,
        boxes: Sequence[Box | None] | None = None,
        overlays: bool = False,
    ) -> ItemAnswer: ...

    def verdict(
        self,
        *photographs: Photograph,
        product: str | None = None,
        boxes: Sequence[Box | None] | None = None,
        overlays: bool = False,
    ) -> Verdict | VerdictAnswer | ItemAnswer:
        """The verdict about a photograph, or about an item by several photographs of it.

        Args:
            photographs: 1 to 8 paths or encoded photographs.
            product: the one to ask about; None = all.
            boxes: by photograph, where the product is, (x0, y0, x1, y1) px; None = everywhere.
            overlays: whether pictures of the evidence are wanted; the verdicts are `VerdictAnswer` then.

        Returns:
            A verdict for one photograph, an `ItemAnswer` for several.
        """
        return self._send(self._asking(photographs, product, boxes, overlays))

    def certificate(
        self,
        *photographs: Photograph,
        product: str | None = None,
        boxes: Sequence[Box | None] | None = None,
        public_key: str | None = None,
    ) -> Certificate:
        """A signed verdict, checked; see `verdict`.

        Args:
            public_key: the issuer's, as published, 64 hex digits; None = whichever the certificate names.

        Raises:
            CertificateError: it does not stand the check.
        """
        return self._send(self._certifying(photographs, product, boxes, public_key))

    def certificate_html(
        self, *photographs: Photograph, product: str | None = None, boxes: Sequence[Box | None] | None = None
    ) -> str:
        """The same as a page to print."""
        return self._send(self._printing(photographs, product, boxes))

    def enrol(
        self,
        photographs: Sequence[Photograph],
        *,
        product: str,
        part: str = "whole",
        authenticity: Authenticity | str = Authenticity.GENUINE,
        item_id: str = "",
        idempotency_key: str | None = None,
    ) -> EnrolmentAnswer:
        """Enrol up to 32 photographs of one product and part; it is on disk when this returns.

        Args:
            photographs: of known authenticity; those that cannot be used are named in the answer, the others go on.
            product: what they show.
            part: which part of it.
            authenticity: genuine or counterfeit.
            item_id: the physical object, where it is known.
            idempotency_key: names this enrolment for a program that may be started again; a random one by default,
                which makes the client's own retries safe.
        """
        return self._send(self._enrolment(photographs, product, part, authenticity, item_id, idempotency_key))

    def references(
        self, product: str | None = None, part: str | None = None, authenticity: Authenticity | str | None = None
    ) -> Iterator[ReferenceRecord]:
        """Every reference that is enrolled, or those of a product, part or authenticity; fetched by the page."""
        after = None
        while True:
            page = self._send(self._page(product, part, authenticity, after))
            yield from page.references
            after = page.after
            if after is None:
                return

    def thumbnail(self, reference_id: str) -> bytes:
        """A small picture of a reference, a JPEG file."""
        return self._send(self._thumbnail(reference_id))

    def retire(self, reference_id: str) -> RetiredAnswer:
        """Ask a reference no more."""
        return self._send(self._retirement(reference_id))

    def products(self) -> ProductsAnswer:
        """What is enrolled."""
        return self._send(self._get("/v1/products", ProductsAnswer))

    def versions(self) -> VersionsAnswer:
        """The gallery's versions, newest first."""
        return self._send(self._get("/v1/gallery/versions", VersionsAnswer))

    def rollback(self, version: int) -> RollbackAnswer:
        """Make an earlier version's content the latest."""
        return self._send(self._rollback(version))

    def key(self) -> KeyAnswer:
        """What the key in use may do."""
        return self._send(self._get("/v1/key", KeyAnswer))

    def ready(self) -> Health:
        """The state of the service, once it can give verdicts.

        Raises:
            ServiceError: it still cannot, after the retries.
        """
        return self._send(self._get("/readyz", Health))

    def _send(self, call: Call[T]) -> T:
        for attempt in count():
            try:
                answer = self._http.request(**call.arguments())
            except httpx.TransportError as error:
                pause = self._pause_after_failure(call, attempt, error)
            else:
                pause = self._pause_after(call, attempt, answer)
                if pause is None:
                    return call.read(answer)
            time.sleep(pause)
        raise AssertionError  # count() has no end


class AsyncClient(Exchange):
    """The service for asyncio: the methods of `Client`, with the same arguments, to be awaited."""

    def __init__(
        self,
        url: str,
        key: str | None = None,
        timeout: float = 60.0,
        *,
        retries: int = 4,
        longest_wait: float = 30.0,
        bundle: str | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ):
        super().__init__(url, key, timeout, retries, longest_wait, bundle)
        self._http = httpx.AsyncClient(base_url=self._url, headers=self._headers, timeout=timeout, transport=transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Give the connections back."""
        await self._http.aclose()

    async def verdict(
        self,
        *photographs: Photograph,
        product: str | None = None,
        boxes: Sequence[Box | None] | None = None,
        overlays: bool = False,
    ) -> Verdict | VerdictAnswer | ItemAnswer:
        """As `Client.verdict`."""
        return await self._send(await asyncio.to_thread(self._asking, photographs, product, boxes, overlays))

    async def certificate(
        self,
        *photographs: Photograph,
        product: str | None = None,
        boxes: Sequence[Box | None] | None = None,
        public_key: str | None = None,
    ) -> Certificate:
        """As `Client.certificate`."""
        return await self._send(await asyncio.to_thread(self._certifying, photographs, product, boxes, public_key))

    async def certificate_html(
        self, *photographs: Photograph, product: str | None = None, boxes: Sequence[Box | None] | None = None
    ) -> str:
        """As `Client.certificate_html`."""
        return await self._send(await asyncio.to_thread(self._printing, photographs, product, boxes))

    async def enrol(
        self,
        photographs: Sequence[Photograph],
        *,
        product: str,
        part: str = "whole",
        authenticity: Authenticity | str = Authenticity.GENUINE,
        item_id: str = "",
        idempotency_key: str | None = None,
    ) -> EnrolmentAnswer:
        """As `Client.enrol`."""
        told = (photographs, product, part, authenticity, item_id, idempotency_key)
        return await self._send(await asyncio.to_thread(self._enrolment, *told))

    async def references(
        self, product: str | None = None, part: str | None = None, authenticity: Authenticity | str | None = None
    ) -> AsyncIterator[ReferenceRecord]:
        """As `Client.references`, for `async for`."""
        after = None
        while True:
            page = await self._send(self._page(product, part, authenticity, after))
            for reference in page.references:
                yield reference
            after = page.after
            if after is None:
                return

    async def thumbnail(self, reference_id: str) -> bytes:
        """As `Client.thumbnail`."""
        return await self._send(self._thumbnail(reference_id))

    async def retire(self, reference_id: str) -> RetiredAnswer:
        """As `Client.retire`."""
        return await self._send(self._retirement(reference_id))

    async def products(self) -> ProductsAnswer:
        """As `Client.products`."""
        return await self._send(self._get("/v1/products", ProductsAnswer))

    async def versions(self) -> VersionsAnswer:
        """As `Client.versions`."""
        return await self._send(self._get("/v1/gallery/versions", VersionsAnswer))

    async def rollback(self, version: int) -> RollbackAnswer:
        """As `Client.rollback`."""
        return await self._send(self._rollback(version))

    async def key(self) -> KeyAnswer:
        """As `Client.key`."""
        return await self._send(self._get("/v1/key", KeyAnswer))

    async def ready(self) -> Health:
        """As `Client.ready`."""
        return await self._send(self._get("/readyz", Health))

    async def _send(self, call: Call[T]) -> T:
        for attempt in count():
            try:
                answer = await self._http.request(**call.arguments())
            except httpx.TransportError as error:
                pause = self._pause_after_failure(call, attempt, error)
            else:
                pause = self._pause_after(call, attempt, answer)
                if pause is None:
                    return call.read(answer)
            await asyncio.sleep(pause)
        raise AssertionError  # count() has no end
