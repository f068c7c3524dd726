"""Draws curves: rejection by kind of photograph, risk against coverage, and training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator, PercentFormatter

from hallmark.evaluation.abstention import RiskCoverage
from hallmark.evaluation.canvas import ACCENT, COLOURS, INK, MUTED, canvas, chart, empty, styled
from hallmark.evaluation.examined import Examined
from hallmark.evaluation.rejection import kind_of, rule_scores
from hallmark.evaluation.rows import CONFIDENCES

_SERIES = (COLOURS["genuine"], COLOURS["counterfeit"], ACCENT, COLOURS["inconclusive"], COLOURS["not_in_gallery"])
_DASHES = ("-", (0, (5, 2)), (0, (1.2, 1.5)), (0, (6, 2, 1.2, 2)))
_CLOCKS = {"step", "epoch", "seconds"}
_PANELS_IN_ROW = 4
_STEADY = 0.1
"""Coverage from which on a curve of risk decides the scale."""


@styled
def rejection_curves(examined: Sequence[Examined]) -> Figure:
    """Unrelated photographs rejected against in-domain ones rejected, a panel a rule and a line a kind."""
    kinds = np.array([kind_of(photograph) or "" for photograph in examined], dtype=object)
    in_domain = kinds == ""
    scores = rule_scores(examined)
    figure = canvas(9.4 if len(scores) > 1 else 6.2, 3.5)
    panels = figure.subplots(1, len(scores), squeeze=False, sharey=True)[0]
    if in_domain.all() or not in_domain.any():
        for panel in panels[1:]:
            panel.remove()
        return empty(figure, panels[0], "needs in-domain and unrelated photographs")
    names = sorted(set(kinds[~in_domain]))
    for panel, (rule, own) in zip(panels, scores.items(), strict=True):
        for position, name in enumerate(names):
            outside = own[kinds == name]
            line = _rejected(own[in_domain], outside)
            colour, dashes = _SERIES[position % 5], _DASHES[position % 4]
            label = f"{name} (n = {len(outside)})"
            panel.plot(*line, color=colour, linestyle=dashes, linewidth=1.7, label=label, drawstyle="steps-post")
        # Linear up to 1 %, logarithmic beyond: the shares that matter are small.
        panel.set_xscale("symlog", linthresh=0.01, linscale=0.5)
        panel.xaxis.set_major_locator(FixedLocator([0, 0.01, 0.05, 0.2, 1]))
        panel.xaxis.set_minor_locator(NullLocator())
        panel.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g}%"))
        panel.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        panel.set(xlim=(0, 1), ylim=(-0.02, 1.02), xlabel="in-domain photographs rejected", title=f"rule {rule}")
        for share in (0.01, 0.05):
            panel.axvline(share, color=MUTED, linewidth=1, linestyle=":")
    panels[0].set_ylabel("unrelated rejected")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)))
    return figure


@styled
def risk_coverage_curves(curves: Sequence[RiskCoverage]) -> Figure:
    """Errors among the photographs decided against their share, the surest first, by measure of confidence."""
    figure, axes = chart(9.4, 3.3)
    drawn = [curve for curve in curves if curve.n]
    if not drawn:
        return empty(figure, axes, "no photograph was given a probability")
    for position, curve in enumerate(drawn):
        coverage = [point.coverage.value for point in curve.points]
        risk = [(point.risk.value, point.risk.low, point.risk.high) for point in curve.points]
        middle, low, high = np.transpose(risk)
        area = "" if curve.area.value is None else f", area {curve.area.value:.3f}"
        name = CONFIDENCES[curve.confidence].split(",")[0]
        colour = _SERIES[position % 5]
        style = {"linestyle": _DASHES[position % 4], "marker": "o" if len(coverage) < 3 else None}
        axes.plot(coverage, middle, color=colour, linewidth=1.7, label=f"{name}{area}", **style)
        if position == 0:
            axes.fill_between(coverage, low, high, color=colour, alpha=0.14, linewidth=0, label="95 % interval")
    axes.set(xlabel="coverage: in-domain photographs decided", ylabel="risk: errors among these", xlim=(0, 1.01))
    # The first few photographs' risk is a coin's toss: it must not flatten the rest.
    steady = [point.risk.value for curve in drawn for point in curve.points if point.coverage.value >= _STEADY]
    axes.set_ylim(0, min(1.02, max(0.05, 1.25 * max(steady, default=1.0))))
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
    return figure


@styled
def training_curves(records: Sequence[Mapping[str, Any]]) -> Figure:
    """Every number that training recorded, a panel each: the loss, its terms, diagnostics, validation.

    Args:
        records: one mapping a step or epoch, with `step` or `epoch` and numbers by name. What is missing or not
            finite leaves a gap; what is no number is left out.
    """
    names = list(dict.fromkeys(name for record in records for name in record if name not in _CLOCKS))
    clock = "step" if any("step" in record for record in records) else "epoch"
    lines = {name: _series(records, name, clock) for name in names}
    lines = {name: line for name, line in lines.items() if len(line)}
    if not lines:
        figure, axes = chart(9.6, 2.2)
        return empty(figure, axes, "not recorded")
    columns = min(_PANELS_IN_ROW, len(lines))
    rows = math.ceil(len(lines) / columns)
    figure = canvas(9.6, 0.4 + 1.75 * rows)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
    for panel in panels[len(lines) :]:
        panel.remove()
    for place, (panel, (name, line)) in enumerate(zip(panels, lines.items(), strict=False)):
        marker = "o" if len(line) < 25 else None
        panel.plot(*line.T, color=COLOURS["genuine"], marker=marker, markersize=2.8, linewidth=1.2, label=name)
        panel.set_title(name, fontsize=9)
        panel.tick_params(labelsize=8, labelbottom=place + columns >= len(lines))
        panel.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
        panel.yaxis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 2.5, 5, 10]))
        panel.ticklabel_format(axis="y", scilimits=(-3, 4))
    figure.supxlabel(clock, fontsize=9, color=INK)
    return figure


def _rejected(inside: np.ndarray, outside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shares of in-domain and unrelated photographs below every threshold, both rising."""
    thresholds = np.append(np.unique(inside), np.inf)
    below = [np.searchsorted(np.sort(scores), thresholds, side="left") / len(scores) for scores in (inside, outside)]
    return below[0], below[1]


def _series(records: Sequence[Mapping[str, Any]], name: str, clock: str) -> np.ndarray:
    """(N, 2) float64 of clock and value, from the records that hold both; sorted by clock."""
    # A figure that comes once an epoch has no step.
    clock = clock if any(clock in record and name in record for record in records) else "epoch"
    points = [(record[clock], record[name]) for record in records if clock in record and _is_number(record.get(name))]
    return np.array(sorted(points), dtype=float).reshape(-1, 2)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
