"""The stage with the network: photographs to descriptors to candidates, and what else reads pixels or the gallery."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from time import perf_counter
from typing import Any

import cv2
import numpy as np
import torch
from ray import serve

from hallmark.data.decode import decode
from hallmark.data.preprocess import Box
from hallmark.errors import HallmarkError
from hallmark.gallery.describe import Describer, Embedded, Photograph
from hallmark.gallery.store import Gallery, gallery_of, open_gallery, versions
from hallmark.serving.attention_overlay import attention_png
from hallmark.serving.following import Follower
from hallmark.serving.overlays import matches_png, photograph_jpeg, residual_png
from hallmark.serving.schema import BundleState, ProductsAnswer, ReferencesAnswer, VersionsAnswer
from hallmark.serving.settings import BundleConfig, GraphConfig, LiveConfig
from hallmark.serving.stages import Entry, Found, Listing, Overlays, Source
from hallmark.training.bundle import open_bundle
from hallmark.types import Described, Verdict
from hallmark.verdict.calibration import calibration_of
from hallmark.verdict.retrieval import retrieve

_HEALTHY_COSINE = 0.999
_VERSIONS_TOLD = 200


@serve.deployment
class Retriever:
    """Decodes, describes in batches, and finds the nearest references; reads the gallery for whoever asks."""

    def __init__(self, bundle: dict[str, Any], settings: dict[str, Any]):
        config, served = GraphConfig.model_validate(settings), BundleConfig.model_validate(bundle)
        if config.threads is not None:
            torch.set_num_threads((os.cpu_count() or 1) if config.threads == "all" else config.threads)
        self._bundle = open_bundle(served.bundle)
        self._source = Source.of(served, self._bundle)
        self._calibration = calibration_of(self._bundle)
        self._describer = Describer(self._bundle, config.device)
        self._embed.set_max_batch_size(config.batch_size)
        self._embed.set_batch_wait_timeout_s(config.batch_wait_s)
        self._probe = _probe(self._describer, self._bundle.input.preprocessing.side_px)
        self._probed = self._describer.describe([self._probe])[0].descriptor
        gallery_of(self._bundle, served.gallery)
        self._follower = Follower(served.gallery, self._bundle.embedding_id, config.index, config.device)
        self._in_force = self._calibration
        self.reconfigure({})
        self._follower.start()

    def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Take up another gallery version or number of candidates."""
        live = LiveConfig.model_validate(user_config or {})
        self._in_force = live.decision.resolve(self._calibration)
        self._follower.use(live.gallery_version)

    async def check_health(self) -> None:
        """Describe a stored image again; a replica whose answer has changed is replaced."""
        described = await asyncio.to_thread(self._describer.describe, [self._probe])
        if not float(described[0].descriptor @ self._probed) >= _HEALTHY_COSINE:
            raise RuntimeError("the descriptor of the probe image has changed")

    async def state(self) -> BundleState:
        """Bundle and gallery in use."""
        index = self._follower.index
        return BundleState(
            name=self._source.name,
            bundle_id=self._bundle.bundle_id,
            gallery_version=index.gallery.version,
            num_references=len(index),
        )

    async def retrieve(self, data: bytes, box: Box | None, product: str | None, alone: bool = False) -> Found:
        """Candidates for one encoded photograph, or for what lies in a box of it.

        In a batch its descriptor is rounded otherwise than by itself; `alone` it comes out the same bits each time.
        """
        began = perf_counter()
        photograph = await asyncio.to_thread(self._describer.read, data, box, thumbnail=False)
        decoded = perf_counter()
        if alone:
            (described,) = await asyncio.to_thread(self._describer.describe, [photograph])
        else:
            described = await self._described(photograph)
        embedded = perf_counter()
        index, in_force = self._follower.index, self._in_force
        retrieved = retrieve(index, described, in_force.mode, in_force.num_candidates, product)
        timings = {
            "decode": 1e3 * (decoded - began),
            "describe": 1e3 * (embedded - decoded),
            "retrieve": 1e3 * (perf_counter() - embedded),
        }
        return Found(described, retrieved, self._source, timings)

    async def entry(self, data: bytes, file: str) -> Entry:
        """A photograph, ready to enrol, or why it is not."""
        try:
            photograph = await asyncio.to_thread(self._describer.read, data)
        except HallmarkError as error:
            return Entry(file, "", self._source, None, b"", error)
        described = await self._described(photograph)
        # Keypoints are found again on the stored surface, and attention is said of queries: neither need travel.
        described = replace(described, details=replace(described.details, keypoints=None), attention=None)
        return Entry(file, described.image_id, self._source, described, photograph.thumbnail, None)

    def overlays(self, data: bytes, verdict: Verdict) -> Overlays:
        """Pictures of a verdict's evidence."""
        image = decode(data, self._bundle.input.limits)
        reference = None
        if verdict.references:
            gallery = self._gallery(verdict.gallery_version)
            reference = gallery.thumbnail(verdict.references[0].reference_id) or None
        matches = residual = attention = None
        if verdict.residual_map is not None:
            residual = residual_png(image, verdict.residual_map)
        if reference is not None and verdict.cue_pairs:
            matches = matches_png(image, decode(reference), verdict.cue_pairs)
        if verdict.attention is not None:
            attention = attention_png(image, verdict.attention)
        return Overlays(residual, matches, photograph_jpeg(image), reference, attention)

    def references(self, listing: Listing) -> ReferencesAnswer:
        """A page of references."""
        gallery = self._follower.refresh().gallery
        told, after = gallery.listing(listing.product, listing.part, listing.authenticity, listing.limit, listing.after)
        return ReferencesAnswer(gallery_version=gallery.version, references=told, after=after)

    def thumbnail(self, reference_id: str) -> bytes | None:
        """JPEG of a reference."""
        found = self._follower.index.gallery.thumbnail(reference_id)
        return found if found is not None else self._follower.refresh().gallery.thumbnail(reference_id)

    def products(self) -> ProductsAnswer:
        """What is enrolled."""
        gallery = self._follower.refresh().gallery
        return ProductsAnswer(gallery_version=gallery.version, products=gallery.products())

    def versions(self) -> VersionsAnswer:
        """Of the gallery, the newest ones."""
        current = self._follower.refresh().gallery.version
        return VersionsAnswer(current=current, versions=versions(self._source.gallery, _VERSIONS_TOLD))

    @serve.batch(max_batch_size=8, batch_wait_timeout_s=0.005, max_concurrent_batches=2)
    async def _embed(self, photographs: list[Photograph]) -> list[Embedded]:
        return await asyncio.to_thread(self._describer.embed, photographs)

    async def _described(self, photograph: Photograph) -> Described:
        # Details are a matter of one photograph: the network goes on with the next batch meanwhile.
        embedded = await self._embed(photograph)
        return await asyncio.to_thread(self._describer.detail, photograph, embedded)

    def _gallery(self, version: int) -> Gallery:
        gallery = self._follower.index.gallery
        return gallery if gallery.version == version else open_gallery(self._source.gallery, version)


def _probe(describer: Describer, side: int) -> Photograph:
    """A fixed image: a colour ramp with a pattern, the same on every replica."""
    ramp = np.linspace(0, 255, side)
    y, x = np.meshgrid(ramp, ramp, indexing="ij")
    image = np.stack([x, y, 127 + 127 * np.sin(x / 7) * np.cos(y / 11)], axis=-1).astype(np.uint8)
    return describer.read(cv2.imencode(".png", image)[1].tobytes(), thumbnail=False)
