"""Bearer keys: made once, shown once, stored as scrypt hashes."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import secrets
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

from pydantic import Field, ValidationError

from hallmark.config import Config
from hallmark.errors import ConfigError, HallmarkError, OutputError

_log = logging.getLogger(__name__)
_SCRYPT = {"n": 2**14, "r": 8, "p": 1, "dklen": 32}
_PREFIX = "hallmark"
_REMEMBERED = 1024


class Scope(StrEnum):
    """What a key allows."""

    VERIFY = "verify"
    ENROL = "enrol"
    ADMIN = "admin"


class Detail(StrEnum):
    """How much of a verdict a key sees: whoever forges must not learn what gave the forgery away."""

    FULL = "full"
    """All of it."""
    SCORES = "scores"
    """No matched cues, no residual map, no attention, no references."""
    LABEL = "label"
    """The verdict, the product and the photograph's quality alone."""


class AuthenticationError(HallmarkError):
    """No key, or one that is not known."""

    http_status = 401
    title = "Not authenticated"


class NotAllowedError(HallmarkError):
    """The key is known and lacks the scope."""

    http_status = 403
    title = "Not allowed"


class KeysUnreadableError(HallmarkError):
    """The service's own key file cannot be read; nobody is let in meanwhile."""

    http_status = 503
    title = "Not ready"


class Key(Config):
    """One stored key."""

    key_id: str = Field(pattern=r"^[0-9a-f]{12}$", description="public part, in the token and in logs")
    name: str = Field(min_length=1, max_length=80, description="whose key it is")
    scopes: tuple[Scope, ...] = Field(min_length=1, description="what it allows")
    salt: str = Field(pattern=r"^([0-9a-f]{2})+$", description="hex, of the hash")
    hash: str = Field(pattern=r"^([0-9a-f]{2})+$", description="hex, scrypt of the secret part")
    detail: Detail = Field(Detail.FULL, description="how much of a verdict it sees")
    rate_per_minute: int | None = Field(None, ge=1, le=1_000_000, description="requests a minute; null: no limit")
    daily_quota: int | None = Field(None, ge=1, le=1_000_000_000, description="photographs a day, UTC; null: no limit")


class _KeyFile(Config):
    keys: tuple[Key, ...] = ()


def add_key(
    file: Path,
    name: str,
    scopes: Sequence[Scope],
    detail: Detail = Detail.FULL,
    rate_per_minute: int | None = None,
    daily_quota: int | None = None,
) -> str:
    """Make a key, store its hash and return the token, which cannot be had again.

    Args:
        file: the key file; made where there is none.
        name: whose key it is.
        scopes: what it allows.
        detail: how much of a verdict it sees.
        rate_per_minute: requests; None = no limit.
        daily_quota: photographs a day, UTC; None = no limit.

    Raises:
        ConfigError: the name or the scopes are not acceptable, or the file is damaged.
        OutputError: the file cannot be written.
    """
    secret, salt = secrets.token_urlsafe(32), secrets.token_bytes(16)
    key_id = secrets.token_hex(6)
    try:
        key = Key(
            key_id=key_id,
            name=name,
            scopes=tuple(scopes),
            salt=salt.hex(),
            hash=_hash(secret, salt),
            detail=detail,
            rate_per_minute=rate_per_minute,
            daily_quota=daily_quota,
        )
    except ValidationError as error:
        raise ConfigError(f"key: {error.errors()[0]['loc'][0]}: {error.errors()[0]['msg']}") from None
    _write(file, (*read_keys(file), key))
    return f"{_PREFIX}_{key_id}_{secret}"


def revoke_key(file: Path, key_id: str) -> None:
    """Remove a key.

    Raises:
        ConfigError: there is no such key.
    """
    keys = read_keys(file)
    kept = tuple(key for key in keys if key.key_id != key_id)
    if len(kept) == len(keys):
        raise ConfigError(f"{file}: has no key {key_id}; `hallmark keys list` shows those there are")
    _write(file, kept)


