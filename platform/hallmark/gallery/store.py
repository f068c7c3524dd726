"""The versioned store of references: a Lance dataset with one writer and any number of readers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Self

import lance
import pyarrow as pa

from hallmark.errors import EnrolmentError, GalleryError, OutputError, UnknownReferenceError
from hallmark.gallery.columns import META, Reference, table_of
from hallmark.gallery.dataset import (
    GalleryVersion,
    files_of,
    flush,
    is_free,
    is_gallery,
    latest_version,
    open_dataset,
    versions,
)
from hallmark.gallery.lock import WriterLock
from hallmark.gallery.reading import Gallery, NoGallery, ProductCount, ReferenceRecord, gallery_of, open_gallery
from hallmark.types import Authenticity

if TYPE_CHECKING:  # torch comes with it, and a gallery can be kept without
    from hallmark.gallery.describe import Outcome

__all__ = [
    "Gallery",
    "GalleryVersion",
    "GalleryWriter",
    "NoGallery",
    "ProductCount",
    "Reference",
    "ReferenceRecord",
    "enrolable",
    "gallery_of",
    "latest_version",
    "open_gallery",
    "versions",
    "write_references",
]

_MOST_FRAGMENTS = 200
"""Small fragments, one an enrolment, before they are merged."""
_FRAGMENT_ROWS = 1024
"""From this size a fragment is left as it is: some 60 MB at the default sizes."""


class GalleryWriter:
    """The one writer of a gallery; a context manager.

    Every change is one new version, on the disk when it is answered. A change that fails, or whose process is killed,
    leaves the last version as it was.

    Raises:
        GalleryError: another writer holds the gallery, or it was built with another bundle embedding.
        OutputError: the lock beside it cannot be made.
    """

    def __init__(self, uri: str | Path, bundle_id: str, embedding_id: str):
        self._uri, self._bundle_id, self._embedding_id = str(uri), bundle_id, embedding_id
        self._turn, self._closed = Lock(), False
        self._lock = WriterLock(self._uri)
        try:
            self._gallery = open_gallery(self._uri, None, embedding_id) if is_gallery(self._uri) else None
        except BaseException:
            self._lock.release()
            raise

    def enrol(self, references: Sequence[Reference]) -> tuple[Gallery, list[str]]:
        """Add references, all or none.

        A photograph that is enrolled already is not added again; where nothing is new there is no new version.

        Returns:
            The latest version, and the reference_id of each reference, in order.

        Raises:
            EnrolmentError: a photograph is enrolled already under another product, part or authenticity.
            GalleryError: no reference is given, or one that is neither genuine nor counterfeit.
            OutputError: it cannot be written, for lack of room for instance; nothing was added.
        """
        check_references(self._uri, references)
        with self._changing():
            known = self._known([reference.described.image_id for reference in references])
            table = table_of(references, self._bundle_id, self._embedding_id)
            names, fresh = [], []
            for number, (reference, row) in enumerate(zip(references, table.select(META).to_pylist(), strict=True)):
                former = known.setdefault(row["image_id"], row)
                _check_same(reference, former)
                names.append(former["reference_id"])
                if former is row:
                    fresh.append(number)
            if fresh:
                self._append(table.take(fresh))
            return self._gallery, names

    def retire(self, reference_ids: Sequence[str]) -> Gallery:
        """Take references out of the next version; earlier versions keep them.

        Raises:
            UnknownReferenceError: one is not enrolled; none was retired.
            GalleryError: there is no gallery yet, or no reference is named.
        """
        wanted = list(dict.fromkeys(reference_ids))
        with self._changing():
            gallery = self._written()
            if not wanted:
                raise GalleryError(f"{self._uri}: no reference to retire; wanted at least one reference_id")
            rows = gallery.catalogue.find(wanted)
            missing = [name for name, row in zip(wanted, rows, strict=True) if row is None]
            if missing:
                raise UnknownReferenceError(
                    f"{self._uri}: version {gallery.version} has no reference {', '.join(missing[:5])}; wanted a "
                    "reference_id of the latest version"
                )
            quoted = ", ".join("'" + name.replace("'", "''") + "'" for name in wanted)
            open_dataset(self._uri, gallery.version).delete(f"reference_id IN ({quoted})")
            return self._settle()

    def rollback(self, version: int) -> Gallery:
        """Write a new latest version with the content of an earlier one.

        Raises:
            UnknownVersionError: there is no such version, or it is gone.
            GalleryError: there is no gallery yet, or that version was made with another bundle embedding.
        """
        with self._changing():
            self._written()
            open_gallery(self._uri, version, self._embedding_id)
            open_dataset(self._uri, version).restore()
            return self._settle()

    def close(self) -> None:
        """Let the next writer in."""
        with self._turn:
            self._lock.release()
            self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _written(self) -> Gallery:
        if self._gallery is None:
            raise GalleryError(f"{self._uri}: no gallery there yet; enrol references first")
        return self._gallery

    def _known(self, image_ids: list[str]) -> dict[str, dict[str, str]]:
        """What is enrolled of some photographs."""
        if self._gallery is None:
            return {}
        names = self._gallery.catalogue
        found = {}
        for image_id, row in zip(image_ids, names.find_images(image_ids), strict=True):
            if row is not None:
                found[image_id] = {
                    "reference_id": names.reference_id[row].as_py(),
                    "product": names.products[names.product[row]],
                    "part": names.parts[names.part[row]],
                    "authenticity": names.authenticity(row),
                }
        return found

    def _append(self, table: pa.Table) -> None:
        if self._gallery is None:
            check_place(self._uri)
            lance.write_dataset(table, self._uri, mode="create")
        else:
            dataset = open_dataset(self._uri, self._gallery.version)
            _check_shape(self._uri, table.schema, dataset.schema)
            lance.write_dataset(table, dataset, mode="append")
        self._settle()
        self._merge_fragments()

    def _settle(self) -> Gallery:
        """See that the version just written outlives a power cut, and go on from it."""
        gallery = Gallery(self._uri, latest_version(self._uri), self._embedding_id)
        flush(self._uri, gallery.version, None if self._gallery is None else self._gallery.version)
        if self._gallery is not None:
            gallery.follow(self._gallery)
        self._gallery = gallery
        return gallery

    def _merge_fragments(self) -> None:
        """Rewrite the many small files of single enrolments as few; row order and older versions stay as they are."""
        dataset = open_dataset(self._uri, self._gallery.version)
        small = sum(fragment.physical_rows < _FRAGMENT_ROWS for fragment in dataset.get_fragments())
        if small <= _MOST_FRAGMENTS:
            return
        with suppress(OSError, ValueError):  # what was enrolled is there; merging can wait for more room
            dataset.optimize.compact_files(target_rows_per_fragment=_FRAGMENT_ROWS, materialize_deletions=False)
        if latest_version(self._uri) != self._gallery.version:
            self._settle()

    @contextmanager
    def _changing(self) -> Iterator[None]:
        with self._turn:
            if self._closed:
                raise GalleryError(f"{self._uri}: this writer is closed; open another")
            before = self._rows_files()
            try:
                yield
            except (OSError, ValueError) as error:
                self._go_back(before)
                raise _unwritable(self._uri, error) from None

    def _rows_files(self) -> set[Path]:
        folder = Path(self._uri) / "data"
        return set(folder.iterdir()) if folder.is_dir() else set()

    def _go_back(self, before: set[Path]) -> None:
        """Free the room of what no version came of, and go on from the last version there is."""
        with suppress(OSError, ValueError, GalleryError):
            used = set()
            if is_gallery(self._uri):
                self._gallery = open_gallery(self._uri, None, self._embedding_id)
                used = {Path(self._uri) / name for name in files_of(self._uri, self._gallery.version)}
            for file in self._rows_files() - before - used:
                file.unlink()


def write_references(uri: str | Path, references: Sequence[Reference], bundle_id: str, embedding_id: str) -> Gallery:
    """Begin a gallery anew with these references, as its next version; earlier versions stay readable.

    Raises:
        GalleryError: there is no reference, or one that is neither genuine nor counterfeit; another writer holds it.
        OutputError: the place cannot be written, or holds something that is no gallery.
    """
    uri = str(uri)
    check_references(uri, references)
    table = table_of(references, bundle_id, embedding_id)
    check_place(uri)
    lock = WriterLock(uri)
    try:
        mode = "overwrite" if is_gallery(uri) else "create"
        gallery = Gallery(uri, lance.write_dataset(table, uri, mode=mode).version, embedding_id)
        flush(uri, gallery.version)
    except (OSError, ValueError) as error:
        raise _unwritable(uri, error) from None
    finally:
        lock.release()
    return gallery


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


def check_references(uri: str, references: Sequence[Reference]) -> None:
    """Raises GalleryError where there is none, or one that is neither genuine nor counterfeit."""
    if not references:
        raise GalleryError(f"{uri}: no reference to enrol; wanted at least one genuine photograph")
    for reference in references:
        if reference.authenticity not in (Authenticity.GENUINE, Authenticity.COUNTERFEIT):
            raise GalleryError(
                f"{uri}: photograph {reference.described.image_id} of {reference.product} is {reference.authenticity}; "
                "wanted references that are known to be genuine or counterfeit"
            )


def check_place(uri: str) -> None:
    """Raises OutputError where something else than a gallery is there."""
    if not is_gallery(uri) and not is_free(uri):
        raise OutputError(f"{uri}: exists and is no gallery; wanted a new folder or a gallery to write a version of")


def _check_same(reference: Reference, former: dict[str, str]) -> None:
    """A photograph shows one thing."""
    wanted = {"product": reference.product, "part": reference.part, "authenticity": str(reference.authenticity)}
    found = {name: str(former[name]) for name in wanted}
    if found != wanted:
        raise EnrolmentError(
            f"photograph {reference.described.image_id}: is enrolled as {found['authenticity']} {found['product']}, "
            f"{found['part']}; found it again as {wanted['authenticity']} {wanted['product']}, {wanted['part']}; "
            f"retire {former['reference_id']} first if that was wrong"
        )


def _check_shape(uri: str, ours: pa.Schema, theirs: pa.Schema) -> None:
    if ours.field("global").type != theirs.field("global").type:
        found, wanted = (schema.field("global").type.list_size for schema in (ours, theirs))
        raise GalleryError(f"{uri}: descriptors of {found} numbers; wanted {wanted}, as the gallery has")


def _unwritable(uri: str, error: Exception) -> OutputError:
    return OutputError(f"{uri}: the gallery cannot be written: {str(error).splitlines()[0][:300]}")
