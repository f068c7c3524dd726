"""Verdicts in this process, by the code that serving runs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from time import perf_counter

from hallmark.data.preprocess import Box
from hallmark.gallery.describe import Describer
from hallmark.gallery.index import GalleryIndex
from hallmark.gallery.store import Gallery, gallery_of
from hallmark.training.bundle import Bundle, open_bundle
from hallmark.types import Described, Retrieved, Verdict
from hallmark.verdict.calibration import calibration_of
from hallmark.verdict.comparison import Examiner
from hallmark.verdict.decide import DecisionConfig
from hallmark.verdict.retrieval import retrieve

_AS_CALIBRATED = DecisionConfig()


class Expert:
    """A bundle and a gallery version; safe to share between threads.

    Args:
        bundle: calibrated.
        gallery: built with its embedding, or none where it classifies.
        decision: settings laid over the calibration.
    """

    def __init__(self, bundle: Bundle, gallery: Gallery, decision: DecisionConfig = _AS_CALIBRATED):
        self.bundle, self.gallery = bundle, gallery
        self.calibration = decision.resolve(calibration_of(bundle))
        self.index = GalleryIndex(gallery)
        self._examiner = Examiner(gallery, self.calibration, bundle.bundle_id)

    @classmethod
    def open(
        cls,
        bundle: str | Path,
        gallery: str | Path | None = None,
        gallery_version: int | None = None,
        decision: DecisionConfig = _AS_CALIBRATED,
    ) -> Expert:
        """From a bundle's folder and a gallery's place; the latest version by default. No gallery: one that classifies.

        Raises:
            BundleError, GalleryError: what is wrong with them.
        """
        opened = open_bundle(bundle)
        return cls(opened, gallery_of(opened, gallery, gallery_version), decision)

    @cached_property
    def _describer(self) -> Describer:
        return Describer(self.bundle)

    def examine(self, data: bytes, box: Box | None = None, product: str | None = None) -> Verdict:
        """The verdict about one encoded photograph, described alone and not in a batch.

        Args:
            data: the file.
            box: where the product is, px; None = everywhere.
            product: only it is asked about; None = all.

        Raises:
            DecodeError, DataError: the photograph or its box is unusable.
        """
        began = perf_counter()
        described = self._describer.describe([self._describer.read(data, box, thumbnail=False)])[0]
        return self.judge(described, {"describe": 1e3 * (perf_counter() - began)}, product)[1]

    def judge(
        self, query: Described, spent_ms: Mapping[str, float] | None = None, product: str | None = None
    ) -> tuple[Retrieved, Verdict]:
        """What was retrieved for a described photograph, and the verdict about it.

        Args:
            query: as this bundle describes it.
            spent_ms: stages so far.
            product: only it is asked about.
        """
        began = perf_counter()
        mode, num_candidates = self.calibration.mode, self.calibration.num_candidates
        retrieved = retrieve(self.index, query, mode, num_candidates, product)
        found = perf_counter()
        verdict = self._examiner.examine(query, retrieved)
        timings = {**(spent_ms or {}), "retrieve": 1e3 * (found - began), "verify": 1e3 * (perf_counter() - found)}
        return retrieved, verdict.model_copy(update={"timings_ms": timings})
