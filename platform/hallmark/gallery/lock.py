"""One writer a gallery: an exclusive lock beside it, gone with the process that holds it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from hallmark.errors import GalleryError, OutputError


class WriterLock:
    """Held from construction until `release`; the file stays, as what counts is the lock on it.

    Raises:
        GalleryError: another writer holds it.
        OutputError: the lock file cannot be made.
    """

    def __init__(self, uri: str):
        path = Path(f"{uri}.lock")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise OutputError(f"{path}: the gallery cannot be written: no lock beside it: {error.strerror}") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(self._file, 100, 0).decode(errors="replace").strip()
            os.close(self._file)
            raise GalleryError(
                f"{path}: another writer{f' (process {holder})' if holder else ''} holds the gallery; a gallery has "
                "one writer at a time: stop that one, or write by way of it"
            ) from None
        self._name_holder()

    def _name_holder(self) -> None:
        try:
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, str(os.getpid()).encode(), 0)
        except OSError:  # a full disk: the lock holds without a name
            pass

    def release(self) -> None:
        """Let the next writer in; harmless when done before."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
