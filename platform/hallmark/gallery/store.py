"""The versioned store of references: a Lance dataset with one writer."""

from __future__ import annotations

import datetime
import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa

from hallmark.errors import GalleryError, OutputError
from hallmark.gallery.describe import Outcome
from hallmark.types import Authenticity, Described, Details, Member

_META = ("reference_id", "image_id", "product", "part", "item_id", "authenticity")
_DETAILS = ("image_id", "local", "positions", "weights", "stride", "frame", "surface")
_EMBEDDING_ID = b"embedding_id"
_LOCAL_DIM = b"local_dim"


@dataclass(frozen=True)
class Reference:
    """A photograph of known authenticity, described and ready to enrol."""

    described: Described
    product: str
    part: str
    item_id: str
    authenticity: Authenticity
    thumbnail: bytes


@dataclass(frozen=True)
class Gallery:
    """One version of a gallery, open for reading."""

    uri: str
    version: int
    embedding_id: str
    """The bundle embedding its descriptors were made with."""

    @cached_property
    def _dataset(self) -> lance.LanceDataset:
        return _open(self.uri, self.version)

    @property
    def content_id(self) -> str:
        """Hash of the version's files, 16 hex digits; differs between galleries written to one place in turn."""
        files = [file.path for fragment in self._dataset.get_fragments() for file in fragment.data_files()]
        return hashlib.sha256("\n".join([self.embedding_id, *files]).encode()).hexdigest()[:16]

    def metadata(self) -> pa.Table:
        """reference_id, image_id, product, part, item_id, authenticity of every reference, in row order."""
        with _reading(self.uri):
            return self._dataset.to_table(columns=list(_META))

    def descriptors(self) -> np.ndarray:
        """(R, D) float32 global descriptors in row order, as rounded to float16 in the store."""
        with _reading(self.uri):
            column = self._dataset.to_table(columns=["global"]).column("global").combine_chunks()
        return _matrix(column).astype(np.float32)

    def details(self, rows: Sequence[int]) -> list[Details]:
        """What verification compares of some rows, in the order asked."""
        if not len(rows):
            return []
        # take() wants ascending, distinct rows to be quick and answers in the order asked only then.
        distinct = sorted(set(rows))
        dataset = self._dataset
        with _reading(self.uri):
            table = dataset.take(distinct, columns=list(_DETAILS))
        local_dim = int((dataset.schema.metadata or {}).get(_LOCAL_DIM, b"-1"))
        read = [_details(row, local_dim) for row in table.to_batches(max_chunksize=1)]
        by_row = dict(zip(distinct, read, strict=True))
        return [by_row[row] for row in rows]

    def members(self, product: str, part: str, authenticity: Authenticity, limit: int) -> list[Member]:
        """References of a product and part, `limit` of them at most: of as many items as there are, in row order."""
        rows = self._rows.get((product, part, str(authenticity)), [])
        meta, shots = self._meta, Counter()
        turn = {}
        for row in rows:
            shots[meta["item_id"][row]] += 1
            turn[row] = shots[meta["item_id"][row]]
        chosen = sorted(sorted(rows, key=lambda row: (turn[row], row))[:limit])
        return [
            Member(meta["reference_id"][row], meta["item_id"][row], details)
            for row, details in zip(chosen, self.details(chosen), strict=True)
        ]

    @cached_property
    def _meta(self) -> dict[str, list[str]]:
        table = self.metadata()
        return {name: table.column(name).to_pylist() for name in table.column_names}

    @cached_property
    def _rows(self) -> dict[tuple[str, str, str], list[int]]:
        rows: dict[tuple[str, str, str], list[int]] = defaultdict(list)
        meta = self._meta
        for row, key in enumerate(zip(meta["product"], meta["part"], meta["authenticity"], strict=True)):
            rows[key].append(row)
        return rows

    def thumbnails(self, rows: Sequence[int]) -> list[bytes]:
        """JPEG thumbnails of some rows, in the order asked."""
        if not len(rows):
            return []
        distinct = sorted(set(rows))
        with _reading(self.uri):
            column = self._dataset.take(distinct, columns=["thumbnail"]).column("thumbnail").to_pylist()
        read = dict(zip(distinct, column, strict=True))
        return [read[row] for row in rows]


def open_gallery(uri: str | Path, version: int | None = None, embedding_id: str | None = None) -> Gallery:
    """Open a version, the latest by default.

    Args:
        embedding_id: that of the bundle in use; checked where given.

    Raises:
        GalleryError: there is no gallery or no such version, or it was made with another bundle.
    """
    uri = str(uri)
    dataset = _open(uri, version)
    found = (dataset.schema.metadata or {}).get(_EMBEDDING_ID, b"").decode()
    if embedding_id is not None and found != embedding_id:
        raise GalleryError(
            f"{uri}: was built with the bundle embedding {found}, the bundle in use has {embedding_id}; build the "
            "gallery again with this bundle (jobs/build_gallery.py) or use the bundle it was built with"
        )
    return Gallery(uri, dataset.version, found)


def enrolable(table: pa.Table, outcomes: Iterable[Outcome]) -> list[Reference]:
    """The rows that could be described, as references."""
    return [
        Reference(
            described=outcome.described,
            product=row["product"],
            part=row["part"],
            item_id=row["item_id"],
            authenticity=Authenticity(row["authenticity"]),
            thumbnail=outcome.thumbnail,
        )
        for row, outcome in zip(table.to_pylist(), outcomes, strict=True)
        if outcome.described is not None
    ]


