"""Leave-one-source-out: the evaluations of several folds as one table."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from pydantic import Field, ValidationError

from hallmark.config import Config
from hallmark.errors import DataError
from hallmark.evaluation.canvas import COLOURS, GRID, canvas, empty, styled, to_svg
from hallmark.evaluation.measures import Estimate, Figures, Proportion
from hallmark.evaluation.metrics import Evaluation
from hallmark.evaluation.report import render
from hallmark.evaluation.rows import NONE, estimate_cell, number, share_cell
from hallmark.evaluation.tables import as_text, markdown_table, write_atomically

COLUMNS = (
    "source held out",
    "photographs",
    "counterfeits found",
    "called genuine",
    "genuine found",
    "F1, counterfeit",
    "F1, macro",
    "AUROC",
)
"""Headings of `fold_rows`."""


class FoldsConfig(Config):
    """Which evaluations are put into one table."""

    folds: list[str] = Field(min_length=1, description="metrics.json of each fold's evaluation, or its folder")
    out: str = Field(description="folder for sources.json, sources.csv, sources.md and sources.html")


class Fold(Figures):
    """One evaluation: its test held the counterfeits of one source and training held none of them."""

    source: str
    metrics: str
    photographs: int
    items: int
    seed: int
    bundle_ids: list[str]
    counterfeit_recall: Proportion
    counterfeits_accepted: Proportion
    genuine_recall: Proportion
    f1_counterfeit: Estimate
    f1_macro: Estimate
    auroc: Estimate


class Spread(Figures):
    """Mean, standard deviation and extremes of a figure over the n folds where it is defined; None where too few."""

    mean: float | None
    sd: float | None
    lowest: float | None
    highest: float | None
    n: int


class Folds(Figures):
    """All folds. Pooled counts add up the folds': counterfeits of different sources are different photographs, while
    one genuine photograph may have been in the test of several folds.
    """

    folds: list[Fold]
    counterfeit_recall: Proportion
    counterfeits_accepted: Proportion
    genuine_recall: Proportion
    f1_counterfeit: Spread
    f1_macro: Spread
    auroc: Spread


def merge_folds(paths: Sequence[str | Path]) -> Folds:
    """Read the evaluations and put them side by side, the source that fares worst first.

    Args:
        paths: metrics.json files, or the folders that hold them.

    Raises:
        DataError: a file cannot be read or is no evaluation, or is given twice; names it.
    """
    files = [path / "metrics.json" if path.is_dir() else path for path in map(Path, paths)]
    twice = {str(file) for file in files if files.count(file) > 1}
    if twice:
        raise DataError(f"folds: found {min(twice)} more than once; wanted each evaluation once")
    folds = [_fold(file) for file in files]
    folds.sort(key=lambda fold: (_or_one(fold.counterfeit_recall.value), fold.source))
    return Folds(
        folds=folds,
        **{
            name: _pooled([getattr(fold, name) for fold in folds])
            for name in ("counterfeit_recall", "counterfeits_accepted", "genuine_recall")
        },
        **{
            name: _spread([getattr(fold, name).value for fold in folds])
            for name in ("f1_counterfeit", "f1_macro", "auroc")
        },
    )


def write_folds(out: Path, folds: Folds) -> list[Path]:
    """Write sources.json, sources.csv, sources.md and sources.html into the folder, which is made where missing.

    Raises:
        OutputError: a file cannot be written.
    """
    contents = {
        "sources.json": folds.model_dump_json(indent=2) + "\n",
        "sources.csv": _csv(folds),
        "sources.md": f"# {_TITLE}\n\n{_NOTE}\n\n" + "\n".join(markdown_table(COLUMNS, fold_rows(folds))) + "\n",
        "sources.html": render(
            "sources.html.jinja",
            title=_TITLE,
            note=_NOTE,
            columns=COLUMNS,
            rows=fold_rows(folds),
            folds=folds,
            chart=Markup(to_svg(recall_by_source(folds), "sources", "chart: shares found by source held out")),
        ),
    }
    return [write_atomically(out / name, content) for name, content in contents.items()]


def fold_rows(folds: Folds) -> list[list[str]]:
    """One row a fold as texts, then the pooled counts and the mean ± standard deviation."""
    made = [
        [
            fold.source,
            f"{fold.photographs}\nof {fold.items} items",
            *map(share_cell, (fold.counterfeit_recall, fold.counterfeits_accepted, fold.genuine_recall)),
            *map(estimate_cell, (fold.f1_counterfeit, fold.f1_macro, fold.auroc)),
        ]
        for fold in folds.folds
    ]
    last = [
        f"all {len(folds.folds)}",
        NONE,
        *map(share_cell, (folds.counterfeit_recall, folds.counterfeits_accepted, folds.genuine_recall)),
        *map(_spread_text, (folds.f1_counterfeit, folds.f1_macro, folds.auroc)),
    ]
    return [*made, last]


@styled
def recall_by_source(folds: Folds) -> Figure:
    """Counterfeits and genuine photographs found in each fold, with 95 % intervals, the worst source on top."""
    figure = canvas(9.4, 1.1 + 0.5 * len(folds.folds))
    axes = figure.subplots()
    kinds = (("counterfeits found", "counterfeit_recall", "counterfeit", "o"),)
    kinds += (("genuine found", "genuine_recall", "genuine", "s"),)
    drawn = False
    for offset, (label, name, colour, marker) in zip((-0.13, 0.13), kinds, strict=True):
        known = [(place, getattr(fold, name)) for place, fold in enumerate(folds.folds) if getattr(fold, name).n]
        if not known:
            continue
        drawn = True
        shares = np.array([(share.value, share.low, share.high) for _, share in known])
        heights = np.array([place for place, _ in known]) + offset
        errors = np.abs(shares[:, 1:] - shares[:, :1]).T
        style = {"markersize": 6, "capsize": 2.5, "elinewidth": 1.3, "color": COLOURS[colour], "label": label}
        axes.errorbar(shares[:, 0], heights, xerr=errors, fmt=marker, **style)
    if not drawn:
        return empty(figure, axes, "no in-domain photographs")
    axes.set_yticks(range(len(folds.folds)), [fold.source[:40] for fold in folds.folds])
    axes.set(xlim=(-0.01, 1.01), ylim=(len(folds.folds) - 0.5, -0.5), xlabel="share found, 95 % interval")
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid(axis="y", color=GRID, linewidth=0)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2)
    return figure


_TITLE = "One source left out at a time"
_NOTE = (
    "Each row is an evaluation of its own: a bundle that never saw the counterfeits of the source named, tested on "
    "them. Sources that fare worst come first. Intervals of counts are Wilson's, the others bootstrap over items. "
    "The last row pools counts, and gives the mean and standard deviation of the other figures over the folds. "
    "Genuine photographs may be in the test of several folds: their pooled count is no sample of independent ones."
)


def _fold(file: Path) -> Fold:
    try:
        evaluation = Evaluation.model_validate_json(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(
            f"{file}: cannot be read ({error.strerror}); wanted the metrics.json of an evaluation"
        ) from None
    except (ValidationError, UnicodeDecodeError) as error:
        said = str(error).splitlines()[0]
        raise DataError(f"{file}: is no evaluation of this version ({said}); run jobs/evaluate.py again") from None
    # The test of a fold holds the counterfeits of one source.
    sources = [group.name or "(not known)" for group in evaluation.by_source if group.counterfeit_recall.n]
    return Fold(
        source=" + ".join(sources) or file.parent.name,
        metrics=str(file),
        photographs=evaluation.photographs,
        items=evaluation.items,
        seed=evaluation.seed,
        bundle_ids=evaluation.bundle_ids,
        counterfeit_recall=evaluation.counterfeit_positive.recall,
        counterfeits_accepted=evaluation.counterfeits_accepted,
        genuine_recall=evaluation.genuine_positive.recall,
        f1_counterfeit=evaluation.counterfeit_positive.f1,
        f1_macro=evaluation.macro.f1,
        auroc=evaluation.auroc_decision,
    )


def _or_one(value: float | None) -> float:
    return 1.0 if value is None else value


def _pooled(shares: Sequence[Proportion]) -> Proportion:
    return Proportion.of(sum(share.k for share in shares), sum(share.n for share in shares))


def _spread(values: Sequence[float | None]) -> Spread:
    known = np.array([value for value in values if value is not None], dtype=float)
    if not len(known):
        return Spread(mean=None, sd=None, lowest=None, highest=None, n=0)
    sd = float(known.std(ddof=1)) if len(known) > 1 else None
    return Spread(mean=float(known.mean()), sd=sd, lowest=float(known.min()), highest=float(known.max()), n=len(known))


def _spread_text(spread: Spread) -> str:
    return number(spread.mean) + (f" ± {spread.sd:.3f}" if spread.sd is not None else "")


def _csv(folds: Folds) -> str:
    """One row a fold: every share with k, n and interval, every other figure with its interval."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    names = [name for name in Fold.model_fields if isinstance(getattr(folds.folds[0], name), Figures)]
    header = ["source", "metrics", "photographs", "items", "seed"]
    writer.writerow([*header, *(f"{name}_{part}" for name in names for part in ("value", "low", "high", "k", "n"))])
    for fold in folds.folds:
        figures = [getattr(fold, name) for name in names]
        cells = [(one.value, one.low, one.high, getattr(one, "k", None), one.n) for one in figures]
        told = [as_text(fold.source), as_text(fold.metrics), fold.photographs, fold.items, fold.seed]
        writer.writerow([*told, *(cell for row in cells for cell in row)])
    return buffer.getvalue()