def read_keys(file: Path) -> tuple[Key, ...]:
    """The stored keys; none where there is no file.

    Raises:
        ConfigError: the file is damaged.
    """
    if not file.exists():
        return ()
    try:
        return _KeyFile.model_validate_json(file.read_text()).keys
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file}: is no key file: {str(error).splitlines()[0]}") from None


class KeyRing:
    """Checks tokens against a key file, which may change while it is in use."""

    def __init__(self, file: Path):
        self._file = file
        self._stamp: tuple[int, int] | None = None
        self._keys: dict[str, Key] = {}
        # scrypt is slow by intent; tokens that passed are remembered by a plain hash, in memory only.
        self._passed: dict[str, str] = {}

    def check(self, token: str | None, scope: Scope) -> Key:
        """The key behind a token, if it has the scope.

        Raises:
            AuthenticationError: there is no token, or none that is known.
            NotAllowedError: the key lacks the scope.
            KeysUnreadableError: the key file is damaged or not to be read.
        """
        key = self.authenticate(token)
        allow(key, scope)
        return key

    def authenticate(self, token: str | None) -> Key:
        """The key behind a token, which takes some 50 ms of computing the first time.

        Raises:
            AuthenticationError, KeysUnreadableError: as `check`.
        """
        self._refresh()
        key = self._find(token) if token else None
        if key is None:
            raise AuthenticationError(
                "no valid key; wanted the header `Authorization: Bearer <key>` with a key made by `hallmark keys add`"
            )
        return key

    def recall(self, token: str) -> Key | None:
        """The key behind a token that has passed before; None where it has not, at no expense.

        Raises:
            KeysUnreadableError: as `check`.
        """
        self._refresh()
        passed = self._passed.get(_fingerprint(token))
        return None if passed is None else self._keys.get(passed)

    def _refresh(self) -> None:
        try:
            stamp = _stamp(self._file)
            if stamp != self._stamp:
                self._keys = {key.key_id: key for key in read_keys(self._file)}
                self._passed.clear()
                self._stamp = stamp
        except (ConfigError, OSError) as error:
            # What is wrong with the file is no business of the client.
            _log.error("the key file cannot be read: %s", error)
            raise KeysUnreadableError("the service's keys cannot be read; its log says why") from None

    def _find(self, token: str) -> Key | None:
        fingerprint = _fingerprint(token)
        passed = self._passed.get(fingerprint)
        if passed is not None:
            return self._keys.get(passed)
        prefix, _, rest = token.partition("_")
        key_id, _, secret = rest.partition("_")
        key = self._keys.get(key_id) if prefix == _PREFIX else None
        if key is None or not hmac.compare_digest(_hash(secret, bytes.fromhex(key.salt)), key.hash):
            return None
        if len(self._passed) >= _REMEMBERED:
            self._passed.clear()
        self._passed[fingerprint] = key_id
        return key


def allow(key: Key, scope: Scope) -> None:
    """Let a key pass that has the scope.

    Raises:
        NotAllowedError: it has not.
    """
    if scope not in key.scopes and Scope.ADMIN not in key.scopes:
        raise NotAllowedError(f"key {key.key_id} ({key.name}) has no scope {scope}; make one that has")


def _fingerprint(token: str) -> str:
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


def _hash(secret: str, salt: bytes) -> str:
    return hashlib.scrypt(secret.encode(errors="surrogatepass"), salt=salt, **_SCRYPT).hex()


def _stamp(file: Path) -> tuple[int, int] | None:
    """Changes whenever the file does; None where there is none."""
    try:
        stat = file.stat()
    except FileNotFoundError:
        return None
    return stat.st_mtime_ns, stat.st_ino


def _write(file: Path, keys: Sequence[Key]) -> None:
    draft = file.with_name(f".{file.name}.draft")
    content = _KeyFile(keys=tuple(keys)).model_dump(mode="json")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            json.dump(content, stream, indent=2)
        os.replace(draft, file)
    except OSError as error:
        raise OutputError(
            f"{file}: cannot be written ({error.strerror}); wanted a writable folder for the keys"
        ) from None
