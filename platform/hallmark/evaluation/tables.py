"""Writes an evaluation as JSON, CSV and markdown, and draws verdicts as a table for the terminal."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hallmark.errors import OutputError
from hallmark.evaluation.metrics import Estimate, Evaluation, Examined, Proportion
from hallmark.evaluation.rows import NONE, breakdowns, figures_of, headline_rows, number, sections
from hallmark.types import Scores, Verdict, VerdictLabel

_COLOURS = {
    VerdictLabel.GENUINE: "36",
    VerdictLabel.COUNTERFEIT: "31",
    VerdictLabel.INCONCLUSIVE: "33",
    VerdictLabel.NOT_IN_GALLERY: "90",
}
"""ANSI foreground codes: cyan, red, yellow, grey."""

_MAX_PHOTOGRAPH = 44
"""Columns that a photograph's name may take in the terminal."""

_NUMERIC = ("p", "g+", "score", "ms")
"""Headings of the terminal's columns that are aligned to the right."""

_TEXT_COLUMNS = ("image_id", "uri", "product", "part", "authenticity", "item_id", "source_id")


@dataclass(frozen=True)
class VerdictRow:
    """One line of the terminal table; `truth` is None where it is not known."""

    photograph: str
    truth: str | None
    verdict: Verdict


def write_tables(folder: Path, evaluation: Evaluation, examined: Sequence[Examined]) -> list[Path]:
    """Write metrics.json, metrics.csv, metrics.md and verdicts.csv into the folder, which is made where missing.

    Returns:
        The four paths.

    Raises:
        OutputError: a file cannot be written.
    """
    contents = {
        "metrics.json": json.dumps(evaluation.model_dump(mode="json"), indent=2, allow_nan=False) + "\n",
        "metrics.csv": metrics_csv(evaluation),
        "metrics.md": metrics_markdown(evaluation),
        "verdicts.csv": verdicts_csv(examined),
    }
    return [write_atomically(folder / name, content) for name, content in contents.items()]


def write_atomically(path: Path, content: str) -> Path:
    """Write UTF-8 text so that a reader sees the old file or the whole new one, never a part.

    Raises:
        OutputError: the folder or the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            # A file name that is not valid Unicode reaches us with lone surrogates.
            file.write(content.encode("utf-8", "backslashreplace"))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise OutputError(f"{path}: cannot be written ({error.strerror}); wanted a folder with room to write") from None
    return path


def verdicts_csv(examined: Sequence[Examined]) -> str:
    """One row a photograph: the truth, the verdict, every score and the provenance.

    A text that a spreadsheet would run as a formula (it starts with = + - or @) is preceded by an apostrophe.
    """
    buffer = io.StringIO()
    scores = list(Scores.model_fields)
    header = [*_TEXT_COLUMNS, "verdict", "right", "p_genuine", "verdict_product", "verdict_part", *scores]
    header += ["nearest_reference", "reason", "bundle_id", "gallery_version", "config_hash", "total_ms"]
    # With a bare \n, csv leaves a carriage return inside a text unquoted, and it would begin a row.
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow(header)
    for photograph in examined:
        verdict = photograph.verdict
        nearest = verdict.references[0].reference_id if verdict.references else None
        row = [as_text(getattr(photograph, column)) for column in _TEXT_COLUMNS]
        row += [str(verdict.verdict), photograph.is_right, verdict.p_genuine]
        row += [as_text(verdict.product), as_text(verdict.part)]
        row += [getattr(verdict.scores, name) for name in scores]
        row += [as_text(nearest), as_text(verdict.reason), verdict.bundle_id, verdict.gallery_version]
        row += [verdict.config_hash, total_ms(verdict)]
        writer.writerow(row)
    return buffer.getvalue()


def metrics_markdown(evaluation: Evaluation) -> str:
    """All figures as markdown tables."""
    lines = ["# Evaluation", ""]
    lines += [
        f"{evaluation.photographs} photographs of {evaluation.items} items. Intervals are 95 %: Wilson for counts, "
        f"bootstrap over items for the rest (seed {evaluation.seed}, {evaluation.resamples} resamples).",
        "",
    ]
    lines += markdown_table(["figure", "value", "95 % interval", "k/n or n"], headline_rows(evaluation))
    labels = [str(label) for label in VerdictLabel]
    confusion = [[truth, *(str(counts[label]) for label in labels)] for truth, counts in evaluation.confusion.items()]
    lines += ["", "## Truth against verdict", "", *markdown_table(["truth", *labels], confusion)]
    for section in [*sections(evaluation), *breakdowns(evaluation)]:
        lines += ["", f"## {section.title}", "", *markdown_table(section.columns, section.rows)]
        lines += ["", section.note] if section.note else []
    return "\n".join(lines) + "\n"


def metrics_csv(evaluation: Evaluation) -> str:
    """Every number of `metrics.json` in one row: its dotted name, value, 95 % interval, k and n."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow(["figure", "value", "low", "high", "k", "n"])
    for name, figure in figures_of(evaluation):
        if isinstance(figure, Proportion | Estimate):
            row = [figure.value, figure.low, figure.high, getattr(figure, "k", None), figure.n]
        else:
            row = [figure, None, None, None, None]
        writer.writerow([as_text(name), *row])
    return buffer.getvalue()


