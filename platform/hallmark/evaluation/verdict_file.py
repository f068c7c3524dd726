"""A table of verdicts that grows as they come, and is gone on with after an interruption."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hallmark.errors import DataError, OutputError
from hallmark.evaluation.tables import as_text, write_atomically
from hallmark.types import Verdict, VerdictLabel

SCHEMA = pa.schema(
    [
        ("photograph", pa.string()),
        ("verdict", pa.string()),
        ("p_genuine", pa.float64()),
        ("product", pa.string()),
        ("part", pa.string()),
        ("decision", pa.float64()),
        ("threshold_genuine", pa.float64()),
        ("threshold_counterfeit", pa.float64()),
        ("global_similarity", pa.float64()),
        ("threshold_global", pa.float64()),
        ("reason", pa.string()),
        ("width", pa.int64()),
        ("height", pa.int64()),
        ("sharpness", pa.float64()),
        ("brightness", pa.float64()),
        ("clipped", pa.float64()),
        ("image_id", pa.string()),
        ("bundle_id", pa.string()),
        ("gallery_version", pa.int64()),
        ("config_hash", pa.string()),
        ("error", pa.string()),
    ]
)
"""Columns of the table, in order; where there is an error, nothing but the photograph is told beside it."""

_SCORES = ("decision", "threshold_genuine", "threshold_counterfeit", "global_similarity", "threshold_global")
_QUALITY = ("width", "height", "sharpness", "brightness", "clipped")
_OWN = ("verdict", "p_genuine", "product", "part", "reason", "image_id", "bundle_id", "gallery_version", "config_hash")
_FORMULA = "=+-@\t\r"
_LINE_END = b"\r\n"


@dataclass(frozen=True)
class Answered:
    """The verdict about one photograph, or why there is none."""

    photograph: str
    """Path or URI, as it was given."""
    verdict: Verdict | None
    error: str = ""

    def row(self) -> dict[str, Any]:
        """By column; None where there is nothing to tell."""
        row: dict[str, Any] = dict.fromkeys(SCHEMA.names) | {"photograph": self.photograph}
        if self.verdict is None:
            return row | {"error": self.error}
        row |= {name: getattr(self.verdict, name) for name in _OWN} | {"verdict": str(self.verdict.verdict)}
        row |= {name: getattr(self.verdict.quality, name) for name in _QUALITY}
        scores = self.verdict.scores
        return row if scores is None else row | {name: getattr(scores, name) for name in _SCORES}


class VerdictFile:
    """A CSV of verdicts; every row is on disk when `add` returns.

    A file that is there already is gone on with: what it says stays, but for rows with an error, which are tried
    again, and a last row that was cut off.

    Args:
        path: of the CSV.

    Raises:
        DataError: the file is another table.
        OutputError: it cannot be written.
    """

    def __init__(self, path: Path):
        self._path = path
        rows = {row["photograph"]: row for row in read_rows(path) if row["verdict"] and not row["error"]}
        self._labels = {photograph: VerdictLabel(row["verdict"]) for photograph, row in rows.items()}
        write_atomically(path, _lines([SCHEMA.names, *([row[name] for name in SCHEMA.names] for row in rows.values())]))
        try:
            self._file = path.open("ab")
        except OSError as error:
            raise _unwritable(path, error) from None

    def __enter__(self) -> VerdictFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def label(self, photograph: str) -> VerdictLabel | None:
        """The verdict that the file holds of a photograph; None where it holds none."""
        return self._labels.get(_printed(photograph))

    def add(self, answered: Answered) -> None:
        """Write one row."""
        row = [_printed(value) for value in answered.row().values()]
        try:
            self._file.write(_lines([row]).encode())
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise _unwritable(self._path, error) from None
        if answered.verdict is not None:
            self._labels[_printed(answered.photograph)] = answered.verdict.verdict


def write_parquet(path: Path, rows: Sequence[dict[str, str]]) -> Path:
    """The rows of a CSV as typed Parquet, whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    columns = {
        field.name: pa.array([_typed(row[field.name], field.type) for row in rows], field.type) for field in SCHEMA
    }
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        pq.write_table(pa.table(columns, schema=SCHEMA), draft)
        os.replace(draft, path)
    except OSError as error:
        raise _unwritable(path, error) from None
    finally:
        draft.unlink(missing_ok=True)
    return path


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV of verdicts, but for a last one that was cut off; none where there is no file.

    Raises:
        DataError: it is another table.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); wanted a table of verdicts") from None
    whole = content[: content.rfind(_LINE_END) + len(_LINE_END)] if _LINE_END in content else b""
    try:
        lines = list(csv.reader(io.StringIO(whole.decode(), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error):
        lines = _shortened(path, whole)
    if content and (not lines or lines[0] != SCHEMA.names):
        raise DataError(
            f"{path}: exists and is no table of verdicts with the columns {', '.join(SCHEMA.names[:3])}, ...; "
            "wanted a new file, or one that `hallmark verify` began"
        )
    rows = [dict(zip(SCHEMA.names, line, strict=True)) for line in lines[1:] if len(line) == len(SCHEMA.names)]
    strange = next((row["verdict"] for row in rows if row["verdict"] not in ("", *VerdictLabel)), None)
    if strange is not None:
        raise DataError(f"{path}: found the verdict {strange!r}; wanted one of {', '.join(VerdictLabel)}")
    return rows


def _shortened(path: Path, whole: bytes) -> list[list[str]]:
    """The rows of a table without its last ones, where these were cut inside a quoted text."""
    for _ in range(64):
        whole = whole[: whole.rstrip(_LINE_END).rfind(_LINE_END) + len(_LINE_END)]
        try:
            return list(csv.reader(io.StringIO(whole.decode(), newline=""), strict=True))
        except (UnicodeDecodeError, csv.Error):
            continue
    raise DataError(f"{path}: exists and is no table of verdicts; wanted a new file")


def _lines(rows: Sequence[Sequence[Any]]) -> str:
    buffer = io.StringIO()
    # With a bare \n, csv leaves a carriage return inside a text unquoted, and it would begin a row.
    csv.writer(buffer, lineterminator="\r\n").writerows(rows)
    return buffer.getvalue()


def _printed(value: Any) -> str:
    """A cell as the file holds it: no spreadsheet takes it for a formula, numbers come back exactly."""
    if value is None:
        return ""
    if isinstance(value, str):
        return as_text(value.encode("utf-8", "backslashreplace").decode()) or ""
    return repr(value)


def _typed(cell: str, kind: pa.DataType) -> Any:
    if kind == pa.string():
        # The apostrophe that keeps a spreadsheet from running it.
        text = cell[1:] if cell[:1] == "'" and cell[1:2] and cell[1] in _FORMULA else cell
        return text or None
    if not cell:
        return None
    return int(cell) if kind == pa.int64() else float(cell)


def _unwritable(path: Path, error: OSError) -> OutputError:
    return OutputError(f"{path}: cannot be written ({error.strerror}); wanted a file in a folder with room to write")
