"""One bundle's deployments as the gateway calls them: one kind of error, and a second try where a replica was lost."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic, perf_counter
from typing import TypeVar

from ray.exceptions import (
    LocalRayletDiedError,
    NodeDiedError,
    ObjectLostError,
    RayActorError,
    RayTaskError,
    WorkerCrashedError,
)
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from hallmark.data.preprocess import Box
from hallmark.errors import HallmarkError
from hallmark.serving.metrics import Metrics
from hallmark.serving.schema import (
    BundleState,
    EnrolmentAnswer,
    ProductsAnswer,
    ReferencesAnswer,
    RetiredAnswer,
    RollbackAnswer,
    VersionsAnswer,
)
from hallmark.serving.stages import (
    Answered,
    Enrolment,
    Entry,
    Listing,
    MixedStagesError,
    NotReadyError,
    Overlays,
    OverloadedError,
)
from hallmark.verdict.items import ItemVerdict

_LOST = (RayActorError, ObjectLostError, WorkerCrashedError, NodeDiedError, LocalRayletDiedError)
"""What ends a call through no fault of its own: the process, the machine or the result was lost."""
_PATIENCE_S = 8.0
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0
Result = TypeVar("Result")


class Stages:
    """The Retriever, Verifier and Enroller of one bundle.

    Every call is safe to make again: verdicts and listings change nothing, enrolment goes by content, a reference that
    was retired is retired, and what a rollback restores twice is the same.

    Args:
        name: of the bundle.
        gallery: its URI; None where there is none.
        retriever: the deployment.
        verifier: the deployment.
        enroller: the deployment; None where the gallery is not written to.
        metrics: told of calls that are made again.
    """

    def __init__(
        self,
        name: str,
        gallery: str | None,
        retriever: DeploymentHandle,
        verifier: DeploymentHandle,
        enroller: DeploymentHandle | None,
        metrics: Metrics,
    ):
        self.name, self.gallery = name, gallery
        self._retriever, self._verifier, self._enroller = retriever, verifier, enroller
        self._metrics = metrics

    async def verdict(
        self, data: bytes, box: Box | None, product: str | None, request_id: str, alone: bool = False
    ) -> Answered:
        """About one encoded photograph, or what lies in a box of it; `alone`: not in a batch with others."""
        began = perf_counter()

        async def call() -> Answered:
            # The response object goes on as it is: the candidates travel from Retriever to Verifier directly.
            found = self._retriever.retrieve.remote(data, box, product, alone)
            return await self._verifier.verify.remote(found, request_id)

        answered = await self._again("verdict", call)
        timings = {**answered.verdict.timings_ms, "total": 1e3 * (perf_counter() - began)}
        answered.verdict.timings_ms.update(timings)
        return answered

    async def fuse(self, answered: Sequence[Answered]) -> ItemVerdict:
        """About an item, from the verdicts about its photographs."""
        verdicts, source = [one.verdict for one in answered], answered[0].source
        return await self._again("fuse", lambda: self._verifier.fuse.remote(verdicts, source))

    async def overlays(self, data: bytes, box: Box | None, answered: Answered) -> Overlays:
        """Pictures of a verdict's evidence."""
        return await self._again("overlays", lambda: self._retriever.overlays.remote(data, answered.verdict))

    async def describe(self, data: bytes, file: str) -> Entry:
        """A photograph, ready to enrol, or why it is not."""
        return await self._again("describe", lambda: self._retriever.entry.remote(data, file))

    async def enrol(self, entries: Sequence[Entry], enrolment: Enrolment) -> EnrolmentAnswer:
        """Enrol what was described."""
        return await self._again("enrol", lambda: self._enroller.enrol.remote(list(entries), enrolment))

    async def retire(self, reference_id: str) -> RetiredAnswer:
        """Take a reference out."""
        return await self._again("retire", lambda: self._enroller.retire.remote(reference_id))

    async def rollback(self, version: int) -> RollbackAnswer:
        """Make an earlier version's content the latest."""
        return await self._again("rollback", lambda: self._enroller.rollback.remote(version))

    async def references(self, listing: Listing) -> ReferencesAnswer:
        """A page of references."""
        return await self._again("references", lambda: self._retriever.references.remote(listing))

    async def thumbnail(self, reference_id: str) -> bytes | None:
        """JPEG of a reference."""
        return await self._again("thumbnail", lambda: self._retriever.thumbnail.remote(reference_id))

    async def products(self) -> ProductsAnswer:
        """What is enrolled."""
        return await self._again("products", lambda: self._retriever.products.remote())

    async def versions(self) -> VersionsAnswer:
        """Of the gallery."""
        return await self._again("versions", lambda: self._retriever.versions.remote())

    async def state(self) -> BundleState:
        """Raises while a stage is not ready."""

        async def call() -> BundleState:
            retriever, verifier = self._retriever.state.remote(), self._verifier.state.remote()
            state, _ = await asyncio.gather(_awaited(retriever), _awaited(verifier))
            return state

        return await self._again("state", call)

    async def _again(self, stage: str, call: Callable[[], Awaitable[Result]]) -> Result:
        """Make a call, and once more for as long as replicas are lost, or exchanged, a few seconds at most.

        Raises:
            HallmarkError: what the stage refused it with.
            OverloadedError: its queue is full.
            NotReadyError: it is not available.
        """
        deadline, pause_s = monotonic() + _PATIENCE_S, _FIRST_PAUSE_S
        while True:
            try:
                return await call()
            except Exception as error:
                known = told_by(error)
                if not isinstance(known, (MixedStagesError, ReplicaLostError)) or monotonic() + pause_s > deadline:
                    raise known from None
            self._metrics.retried(stage)
            # Not all that have lost the same replica come back at the same moment.
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


class ReplicaLostError(NotReadyError):
    """The replica that worked on a call is gone."""


def told_by(error: Exception) -> Exception:
    """What an error of a call means: the stage's own, for those that Ray wraps."""
    if isinstance(error, BackPressureError):
        return OverloadedError("too many photographs are waiting; try again shortly")
    if isinstance(error, DeploymentUnavailableError):
        return NotReadyError("a stage of the graph is not available; try again shortly")
    for cause in _causes(error):
        if isinstance(cause, BackPressureError):
            return OverloadedError("too many photographs are waiting; try again shortly")
        if isinstance(cause, HallmarkError) and not isinstance(cause, RayTaskError):
            return cause
        if isinstance(cause, _LOST):
            return ReplicaLostError("a stage of the graph was lost; try again shortly")
    return error


def _causes(error: BaseException | None) -> Sequence[BaseException]:
    """An error and what it was raised from or wraps."""
    told: list[BaseException] = []
    while error is not None and error not in told:
        told.append(error)
        error = getattr(error, "cause", None) or error.__cause__
    return told


async def _awaited(response: Awaitable[Result]) -> Result:
    return await response
