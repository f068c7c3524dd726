"""Keys that sign certificates: Ed25519, kept in PEM files."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from hallmark.errors import CertificateError

_KEY_MODE = 0o600


def make_key(file: Path) -> str:
    """Make a signing key, readable by its owner alone; one that is there already is kept.

    Returns:
        The public key, 64 hex digits.

    Raises:
        CertificateError: the file cannot be written, or holds something else.
    """
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _KEY_MODE), "wb") as out:
            out.write(pem)
            out.flush()
            os.fsync(out.fileno())
    except FileExistsError:
        return public_hex(read_key(file).public_key())
    except OSError as error:
        raise CertificateError(f"{file}: cannot be written ({error.strerror}); wanted a writable folder") from None
    return public_hex(key.public_key())


def read_key(file: Path) -> Ed25519PrivateKey:
    """The signing key of a file.

    Raises:
        CertificateError: as `Issuer` does.
    """
    try:
        pem, mode = file.read_bytes(), file.stat().st_mode
    except OSError as error:
        raise CertificateError(
            f"{file}: cannot be read ({error.strerror}); wanted a key made by `hallmark certificate-key`"
        ) from None
    if mode & 0o007:
        raise CertificateError(f"{file}: everyone on this machine can read the key; run chmod 600 {file}")
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise CertificateError(f"{file}: holds no Ed25519 key; wanted one made by `hallmark certificate-key`")
    return key


def read_public_key(text: str) -> str:
    """A public key from 64 hex digits, or from a file of them, or from a PEM file.

    Raises:
        CertificateError: it is none.
    """
    found = text.strip()
    if not _is_hex(found):
        try:
            found = Path(text).read_bytes().decode("ascii", "replace").strip()
        except (OSError, ValueError):
            raise CertificateError(f"{text}: is neither 64 hex digits nor a file that can be read") from None
    if found.startswith("-----BEGIN PUBLIC KEY"):
        try:
            key = serialization.load_pem_public_key(found.encode())
        except (ValueError, UnsupportedAlgorithm):
            key = None
        if isinstance(key, Ed25519PublicKey):
            return public_hex(key)
    if not _is_hex(found):
        raise CertificateError(f"{text}: holds no public key; wanted 64 hex digits or an Ed25519 public key as PEM")
    return found.lower()


def fingerprint(public_key: str) -> str:
    """SHA-256 of a public key, its first 16 hex digits in groups of four."""
    digest = hashlib.sha256(bytes.fromhex(public_key)).hexdigest()
    return " ".join(digest[start : start + 4] for start in range(0, 16, 4))


def public_hex(key: Ed25519PublicKey) -> str:
    """A public key as 64 hex digits."""
    return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw).hex()


def _is_hex(text: str) -> bool:
    return len(text) == 64 and all(digit in "0123456789abcdefABCDEF" for digit in text)