def write_references(uri: str | Path, references: Sequence[Reference], bundle_id: str, embedding_id: str) -> Gallery:
    """Begin a gallery anew with these references, as its next version; earlier versions stay readable.

    Raises:
        GalleryError: there is no reference, or one that is neither genuine nor counterfeit.
        OutputError: the place cannot be written, or holds something that is no gallery.
    """
    uri = str(uri)
    _check_references(uri, references)
    table = _table(references, bundle_id, embedding_id)
    try:
        if not _is_gallery(uri) and Path(uri).is_dir() and any(Path(uri).iterdir()):
            raise OutputError(
                f"{uri}: exists and is no gallery; wanted a new folder or a gallery to write a version of"
            )
        Path(uri).parent.mkdir(parents=True, exist_ok=True)
        dataset = lance.write_dataset(table, uri, mode="overwrite" if _is_gallery(uri) else "create")
    except (OSError, ValueError) as error:
        raise OutputError(f"{uri}: the gallery cannot be written: {str(error).splitlines()[0]}") from None
    return Gallery(uri, dataset.version, embedding_id)


def _check_references(uri: str, references: Sequence[Reference]) -> None:
    if not references:
        raise GalleryError(f"{uri}: no reference to enrol; wanted at least one genuine photograph")
    for reference in references:
        if reference.authenticity not in (Authenticity.GENUINE, Authenticity.COUNTERFEIT):
            raise GalleryError(
                f"{uri}: photograph {reference.described.image_id} of {reference.product} is {reference.authenticity}; "
                "wanted references that are known to be genuine or counterfeit"
            )


def _open(uri: str, version: int | None) -> lance.LanceDataset:
    try:
        return lance.dataset(uri, version=version)
    except (ValueError, OSError) as error:
        if not _is_gallery(uri):
            said = "no gallery there; wanted one that jobs/build_gallery.py wrote"
        elif version is not None and "not found" in str(error):
            said = f"has no version {version}; wanted one that was written, or null for the latest"
        else:
            said = _damaged(error)
        raise GalleryError(f"{uri}: {said}") from None


@contextmanager
def _reading(uri: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, OSError) as error:
        raise GalleryError(f"{uri}: {_damaged(error)}") from None


def _damaged(error: Exception) -> str:
    return f"cannot be read ({str(error).splitlines()[0][:200]}); restore it, use another version or build it again"


def _is_gallery(uri: str) -> bool:
    return (Path(uri) / "_versions").is_dir()


def _table(references: Sequence[Reference], bundle_id: str, embedding_id: str) -> pa.Table:
    num_descriptor = len(references[0].described.descriptor)
    now = datetime.datetime.now(datetime.UTC)
    details = [r.described.details for r in references]
    flat = np.concatenate([r.described.descriptor for r in references]).astype(np.float16)
    columns = {
        "reference_id": pa.array([f"ref-{r.described.image_id[:24]}" for r in references]),
        "image_id": pa.array([r.described.image_id for r in references]),
        "product": pa.array([r.product for r in references]),
        "part": pa.array([r.part for r in references]),
        "item_id": pa.array([r.item_id for r in references]),
        "authenticity": pa.array([str(r.authenticity) for r in references]),
        "global": pa.FixedSizeListArray.from_arrays(pa.array(flat), num_descriptor),
        "local": _lists([d.local for d in details], pa.float16()),
        "positions": _lists([d.positions for d in details], pa.float32()),
        "weights": _lists([d.weights for d in details], pa.float16()),
        "stride": pa.array([d.stride for d in details], pa.float64()),
        "frame": pa.FixedSizeListArray.from_arrays(pa.array(np.concatenate([d.frame for d in details])), 4),
        "surface": pa.array([d.surface for d in details], pa.binary()),
        "thumbnail": pa.array([r.thumbnail for r in references], pa.binary()),
        "bundle_id": pa.array([bundle_id] * len(references)),
        "enrolled_at": pa.array([now] * len(references), pa.timestamp("us", tz="UTC")),
    }
    local_dim = str(details[0].local.shape[1]).encode()
    return pa.table(columns).replace_schema_metadata({_EMBEDDING_ID: embedding_id.encode(), _LOCAL_DIM: local_dim})


def _details(row: pa.RecordBatch, local_dim: int) -> Details:
    """A row as verification wants it."""

    def numbers(name: str) -> np.ndarray:
        return np.asarray(row.column(name)[0].values)

    weights = numbers("weights")
    return Details(
        image_id=row.column("image_id")[0].as_py(),
        local=numbers("local").reshape(len(weights), local_dim),
        positions=numbers("positions").reshape(-1, 2),
        weights=weights,
        stride=row.column("stride")[0].as_py(),
        frame=numbers("frame"),
        surface=row.column("surface")[0].as_py(),
    )


def _lists(arrays: Sequence[np.ndarray], kind: pa.DataType) -> pa.Array:
    offsets = np.concatenate([[0], np.cumsum([array.size for array in arrays])]).astype(np.int32)
    values = np.concatenate([array.ravel() for array in arrays])
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values, kind))


def _matrix(column: pa.FixedSizeListArray) -> np.ndarray:
    return np.asarray(column.flatten()).reshape(len(column), column.type.list_size)
