"""A gallery's Lance dataset as files: opening it, its versions, and what goes wrong with either."""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lance

from hallmark.errors import GalleryError, UnknownVersionError
from hallmark.types import GalleryVersion

EMBEDDING_ID = b"embedding_id"
"""Schema metadata: the bundle embedding that the descriptors were made with."""

_MANIFEST = re.compile(r"(\d+)\.manifest")
_NEWEST_FIRST = 2**64 - 1
"""Lance names the manifest of version n by this less n, in 20 digits, so that the newest is listed first."""
_FOLDERS = {"data", "_deletions", "_transactions", "_versions"}
_CHANGES = {
    "Overwrite": "created",
    "Append": "enrolled",
    "Delete": "retired",
    "Restore": "rolled_back",
    "Rewrite": "compacted",
    "BaseOperation": "compacted",  # the one before it: the numbers of the new fragments are set aside
}


def latest_version(uri: str | Path) -> int:
    """The newest version's number, from the names of the files alone.

    Raises:
        GalleryError: there is no gallery.
    """
    numbers = _manifests(uri)
    if not numbers:
        raise GalleryError(_absent(str(uri)))
    return max(_NEWEST_FIRST - number if number > _NEWEST_FIRST // 2 else number for number in numbers)


def versions(uri: str | Path, limit: int | None = None) -> list[GalleryVersion]:
    """The versions that can be read, newest first.

    Args:
        limit: how many at most; None = all.

    Raises:
        GalleryError: there is no gallery, or it is damaged.
    """
    dataset = open_dataset(str(uri), None)
    with reading(str(uri)):
        told = sorted(dataset.versions(), key=lambda entry: -entry["version"])[:limit]
        return [
            GalleryVersion(
                version=entry["version"],
                at=entry["timestamp"].astimezone(datetime.UTC),
                change=_change(dataset, entry["version"]),
                num_references=int(entry["metadata"]["total_rows"]),
            )
            for entry in told
        ]


def _change(dataset: lance.LanceDataset, version: int) -> str:
    try:
        transaction = dataset.read_transaction(version)
    except (ValueError, OSError):  # its file is advisory, and may be gone
        transaction = None
    return "changed" if transaction is None else _CHANGES.get(type(transaction.operation).__name__, "changed")


def open_dataset(uri: str, version: int | None) -> lance.LanceDataset:
    """A version, the latest by default.

    Raises:
        GalleryError: there is no gallery, or it is damaged; UnknownVersionError: no such version.
    """
    try:
        return lance.dataset(uri, version=version)
    except (ValueError, OSError) as error:
        if not is_gallery(uri):
            said = _absent(uri)
        elif version is not None and "not found" in str(error):
            raise UnknownVersionError(
                f"{uri}: has no version {version}; wanted one that was written, or null for the latest"
            ) from None
        else:
            said = f"{uri}: {_damaged(error)}"
        raise GalleryError(said) from None


def flush(uri: str, version: int, older: int | None = None) -> None:
    """Bring what a version has beyond an older one from the system's memory to the disk: Lance leaves that to it."""
    place, before = Path(uri), set() if older is None else set(files_of(uri, older))
    files = [place / name for name in files_of(uri, version) if name not in before]
    files += (place / "_transactions").glob(f"{version - 1}-*.txn")
    files += [
        place / "_versions" / name for name in (f"{_NEWEST_FIRST - version:020d}.manifest", f"{version}.manifest")
    ]
    folders = [place / name for name in sorted(_FOLDERS)]
    for path in [*files, *folders, place, place.parent]:
        if path.exists():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def files_of(uri: str, version: int) -> Iterator[str]:
    """The files of rows and of retirements that a version consists of, from the gallery's folder."""
    for fragment in open_dataset(uri, version).get_fragments():
        yield from (f"data/{file.path}" for file in fragment.data_files())
        if fragment.num_deletions:
            yield fragment.deletion_file()


@contextmanager
def reading(uri: str) -> Iterator[None]:
    """Says of a gallery that fails while it is read what can be done."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise GalleryError(f"{uri}: {_damaged(error)}") from None


def is_gallery(uri: str) -> bool:
    """Whether a folder has a version of something."""
    return bool(_manifests(uri))


def is_free(uri: str) -> bool:
    """Whether a gallery can be begun at a place: nothing is there, or what a writer killed at its first one left."""
    place = Path(uri)
    return not place.exists() or (place.is_dir() and {entry.name for entry in place.iterdir()} <= _FOLDERS)


def _manifests(uri: str | Path) -> list[int]:
    try:
        with os.scandir(Path(uri) / "_versions") as entries:
            return [int(found[1]) for entry in entries if (found := _MANIFEST.fullmatch(entry.name))]
    except OSError:
        return []


def _absent(uri: str) -> str:
    return f"{uri}: no gallery there; wanted one that jobs/build_gallery.py wrote"


def _damaged(error: Exception) -> str:
    return f"cannot be read ({str(error).splitlines()[0][:200]}); restore it, use another version or build it again"
