"""Draws the course of a sweep and what came of it: learning curves, contenders, importance."""

from __future__ import annotations

import textwrap

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from hallmark.evaluation.canvas import ACCENT, COLOURS, INK, MUTED, chart, empty, styled
from hallmark.evaluation.sweep_axes import recipe_text
from hallmark.evaluation.sweep_charts import error_lengths
from hallmark.evaluation.sweep_figures import ContenderFigures, SweepFigures
from hallmark.tuning.ledger import Status

_LINE = 38
"""Characters of a recipe in one line beside a chart."""


@styled
def learning_curves(figures: SweepFigures) -> Figure:
    """Validation figure by epoch of every trial of the search; a cross where one was stopped, a square where failed."""
    figure, axes = chart(9.4, 3.9)
    drawn = [trial for trial in figures.trials if trial.curve]
    if not drawn:
        return empty(figure, axes, "no trial was validated")
    finished = [trial for trial in drawn if trial.status is Status.FINISHED]
    best = max(finished, key=lambda trial: trial.score, default=None)
    ends = {Status.STOPPED: ("x", "stopped"), Status.OPEN: ("x", "stopped"), Status.FAILED: ("s", "failed")}
    told: set[str] = set()
    for trial in drawn:
        epochs, values = zip(*trial.curve, strict=True)
        done = trial.status is Status.FINISHED
        thick = {"color": COLOURS["genuine"], "linewidth": 2.6, "zorder": 4} if trial is best else {}
        thin = {"color": ACCENT if done else MUTED, "linewidth": 1.0, "alpha": 0.8 if done else 0.55, "zorder": 2}
        name = "best of the search" if trial is best else "trained to the end" if done else ""
        label = {"label": name} if name and name not in told else {}
        axes.plot(epochs, values, **(thick or thin), **label)
        told.add(name)
        if not done:
            marker, name = ends[trial.status]
            label = {"label": name} if name not in told else {}
            mark = {"marker": marker, "color": COLOURS["counterfeit"], "markersize": 6, "linestyle": "none"}
            axes.plot(epochs[-1], values[-1], zorder=5, **mark, **label)
            told.add(name)
    for place, level in enumerate(figures.levels[:-1]):
        label = {"label": "trials are compared"} if place == 0 else {}
        axes.axvline(level, color=MUTED, linewidth=1.0, linestyle=":", zorder=1, **label)
    axes.set(xlabel="epoch", ylabel=f"validation {figures.metric}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
    return figure


@styled
def contender_dots(figures: SweepFigures) -> Figure:
    """Mean validation figure of each contender with its 95 % interval over items and seeds; ticks are single seeds."""
    shown = figures.contenders
    names = [_name(one, figures) for one in shown]
    figure, axes = chart(9.4, 1.2 + sum(0.34 + 0.17 * name.count("\n") for name in names))
    for height, one in enumerate(shown):
        known = [score for score in one.by_seed if score is not None]
        colour = COLOURS["counterfeit"] if one.is_default else COLOURS["genuine"]
        label = {"label": "single seeds"} if height == 0 else {}
        axes.plot(known, [height] * len(known), "|", color=INK, markersize=11, zorder=4, **label)
        if one.score.value is None:
            continue
        errors = error_lengths([(one.score.value, one.score)])
        style = {"color": colour, "capsize": 3, "elinewidth": 1.4, "markersize": 7 if one.is_winner else 6}
        fill = {} if one.is_winner else {"markerfacecolor": "white"}
        axes.errorbar(one.score.value, height, xerr=errors, fmt="D" if one.is_winner else "o", **style, **fill)
    axes.set_yticks(range(len(shown)), names)
    seeds = ", ".join(map(str, figures.seeds))
    axes.set(ylim=(len(shown) - 0.4, -0.6), xlabel=f"validation {figures.metric}, mean over seeds {seeds}")
    axes.grid(axis="y", linewidth=0)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
    return figure


@styled
def importance_bars(figures: SweepFigures) -> Figure:
    """Share of the variance of the scores by axis; a line where 95 % of shuffled scores stay below."""
    if figures.importance is None:
        return empty(*chart(9.4, 1.6), "too few trials, or one axis")
    labels = {axis.key: axis.label for axis in figures.axes}
    ordered = sorted(figures.importance.axes, key=lambda one: -one.value)
    figure, axes = chart(9.4, 1.1 + 0.42 * len(ordered))
    heights = np.arange(len(ordered))
    axes.barh(heights, [one.value for one in ordered], 0.6, color=COLOURS["genuine"], alpha=0.45, linewidth=0)
    for height, one in zip(heights, ordered, strict=True):
        label = {"label": "by chance, 95 % below"} if height == 0 else {}
        line = {"color": INK, "linewidth": 1.6}
        axes.plot([one.chance, one.chance], [height - 0.36, height + 0.36], **line, **label)
    axes.set_yticks(heights, [labels[one.key] for one in ordered])
    axes.set(xlim=(0, 1), ylim=(len(ordered) - 0.5, -0.5), xlabel="share of the variance of the scores")
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid(axis="y", linewidth=0)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
    return figure


def _name(contender: ContenderFigures, figures: SweepFigures) -> str:
    recipe = recipe_text(contender.values, figures.axes)
    roles = [
        name
        for name, has in (("winner", contender.is_winner), ("default", contender.is_default and contender.values))
        if has
    ]
    return "\n".join(textwrap.wrap(f"{recipe} ({', '.join(roles)})" if roles else recipe, _LINE))