def total_ms(verdict: Verdict) -> float | None:
    """Milliseconds the verdict took: the stage named `total`, else the sum of the stages."""
    timings = verdict.timings_ms
    return timings.get("total", sum(timings.values())) if timings else None


def verdict_table(rows: Sequence[VerdictRow], colour: bool | None = None) -> str:
    """Aligned columns for the terminal; the truth is left out when no row has one.

    Args:
        rows: one entry a photograph.
        colour: whether to mark verdicts with ANSI colours; None = when standard output is a terminal.
    """
    colour = sys.stdout.isatty() if colour is None else colour
    header = ["photograph", "truth", "verdict", "p", "product", "g+", "score", "ms"]
    lines = [header, *(_terminal_cells(row) for row in rows)]
    if all(row.truth is None for row in rows):
        lines = [line[:1] + line[2:] for line in lines]
    widths = [max(map(_columns, column)) for column in zip(*lines, strict=True)]
    texts = []
    for line, row in zip(lines, [None, *rows], strict=True):
        cells = [_pad(*column) for column in zip(line, widths, lines[0], strict=True)]
        if colour and row is not None:
            position = lines[0].index("verdict")
            cells[position] = f"\x1b[{_COLOURS[row.verdict.verdict]}m{cells[position]}\x1b[0m"
        texts.append("  ".join(cells).rstrip())
    return "\n".join(texts)


def _terminal_cells(row: VerdictRow) -> list[str]:
    scores = row.verdict.scores
    elapsed = total_ms(row.verdict)
    name = _printable(row.photograph)
    while _columns(name) > _MAX_PHOTOGRAPH:
        name = "…" + name[2 if name.startswith("…") else 1 :]
    return [
        name,
        row.truth or NONE,
        str(row.verdict.verdict),
        number(row.verdict.p_genuine, 2),
        _printable(row.verdict.product or NONE),
        number(scores.global_similarity, 2),
        number(scores.decision, 2),
        number(elapsed, 0),
    ]


def _printable(text: str) -> str:
    """The text without control characters, which could steer the terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _columns(text: str) -> int:
    narrow = sum(not unicodedata.combining(character) for character in text)
    return narrow + sum(unicodedata.east_asian_width(character) in "WF" for character in text)


def _pad(text: str, width: int, heading: str) -> str:
    space = " " * (width - _columns(text))
    return space + text if heading in _NUMERIC else text + space


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a markdown table; texts cannot break out of their cells."""
    lines = [header, ["---"] * len(header), *([_markdown_cell(cell) for cell in row] for row in rows)]
    return ["| " + " | ".join(line) + " |" for line in lines]


def _markdown_cell(text: str) -> str:
    text = " ".join(text.split())
    for character, escaped in (("\\", "\\\\"), ("|", "\\|"), ("<", "&lt;"), ("`", "\\`"), ("[", "\\[")):
        text = text.replace(character, escaped)
    return text


def as_text(value: str | None) -> str | None:
    """A text for CSV that no spreadsheet takes for a formula."""
    return f"'{value}" if value and value[0] in "=+-@\t\r" else value
