"""Search among many references: a compressed FAISS index proposes, exact descriptors from the store decide.

The index holds 256 bytes a reference: the leading components of its descriptor, 8 bits each, in lists of neighbours.
References that it does not hold yet are compared exactly.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import faiss
import numpy as np
from scipy.linalg import eigh

from hallmark.gallery.catalogue import Addresses, Catalogue
from hallmark.gallery.columns import matrix_of
from hallmark.gallery.exact import ExactSearch, newest, similarities, write
from hallmark.gallery.reading import Gallery
from hallmark.gallery.settings import IndexConfig

_log = logging.getLogger(__name__)
_BATCH = 8192
_KEPT_FILES = 4


@dataclass(frozen=True)
class Base:
    """What lies on the disk: a FAISS index, and which stored row each of its labels is."""

    index: faiss.IndexPreTransform
    addresses: Addresses
    told: dict
    """Probes, and how the index did on a sample: what its JSON file says."""


class CompressedSearch:
    """Proposals for one gallery version."""

    def __init__(
        self, gallery: Gallery, catalogue: Catalogue, base: Base, label_of_row: np.ndarray, gpu: faiss.Index | None
    ):
        self._gallery, self._catalogue, self.base, self._gpu = gallery, catalogue, base, gpu
        self.label_of_row = label_of_row
        held = label_of_row >= 0
        self._row_of_label = np.full(len(base.addresses), -1, np.int32)
        self._row_of_label[label_of_row[held]] = np.flatnonzero(held)
        self.waiting = np.flatnonzero(~held)
        """(w,) int64 rows that the index does not hold."""

    @cached_property
    def _waiting(self) -> ExactSearch:
        return ExactSearch.of(self._gallery.descriptors_of(self.waiting))

    @cached_property
    def _alive(self) -> np.ndarray:
        """Bits by label: whether the version has it."""
        return np.packbits(self._row_of_label >= 0, bitorder="little")

    @property
    def num_dead(self) -> int:
        """Labels whose reference the version does not have."""
        return int((self._row_of_label < 0).sum())

    @classmethod
    def load_or_build(cls, gallery: Gallery, catalogue: Catalogue, config: IndexConfig, path: Path) -> CompressedSearch:
        """Of a gallery version: from its file, from that of a version much like it, or built from the store."""
        base = load(path, config, gallery)
        if base is None:
            base = _nearest_base(gallery, catalogue, config, path)
        if base is None:
            base = build(gallery, catalogue, config)
            store(base, path)
        return cls(gallery, catalogue, base, catalogue.layout.origin(base.addresses), None)._folded(config, path)

    def updated(
        self, gallery: Gallery, catalogue: Catalogue, older: Catalogue, config: IndexConfig, path: Path
    ) -> CompressedSearch:
        """Of another version, by the same index; what it does not hold waits, and is added once that is much."""
        labels = catalogue.layout.origin(self.base.addresses)
        strangers = np.flatnonzero(labels < 0)
        if len(strangers):
            # Their files may have been merged since: then the version before knows them.
            origin = catalogue.origin(older)[strangers]
            labels[strangers] = np.where(origin >= 0, self.label_of_row[origin], -1)
        return CompressedSearch(gallery, catalogue, self.base, labels, self._gpu)._folded(config, path)

    def on_gpu(self) -> CompressedSearch:
        """The same with a copy of the index on the first GPU."""
        return CompressedSearch(
            self._gallery, self._catalogue, self.base, self.label_of_row, _gpu_copy(self.base.index)
        )

    def _folded(self, config: IndexConfig, path: Path) -> CompressedSearch:
        """With what waits added to a copy of the index, once that is much; this one stays as it is."""
        if len(self.waiting) <= config.waiting_limit:
            return self
        index = faiss.clone_index(self.base.index)
        for start in range(0, len(self.waiting), _BATCH):
            index.add(self._gallery.descriptors_of(self.waiting[start : start + _BATCH]).astype(np.float32))
        labels = self.label_of_row.copy()
        labels[self.waiting] = len(self.base.addresses) + np.arange(len(self.waiting))
        addresses = self.base.addresses.extended(self._catalogue.addresses.taken(self.waiting))
        base = replace(self.base, index=index, addresses=addresses)
        store(base, path)
        gpu = None if self._gpu is None else _gpu_copy(index)
        return CompressedSearch(self._gallery, self._catalogue, base, labels, gpu)

    def propose(
        self, descriptor: np.ndarray, count: int, among: np.ndarray | None = None, probes: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The references that seem nearest, with their exact similarities.

        Args:
            descriptor: (D,) float32.
            count: how many at least, where there are as many.
            among: (R,) bool, rows that may be proposed; None = all.
            probes: lists of neighbours to look into; None = as measured when the index was built.

        Returns:
            (n,) int64 rows ascending and (n,) float64 similarities.
        """
        rows = self._approximate(descriptor, count, among, probes or self.base.told["probes"])
        waiting = np.flatnonzero(among[self.waiting]) if among is not None else np.arange(len(self.waiting))
        near = similarities(self._gallery.descriptors_of(rows), descriptor) if len(rows) else np.empty(0)
        new = self._waiting.similarities(descriptor)[waiting] if len(waiting) else np.empty(0)
        rows, near = np.concatenate([rows, self.waiting[waiting]]), np.concatenate([near, new])
        order = np.argsort(rows)
        return rows[order], near[order]

    def _approximate(self, descriptor: np.ndarray, count: int, among: np.ndarray | None, probes: int) -> np.ndarray:
        query = descriptor[None].astype(np.float32)
        if self._gpu is not None and among is None:
            labels = self._gpu.search(query, min(2048, count + self.num_dead), params=_parameters(probes))[1][0]
            rows = self._row_of_label[labels[labels >= 0]]
            return np.sort(rows[rows >= 0][:count]).astype(np.int64)
        bits = self._alive
        if among is not None:
            allowed = np.zeros(len(self._row_of_label), bool)
            held = self.label_of_row >= 0
            allowed[self.label_of_row[held & among]] = True
            bits = np.packbits(allowed, bitorder="little")
        selector = faiss.IDSelectorBitmap(bits)
        labels = self.base.index.search(query, count, params=_parameters(probes, selector))[1][0]
        return np.sort(self._row_of_label[labels[labels >= 0]]).astype(np.int64)


