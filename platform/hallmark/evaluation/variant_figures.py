"""Draws the variants of an axis, and the classes of the base."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, PercentFormatter

from hallmark.evaluation.canvas import ACCENT, COLOURS, GRID, INK, canvas, chart, styled
from hallmark.evaluation.class_report import ClassReport
from hallmark.evaluation.variant_table import VariantFigures, VariantTable

_LABEL_PX = 34
"""Longest name of a class or variant, characters."""


@styled
def class_confusion(report: ClassReport) -> Figure:
    """Truth by answer: counts over all seeds, shaded by their share of the truth; right answers are outlined."""
    size = len(report.classes)
    side = min(9.4, 3.2 + 0.5 * size)
    figure = canvas(side, side - 0.6)
    axes = figure.subplots()
    counts = np.array(report.confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    letters = max(5.0, min(10.0, 110 / size))
    for row, column in np.ndindex(size, size):
        axes.add_patch(Rectangle((column, row), 1, 1, facecolor=ACCENT, alpha=0.55 * shares[row, column], linewidth=0))
        if counts[row, column]:
            weight = "bold" if row == column else "normal"
            middle = {"ha": "center", "va": "center", "fontsize": letters, "fontweight": weight}
            axes.text(column + 0.5, row + 0.5, str(counts[row, column]), **middle)
        outline = {"edgecolor": INK if row == column else GRID, "linewidth": 1.3 if row == column else 0.5}
        place = {"zorder": 3 if row == column else 2, "facecolor": "none"}
        axes.add_patch(Rectangle((column + 0.02, row + 0.02), 0.96, 0.96, **outline, **place))
    names = [one.name[:_LABEL_PX] for one in report.classes]
    axes.set(xlim=(0, size), ylim=(size, 0), xlabel="told", ylabel="truth", aspect="equal")
    axes.set_xticks(np.arange(size) + 0.5, names, rotation=60, ha="right", rotation_mode="anchor", fontsize=8)
    axes.set_yticks(np.arange(size) + 0.5, names, fontsize=8)
    axes.tick_params(length=0)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    return figure


@styled
def response_curve(table: VariantTable) -> Figure:
    """Accuracy along an axis of numbers, with 95 % intervals over items and seeds; dots are single seeds."""
    figure, axes = chart(9.4, 3.5)
    known = [one for one in table.variants if one.position is not None]
    known.sort(key=lambda one: one.position)
    places = np.array([one.position for one in known])
    values = np.array([one.accuracy.value for one in known])
    axes.plot(places, values, color=COLOURS["genuine"], linewidth=1.5, zorder=2)
    style = {"color": COLOURS["genuine"], "capsize": 3, "elinewidth": 1.2, "markersize": 6, "zorder": 3}
    axes.errorbar(places, values, yerr=_errors(known), fmt="o", label="mean, 95 % interval", **style)
    for number, one in enumerate(known):
        seeds = [share.value for share in one.accuracy_by_seed]
        label = {"label": "single seeds"} if number == 0 and len(seeds) > 1 else {}
        if len(seeds) > 1:
            axes.plot([one.position] * len(seeds), seeds, "_", color=INK, markersize=9, zorder=4, **label)
        if one.is_base:
            ring = {"markersize": 13, "markerfacecolor": "none", "markeredgecolor": COLOURS["counterfeit"]}
            axes.plot(one.position, one.accuracy.value, "o", label="base", markeredgewidth=1.4, **ring)
    axes.set(xlabel=table.label, ylabel="accuracy, product and authenticity")
    if table.axis == "samples":
        axes.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
    axes.set_xticks(places)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
    return figure


@styled
def variant_bars(table: VariantTable) -> Figure:
    """Accuracy of every variant as a bar from 0, with its 95 % interval over items and seeds; the base is filled."""
    figure, axes = chart(9.4, 1.1 + 0.42 * len(table.variants))
    shown = table.variants
    values = [one.accuracy.value for one in shown]
    heights = np.arange(len(shown))
    bars = axes.barh(heights, values, 0.62, color=COLOURS["genuine"], alpha=0.3, linewidth=0)
    for bar, one in zip(bars, shown, strict=True):
        if one.is_base:
            bar.set(alpha=0.75, hatch="////", edgecolor="white")
    line = {"fmt": "none", "ecolor": INK, "elinewidth": 1.2, "capsize": 3}
    axes.errorbar(values, heights, xerr=_errors(shown), **line)
    names = [f"{one.name[:_LABEL_PX]} (base)" if one.is_base else one.name[:_LABEL_PX] for one in shown]
    axes.set_yticks(heights, names)
    axes.set(xlim=(0, 1.005), ylim=(len(shown) - 0.5, -0.5), xlabel="accuracy, product and authenticity, 95 % interval")
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid(axis="y", linewidth=0)
    return figure


def _errors(variants: list[VariantFigures]) -> np.ndarray | None:
    """(2, V) distances to the ends of the intervals; 0 where there is none."""
    ends = []
    for one in variants:
        value, again = one.accuracy.value, one.accuracy_resampled
        ends.append((0, 0) if again.low is None else (max(0, value - again.low), max(0, again.high - value)))
    return np.array(ends).T
