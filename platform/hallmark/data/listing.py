"""What a folder, a CSV or a Parquet table says about its photographs, before any of them is opened."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, replace
from typing import Any

import fsspec

from hallmark.data.table import ADDRESS_COLUMNS, Row, read_rows, some
from hallmark.errors import DataError
from hallmark.types import Authenticity

LAYOUT = "<product>/[<part>/]<genuine|counterfeit>/<photograph>, and unrelated/<photograph>"
DEFAULT_PART = "whole"
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp")
_NOTE_SUFFIXES = (".csv", ".json", ".txt", ".md", ".yaml", ".yml", ".parquet")
_SYSTEM_FILES = ("thumbs.db", "desktop.ini", "__macosx")


@dataclass(frozen=True)
class Listed:
    """One photograph as its source describes it.

    `box` is (x0, y0, x1, y1) in pixels, after EXIF orientation. `mask_uri` is a foreground mask, `edit_mask_uri` a mask
    of where a counterfeit departs from the genuine design: 8-bit grey PNGs of the photograph's size. `image_id` is the
    SHA-256 that the file is said to have. `origin` names the table and row, "photos.csv, row 7"; it is empty for a
    folder. Empty text means not given.
    """

    uri: str
    product: str = ""
    part: str = ""
    authenticity: str = ""
    item_id: str = ""
    source_id: str = ""
    device_id: str = ""
    box: tuple[float, float, float, float] | None = None
    mask_uri: str = ""
    edit_mask_uri: str = ""
    role: str = ""
    image_id: str = ""
    origin: str = ""


@dataclass(frozen=True)
class Rejected:
    """A file that is no photograph or lies out of place: `reason` in a word, `detail` in a sentence."""

    uri: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Listing:
    """What a source holds: photographs to open, and files that are not worth opening."""

    photographs: list[Listed]
    rejected: list[Rejected]


def list_photographs(source: str) -> Listing:
    """List the photographs of a folder, a .csv or a .parquet.

    A folder is laid out as `LAYOUT`; class folders are read in any case of letters, a product without parts has the
    part `whole`. Files out of place or of another kind are rejected; hidden files, files of the operating
    system and notes at the root (.csv, .json, .txt, .md, .yaml, .parquet) are passed over. A table has the columns
    uri, product, authenticity and may have part, item_id, source_id, device_id, box, mask_uri, edit_mask_uri, role,
    image_id; relative URIs start at the table's folder. All faulty rows of a table are named at once.

    Args:
        source: a local path or any fsspec URI.

    Raises:
        DataError: the source is missing, empty, not laid out so, or a table has a wrong header or value, or one
            photograph on two rows.
    """
    filesystem, root = _open_filesystem(source)
    try:
        if filesystem.isdir(root):
            return _list_folder(filesystem, root, source)
        exists = filesystem.exists(root)
    except Exception as error:  # each storage has errors of its own
        if isinstance(error, DataError):
            raise
        raise DataError(f"{source}: cannot be listed ({one_line(error)}); check the address and your rights") from None
    if not exists:
        raise DataError(f"{source}: found nothing there; wanted a folder laid out as {LAYOUT}, a .csv or a .parquet")
    suffix = posixpath.splitext(root)[1].lower()
    if suffix not in (".csv", ".parquet"):
        raise DataError(
            f"{source}: found a file ending in {suffix or 'nothing'}; wanted a folder, a .csv or a .parquet"
        )
    folder = _uri_of(filesystem, posixpath.dirname(root))
    photographs = [_listed_row(row, source, folder) for row in read_rows(read_bytes(source), suffix, source)]
    _refuse_repeated(photographs)
    return Listing(photographs, [])


def read_bytes(uri: str, max_bytes: int | None = None) -> bytes:
    """Read a file's bytes from any fsspec URI, at most `max_bytes` + 1 of them.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        with fsspec.open(uri, "rb") as file:
            return file.read() if max_bytes is None else file.read(max_bytes + 1)
    except Exception as error:  # each storage has errors of its own
        raise DataError(f"{uri}: cannot be read ({one_line(error)}); wanted a file that can be opened") from None