def _parameters(probes: int, selector: faiss.IDSelector | None = None) -> faiss.SearchParametersPreTransform:
    lists = faiss.SearchParametersIVF(nprobe=probes, **({} if selector is None else {"sel": selector}))
    return faiss.SearchParametersPreTransform(index_params=lists)


def _gpu_copy(index: faiss.Index) -> faiss.Index:
    resources = faiss.StandardGpuResources()
    copy = faiss.index_cpu_to_gpu(resources, 0, index)
    copy.resources = resources  # or they are freed while the copy uses them
    return copy


def build(gallery: Gallery, catalogue: Catalogue, config: IndexConfig) -> Base:
    """Train and fill an index, and measure on a sample how many of the ten nearest it finds with how many probes."""
    began, rng = time.perf_counter(), np.random.default_rng(0)
    count = len(catalogue)
    lists = config.lists or int(np.clip(2 ** round(np.log2(2 * np.sqrt(count))), 1, 2048))
    chosen = np.sort(rng.choice(count, min(count, max(64 * lists, _BATCH), config.training_limit), replace=False))
    index = _trained(gallery.descriptors_of(chosen).astype(np.float32), lists, config)
    sample = np.sort(rng.choice(count, min(count, config.sample), replace=False))
    queries = gallery.descriptors_of(sample).astype(np.float32)
    best = np.full((len(sample), 10), -np.inf, np.float32)
    nearest = np.full((len(sample), 10), -1)
    for start, batch in _batches(gallery):
        index.add(batch)
        similarity = queries @ batch.T
        own = (sample >= start) & (sample < start + len(batch))
        similarity[own, sample[own] - start] = -np.inf  # a reference does not find itself
        rows = np.broadcast_to(np.arange(start, start + len(batch)), similarity.shape)
        both, where = np.hstack([best, similarity]), np.hstack([nearest, rows])
        top = np.argpartition(-both, 9, axis=1)[:, :10]
        best, nearest = np.take_along_axis(both, top, 1), np.take_along_axis(where, top, 1)
    base = Base(index, catalogue.addresses, {"probes": lists})
    told = _measured(
        CompressedSearch(gallery, catalogue, base, np.arange(count), None), sample, queries, nearest, config
    )
    told |= {
        "version": gallery.version,
        "num_references": count,
        "lists": lists,
        "dim": index.d,
        "components": index.index.d,
        "built_s": round(time.perf_counter() - began, 2),
    }
    if told["recall_at_10"] < config.least_recall:
        _log.warning(
            "%s: the index finds %.3f of the ten nearest; wanted %.3f",
            gallery.uri,
            told["recall_at_10"],
            config.least_recall,
        )
    return replace(base, told=told)


