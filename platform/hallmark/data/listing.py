"""What a folder, a CSV or a Parquet table says about its photographs, before any of them is opened."""

from __future__ import annotations

import csv
import difflib
import io
import math
import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from hallmark.errors import DataError
from hallmark.types import Authenticity, Role

LAYOUT = "<product>/[<part>/]<genuine|counterfeit>/<photograph>, and unrelated/<photograph>"
DEFAULT_PART = "whole"
REQUIRED_COLUMNS = ("uri", "product", "authenticity")
OPTIONAL_COLUMNS = ("part", "item_id", "source_id", "device_id", "box", "mask_uri", "role")
_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp")
_NOTE_SUFFIXES = (".csv", ".json", ".txt", ".md", ".yaml", ".yml", ".parquet")
_SYSTEM_FILES = ("thumbs.db", "desktop.ini", "__macosx")


@dataclass(frozen=True)
class Listed:
    """One photograph as its source describes it.

    `box` is (x0, y0, x1, y1) in pixels, after EXIF orientation. Empty text means not given.
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
    role: str = ""


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
    uri, product, authenticity and may have part, item_id, source_id, device_id, box, mask_uri, role; relative URIs
    start at the table's folder.

    Args:
        source: a local path or any fsspec URI.

    Raises:
        DataError: the source is missing, empty, not laid out so, or a table has a wrong header or value.
    """
    filesystem, root = _open_filesystem(source)
    try:
        if filesystem.isdir(root):
            return _list_folder(filesystem, root, source)
        exists = filesystem.exists(root)
    except Exception as error:  # each storage has errors of its own
        if isinstance(error, DataError):
            raise
        raise DataError(f"{source}: cannot be listed ({_one_line(error)}); check the address and your rights") from None
    if not exists:
        raise DataError(f"{source}: found nothing there; wanted a folder laid out as {LAYOUT}, a .csv or a .parquet")
    suffix = posixpath.splitext(root)[1].lower()
    if suffix not in (".csv", ".parquet"):
        raise DataError(
            f"{source}: found a file ending in {suffix or 'nothing'}; wanted a folder, a .csv or a .parquet"
        )
    content = read_bytes(source)
    rows = _csv_rows(content, source) if suffix == ".csv" else _parquet_rows(content, source)
    folder = _uri_of(filesystem, posixpath.dirname(root))
    photographs = [_listed_row(row, f"{source}, row {number}", folder) for number, row in rows]
    if not photographs:
        raise DataError(f"{source}: found a header without rows; wanted one row a photograph")
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
        raise DataError(f"{uri}: cannot be read ({_one_line(error)}); wanted a file that can be opened") from None


def _open_filesystem(source: str) -> tuple[Any, str]:
    try:
        return fsspec.core.url_to_fs(source)
    except (ImportError, ValueError, OSError) as error:
        raise DataError(f"{source}: cannot be opened ({_one_line(error)}); wanted a path or an fsspec URI") from None


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
    if not steps[-1].lower().endswith(_IMAGE_SUFFIXES):
        wanted = ", ".join(_IMAGE_SUFFIXES)
        return Rejected(uri, "unknown_format", f"found a file named {steps[-1]}; wanted one of {wanted}")
    if len(steps) > 1 and steps[0].lower() == Authenticity.UNRELATED:
        return Listed(uri, authenticity=Authenticity.UNRELATED.value)
    label = steps[-2].lower() if len(steps) in (3, 4) else ""
    if label not in (Authenticity.GENUINE, Authenticity.COUNTERFEIT):
        return Rejected(uri, "layout", f"found it at {'/'.join(steps)}; wanted {LAYOUT}")
    return Listed(uri, steps[0], steps[1] if len(steps) == 4 else DEFAULT_PART, label)


def _csv_rows(content: bytes, source: str) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{source}: found text that is not UTF-8 ({error.reason}); save it as UTF-8 CSV") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_header(header, source)
        for values in reader:
            if not any(value.strip() for value in values):
                continue
            if len(values) != len(header):
                raise DataError(
                    f"{source}, row {reader.line_num}: found {len(values)} values; wanted {len(header)}, one a column"
                )
            yield reader.line_num, dict(zip(header, values, strict=True))
    except csv.Error as error:
        raise DataError(f"{source}, row {reader.line_num}: is not valid CSV ({error})") from None


