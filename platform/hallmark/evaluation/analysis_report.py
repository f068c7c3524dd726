"""Writes an analysis as one self-contained HTML page, with its tables and figures as files beside it."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup
from matplotlib.figure import Figure

from hallmark.config import to_yaml
from hallmark.data.manifest import write_whole
from hallmark.errors import OutputError
from hallmark.evaluation.canvas import to_jpeg, to_png, to_svg
from hallmark.evaluation.class_report import ClassReport
from hallmark.evaluation.measures import Figures, Proportion
from hallmark.evaluation.report import render
from hallmark.evaluation.rows import Section, estimate_cell, figure_cells, figures_of, share_cell
from hallmark.evaluation.tables import as_text, markdown_table, write_atomically
from hallmark.evaluation.variant_figures import class_confusion, response_curve, variant_bars
from hallmark.evaluation.variant_table import COLUMNS, VariantTable, findings, table_csv, table_rows
from hallmark.evaluation.variants import AnalysisConfig


class Analysis(Figures):
    """What the analyses of every method found."""

    config: AnalysisConfig
    bundle_ids: list[str]
    """Of the base, one a seed."""
    num_trainings: int
    classes: ClassReport
    tables: list[VariantTable]


@dataclass(frozen=True)
class Shown:
    """A part of the report that a method has for itself: a table, which may be empty, and a figure."""

    section: Section
    """Its note comes last."""
    figure: Figure
    """Holds photographs, or many points."""
    alt: str
    """What the figure is, for those who cannot see it."""
    caption: str


@dataclass(frozen=True)
class _Table:
    section: Section
    chart: Markup
    findings: list[str]


def headline(analysis: Analysis) -> list[list[str]]:
    """The base's main figures as [name, value, interval, counts] texts."""
    report = analysis.classes
    figures = {
        "product and authenticity right": report.accuracy,
        "product right": report.product_right,
        "authenticity right": report.authenticity_right,
        "F1, macro over classes": report.f1_macro,
        "F1, counterfeit": report.f1_counterfeit,
    }
    return [[name, *figure_cells(figure)] for name, figure in figures.items()]


def write_analysis(out: Path, title: str, analysis: Analysis, shown: Sequence[Shown], limits: Sequence[str]) -> Path:
    """Write analysis.html and analysis.json, `tables/<key>.json`, `.csv` and `.md`, and `figures/<key>.png`.

    Args:
        out: the folder.
        title: of the page.
        analysis: what was found.
        shown: the method's own parts, after the tables.
        limits: what the method's own parts do not tell.

    Returns:
        The path of analysis.html.

    Raises:
        OutputError: a file cannot be written.
    """
    charts = {"classes": class_confusion(analysis.classes)}
    charts |= {table.axis: _chart(table) for table in analysis.tables}
    _write_tables(out / "tables", analysis)
    for name, figure in [*charts.items(), *((part.section.key, part.figure) for part in shown)]:
        _write_png(out / "figures" / f"{name}.png", figure)
    write_atomically(out / "analysis.json", analysis.model_dump_json(indent=2) + "\n")
    inline = {name: Markup(to_svg(figure, name, f"chart: {name}")) for name, figure in charts.items()}
    page = render(
        "analysis.html.jinja",
        title=title,
        analysis=analysis,
        headline=headline(analysis),
        classes=_class_section(analysis.classes),
        charts=inline,
        tables=[_Table(_section(table), inline[table.axis], findings(table)) for table in analysis.tables],
        shown=[(part, _data_uri(part.figure)) for part in shown],
        limits=_limits(analysis, limits),
        config=to_yaml(analysis.config),
    )
    return write_atomically(out / "analysis.html", page)


def _chart(table: VariantTable) -> Figure:
    return variant_bars(table) if any(one.position is None for one in table.variants) else response_curve(table)


def _section(table: VariantTable) -> Section:
    return Section(table.axis, table.title, [table.label, *COLUMNS], table_rows(table), table.note)


def _class_section(report: ClassReport) -> Section:
    rows = [[one.name, *map(share_cell, (one.precision, one.recall)), estimate_cell(one.f1)] for one in report.classes]
    return Section("classes", "Classes", ["class", "precision", "recall", "F1"], rows, "")


def _write_tables(folder: Path, analysis: Analysis) -> None:
    sections = [_class_section(analysis.classes), *map(_section, analysis.tables)]
    results: list[ClassReport | VariantTable] = [analysis.classes, *analysis.tables]
    for section, result in zip(sections, results, strict=True):
        told = [] if isinstance(result, ClassReport) else findings(result)
        flat = [[cell.replace("\n", "; ") for cell in row] for row in section.rows]
        lines = [f"# {section.title}", "", *markdown_table(section.columns, flat), "", _basis(result), *told]
        lines += [section.note] if section.note else []
        csv_text = _class_csv(result) if isinstance(result, ClassReport) else table_csv(result)
        write_atomically(folder / f"{section.key}.json", result.model_dump_json(indent=2) + "\n")
        write_atomically(folder / f"{section.key}.csv", csv_text)
        write_atomically(folder / f"{section.key}.md", "\n".join(lines) + "\n")


def _basis(result: ClassReport | VariantTable) -> str:
    seeds = ", ".join(map(str, result.seeds))
    return f"{result.photographs} test photographs of {result.items} items; seeds {seeds}, counts pooled over them."


def _class_csv(report: ClassReport) -> str:
    """Every number of the report in a row of its own, then the confusion of each class."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow(["class", "figure", "value", "low", "high", "k", "n"])
    for one in report.classes:
        for name, figure in figures_of(one):
            writer.writerow([as_text(one.name), name, figure.value, figure.low, figure.high, _k(figure), figure.n])
    for one, counts in zip(report.classes, report.confusion, strict=True):
        for other, count in zip(report.classes, counts, strict=True):
            writer.writerow([as_text(one.name), f"told {other.name}", count, None, None, None, None])
    return buffer.getvalue()


def _k(figure: Figures) -> int | None:
    return figure.k if isinstance(figure, Proportion) else None


def _write_png(path: Path, figure: Figure) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, lambda file: file.write(to_png(figure)))
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}); wanted a folder with room to write") from None


def _data_uri(figure: Figure) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(to_jpeg(figure)).decode()


def _limits(analysis: Analysis, own: Sequence[str]) -> list[str]:
    report, seeds = analysis.classes, len(analysis.config.seeds)
    one_seed = (
        ["Every variant was trained with one seed only: no interval here covers what another training would give."]
        if seeds == 1
        else [
            f"Wilson intervals pool the answers of {seeds} trainings about the same {report.photographs} photographs "
            "as if all were independent, and are too narrow for that. Those over items and seeds resample whole items "
            f"and whole trainings, but {seeds} trainings say little of all that could be."
        ]
    )
    return [
        *one_seed,
        "A difference is called significant only where its interval over items and seeds excludes 0 and McNemar's "
        "exact test, adjusted by Holm's method for the comparisons of its table, gives less than 0.05. No significant "
        f"difference does not mean none: with {report.items} items only large ones can be seen.",
        "Epochs were picked by validation photographs and nothing was picked by the test photographs. Whoever picks a "
        "variant by the tables above picks by the test; the one that validation picks is named with each table.",
        *own,
        "The figures hold for these products, photographed in this way.",
    ]