def _trained(sample: np.ndarray, lists: int, config: IndexConfig) -> faiss.IndexPreTransform:
    dim = sample.shape[1]
    components = min(config.components, dim)
    # Not centred: of all projections this one keeps inner products best.
    axes = eigh(sample.T @ sample, subset_by_index=[dim - components, dim - 1])[1].T[::-1]
    projection = faiss.LinearTransform(dim, components, False)
    faiss.copy_array_to_vector(np.ascontiguousarray(axes, np.float32).ravel(), projection.A)
    projection.is_trained = True
    coarse = faiss.IndexFlatIP(components)
    inner = faiss.IndexIVFScalarQuantizer(
        coarse, components, lists, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    )
    inner.cp.seed, inner.cp.niter, inner.cp.min_points_per_centroid = 0, 10, 1
    index = faiss.IndexPreTransform(projection, inner)
    index.train(sample)
    return index


def _batches(gallery: Gallery) -> Iterator[tuple[int, np.ndarray]]:
    start = 0
    for batch in gallery.scan(["global"], _BATCH):
        descriptors = matrix_of(batch.column("global")).astype(np.float32)
        yield start, descriptors
        start += len(descriptors)


def _measured(
    search: CompressedSearch, sample: np.ndarray, queries: np.ndarray, nearest: np.ndarray, config: IndexConfig
) -> dict:
    """The fewest probes, among powers of two, that find as many of the ten nearest as all of them do, nearly."""
    lists, recalls = search.base.told["probes"], {}
    probes = [2**power for power in range(2, 12) if 2**power < lists] + [lists]
    for count in reversed(probes):
        found = wanted = 0
        for own, query, rows in zip(sample, queries, nearest, strict=True):
            proposed, similarity = search.propose(query, config.shortlist + 1, None, count)
            kept = proposed != own
            ours = proposed[kept][np.argsort(-similarity[kept], kind="stable")[:10]]
            rows = rows[rows >= 0]
            found, wanted = found + len(np.intersect1d(ours, rows)), wanted + len(rows)
        recall = found / max(1, wanted)
        if recall < max(recalls.values(), default=0.0) - config.probe_loss:
            break
        recalls[count] = recall
    chosen = min(recalls)
    return {"probes": chosen, "recall_at_10": round(recalls[chosen], 4), "sample": len(sample)}


def store(base: Base, path: Path) -> None:
    """Write an index and what belongs to it, each whole or not at all; the JSON file, written last, counts."""
    if not write(base.index, path):
        return
    addresses, rows = base.addresses, path.with_suffix(".npz")
    try:
        draft = path.with_suffix(f".{os.getpid()}.draft")
        with open(draft, "wb") as stream:
            np.savez(stream, files=addresses.files, offsets=addresses.offsets)
        draft.replace(rows)
        told = {**base.told, "names": addresses.names, "digests": [_digest(path), _digest(rows)]}
        draft.write_text(json.dumps(told, indent=1))
        draft.replace(path.with_suffix(".json"))
        for old in newest(path.parent, ".json")[_KEPT_FILES:]:
            for suffix in (".json", ".npz", ".faiss"):
                old.with_suffix(suffix).unlink(missing_ok=True)
    except OSError as error:
        _log.warning("%s: not stored (%s); it will be built again at the next start", path, error)


def load(path: Path, config: IndexConfig, gallery: Gallery) -> Base | None:
    """An index from its files; None where there are none, or they are damaged, of another index or other settings."""
    if not path.with_suffix(".json").is_file():
        return None
    try:
        told = json.loads(path.with_suffix(".json").read_text())
        names, digests = [tuple(name) for name in told.pop("names")], told.pop("digests")
        if digests != [_digest(path), _digest(path.with_suffix(".npz"))]:
            raise ValueError("not the files that were written with it")
        dim = gallery.descriptor_dim
        if (told["dim"], told["components"]) != (dim, min(config.components, dim)):
            return None
        with np.load(path.with_suffix(".npz")) as arrays:
            addresses = Addresses(names, arrays["files"], arrays["offsets"])
        return Base(faiss.read_index(str(path)), addresses, told)
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        _log.warning("%s: damaged (%s), built again", path, error)
    return None


def _digest(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _nearest_base(gallery: Gallery, catalogue: Catalogue, config: IndexConfig, path: Path) -> Base | None:
    """The newest stored index that holds most of a version and little else."""
    for other in newest(path.parent, ".json"):
        other = other.with_suffix(".faiss")
        base = load(other, config, gallery) if other != path else None
        if base is not None:
            held = int((catalogue.layout.origin(base.addresses) >= 0).sum())
            if 2 * held > max(len(catalogue), len(base.addresses)):
                return base
    return None
