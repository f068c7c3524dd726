"""The ledger of a sweep: what was tried and what came of it, one JSON line an event.

It alone decides what is trained next, so that a sweep that was killed goes on where it was.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any

from hallmark.errors import ConfigError, DataError, OutputError, ResourceError

_FILE = "sweep.jsonl"


class Stage(StrEnum):
    """What a trial is for."""

    SEARCH = "search"
    CHOICE = "choice"
    """The best trials and the run as it was, again, with other seeds."""


class Status(StrEnum):
    """How far a trial has come."""

    OPEN = "open"
    """It may be trained further."""
    FINISHED = "finished"
    STOPPED = "stopped"
    """By a rule, before the last epoch."""
    FAILED = "failed"


@dataclass(frozen=True)
class Trial:
    """One training of the sweep."""

    name: str
    stage: Stage
    values: dict[str, Any]
    """By dotted key of the run; empty: the run as it is."""
    seed: int
    status: Status = Status.OPEN
    curve: tuple[tuple[int, float], ...] = ()
    """(epoch, validation figure)."""
    reason: str = ""
    """Why it failed or stopped."""
    seconds: float = 0.0
    """That were spent on it, start-up among them."""
    bundle_id: str = ""

    @property
    def epochs(self) -> int:
        """That it was trained for."""
        return self.curve[-1][0] if self.curve else 0

    @property
    def score(self) -> float | None:
        """The best validation figure so far, which its bundle has; None before the first."""
        return max((value for _, value in self.curve), default=None)

    def score_by(self, epoch: int) -> float | None:
        """The best validation figure up to an epoch; None where it has not come as far."""
        if self.epochs < epoch:
            return None
        return max((value for reached, value in self.curve if reached <= epoch), default=None)


@dataclass(frozen=True)
class Leg:
    """What came of one stretch of a trial's training."""

    status: Status
    curve: tuple[tuple[int, float], ...] = ()
    """Of the whole trial; empty where it failed before a validation."""
    reason: str = ""
    seconds: float = 0.0
    bundle_id: str = ""


class Ledger:
    """An open ledger; only one process can have it open.

    Args:
        folder: of the sweep; made where it is missing.
        identity: hash of what decides the trials.

    Raises:
        ConfigError: the folder holds another sweep.
        DataError: the file is damaged before its last line.
        ResourceError: another process has it open.
        OutputError: it cannot be written.
    """

    def __init__(self, folder: Path, identity: str):
        self._path = folder / _FILE
        self._trials: dict[str, Trial] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("a+b")
        except OSError as error:
            raise _unwritable(self._path, error) from None
        self._lock()
        try:
            known = self._read()
            if known is None:
                self._append({"event": "sweep", "identity": identity})
            elif known != identity:
                raise ConfigError(
                    f"{self._path}: is the ledger of another sweep (other run, space, seeds or photographs); give "
                    "another folder as out"
                )
        except Exception:
            self._file.close()
            raise

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def trials(self) -> list[Trial]:
        """In the order in which they were suggested."""
        return list(self._trials.values())

    def of(self, stage: Stage) -> list[Trial]:
        """The trials of a stage."""
        return [trial for trial in self._trials.values() if trial.stage is stage]

    def suggest(self, name: str, stage: Stage, values: Mapping[str, Any], seed: int) -> Trial:
        """Add a trial; it is on disk when this returns.

        Raises:
            OutputError: it cannot be written.
        """
        event = {"event": "suggested", "name": name, "stage": stage, "values": dict(values), "seed": seed}
        self._append(event)
        return self._take(event)

    def record(self, name: str, leg: Leg) -> Trial:
        """Add what came of a stretch of a trial; it is on disk when this returns.

        Raises:
            OutputError: it cannot be written.
        """
        event = {"event": "trained", "name": name, **asdict(leg)}
        self._append(event)
        return self._take(event)

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise ResourceError(
                f"{self._path}: another process runs this sweep; wait for it, or end it and start again"
            ) from None

    def _read(self) -> str | None:
        """Take what is there; the identity, or None where the file is empty. A line that was cut off is removed."""
        self._file.seek(0)
        data = self._file.read()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            self._file.truncate(whole)
        identity = None
        for number, line in enumerate(data[:whole].splitlines(), start=1):
            try:
                event = json.loads(line)
                if event["event"] == "sweep":
                    identity = event["identity"]
                else:
                    self._take(event)
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(
                    f"{self._path}: line {number} cannot be read ({error!r}); wanted a JSON event"
                ) from None
        return identity

    def _append(self, event: dict[str, Any]) -> None:
        try:
            self._file.write(json.dumps(event, allow_nan=False).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise _unwritable(self._path, error) from None

    def _take(self, event: dict[str, Any]) -> Trial:
        name = event["name"]
        if event["event"] == "suggested":
            trial = Trial(name, Stage(event["stage"]), event["values"], event["seed"])
        else:
            known = self._trials[name]
            curve = tuple((int(epoch), float(value)) for epoch, value in event["curve"])
            trial = replace(
                known,
                status=Status(event["status"]),
                curve=curve or known.curve,
                reason=event["reason"],
                seconds=known.seconds + event["seconds"],
                bundle_id=event["bundle_id"],
            )
        self._trials[name] = trial
        return trial


def _unwritable(path: Path, error: OSError) -> OutputError:
    return OutputError(f"{path}: cannot be written ({error.strerror}); wanted a folder with room to write")