def _open_filesystem(source: str) -> tuple[Any, str]:
    try:
        return fsspec.core.url_to_fs(source)
    except (ImportError, ValueError, OSError) as error:
        raise DataError(f"{source}: cannot be opened ({one_line(error)}); wanted a path or an fsspec URI") from None


def _list_folder(filesystem: Any, root: str, source: str) -> Listing:
    placed = []
    for path in sorted(filesystem.find(root)):
        steps = posixpath.relpath(path, root).split("/")
        if not _passed_over(steps):
            placed.append(_place(_uri_of(filesystem, path), steps))
    photographs = [entry for entry in placed if isinstance(entry, Listed)]
    rejected = [entry for entry in placed if isinstance(entry, Rejected)]
    if not photographs:
        found = (
            f"no photograph in its place, first {rejected[0].uri} ({rejected[0].detail})" if rejected else "no files"
        )
        raise DataError(f"{source}: found {found}; wanted {LAYOUT}")
    return Listing(photographs, rejected)


def _passed_over(steps: list[str]) -> bool:
    hidden = any(step.startswith(".") or step.lower() in _SYSTEM_FILES for step in steps)
    return hidden or (len(steps) == 1 and steps[0].lower().endswith(_NOTE_SUFFIXES))


def _place(uri: str, steps: list[str]) -> Listed | Rejected:
    """Read product, part and authenticity off a file's place below the root."""
    printable = uri.encode("utf-8", "backslashreplace").decode()
    if printable != uri:
        return Rejected(printable, "file_name", "the file name is not valid UTF-8; rename the file")
    if not steps[-1].lower().endswith(IMAGE_SUFFIXES):
        wanted = ", ".join(IMAGE_SUFFIXES)
        return Rejected(uri, "unknown_format", f"found a file named {steps[-1]}; wanted one of {wanted}")
    if len(steps) > 1 and steps[0].lower() == Authenticity.UNRELATED:
        return Listed(uri, authenticity=Authenticity.UNRELATED.value)
    label = steps[-2].lower() if len(steps) in (3, 4) else ""
    if label not in (Authenticity.GENUINE, Authenticity.COUNTERFEIT):
        return Rejected(uri, "layout", f"found it at {'/'.join(steps)}; wanted {LAYOUT}")
    return Listed(uri, steps[0], steps[1] if len(steps) == 4 else DEFAULT_PART, label)


def _listed_row(row: Row, source: str, folder: str) -> Listed:
    """A table's row, its relative addresses resolved against the table's folder."""
    addresses = {name: _resolve(row.text[name], folder) for name in ADDRESS_COLUMNS if row.text[name]}
    listed = Listed(**row.text | addresses, box=row.box, origin=f"{source}, row {row.number}")
    if listed.authenticity == Authenticity.UNRELATED:
        return replace(listed, product="", part="")
    return replace(listed, part=listed.part or DEFAULT_PART)


def _refuse_repeated(photographs: list[Listed]) -> None:
    first: dict[str, Listed] = {}
    repeated = []
    for listed in photographs:
        one = first.setdefault(listed.uri, listed)
        if one is not listed:
            repeated.append(f"{listed.origin}, column uri: found {listed.uri} again; {one.origin} has it already")
    if repeated:
        raise DataError(f"{some(repeated)}; wanted each photograph on one row; remove the others")


def _resolve(uri: str, folder: str) -> str:
    if "://" in uri or posixpath.isabs(uri):
        return uri
    scheme, separator, path = folder.rpartition("://")
    return scheme + separator + posixpath.normpath(posixpath.join(path, uri))


def _uri_of(filesystem: Any, path: str) -> str:
    """A local file is named by its plain path, any other by its full URI."""
    protocols = filesystem.protocol if isinstance(filesystem.protocol, (tuple, list)) else (filesystem.protocol,)
    return path if "file" in protocols else filesystem.unstrip_protocol(path)


def one_line(error: Exception) -> str:
    """What an exception says, on one line of at most 200 characters."""
    return (" ".join(str(error).split()) or type(error).__name__)[:200]
