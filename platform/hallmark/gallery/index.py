"""Retrieval over one gallery version: exact to a size, compressed beyond it; derived, and rebuilt when missing."""

from __future__ import annotations

import logging
from functools import cached_property
from pathlib import Path

import faiss
import numpy as np

from hallmark.gallery.compressed import CompressedSearch
from hallmark.gallery.exact import ExactSearch, similarities
from hallmark.gallery.reading import Gallery
from hallmark.gallery.settings import IndexConfig
from hallmark.types import Authenticity, Candidate, Retrieved

__all__ = ["GalleryIndex", "IndexConfig", "index_path"]

_log = logging.getLogger(__name__)
_SUPPORT = 3
"""A product is as near as the mean of its three nearest references."""
_MOST_CONTENDERS = 8
"""Products that are compared whole, one after another, before the likeliest is taken."""


class GalleryIndex:
    """Inner-product search over a gallery version, with its references' names in memory."""

    def __init__(self, gallery: Gallery, config: IndexConfig | None = None, device: str = "cpu"):
        self._begin(gallery, config or IndexConfig(), device)
        if not len(self._catalogue):
            self._search: ExactSearch | CompressedSearch = ExactSearch([], 0)
        elif len(self._catalogue) <= self.config.exact_limit:
            self._search = ExactSearch.load_or_build(gallery, index_path(gallery))
        else:
            found = CompressedSearch.load_or_build(gallery, self._catalogue, self.config, _compressed_path(gallery))
            self._search = found.on_gpu() if self._has_gpu() else found

    def _begin(self, gallery: Gallery, config: IndexConfig, device: str) -> None:
        self.gallery, self.config, self._device, self._catalogue = gallery, config, device, gallery.catalogue

    def updated(self, gallery: Gallery) -> GalleryIndex:
        """The index of another version of the same gallery.

        What both have is taken over; this one stays as it is. A gallery that outgrows exact search keeps it to twice
        the bound, so that the compressed index is built seldom.
        """
        gallery.follow(self.gallery)
        if gallery.uri != self.gallery.uri or gallery.embedding_id != self.gallery.embedding_id:
            return GalleryIndex(gallery, self.config, self._device)
        newer = GalleryIndex.__new__(GalleryIndex)
        newer._begin(gallery, self.config, self._device)
        names, older, limit = newer._catalogue, self._catalogue, self.config.exact_limit
        if isinstance(self._search, ExactSearch) and len(names) <= 2 * limit:
            newer._search = self._search.updated(gallery, names.origin(older))
        elif isinstance(self._search, CompressedSearch) and len(names) > limit:
            path = _compressed_path(gallery)
            newer._search = self._search.updated(gallery, names, older, self.config, path)
        else:
            return GalleryIndex(gallery, self.config, self._device)
        return newer

    def _has_gpu(self) -> bool:
        if self._device != "cuda":
            return False
        there = faiss.get_num_gpus() > 0
        if not there:
            _log.warning("%s: index.device is cuda and FAISS sees no GPU; searching on the CPU", self.gallery.uri)
        return there

    def __len__(self) -> int:
        return len(self._catalogue)

    @cached_property
    def products(self) -> list[str]:
        """Names of the products that have references, sorted."""
        names, counts = self._catalogue.products, self._catalogue.counts
        return sorted(names[code] for code in np.flatnonzero(counts))

    @property
    def recall(self) -> float | None:
        """Share of the ten nearest references that a compressed index finds, on a sample; None where exact."""
        return self._search.base.told["recall_at_10"] if isinstance(self._search, CompressedSearch) else None

    def retrieve(
        self,
        descriptor: np.ndarray,
        num_candidates: int,
        exclude_image: str | None = None,
        product: str | None = None,
        part: str | None = None,
    ) -> Retrieved:
        """The likeliest product of a query and its nearest references.

        Args:
            descriptor: (D,) float32, unit norm.
            num_candidates: K, how many genuine and how many counterfeit references to propose at most.
            exclude_image: an image_id that must not be found (a photograph must not vouch for itself).
            product: only references of it; one that has none is an empty gallery.
            part: only references of it.

        Returns:
            Ties are broken by row.
        """
        if not np.isfinite(descriptor).all():
            return Retrieved(None, None, float("nan"), (), self.gallery.version)
        rows, near, settled = self._compared(descriptor, exclude_image, product, part)
        if not len(rows):
            return Retrieved(None, None, None, (), self.gallery.version)
        code = self._likeliest(rows, near, settled)
        own = self._catalogue.product[rows] == code
        rows, near = rows[own], near[own]
        order = np.lexsort((rows, -near))
        rows, near = rows[order], near[order]
        genuine = self._catalogue.genuine[rows]
        chosen = np.concatenate([np.flatnonzero(side)[:num_candidates] for side in (genuine, ~genuine)])
        best = chosen[np.argmax(near[chosen])]
        return Retrieved(
            product=self._catalogue.products[code],
            part=self._catalogue.parts[self._catalogue.part[rows[best]]],
            global_similarity=float(near[best]),
            candidates=tuple(self._candidate(float(near[place]), int(rows[place])) for place in chosen),
            gallery_version=self.gallery.version,
        )

    def nearest(self, descriptor: np.ndarray, count: int, exclude_image: str | None = None) -> np.ndarray:
        """Rows of the nearest references, whatever their product, nearest first; what recall is measured by."""
        rows, near, _ = self._compared(descriptor, exclude_image, None, None)
        return rows[np.lexsort((rows, -near))[:count]]

    def _compared(
        self, descriptor: np.ndarray, exclude_image: str | None, product: str | None, part: str | None
    ) -> tuple[np.ndarray, np.ndarray, list[int] | None]:
        """Rows that were compared with a query, their similarities, and the products that may be the likeliest.

        None: every product, as all of their references were compared.
        """
        names, excluded = self._catalogue, np.empty(0, np.int64)
        if exclude_image is not None:
            excluded = names.rows_of_image(exclude_image)
        whole = product is None and part is None
        if isinstance(self._search, ExactSearch):
            near = self._search.similarities(descriptor)
            rows = np.arange(len(names)) if whole else names.rows(product, part)
            if len(excluded):
                rows = np.setdiff1d(rows, excluded)
            return rows, near[rows], None
        if product is not None:
            rows = np.setdiff1d(names.rows(product, part), excluded)
            return *self._of_product(descriptor, rows), None
        among = None
        if part is not None or len(excluded):
            among = np.ones(len(names), bool) if part is None else names.part == names.part_code(part)
            among[excluded] = False
        return self._contended(descriptor, among, *self._search.propose(descriptor, self.config.shortlist, among))

    def _contended(
        self, descriptor: np.ndarray, among: np.ndarray | None, rows: np.ndarray, near: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, list[int]]:
        """Proposals, and all references of the products that may be the likeliest.

        A product of which fewer than three references were proposed may have others, as near as the furthest proposal:
        it is compared whole before it can win, and so is every one that might win over those compared.
        """
        if not len(rows):
            return rows, near, []
        names, floor, settled = self._catalogue, near.min(), {}
        codes, supports, counts = _supports(names.product[rows], near)
        found = np.minimum(counts, _SUPPORT)
        total = names.counts if among is None else np.bincount(names.product[among], minlength=len(names.products))
        missing = np.minimum(total[codes], _SUPPORT) - found
        bounds = (supports * found + missing * floor) / (found + missing)
        for place in np.argsort(-bounds, kind="stable")[:_MOST_CONTENDERS]:
            if settled and max(settled.values()) > bounds[place]:
                break
            code = int(codes[place])
            own = names.rows_of_product(code)
            whole, theirs = self._of_product(descriptor, own if among is None else own[among[own]])
            kept = names.product[rows] != code
            rows, near = np.concatenate([rows[kept], whole]), np.concatenate([near[kept], theirs])
            settled[code] = _supports(np.zeros(len(whole), np.int64), theirs)[1][0]
        return rows, near, list(settled)

    def _of_product(self, descriptor: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """References of one product: all of them, or of many the nearest of each authenticity."""
        if len(rows) <= self.config.product_limit:
            return rows, similarities(self.gallery.descriptors_of(rows), descriptor)
        told = []
        for side in (True, False):
            among = np.zeros(len(self._catalogue), bool)
            among[rows[self._catalogue.genuine[rows] == side]] = True
            told.append(self._search.propose(descriptor, self.config.shortlist, among))
        return tuple(np.concatenate(column) for column in zip(*told, strict=True))

    def _likeliest(self, rows: np.ndarray, near: np.ndarray, settled: list[int] | None) -> int:
        """Code of the product with the most support; of those that tie, the first by name."""
        codes, supports, _ = _supports(self._catalogue.product[rows], near)
        if settled is not None:
            supports = np.where(np.isin(codes, settled), supports, -np.inf)
        return min(codes[supports == supports.max()].tolist(), key=lambda code: self._catalogue.products[code])

    def rank(self, descriptor: np.ndarray, exclude_image: str | None = None) -> np.ndarray:
        """(R,) cosine with every reference, in row order; -inf for the image that must not be found."""
        similarity = self._descriptors @ descriptor.astype(np.float32)
        if exclude_image is not None:
            similarity[self._catalogue.rows_of_image(exclude_image)] = -np.inf
        return similarity

    def relevant(self, product: str, authenticity: Authenticity, exclude_image: str | None = None) -> np.ndarray:
        """(R,) bool: references of a product and authenticity, in row order; never the excluded image."""
        relevant = np.zeros(len(self), bool)
        relevant[self._catalogue.rows(product, None, authenticity)] = True
        if exclude_image is not None:
            relevant[self._catalogue.rows_of_image(exclude_image)] = False
        return relevant

    @cached_property
    def _descriptors(self) -> np.ndarray:
        return self.gallery.descriptors()

    def thumbnail(self, reference_id: str) -> bytes | None:
        """A reference's JPEG thumbnail, None where this version has no such reference."""
        return self.gallery.thumbnail(reference_id)

    def _candidate(self, similarity: float, row: int) -> Candidate:
        names = self._catalogue
        return Candidate(
            row=row,
            reference_id=names.reference_id[row].as_py(),
            image_id=names.image_id[row].as_py(),
            product=names.products[names.product[row]],
            part=names.parts[names.part[row]],
            authenticity=names.authenticity(row),
            global_similarity=similarity,
        )


def _supports(codes: np.ndarray, near: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The products among some references, the mean of each one's three highest similarities, and its references."""
    order = np.lexsort((-near, codes))
    products, starts, counts = np.unique(codes[order], return_index=True, return_counts=True)
    near, total = near[order], np.zeros(len(products))
    for place in range(_SUPPORT):
        there = counts > place
        total[there] += near[starts[there] + place]
    return products, total / np.minimum(counts, _SUPPORT), counts


def index_path(gallery: Gallery) -> Path:
    """Where the exact index of a gallery version lies."""
    return Path(f"{gallery.uri}.index") / f"v{gallery.version}-{gallery.content_id}.faiss"


def _compressed_path(gallery: Gallery) -> Path:
    return Path(f"{gallery.uri}.index") / f"v{gallery.version}-{gallery.content_id}-compressed.faiss"
