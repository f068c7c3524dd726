"""Draws an evaluation: every function returns a matplotlib figure, for `to_png`, `to_jpeg` or `to_svg`.

Colours are those of Okabe and Ito, which stay apart for colour-blind readers: genuine blue, counterfeit vermilion,
inconclusive purple, not_in_gallery and unrelated grey. Nothing is told by colour alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, PercentFormatter
from sklearn.metrics import roc_curve

from hallmark.evaluation.canvas import (
    ACCENT,
    COLOURS,
    GRID,
    INK,
    MUTED,
    canvas,
    chart,
    empty,
    styled,
    to_jpeg,
    to_png,
    to_svg,
)
from hallmark.evaluation.curves import rejection_curves, risk_coverage_curves, training_curves
from hallmark.evaluation.metrics import Calibration, Estimate, Evaluation, Examined
from hallmark.evaluation.photographs import Tile, contact_sheet, draw_matches, draw_residual
from hallmark.types import Authenticity, VerdictLabel

__all__ = [
    "Tile",
    "confusion_matrix",
    "contact_sheet",
    "draw_matches",
    "draw_residual",
    "rejection_curves",
    "reliability_diagram",
    "risk_coverage_curves",
    "roc",
    "score_histogram",
    "to_jpeg",
    "to_png",
    "to_svg",
    "training_curves",
]


_HATCHES = {"counterfeit": "////", "unrelated": "...."}
"""By truth: what tells the fills apart without colour."""


@styled
def score_histogram(
    groups: Mapping[str, Sequence[float]], label: str, thresholds: Mapping[str, float] | None = None
) -> Figure:
    """How a score spreads over photographs of each truth.

    Args:
        groups: scores by the name of the truth (a key of `COLOURS`).
        label: of the score's axis.
        thresholds: values by name, drawn as lines; those that are not finite are left out.
    """
    figure, axes = chart(9.4, 3.1)
    marks = {name: value for name, value in (thresholds or {}).items() if math.isfinite(value)}
    pooled = np.concatenate([np.asarray(scores, dtype=float) for scores in groups.values()] or [np.empty(0)])
    if not len(pooled):
        return empty(figure, axes, "no photograph has this score")
    edges = np.linspace(*_span(np.append(pooled, list(marks.values()))), 33)
    layers = {}
    for name, scores in groups.items():
        if len(scores):
            # Two layers: a hatch drawn with the fill would share its opacity and vanish in SVG.
            fill = axes.hist(scores, edges, histtype="stepfilled", color=COLOURS[name], alpha=0.3)[2]
            outline = {"edgecolor": COLOURS[name], "facecolor": "none", "hatch": _HATCHES.get(name), "linewidth": 1.4}
            lines = axes.hist(scores, edges, histtype="stepfilled", **outline)[2]
            layers[f"{name} (n = {len(scores)})"] = (fill[0], lines[0])
    axes.set(xlabel=label, ylabel="photographs")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    for position, (name, value) in enumerate(sorted(marks.items(), key=lambda mark: mark[1])):
        axes.axvline(value, color=INK, linewidth=1.2, linestyle=("--", ":")[position % 2])
        heights = (1.02, 1.10)
        axes.text(value, heights[position % 2], name, transform=axes.get_xaxis_transform(), ha="center", fontsize=9)
    axes.legend(list(layers.values()), list(layers), loc="upper left", bbox_to_anchor=(1.01, 1))
    return figure


@styled
def reliability_diagram(calibration: Calibration) -> Figure:
    """Share of truly genuine photographs against p_genuine by bin, with 95 % intervals and counts below."""
    figure = canvas(4.6, 4.4)
    axes, counts = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1.2))
    filled = [one for one in calibration.bins if one.mean_p is not None]
    if not filled:
        counts.remove()
        return empty(figure, axes, "no photograph was given a probability")
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle="--", label="perfectly calibrated")
    means = [one.mean_p for one in filled]
    shares = np.array([(one.genuine.value, one.genuine.low, one.genuine.high) for one in filled])
    errors = np.abs(shares[:, 1:] - shares[:, :1]).T
    style = {"color": COLOURS["genuine"], "markersize": 5, "capsize": 2.5, "elinewidth": 1.1}
    axes.errorbar(means, shares[:, 0], yerr=errors, fmt="o", label="found, 95 % interval", **style)
    axes.set(ylabel="truly genuine", ylim=(-0.03, 1.03), xlim=(-0.02, 1.02))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2)
    width = calibration.bins[0].high - calibration.bins[0].low
    lows, sizes = [one.low for one in calibration.bins], [one.genuine.n for one in calibration.bins]
    counts.bar(lows, sizes, width * 0.9, align="edge", color=ACCENT, alpha=0.6)
    counts.set(xlabel="p_genuine", ylabel="count")
    counts.yaxis.set_major_locator(MaxNLocator(nbins=2, integer=True))
    figure.align_ylabels()
    return figure


@styled
def confusion_matrix(evaluation: Evaluation) -> Figure:
    """Truth by verdict: counts and shares of the truth; the right verdict of each truth is outlined."""
    figure = canvas(9.4, 3.0)
    axes = figure.subplots()
    labels = [str(label) for label in VerdictLabel]
    right = {"genuine": "genuine", "counterfeit": "counterfeit", "unrelated": "not_in_gallery"}
    for row, (truth, counts) in enumerate(evaluation.confusion.items()):
        total = sum(counts.values())
        for column, label in enumerate(labels):
            share = counts[label] / total if total else 0.0
            hit = label == right[truth]
            axes.add_patch(Rectangle((column, row), 1, 1, facecolor=ACCENT, alpha=0.5 * share, linewidth=0))
            outline = {"edgecolor": INK if hit else GRID, "linewidth": 1.6 if hit else 0.8, "zorder": 3 if hit else 2}
            axes.add_patch(Rectangle((column + 0.02, row + 0.03), 0.96, 0.94, facecolor="none", **outline))
            middle = {"ha": "center", "va": "center"}
            axes.text(column + 0.5, row + 0.4, str(counts[label]), fontsize=13, fontweight="bold", **middle)
            axes.text(column + 0.5, row + 0.72, f"{100 * share:.1f} %" if total else "no photographs", **middle)
    axes.set(xlim=(0, len(labels)), ylim=(len(evaluation.confusion), 0), xlabel="verdict", ylabel="truth")
    axes.set_xticks(np.arange(len(labels)) + 0.5, labels)
    axes.set_yticks(np.arange(len(evaluation.confusion)) + 0.5, list(evaluation.confusion))
    axes.tick_params(length=0)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    return figure


@styled
def roc(examined: Sequence[Examined], estimates: Mapping[str, Estimate] | None = None) -> Figure:
    """Genuine accepted against counterfeits accepted, for the decision score and the global margin.

    The dot is where the verdicts were given: the shares of the scored photographs that were called genuine.

    Args:
        examined: only in-domain photographs are used.
        estimates: AUROC by curve name (`decision score`, `global margin`), put into the legend.
    """
    figure, axes = chart(4.6, 4.4)
    in_domain = [photograph for photograph in examined if photograph.in_domain]
    curves = {
        "decision score": [(one, one.verdict.scores.decision) for one in in_domain],
        "global margin": [(one, one.global_margin) for one in in_domain],
    }
    drawn = False
    for (name, pairs), dashes in zip(curves.items(), ("-", (0, (4, 2))), strict=True):
        scored = [(one, score) for one, score in pairs if score is not None]
        genuine = np.array([one.authenticity == Authenticity.GENUINE for one, _ in scored], dtype=bool)
        if genuine.all() or not genuine.any():
            continue
        accepted, found, _ = roc_curve(genuine, [score for _, score in scored], drop_intermediate=False)
        colour = COLOURS["genuine"] if name == "decision score" else ACCENT
        axes.plot(accepted, found, color=colour, linestyle=dashes, linewidth=1.8, label=_with_auroc(name, estimates))
        if name == "decision score":
            called = np.array([one.verdict.verdict == VerdictLabel.GENUINE for one, _ in scored])
            point = {"markersize": 8, "markeredgecolor": INK, "color": colour, "clip_on": False, "zorder": 4}
            axes.plot(called[~genuine].mean(), called[genuine].mean(), "o", label="verdicts given", **point)
        drawn = True
    if not drawn:
        return empty(figure, axes, "needs scored photographs of both kinds")
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=":", label="chance")
    axes.set(xlabel="counterfeits accepted", ylabel="genuine accepted", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_aspect("equal")
    axes.legend(loc="lower right")
    return figure


def _span(values: np.ndarray) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    return (low, high) if high - low > 1e-9 else (low - 0.5, high + 0.5)


def _with_auroc(name: str, estimates: Mapping[str, Estimate] | None) -> str:
    estimate = (estimates or {}).get(name)
    if estimate is None or estimate.value is None:
        return name
    return f"{name}, AUROC {estimate.value:.3f}"
