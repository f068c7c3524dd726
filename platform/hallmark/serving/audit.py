"""The audit log: one JSON line a verdict, change and refused key; never image bytes, keys or headers."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from hallmark.errors import HallmarkError

_log = logging.getLogger(__name__)


class AuditError(HallmarkError):
    """The audit log cannot be written; nothing is answered unlogged."""

    http_status = 503
    title = "Not ready"


class AuditLog:
    """Lines appended to one file a day (UTC), each by a single write, so that processes may share the folder.

    Args:
        folder: of the files `audit-<date>.jsonl`; made where there is none.
        clock: tells the time, UTC.
    """

    def __init__(self, folder: Path, clock: Callable[[], datetime] = lambda: datetime.now(UTC)):
        self._folder, self._clock = folder, clock
        self._day, self._descriptor = "", -1
        self._torn = self._failed = False

    def check(self) -> None:
        """Make sure that a line could be written now.

        Raises:
            AuditError: it could not.
        """
        self._open(self._clock())
        if self._failed:
            self.write({"event": "resumed"})

    def write(self, record: Mapping[str, Any]) -> None:
        """Append a line, the time first.

        Raises:
            AuditError: it is not written.
        """
        now = self._clock()
        self._open(now)
        line = {"time": now.isoformat(timespec="milliseconds"), **record}
        self._append(json.dumps(line, separators=(",", ":"), allow_nan=False).encode() + b"\n")

    def _append(self, line: bytes) -> None:
        # After a torn line the next one begins a line of its own.
        whole = b"\n" * self._torn + line
        try:
            written = os.write(self._descriptor, whole)
        except OSError as error:
            self._fail(error.strerror or str(error))
        self._failed = self._torn = False
        if written != len(whole):
            self._torn = True
            self._fail(f"{written} of {len(whole)} bytes were written")

    def _open(self, now: datetime) -> None:
        day = now.date().isoformat()
        file = self._folder / f"audit-{day}.jsonl"
        try:
            if day == self._day and os.fstat(self._descriptor).st_nlink:
                return
            self._close()
            self._folder.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            self._day = day
        except OSError as error:
            self._day = ""
            self._fail(error.strerror or str(error))

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _fail(self, reason: str) -> NoReturn:
        self._failed = True
        _log.error("%s: the audit log cannot be written: %s", self._folder, reason)
        raise AuditError("the service's audit log cannot be written; its own log says why") from None
