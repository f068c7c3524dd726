"""The stage that decides: local descriptors of the candidates, matching, evidence, verdict."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock
from time import perf_counter
from typing import Any

from ray import serve

from hallmark.gallery.store import Gallery, open_gallery
from hallmark.serving.settings import BundleConfig, LiveConfig
from hallmark.serving.stages import Answered, Found, MixedStagesError, Source
from hallmark.training.bundle import open_bundle
from hallmark.types import Verdict
from hallmark.verdict.calibration import Calibration, calibration_of
from hallmark.verdict.comparison import Examiner
from hallmark.verdict.gates import complaint
from hallmark.verdict.items import ItemVerdict, fuse

_VERSIONS_KEPT = 4
"""Gallery versions that a Verifier holds ready, for queries that were retrieved from an older one."""


@dataclass(frozen=True)
class _Basis:
    """What verdicts about queries of one gallery version rest on."""

    gallery: Gallery
    examiner: Examiner
    content_id: str


@serve.deployment
class Verifier:
    """Reads the candidates' local descriptors, matches, weighs and decides.

    It holds no network: it goes by the bundle that a query was described with, so that while one bundle takes over from
    another each query is held against the right thresholds.
    """

    def __init__(self, bundle: dict[str, Any]):
        served = BundleConfig.model_validate(bundle)
        opened = open_bundle(served.bundle)
        self._source = Source.of(served, opened)
        self._calibrations: dict[Source, Calibration] = {self._source: calibration_of(opened)}
        self._live = LiveConfig()
        self._bases: OrderedDict[tuple[Source, int], _Basis] = OrderedDict()
        self._making = Lock()

    def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Take up other thresholds."""
        live = LiveConfig.model_validate(user_config or {})
        live.decision.resolve(self._calibrations[self._source])
        with self._making:
            if live.decision != self._live.decision:
                self._bases.clear()
            self._live = live

    async def state(self) -> str:
        """Which bundle."""
        return self._source.bundle_id

    def verify(self, found: Found, request_id: str) -> Answered:
        """The verdict about a retrieved query; the gallery version is the one it was retrieved from."""
        began = perf_counter()
        source = found.source
        basis, in_force, decision = self._basis(source, found.retrieved.gallery_version)
        verdict = basis.examiner.examine(found.described, found.retrieved, request_id)
        timings = {**found.timings_ms, "verify": 1e3 * (perf_counter() - began)}
        return Answered(
            verdict=verdict.model_copy(update={"timings_ms": timings}),
            source=source,
            gallery_content_id=basis.content_id,
            decision=decision,
            unusable=complaint(found.described.quality, in_force.quality) is not None,
        )

    def fuse(self, verdicts: list[Verdict], source: Source) -> ItemVerdict:
        """The verdict about an item."""
        return fuse(verdicts, self._in_force(source))

    def _in_force(self, source: Source) -> Calibration:
        calibration = self._calibrations.get(source)
        if calibration is None:
            bundle = open_bundle(source.bundle)
            if bundle.bundle_id != source.bundle_id:
                raise MixedStagesError("a bundle is being exchanged for another; try again shortly")
            calibration = self._calibrations[source] = calibration_of(bundle)
        return self._live.decision.resolve(calibration)

    def _basis(self, source: Source, version: int) -> tuple[_Basis, Calibration, dict[str, float]]:
        with self._making:
            in_force = self._in_force(source)
            basis = self._bases.get((source, version))
            if basis is None:
                basis = self._bases[source, version] = self._make(source, version, in_force)
                while len(self._bases) > _VERSIONS_KEPT:
                    self._bases.popitem(last=False)
            self._bases.move_to_end((source, version))
            return basis, in_force, self._live.decision.model_dump(exclude_none=True)

    def _make(self, source: Source, version: int, in_force: Calibration) -> _Basis:
        gallery = open_gallery(source.gallery, version, source.embedding_id)
        former = [basis for (other, _), basis in self._bases.items() if other == source]
        if former:
            # Templates of products whose references are the same are kept.
            nearest = min(former, key=lambda basis: abs(basis.gallery.version - version))
            gallery.follow(nearest.gallery)
            examiner = nearest.examiner.updated(gallery)
        else:
            examiner = Examiner(gallery, in_force, source.bundle_id)
        return _Basis(gallery, examiner, gallery.content_id)
