"""Rows of a CSV or Parquet table of photographs: header and values checked, every fault named by row and column."""

from __future__ import annotations

import csv
import difflib
import io
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hallmark.errors import DataError
from hallmark.types import Authenticity, Role

REQUIRED_COLUMNS = ("uri", "product", "authenticity")
ADDRESS_COLUMNS = ("uri", "mask_uri", "edit_mask_uri")
_TEXT_COLUMNS = (
    *REQUIRED_COLUMNS,
    *("part", "item_id", "source_id", "device_id", "mask_uri", "edit_mask_uri", "role", "image_id"),
)
_COLUMNS = (*_TEXT_COLUMNS, "box")
_NAMED_AT_MOST = 10


@dataclass(frozen=True)
class Row:
    """One row: `number` as a spreadsheet counts it (Parquet: from 1), all text columns, empty where not given.

    `box` is (x0, y0, x1, y1) in pixels.
    """

    number: int
    text: dict[str, str]
    box: tuple[float, float, float, float] | None


def read_rows(content: bytes, suffix: str, source: str) -> list[Row]:
    """Read and check a table.

    Args:
        content: the file's bytes.
        suffix: `.csv` (UTF-8, comma) or `.parquet`.
        source: its name, for messages.

    Raises:
        DataError: it cannot be read, has no rows, or a wrong header; or names every faulty row with its column.
    """
    rows, faults = [], []
    for number, values in _csv_rows(content, source) if suffix == ".csv" else _parquet_rows(content, source):
        try:
            rows.append(_checked_row(number, values, f"{source}, row {number}"))
        except DataError as error:
            faults.append(str(error))
    if faults:
        raise DataError(some(faults))
    if not rows:
        raise DataError(f"{source}: found a header without rows; wanted one row a photograph")
    return rows


def some(names: Sequence[str]) -> str:
    """The first names of a list that may be long."""
    more = len(names) - _NAMED_AT_MOST
    return "; ".join(names[:_NAMED_AT_MOST]) + (f"; and {more} more" if more > 0 else "")


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
        raise DataError(f"{source}: is not a readable Parquet file ({' '.join(str(error).split())[:200]})") from None
    _check_header(table.column_names, source)
    known = [name for name in _COLUMNS if name in table.column_names]
    yield from enumerate(table.select(known).to_pylist(), start=1)


def _check_header(header: list[str], source: str) -> None:
    """Refuse a missing, doubled or misspelt column; further columns are the user's own."""
    found = ", ".join(header) or "no header"
    for name in REQUIRED_COLUMNS:
        if name not in header:
            raise DataError(f"{source}: column {name} is missing; found {found}; wanted {', '.join(REQUIRED_COLUMNS)}")
    for name in header:
        if name in _COLUMNS and header.count(name) > 1:
            raise DataError(f"{source}: column {name} is there {header.count(name)} times; wanted it once")
        close = difflib.get_close_matches(name.lower(), set(_COLUMNS) - set(header), n=1, cutoff=0.8)
        if name not in _COLUMNS and close:
            raise DataError(f"{source}: found column {name!r}; did you mean {close[0]!r}?")


def _checked_row(number: int, values: dict[str, Any], where: str) -> Row:
    text = {name: _text(values.get(name), where, name) for name in _TEXT_COLUMNS}
    text["authenticity"] = _one_of(text["authenticity"].lower(), list(Authenticity), where, "authenticity")
    text["role"] = _one_of(text["role"].lower(), ["", *Role], where, "role")
    text["image_id"] = text["image_id"].lower()
    if not text["uri"]:
        raise DataError(f"{where}, column uri: found nothing; wanted the photograph's path or URI")
    if not text["product"] and text["authenticity"] != Authenticity.UNRELATED:
        raise DataError(f"{where}, column product: found nothing; wanted the product's name")
    return Row(number, text, read_box(values.get("box"), f"{where}, column box"))


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


def read_box(value: Any, name: str) -> tuple[float, float, float, float] | None:
    """A box (x0, y0, x1, y1) in px from four numbers or from text such as `10, 20, 300, 400`; None where it is empty.

    Raises:
        DataError: it is no box; says so after `name`.
    """
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
        raise DataError(f"{name}: found {value!r}; wanted four numbers x0 y0 x1 y1 in pixels") from None
    if not (0 <= x0 < x1 < math.inf and 0 <= y0 < y1 < math.inf):
        raise DataError(f"{name}: found {value!r}; wanted 0 <= x0 < x1 and 0 <= y0 < y1 in pixels")
    return x0, y0, x1, y1
