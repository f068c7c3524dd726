"""Exact search: every reference's similarity, the same to the bit however many are asked."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import faiss
import numpy as np

from hallmark.gallery.reading import Gallery

_log = logging.getLogger(__name__)
_MOST_PARTS = 16
_KEPT_FILES = 4
"""Of so many versions the index is kept; those of others are built again when asked for."""


class ExactSearch:
    """Float32 descriptors in memory, in parts that versions share; each part knows the row of each of its own."""

    def __init__(self, parts: list[tuple[faiss.IndexFlatIP, np.ndarray]], num_rows: int):
        self._parts, self._num_rows = parts, num_rows

    @classmethod
    def of(cls, descriptors: np.ndarray) -> ExactSearch:
        """Of (n, D) descriptors."""
        return cls([(_flat(descriptors), np.arange(len(descriptors)))], len(descriptors))

    @classmethod
    def load_or_build(cls, gallery: Gallery, path: Path) -> ExactSearch:
        """Of a gallery version: from its file, or from the store where there is none, or none that fits."""
        if path.is_file():
            index = _read(path)
            wanted = gallery.num_references, gallery.descriptor_dim
            if isinstance(index, faiss.IndexFlatIP) and (index.ntotal, index.d) == wanted:
                return cls([(index, np.arange(index.ntotal))], index.ntotal)
            _log.warning("%s: damaged, built again", path)
        built = cls.of(gallery.descriptors())
        write(built._parts[0][0], path)
        for old in newest(path.parent, "-????????????????.faiss")[_KEPT_FILES:]:
            old.unlink(missing_ok=True)
        return built

    def updated(self, gallery: Gallery, origin: np.ndarray) -> ExactSearch:
        """Of another version; only what it has beyond this one is read.

        Args:
            origin: (R,) int64 row of each of its references here, -1 where it is new.
        """
        fresh = np.flatnonzero(origin < 0)
        now = np.full(self._num_rows, -1)
        now[origin[origin >= 0]] = np.flatnonzero(origin >= 0)
        parts = [(index, np.where(rows >= 0, now[rows], -1)) for index, rows in self._parts]
        if len(fresh):
            parts.append((_flat(gallery.descriptors_of(fresh)), fresh))
        return ExactSearch(_merged(parts), len(origin))

    def __len__(self) -> int:
        return self._num_rows

    def similarities(self, descriptor: np.ndarray) -> np.ndarray:
        """(n,) float64 cosine with each, 1 at most."""
        query, told = descriptor[None].astype(np.float32), np.empty(self._num_rows)
        for index, rows in self._parts:
            # A range search without a limit computes row by row: a matrix product would round by how many there are.
            _, similarity, places = index.range_search(query, -np.inf)
            found = rows[places]
            told[found[found >= 0]] = similarity[found >= 0]
        return np.minimum(told, 1.0)


def _flat(descriptors: np.ndarray) -> faiss.IndexFlatIP:
    index = faiss.IndexFlatIP(descriptors.shape[1])
    index.add(np.ascontiguousarray(descriptors, np.float32))
    return index


def _merged(parts: list[tuple[faiss.IndexFlatIP, np.ndarray]]) -> list[tuple[faiss.IndexFlatIP, np.ndarray]]:
    """Few parts: the largest as it is, while at least half of it is in use, and one of all others."""
    if len(parts) <= _MOST_PARTS and all(2 * (rows >= 0).sum() >= len(rows) for _, rows in parts):
        return parts
    parts = sorted(parts, key=lambda part: -len(part[1]))
    kept = parts[:1] if 2 * (parts[0][1] >= 0).sum() >= len(parts[0][1]) else []
    others = parts[len(kept) :]
    if not others:
        return kept
    alive = [rows >= 0 for _, rows in others]
    descriptors = [_descriptors(index)[own] for (index, _), own in zip(others, alive, strict=True)]
    rows = np.concatenate([rows[own] for (_, rows), own in zip(others, alive, strict=True)])
    return [*kept, (_flat(np.concatenate(descriptors)), rows)]


def _descriptors(index: faiss.IndexFlatIP) -> np.ndarray:
    """(n, D) float32, a view."""
    if not index.ntotal:
        return np.empty((0, index.d), np.float32)
    return faiss.rev_swig_ptr(index.get_xb(), index.ntotal * index.d).reshape(-1, index.d)


def similarities(descriptors: np.ndarray, descriptor: np.ndarray) -> np.ndarray:
    """(n,) float64 cosine of (n, D) descriptors with one, as `ExactSearch` has it."""
    return ExactSearch.of(descriptors).similarities(descriptor)


def newest(folder: Path, ending: str) -> list[Path]:
    """Files of a folder with an ending, the newest first."""
    try:
        told = {file: file.stat().st_mtime_ns for file in folder.glob(f"*{ending}")}
    except OSError:
        return []  # another process tidies up
    return sorted(told, key=lambda file: -told[file])


def _read(path: Path) -> faiss.Index | None:
    try:
        return faiss.read_index(str(path))
    except (RuntimeError, MemoryError):  # a torn header may name any size
        return None


def write(index: faiss.Index, path: Path) -> bool:
    """Store an index whole or not at all; says so where it cannot be."""
    draft = path.with_suffix(f".{os.getpid()}.draft")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        faiss.write_index(index, str(draft))
        os.replace(draft, path)
    except (OSError, RuntimeError) as error:
        _log.warning("%s: not stored (%s); it will be built again at the next start", path, error)
        return False
    return True