def _parquet_rows(content: bytes, source: str) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        table = pq.read_table(pa.BufferReader(content))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{source}: is not a readable Parquet file ({_one_line(error)})") from None
    _check_header(table.column_names, source)
    known = [name for name in (*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS) if name in table.column_names]
    yield from enumerate(table.select(known).to_pylist(), start=1)


def _check_header(header: list[str], source: str) -> None:
    """Refuse a missing, doubled or misspelt column; further columns are the user's own."""
    columns = (*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS)
    found = ", ".join(header) or "no header"
    for name in REQUIRED_COLUMNS:
        if name not in header:
            raise DataError(f"{source}: column {name} is missing; found {found}; wanted {', '.join(REQUIRED_COLUMNS)}")
    for name in header:
        if name in columns and header.count(name) > 1:
            raise DataError(f"{source}: column {name} is there {header.count(name)} times; wanted it once")
        close = difflib.get_close_matches(name.lower(), set(columns) - set(header), n=1, cutoff=0.8)
        if name not in columns and close:
            raise DataError(f"{source}: found column {name!r}; did you mean {close[0]!r}?")


def _listed_row(row: dict[str, Any], where: str, folder: str) -> Listed:
    text = {name: _text(row.get(name), where, name) for name in (*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS) if name != "box"}
    authenticity = _one_of(text["authenticity"].lower(), [word.value for word in Authenticity], where, "authenticity")
    role = _one_of(text["role"].lower(), ["", *(word.value for word in Role)], where, "role")
    listed = Listed(**text | {"authenticity": authenticity, "role": role}, box=_box(row.get("box"), where))
    if not listed.uri:
        raise DataError(f"{where}, column uri: found nothing; wanted the photograph's path or URI")
    mask_uri = _resolve(listed.mask_uri, folder) if listed.mask_uri else ""
    listed = replace(listed, uri=_resolve(listed.uri, folder), mask_uri=mask_uri)
    if authenticity == Authenticity.UNRELATED:
        return replace(listed, product="", part="")
    if not listed.product:
        raise DataError(f"{where}, column product: found nothing; wanted the product's name")
    return replace(listed, part=listed.part or DEFAULT_PART)


def _text(value: Any, where: str, column: str) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, (str, int)):
        return str(value).strip()
    raise DataError(f"{where}, column {column}: found {value!r}; wanted text")


def _one_of(value: str, wanted: Iterable[str], where: str, column: str) -> str:
    if value not in wanted:
        words = ", ".join(word or "nothing" for word in wanted)
        raise DataError(f"{where}, column {column}: found {value!r}; wanted one of {words}")
    return value


def _box(value: Any, where: str) -> tuple[float, float, float, float] | None:
    if (
        value is None
        or (isinstance(value, float) and math.isnan(value))
        or (isinstance(value, str) and not value.strip())
    ):
        return None
    values = (
        value.strip().strip("[]()").replace(",", " ").replace(";", " ").split() if isinstance(value, str) else value
    )
    try:
        x0, y0, x1, y1 = (float(number) for number in values)
    except (TypeError, ValueError):
        raise DataError(f"{where}, column box: found {value!r}; wanted four numbers x0 y0 x1 y1 in pixels") from None
    if not (0 <= x0 < x1 < math.inf and 0 <= y0 < y1 < math.inf):
        raise DataError(f"{where}, column box: found {value!r}; wanted 0 <= x0 < x1 and 0 <= y0 < y1 in pixels")
    return x0, y0, x1, y1


def _resolve(uri: str, folder: str) -> str:
    if "://" in uri or posixpath.isabs(uri):
        return uri
    scheme, separator, path = folder.rpartition("://")
    return scheme + separator + posixpath.normpath(posixpath.join(path, uri))


def _uri_of(filesystem: Any, path: str) -> str:
    """A local file is named by its plain path, any other by its full URI."""
    protocols = filesystem.protocol if isinstance(filesystem.protocol, (tuple, list)) else (filesystem.protocol,)
    return path if "file" in protocols else filesystem.unstrip_protocol(path)


def _one_line(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:200]
