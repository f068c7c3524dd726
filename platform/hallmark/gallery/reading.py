"""One version of a gallery, open for reading."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hallmark.errors import GalleryError
from hallmark.gallery.catalogue import Catalogue
from hallmark.gallery.columns import DETAILS, LOCAL_DIM, META, details_of, matrix_of
from hallmark.gallery.dataset import EMBEDDING_ID, open_dataset, reading
from hallmark.types import Authenticity, Details, Member, ProductCount, ReferenceRecord

if TYPE_CHECKING:  # torch comes with it, and a gallery can be kept without
    from hallmark.training.bundle import Bundle


@dataclass(frozen=True)
class Gallery:
    """One version of a gallery, open for reading."""

    uri: str
    version: int
    embedding_id: str
    """The bundle embedding its descriptors were made with."""

    @cached_property
    def _dataset(self) -> lance.LanceDataset:
        return open_dataset(self.uri, self.version)

    @cached_property
    def catalogue(self) -> Catalogue:
        """Its references' names, in row order."""
        with reading(self.uri):
            return Catalogue.read(self._dataset)

    def follow(self, older: Gallery) -> None:
        """Take over the names that another version of this gallery has in memory."""
        if older.uri == self.uri and "catalogue" not in self.__dict__ and "catalogue" in older.__dict__:
            with reading(self.uri):
                self.__dict__["catalogue"] = Catalogue.read(self._dataset, older.catalogue)

    @property
    def num_references(self) -> int:
        """R."""
        return self._dataset.count_rows()

    @property
    def content_id(self) -> str:
        """Hash of the version's files, 16 hex digits; differs between galleries written to one place in turn."""
        fragments = self._dataset.get_fragments()
        files = [file.path for fragment in fragments for file in fragment.data_files()]
        # Where an older version's rows were retired, a file says which: its name is as good as its content.
        files += [fragment.deletion_file() for fragment in fragments if fragment.num_deletions]
        return hashlib.sha256("\n".join([self.embedding_id, *files]).encode()).hexdigest()[:16]

    def metadata(self) -> pa.Table:
        """reference_id, image_id, product, part, item_id, authenticity of every reference, in row order."""
        with reading(self.uri):
            return self._dataset.to_table(columns=list(META))

    @property
    def descriptor_dim(self) -> int:
        """D."""
        return self._dataset.schema.field("global").type.list_size

    def descriptors(self) -> np.ndarray:
        """(R, D) float32 global descriptors in row order, as rounded to float16 in the store."""
        with reading(self.uri):
            return matrix_of(self._dataset.to_table(columns=["global"]).column("global")).astype(np.float32)

    def scan(self, columns: Sequence[str], num_rows: int) -> Iterator[pa.Table]:
        """Columns of all references in row order, so many rows at a time at most."""
        with reading(self.uri):
            for batch in self._dataset.to_batches(columns=list(columns), batch_size=num_rows):
                yield pa.table(batch)

    def descriptors_of(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """(n, D) float16 global descriptors of some rows, in the order asked."""
        distinct, places = np.unique(np.asarray(rows, np.int64), return_inverse=True)
        if not len(distinct):
            return np.empty((0, self.descriptor_dim), np.float16)
        return matrix_of(self._take(distinct.tolist(), ["global"]).column("global"))[places]

    def details(self, rows: Sequence[int]) -> list[Details]:
        """What verification compares of some rows, in the order asked."""
        if not len(rows):
            return []
        distinct = sorted(set(rows))
        table = self._take(distinct, list(DETAILS))
        local_dim = int((self._dataset.schema.metadata or {}).get(LOCAL_DIM, b"-1"))
        read = [details_of(row, local_dim) for row in table.to_batches(max_chunksize=1)]
        by_row = dict(zip(distinct, read, strict=True))
        return [by_row[row] for row in rows]

    def members(self, product: str, part: str, authenticity: Authenticity, limit: int) -> list[Member]:
        """References of a product and part, `limit` of them at most: of as many items as there are, in row order."""
        chosen = self._chosen(product, part, authenticity, limit)
        names = self.catalogue
        return [
            Member(names.reference_id[row].as_py(), names.item_id[row].as_py(), details)
            for row, details in zip(chosen, self.details(chosen), strict=True)
        ]

    def member_ids(self, product: str, part: str, authenticity: Authenticity, limit: int) -> list[str]:
        """The reference ids of `members`."""
        rows = self._chosen(product, part, authenticity, limit)
        return [self.catalogue.reference_id[row].as_py() for row in rows]

    def _chosen(self, product: str, part: str, authenticity: Authenticity, limit: int) -> list[int]:
        rows = self.catalogue.rows(product, part, authenticity)
        shots, turn = Counter(), []
        for item in self.catalogue.item_id.take(pa.array(rows)).to_pylist():
            shots[item] += 1
            turn.append(shots[item])
        return np.sort(rows[np.argsort(turn, kind="stable")[:limit]]).tolist()

    def thumbnails(self, rows: Sequence[int]) -> list[bytes]:
        """JPEG thumbnails of some rows, in the order asked."""
        if not len(rows):
            return []
        distinct = sorted(set(rows))
        read = dict(zip(distinct, self._take(distinct, ["thumbnail"]).column("thumbnail").to_pylist(), strict=True))
        return [read[row] for row in rows]

    def thumbnail(self, reference_id: str) -> bytes | None:
        """A reference's JPEG thumbnail, None where this version has no such reference."""
        row = self.catalogue.find([reference_id])[0]
        return None if row is None else self.thumbnails([row])[0]

    def listing(
        self,
        product: str | None = None,
        part: str | None = None,
        authenticity: Authenticity | str | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> tuple[list[ReferenceRecord], str | None]:
        """References of what is named, by reference_id.

        Args:
            limit: how many at most.
            after: the last reference_id that is not wanted; it need not be enrolled any more.

        Returns:
            The references, and `after` of the next page; None where there is no more.
        """
        rows = self.catalogue.rows(product, part, authenticity)
        named = self.catalogue.reference_id.take(pa.array(rows))
        if after is not None:
            later = pc.greater(named, after).to_numpy()
            rows, named = rows[later], named.filter(pa.array(later))
        order = pc.select_k_unstable(named, limit + 1, sort_keys=[("", "ascending")]).to_numpy()
        told = self._records(rows[order[:limit]])
        return told, told[-1].reference_id if len(order) > limit else None

    def _records(self, rows: np.ndarray) -> list[ReferenceRecord]:
        if not len(rows):
            return []
        distinct = np.sort(rows).tolist()
        table = self._take(distinct, [*META, "bundle_id", "enrolled_at"])
        read = dict(zip(distinct, table.to_pylist(), strict=True))
        return [ReferenceRecord(**read[row]) for row in rows.tolist()]

    def products(self) -> list[ProductCount]:
        """How many references there are of each product and part, by name."""
        names = self.catalogue
        num_parts = len(names.parts)
        both = names.product.astype(np.int64) * num_parts + names.part
        keys, places = np.unique(both, return_inverse=True)
        total = np.bincount(places, minlength=len(keys))
        genuine = np.bincount(places, weights=names.genuine, minlength=len(keys)).astype(int)
        counts = [
            ProductCount(
                product=names.products[key // num_parts],
                part=names.parts[key % num_parts],
                genuine=ours,
                counterfeit=everyone - ours,
            )
            for key, ours, everyone in zip(keys.tolist(), genuine.tolist(), total.tolist(), strict=True)
        ]
        return sorted(counts, key=lambda count: (count.product, count.part))

    def _take(self, rows: list[int], columns: list[str]) -> pa.Table:
        """Rows that are ascending and distinct: only those come quickly and in the order asked."""
        with reading(self.uri):
            return self._dataset.take(rows, columns=columns)


@dataclass(frozen=True)
class NoGallery(Gallery):
    """What a bundle that classifies is asked with where it has no gallery: version 0, without a reference."""

    uri: str = ""
    version: int = 0
    embedding_id: str = ""

    @cached_property
    def catalogue(self) -> Catalogue:
        """No names."""
        return Catalogue.empty()

    @property
    def num_references(self) -> int:
        """0."""
        return 0

    @property
    def content_id(self) -> str:
        """Empty: there is no file."""
        return ""


def gallery_of(bundle: Bundle, uri: str | Path | None, version: int | None = None) -> Gallery:
    """The gallery version that a bundle is asked with, the latest by default; none where it can do without.

    Raises:
        GalleryError: it is missing and the bundle does not classify, or as `open_gallery` does.
    """
    if uri is None and not bundle.classifies:
        raise GalleryError(
            f"gallery: missing; {bundle.path} compares photographs with references; wanted the folder ending in .lance "
            "that jobs/build_gallery.py wrote (a bundle that classifies can do without)"
        )
    return open_gallery(uri, version, bundle.embedding_id)


def open_gallery(uri: str | Path | None, version: int | None = None, embedding_id: str | None = None) -> Gallery:
    """Open a version, the latest by default.

    Args:
        uri: None = there is none, of which 0 is the one version.
        embedding_id: that of the bundle in use; checked where given.

    Raises:
        GalleryError: there is no gallery or no such version, or it was made with another bundle.
    """
    if uri is None:
        if version:
            raise GalleryError(f"gallery: missing; wanted the one that version {version} is of, or no version")
        return NoGallery()
    uri = str(uri)
    dataset = open_dataset(uri, version)
    found = (dataset.schema.metadata or {}).get(EMBEDDING_ID, b"").decode()
    if embedding_id is not None and found != embedding_id:
        raise GalleryError(
            f"{uri}: was built with the bundle embedding {found}, the bundle in use has {embedding_id}; build the "
            "gallery again with this bundle (jobs/build_gallery.py) or use the bundle it was built with"
        )
    return Gallery(uri, dataset.version, found)
