"""Who is who in a gallery version: its references' names in memory, taken over from version to version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hallmark.gallery.columns import META
from hallmark.types import Authenticity

_MOST_CHUNKS = 64


@dataclass(frozen=True)
class Piece:
    """One fragment of a version: some data files less the rows that were retired from them."""

    files: tuple[str, ...]
    deletions: str | None
    """Name of the file that says which rows are gone."""
    physical: int
    """Rows in the files."""
    gone: np.ndarray
    """(G,) int64 ascending: which of them are retired."""

    def __len__(self) -> int:
        return self.physical - len(self.gone)

    def live(self) -> np.ndarray:
        """(L,) int64 ascending: places of the rows that are not retired."""
        return np.delete(np.arange(self.physical), self.gone)


class Layout:
    """Which rows of which files a version consists of, in order."""

    def __init__(self, pieces: list[Piece]):
        self.pieces = pieces

    @classmethod
    def of(cls, dataset: lance.LanceDataset, older: Layout | None = None) -> Layout:
        """Of a version; what another version of the gallery knows of the same files is not read again."""
        known = {} if older is None else {(piece.files, piece.deletions): piece for piece in older.pieces}
        pieces = []
        for fragment in dataset.get_fragments():
            key = tuple(file.path for file in fragment.data_files()), fragment.deletion_file()
            pieces.append(known.get(key) or Piece(*key, fragment.physical_rows, _gone(fragment)))
        return cls(pieces)

    def __len__(self) -> int:
        return sum(len(piece) for piece in self.pieces)

    def addresses(self) -> Addresses:
        """Where each row is stored."""
        lengths = [len(piece) for piece in self.pieces]
        offsets = np.concatenate([np.empty(0, np.int64), *(piece.live() for piece in self.pieces)])
        files = np.repeat(np.arange(len(self.pieces)), lengths)
        return Addresses([piece.files for piece in self.pieces], files.astype(np.int32), offsets.astype(np.int32))

    def origin(self, older: Addresses) -> np.ndarray:
        """(R,) int64: which of some addresses each row has, the last where several are the same; -1: none of them."""
        origins = [np.empty(0, np.int64)]
        for piece in self.pieces:
            row_at = np.full(piece.physical, -1)
            numbers = older.of(piece.files)
            row_at[older.offsets[numbers]] = numbers
            origins.append(row_at[piece.live()])
        return np.concatenate(origins)


@dataclass(frozen=True)
class Addresses:
    """Files of rows, and the places of some rows in them: the same for a reference in every version."""

    names: list[tuple[str, ...]]
    files: np.ndarray
    """(n,) int32 into `names`."""
    offsets: np.ndarray
    """(n,) int32: rows into the files."""

    def __len__(self) -> int:
        return len(self.files)

    def of(self, name: tuple[str, ...]) -> np.ndarray:
        """(m,) int64 ascending: which of them are in some files."""
        order, starts, numbers = self._by_files
        number = numbers.get(name)
        return order[:0] if number is None else order[starts[number] : starts[number + 1]]

    @cached_property
    def _by_files(self) -> tuple[np.ndarray, np.ndarray, dict[tuple[str, ...], int]]:
        counts = np.bincount(self.files, minlength=len(self.names))
        starts = np.concatenate([[0], np.cumsum(counts)])
        return np.argsort(self.files, kind="stable"), starts, {name: n for n, name in enumerate(self.names)}

    def extended(self, others: Addresses) -> Addresses:
        """These, and then the others."""
        names = list(dict.fromkeys([*self.names, *others.names]))
        number = {name: n for n, name in enumerate(names)}
        renamed = np.array([number[name] for name in others.names], np.int32)
        files = np.concatenate([self.files, renamed[others.files] if len(others) else others.files])
        return Addresses(names, files, np.concatenate([self.offsets, others.offsets]))

    def taken(self, numbers: np.ndarray) -> Addresses:
        """Some of them."""
        return Addresses(self.names, self.files[numbers], self.offsets[numbers])


def _gone(fragment: lance.LanceFragment) -> np.ndarray:
    if not fragment.num_deletions:
        return np.empty(0, np.int64)
    # The address of a row is its fragment's number and, in the lower half, its place there.
    addresses = fragment.scanner(columns=[], with_row_address=True).to_table().column("_rowaddr").to_numpy()
    return np.setdiff1d(np.arange(fragment.physical_rows), (addresses & 0xFFFFFFFF).astype(np.int64))


class Catalogue:
    """Names of the references of a version, in row order: some 200 bytes a reference."""

    def __init__(self, layout: Layout, columns: Mapping[str, pa.ChunkedArray], products: Names, parts: Names):
        self.layout, self._products, self._parts = layout, products, parts
        self.reference_id, self.image_id, self.item_id = (
            columns[name] for name in ("reference_id", "image_id", "item_id")
        )
        self.product, self.part, self.genuine = (columns[name] for name in ("product", "part", "genuine"))

    @classmethod
    def empty(cls) -> Catalogue:
        """Of no reference."""
        return cls._of(Layout([]), pa.schema([(name, pa.string()) for name in META]).empty_table(), Names(), Names())

    @classmethod
    def read(cls, dataset: lance.LanceDataset, older: Catalogue | None = None) -> Catalogue:
        """Of a version; rows that another version of the gallery knows are not read again."""
        layout = Layout.of(dataset, None if older is None else older.layout)
        if older is None:
            return cls._of(layout, dataset.to_table(columns=list(META)), Names(), Names())
        origin = layout.origin(older.addresses)
        fresh = np.flatnonzero(origin < 0)
        if 2 * len(fresh) > len(origin):
            return cls._of(layout, dataset.to_table(columns=list(META)), Names(), Names())
        read = dataset.take(fresh.tolist(), columns=list(META)) if len(fresh) else dataset.schema.empty_table()
        return cls._of(layout, read, older._products, older._parts)._joined(older, origin)

    @classmethod
    def _of(cls, layout: Layout, table: pa.Table, products: Names, parts: Names) -> Catalogue:
        columns = {name: table.column(name) for name in ("reference_id", "image_id", "item_id")}
        columns["product"], products = products.codes(table.column("product"))
        columns["part"], parts = parts.codes(table.column("part"))
        columns["genuine"] = pc.equal(table.column("authenticity"), str(Authenticity.GENUINE)).to_numpy()
        return cls(layout, columns, products, parts)

    def _joined(self, older: Catalogue, origin: np.ndarray) -> Catalogue:
        """These rows, which are new, among those of an older version."""
        new = origin < 0
        num_old, num_kept = len(older), int((~new).sum())
        appended = np.array_equal(origin[:num_old], np.arange(num_old)) and num_kept == num_old
        places = np.where(new, num_old + np.cumsum(new) - 1, origin)

        def joined(name: str) -> pa.ChunkedArray | np.ndarray:
            ours, theirs = getattr(self, name), getattr(older, name)
            if isinstance(ours, np.ndarray):
                return np.concatenate([theirs, ours])[places]
            both = pa.chunked_array([*theirs.chunks, *ours.chunks], type=theirs.type)
            if not appended:
                both = both.take(pa.array(places))
            return both if both.num_chunks <= _MOST_CHUNKS else pa.chunked_array([both.combine_chunks()])

        names = ("reference_id", "image_id", "item_id", "product", "part", "genuine")
        return Catalogue(self.layout, {name: joined(name) for name in names}, self._products, self._parts)

    def __len__(self) -> int:
        return len(self.product)

    @cached_property
    def addresses(self) -> Addresses:
        """Where each row is stored."""
        return self.layout.addresses()

    @property
    def products(self) -> tuple[str, ...]:
        """Names by the codes of `product`; some may have no reference any more."""
        return self._products.names

    @property
    def parts(self) -> tuple[str, ...]:
        """Names by the codes of `part`."""
        return self._parts.names

    def rows(
        self, product: str | None = None, part: str | None = None, authenticity: Authenticity | str | None = None
    ) -> np.ndarray:
        """(n,) int64 ascending: rows of references of what is named."""
        rows = np.arange(len(self)) if product is None else self.rows_of_product(self._products.code(product))
        if part is not None:
            rows = rows[self.part[rows] == self._parts.code(part)]
        if authenticity is not None:
            known = authenticity in (Authenticity.GENUINE, Authenticity.COUNTERFEIT)
            rows = rows[self.genuine[rows] == (authenticity == Authenticity.GENUINE)] if known else rows[:0]
        return rows

    def rows_of_product(self, code: int) -> np.ndarray:
        """(n,) ascending: rows of references of a product, by its code."""
        order, starts = self._by_product
        return order[starts[code] : starts[code + 1]] if code >= 0 else order[:0]

    @cached_property
    def _by_product(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows sorted by product, ascending within it, and where each product begins."""
        counts = np.bincount(self.product, minlength=len(self.products))
        return np.argsort(self.product, kind="stable").astype(np.int32), np.concatenate([[0], np.cumsum(counts)])

    @property
    def counts(self) -> np.ndarray:
        """(P,) int64: references by code of the product."""
        return np.diff(self._by_product[1])

    def authenticity(self, row: int) -> Authenticity:
        """Of one row."""
        return Authenticity.GENUINE if self.genuine[row] else Authenticity.COUNTERFEIT

    def find(self, reference_ids: list[str]) -> list[int | None]:
        """The first row of each reference, None where there is none."""
        return _find(self.reference_id, reference_ids)

    def part_code(self, name: str) -> int:
        """-1 where there is no such part."""
        return self._parts.code(name)

    def rows_of_image(self, image_id: str) -> np.ndarray:
        """(n,) int64 ascending: rows of references that are one photograph."""
        return np.flatnonzero(pc.equal(self.image_id, image_id).to_numpy())

    def find_images(self, image_ids: list[str]) -> list[int | None]:
        """The first row of each photograph, None where it is not enrolled."""
        return _find(self.image_id, image_ids)

    def origin(self, older: Catalogue) -> np.ndarray:
        """(R,) int64: the row that each reference has in another version, -1 where it has none.

        Rows of files that were merged since are told by their reference_id.
        """
        origin = self.layout.origin(older.addresses)
        strangers = np.flatnonzero(origin < 0)
        lost = np.setdiff1d(np.arange(len(older)), origin)
        if len(strangers) and len(lost):
            places = pc.index_in(self.reference_id.take(strangers), older.reference_id.take(lost))
            places = places.fill_null(-1).to_numpy()
            origin[strangers] = np.where(places >= 0, lost[places], -1)
        return origin


class Names:
    """Names as small numbers; a name keeps its number in later versions."""

    def __init__(self, names: tuple[str, ...] = ()):
        self.names = names
        self._codes = {name: code for code, name in enumerate(names)}

    def code(self, name: str) -> int:
        """-1 where there is no such name."""
        return self._codes.get(name, -1)

    def codes(self, column: pa.ChunkedArray) -> tuple[np.ndarray, Names]:
        """(R,) int32 codes of a column, and the names with those that are new."""
        told = column.combine_chunks().dictionary_encode()
        found = told.dictionary.to_pylist()
        widened = Names((*self.names, *(name for name in found if name not in self._codes)))
        if not found:
            return np.empty(0, np.int32), self
        return np.array([widened.code(name) for name in found], np.int32)[told.indices.to_numpy()], widened


def _find(column: pa.ChunkedArray, wanted: list[str]) -> list[int | None]:
    if not wanted:
        return []
    asked = pa.array(wanted, column.type)
    rows = np.flatnonzero(pc.is_in(column, asked).to_numpy())
    first: dict[str, int] = {}
    for row, name in zip(rows.tolist(), column.take(pa.array(rows)).to_pylist(), strict=True):
        first.setdefault(name, row)
    return [first.get(name) for name in wanted]
