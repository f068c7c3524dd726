"""What the gateway asks of the stages behind it, and what they say when they cannot answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from hallmark.data.preprocess import Box
from hallmark.errors import HallmarkError
from hallmark.serving.schema import (
    BundleState,
    EnrolmentAnswer,
    Health,
    ProductsAnswer,
    ReferencesAnswer,
    RetiredAnswer,
    RollbackAnswer,
    VersionsAnswer,
)
from hallmark.serving.settings import BundleConfig
from hallmark.training.bundle import Bundle
from hallmark.types import Authenticity, Described, Retrieved, Verdict
from hallmark.verdict.items import ItemVerdict


class NotReadyError(HallmarkError):
    """A stage behind the door cannot answer yet."""

    http_status = 503
    title = "Not ready"


class OverloadedError(HallmarkError):
    """The queue of a stage is full."""

    http_status = 429
    title = "Too many requests"


class MixedStagesError(NotReadyError):
    """Two stages hold different bundles: one of them is about to be replaced."""


class UnknownBundleError(HallmarkError):
    """The application serves no bundle of that name."""

    http_status = 422
    title = "Unknown bundle"


class NoGalleryError(HallmarkError):
    """The bundle that is asked about its gallery is served without one."""

    http_status = 409
    title = "No gallery"
    reason = "no_gallery"


class Photograph(Protocol):
    """An encoded photograph that is read when its turn comes, so that few are in memory at a time."""

    @property
    def name(self) -> str:
        """As the client calls it."""

    async def read(self) -> bytes:
        """All of it."""


@dataclass(frozen=True)
class Query:
    """A photograph to examine."""

    photograph: Photograph
    box: Box | None
    """What of it, px; None = everywhere."""


@dataclass(frozen=True)
class Ask:
    """How photographs of one item are to be examined."""

    request_id: str
    bundle: str | None = None
    """Name of the bundle to ask; None leaves the choice to the application."""
    product: str | None = None
    """The one to ask about; None = all."""
    overlays: bool = False
    """Whether pictures of the evidence are wanted too."""
    single: bool = False
    """Whether the verdict must be one bundle's own and described by itself, so that it can be computed again from that
    bundle to the bit."""
    canary: bool = True
    """Whether the second version of a bundle may be asked."""


@dataclass(frozen=True)
class Overlays:
    """Pictures of the evidence, encoded; None where there is nothing to show."""

    residual: bytes | None
    """PNG."""
    matches: bytes | None
    """PNG."""
    photograph: bytes
    """The photograph itself, made smaller; JPEG."""
    reference: bytes | None
    """Thumbnail of the first reference; JPEG."""
    attention: bytes | None = None
    """PNG."""


@dataclass(frozen=True)
class Source:
    """What a photograph was described with. It travels with the description, so that stages of different bundles, which
    run side by side while one takes over from the other, never mix."""

    name: str
    """Of the bundle, as requests call it."""
    bundle: str
    """Its folder."""
    bundle_id: str
    embedding_id: str
    gallery: str | None

    @classmethod
    def of(cls, served: BundleConfig, bundle: Bundle) -> Source:
        """Of a bundle that is served, once it is open."""
        return cls(served.name, str(bundle.path), bundle.bundle_id, bundle.embedding_id, served.gallery)


@dataclass(frozen=True)
class Answered:
    """The verdict about one photograph, and what it rests on."""

    verdict: Verdict
    source: Source
    gallery_content_id: str
    decision: dict[str, float]
    """Settings that were laid over the bundle's calibration."""
    unusable: bool
    """Whether the photograph's quality is what the verdict rests on."""
    overlays: Overlays | None = None


@dataclass(frozen=True)
class Examined:
    """What is answered about the photographs of one item."""

    photographs: tuple[Answered, ...]
    """In the order they came."""
    item: ItemVerdict | None
    """None where there is one photograph."""


@dataclass(frozen=True)
class Enrolment:
    """What is said of photographs that become references."""

    product: str
    part: str
    item_id: str
    authenticity: Authenticity
    request_id: str
    bundle: str | None = None
    """None: every bundle that knows the product."""
    key_id: str | None = None
    idempotency_key: str | None = None


@dataclass(frozen=True)
class Entry:
    """A photograph on its way into the gallery, described, or why it could not be."""

    file: str
    """As the client calls it."""
    image_id: str
    source: Source
    described: Described | None
    thumbnail: bytes
    error: HallmarkError | None


@dataclass(frozen=True)
class Listing:
    """Which references are wanted."""

    product: str | None
    part: str | None
    authenticity: Authenticity | None
    limit: int
    after: str | None


@dataclass(frozen=True)
class Found:
    """What the Retriever hands to the Verifier: small tensors, no pixels."""

    described: Described
    retrieved: Retrieved
    source: Source
    timings_ms: dict[str, float]


class Branch(Protocol):
    """The stages of one bundle; without a gallery it is asked for verdicts alone."""

    name: str
    gallery: str | None

    async def verdict(
        self, data: bytes, box: Box | None, product: str | None, request_id: str, alone: bool = False
    ) -> Answered:
        """About one encoded photograph, or what lies in a box of it; `alone`: not in a batch with others."""

    async def fuse(self, answered: Sequence[Answered]) -> ItemVerdict:
        """About an item, from the verdicts about its photographs."""

    async def overlays(self, data: bytes, box: Box | None, answered: Answered) -> Overlays:
        """Pictures of a verdict's evidence."""

    async def describe(self, data: bytes, file: str) -> Entry:
        """A photograph, ready to enrol, or why it is not."""

    async def enrol(self, entries: Sequence[Entry], enrolment: Enrolment) -> EnrolmentAnswer:
        """Enrol what was described."""

    async def retire(self, reference_id: str) -> RetiredAnswer:
        """Take a reference out."""

    async def rollback(self, version: int) -> RollbackAnswer:
        """Make an earlier version's content the latest."""

    async def references(self, listing: Listing) -> ReferencesAnswer:
        """A page of references."""

    async def thumbnail(self, reference_id: str) -> bytes | None:
        """JPEG of a reference."""

    async def products(self) -> ProductsAnswer:
        """What is enrolled."""

    async def versions(self) -> VersionsAnswer:
        """Of the gallery."""

    async def state(self) -> BundleState:
        """Raises while a stage is not ready."""


class Graph(Protocol):
    """All of them, as the places behind the door ask them. `bundle` None: the first that the application serves, and of
    those that have a gallery where it is asked about.

    What asks about a gallery raises NoGalleryError where the bundle has none.
    """

    async def examine(self, queries: Sequence[Query], ask: Ask) -> Examined:
        """The verdicts about photographs of one item."""

    async def enrol(self, photographs: Sequence[Photograph], enrolment: Enrolment) -> EnrolmentAnswer:
        """Enrol references; raises where none of them is acceptable."""

    async def retire(self, reference_id: str, bundle: str | None) -> RetiredAnswer:
        """Take a reference out, of every gallery that has it where no bundle is named."""

    async def rollback(self, version: int, bundle: str | None) -> RollbackAnswer:
        """Make an earlier version's content the latest."""

    async def references(self, listing: Listing, bundle: str | None) -> ReferencesAnswer:
        """A page of references."""

    async def thumbnail(self, reference_id: str, bundle: str | None) -> bytes | None:
        """JPEG; None where there is no such reference."""

    async def products(self, bundle: str | None) -> ProductsAnswer:
        """What is enrolled."""

    async def versions(self, bundle: str | None) -> VersionsAnswer:
        """The gallery's versions."""

    async def ready(self) -> Health:
        """Raises while a stage is not ready."""
