"""How often a key may ask: rates, daily quotas and wrong keys, counted for all gateways of a machine together."""

from __future__ import annotations

import ipaddress
import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock

from hallmark.errors import HallmarkError

_log = logging.getLogger(__name__)
_DAY_S = 86_400
_FORGET_S = 3_600
"""A bucket that nobody took from for so long is full again, whatever its rate."""
_SWEEP_EVERY = 1_000
_BUSY_S = 5.0
WRONG_KEYS_PER_MINUTE = 10
"""From one address: more are refused unread, since each costs 50 ms of computing."""


class RateLimitedError(HallmarkError):
    """A key or an address has asked too often."""

    http_status = 429
    title = "Too many requests"

    def __init__(self, message: str, retry_after_s: float, reason: str):
        super().__init__(message)
        self.retry_after_s, self.reason = retry_after_s, reason

    def __reduce__(self):
        return type(self), (str(self), self.retry_after_s, self.reason)


class LimitsUnavailableError(HallmarkError):
    """What has been asked so far cannot be counted; keys with limits are refused meanwhile."""

    http_status = 503
    title = "Not ready"


class Limits:
    """Token buckets and daily counts in a SQLite file, so that they hold across processes and survive their end.

    Args:
        file: made where there is none.
        clock: seconds since 1970.
    """

    def __init__(self, file: Path, clock: Callable[[], float] = time.time):
        self._file, self._clock = file, clock
        self._lock = Lock()
        self._connection: sqlite3.Connection | None = None
        self._taken = 0

    def take(self, key_id: str, per_minute: int, cost: float = 1.0) -> None:
        """Count a request of a key.

        Raises:
            RateLimitedError: it has asked `per_minute` times within the last minute.
            LimitsUnavailableError: the file cannot be used.
        """
        wait_s = self._take(f"key:{key_id}", per_minute, cost)
        if wait_s:
            message = f"found more than {per_minute} requests a minute of this key; wanted no more"
            raise RateLimitedError(message, wait_s, "rate")

    def spend(self, key_id: str, quota: int, count: int) -> None:
        """Count photographs of a key against its quota of the day, UTC; all of them or, beyond it, none.

        Raises:
            RateLimitedError: there is no room for them today.
            LimitsUnavailableError: the file cannot be used.
        """
        now = self._clock()
        with self._transaction() as connection:
            used = _used(connection, key_id, _day(now))
            fits = used + count <= quota
            if fits:
                connection.execute("INSERT OR REPLACE INTO used VALUES (?, ?, ?)", (key_id, _day(now), used + count))
        if not fits:
            message = (
                f"found {count} photographs beside {used} of today; wanted at most {quota} a day (UTC) of this key"
            )
            raise RateLimitedError(message, _DAY_S - now % _DAY_S, "quota")

    def used_today(self, key_id: str) -> int:
        """Photographs that a key has spent today, UTC.

        Raises:
            LimitsUnavailableError: the file cannot be used.
        """
        with self._transaction() as connection:
            return _used(connection, key_id, _day(self._clock()))

    def check_guesses(self, address: str) -> None:
        """Refuse an address that has sent too many wrong keys.

        Raises:
            RateLimitedError: it has.
            LimitsUnavailableError: the file cannot be used.
        """
        wait_s = self._take(_source(address), WRONG_KEYS_PER_MINUTE, 0.0, least=1.0)
        if wait_s:
            message = f"found {WRONG_KEYS_PER_MINUTE} wrong keys from this address within a minute; wanted a right one"
            raise RateLimitedError(message, wait_s, "wrong_keys")

    def count_guess(self, address: str) -> None:
        """Count a wrong key from an address."""
        self._take(_source(address), WRONG_KEYS_PER_MINUTE, 1.0)

    def _take(self, bucket: str, per_minute: int, cost: float, least: float | None = None) -> float:
        """Take tokens from a bucket where there are enough; else how long until there are, seconds."""
        now, least = self._clock(), cost if least is None else least
        with self._transaction() as connection:
            row = connection.execute("SELECT tokens, at FROM bucket WHERE name = ?", (bucket,)).fetchone()
            tokens, at = row or (float(per_minute), now)
            tokens = min(float(per_minute), tokens + max(0.0, now - at) * per_minute / 60)
            if tokens < least:
                return (least - tokens) * 60 / per_minute
            if cost:
                connection.execute("INSERT OR REPLACE INTO bucket VALUES (?, ?, ?)", (bucket, tokens - cost, now))
                self._sweep(connection, now)
        return 0.0

    def _sweep(self, connection: sqlite3.Connection, now: float) -> None:
        self._taken += 1
        if self._taken % _SWEEP_EVERY == 0:
            connection.execute("DELETE FROM bucket WHERE at < ?", (now - _FORGET_S,))
            connection.execute("DELETE FROM used WHERE day < ?", (_day(now - _DAY_S),))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._lock:
                if self._connection is None:
                    self._connection = _opened(self._file)
                with self._connection:
                    self._connection.execute("BEGIN IMMEDIATE")
                    yield self._connection
        except (sqlite3.Error, OSError) as error:
            # What is wrong with the file is no business of the client.
            _log.error("%s: cannot be used: %s", self._file, error)
            self._connection = None
            raise LimitsUnavailableError("the service cannot count requests; its log says why") from None


def _opened(file: Path) -> sqlite3.Connection:
    file.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(file, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    # A count that was answered is in the file before the answer; the machine's own crash may cost the last ones.
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("CREATE TABLE IF NOT EXISTS bucket (name TEXT PRIMARY KEY, tokens REAL, at REAL)")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS used (key_id TEXT, day TEXT, count INTEGER, PRIMARY KEY (key_id, day))"
    )
    return connection


def _used(connection: sqlite3.Connection, key_id: str, day: str) -> int:
    row = connection.execute("SELECT count FROM used WHERE key_id = ? AND day = ?", (key_id, day)).fetchone()
    return row[0] if row else 0


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()


def _source(address: str) -> str:
    """The bucket of an address; a home has a whole IPv6 /64."""
    try:
        known = ipaddress.ip_address(address)
    except ValueError:
        return "from:unknown"
    if known.version == 6:
        known = ipaddress.ip_network((known, 64), strict=False).network_address
    return f"from:{known}"
