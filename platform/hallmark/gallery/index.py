"""Retrieval over one gallery version: an exact FAISS index beside it, derived and rebuilt when missing."""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from functools import cached_property
from pathlib import Path

import faiss
import numpy as np

from hallmark.gallery.store import Gallery
from hallmark.types import Authenticity, Candidate, Retrieved

_log = logging.getLogger(__name__)
_SUPPORT = 3
"""A product is as near as the mean of its three nearest references."""


class GalleryIndex:
    """Exact inner-product search over a gallery version, with its metadata in memory."""

    def __init__(self, gallery: Gallery):
        self.gallery = gallery
        table = gallery.metadata()
        self._meta = {name: table.column(name).to_pylist() for name in table.column_names}
        self._index = _load_or_build(gallery, table.num_rows)
        self._rows: dict[tuple[str, bool], list[int]] = defaultdict(list)
        for row, (product, authenticity) in enumerate(
            zip(self._meta["product"], self._meta["authenticity"], strict=True)
        ):
            self._rows[product, authenticity == Authenticity.GENUINE].append(row)
        self.products = sorted({product for product, _ in self._rows})

    def __len__(self) -> int:
        return self._index.ntotal

    def retrieve(self, descriptor: np.ndarray, num_candidates: int, exclude_image: str | None = None) -> Retrieved:
        """The likeliest product of a query and its nearest references.

        Args:
            descriptor: (D,) float32, unit norm.
            num_candidates: K, how many genuine and how many counterfeit references to propose at most.
            exclude_image: an image_id that must not be found (a photograph must not vouch for itself).

        Returns:
            Ties are broken by row.
        """
        nearest: dict[str, dict[bool, list[tuple[float, int]]]] = {}
        for product, genuine in self._rows:
            found = self._search(descriptor, product, genuine, max(num_candidates, _SUPPORT) + 1)
            kept = [hit for hit in found if exclude_image is None or self._meta["image_id"][hit[1]] != exclude_image]
            nearest.setdefault(product, {})[genuine] = kept
        support = {product: _support(sides) for product, sides in nearest.items()}
        support = {product: value for product, value in support.items() if value is not None}
        if not support:
            similarity = -1.0 if np.isfinite(descriptor).all() else float("nan")
            return Retrieved(None, None, similarity, (), self.gallery.version)
        product = max(sorted(support), key=support.__getitem__)
        hits = [hit for side in (True, False) for hit in nearest[product].get(side, [])[:num_candidates]]
        best = max(hits, key=lambda hit: hit[0])
        return Retrieved(
            product=product,
            part=self._meta["part"][best[1]],
            global_similarity=best[0],
            candidates=tuple(self._candidate(similarity, row) for similarity, row in hits),
            gallery_version=self.gallery.version,
        )

    def rank(self, descriptor: np.ndarray, exclude_image: str | None = None) -> np.ndarray:
        """(R,) cosine with every reference, in row order; -inf for the image that must not be found."""
        similarity = self._descriptors @ descriptor.astype(np.float32)
        similarity[[image == exclude_image for image in self._meta["image_id"]]] = -np.inf
        return similarity

    def relevant(self, product: str, authenticity: Authenticity, exclude_image: str | None = None) -> np.ndarray:
        """(R,) bool: references of a product and authenticity, in row order; never the excluded image."""
        rows = zip(self._meta["product"], self._meta["authenticity"], self._meta["image_id"], strict=True)
        return np.array([row[:2] == (product, str(authenticity)) and row[2] != exclude_image for row in rows])

    @cached_property
    def _descriptors(self) -> np.ndarray:
        return self.gallery.descriptors()

    def thumbnail(self, reference_id: str) -> bytes | None:
        """A reference's JPEG thumbnail, None where this version has no such reference."""
        rows = [row for row, known in enumerate(self._meta["reference_id"]) if known == reference_id]
        return self.gallery.thumbnails(rows[:1])[0] if rows else None

    def _search(self, descriptor: np.ndarray, product: str, genuine: bool, count: int) -> list[tuple[float, int]]:
        rows = self._rows.get((product, genuine), [])
        if not rows or not np.isfinite(descriptor).all():
            return []
        chosen = faiss.SearchParameters(sel=faiss.IDSelectorBatch(np.asarray(rows, dtype=np.int64)))
        query, wider = descriptor[None].astype(np.float32), count + 1
        while True:
            similarity, found = self._index.search(query, min(wider, len(rows)), params=chosen)
            hits = [(min(1.0, float(s)), int(row)) for s, row in zip(similarity[0], found[0], strict=True) if row >= 0]
            # FAISS keeps any of the rows that tie for the last places; widen until the tie is whole.
            if wider >= len(rows) or hits[-1][0] < hits[count - 1][0]:
                return sorted(hits, key=lambda hit: (-hit[0], hit[1]))[:count]
            wider *= 2

    def _candidate(self, similarity: float, row: int) -> Candidate:
        return Candidate(
            row=row,
            reference_id=self._meta["reference_id"][row],
            image_id=self._meta["image_id"][row],
            product=self._meta["product"][row],
            part=self._meta["part"][row],
            authenticity=Authenticity(self._meta["authenticity"][row]),
            global_similarity=similarity,
        )


def _support(sides: dict[bool, list[tuple[float, int]]]) -> float | None:
    similarities = sorted((hit[0] for side in sides.values() for hit in side), reverse=True)[:_SUPPORT]
    return float(np.mean(similarities)) if similarities else None


def index_path(gallery: Gallery) -> Path:
    """Where the index of a gallery version lies."""
    return Path(f"{gallery.uri}.index") / f"v{gallery.version}-{gallery.content_id}.faiss"


def _load_or_build(gallery: Gallery, num_references: int) -> faiss.Index:
    path = index_path(gallery)
    if path.is_file():
        try:
            index = faiss.read_index(str(path))
        except RuntimeError:
            index = None
        if index is not None and index.ntotal == num_references:
            return index
        _log.warning("%s: damaged, built again", path)
    descriptors = gallery.descriptors()
    index = faiss.IndexFlatIP(descriptors.shape[1])
    index.add(descriptors)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{os.getpid()}.draft")
        faiss.write_index(index, str(draft))
        os.replace(draft, path)
    except (OSError, RuntimeError) as error:
        _log.warning("%s: not stored (%s); it will be built again at the next start", path, error)
    return index
