"""Draws a sweep: how the validation figure responds to its axes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from hallmark.evaluation.canvas import COLOURS, GRID, INK, MUTED, canvas, chart, empty, styled
from hallmark.evaluation.measures import Estimate
from hallmark.evaluation.sweep_axes import SweepAxis, value_text
from hallmark.evaluation.sweep_figures import SweepFigures, TrialFigures
from hallmark.tuning.ledger import Status

_SHADES = "viridis"
_ON_DARK, _ON_LIGHT = "#ffffff", "#101418"
_BEST = 3
"""Lines that stand out among parallel coordinates."""

_NAME_LENGTH = 18
"""Longest name of a value at an axis, characters."""


def response(figures: SweepFigures) -> Figure:
    """The chart that fits the number of axes: curve, heat map, or parallel coordinates."""
    draw = {1: response_curve, 2: heat_map}.get(len(figures.axes), parallel_coordinates)
    return draw(figures)


@styled
def response_curve(figures: SweepFigures) -> Figure:
    """Validation figure along one axis, with 95 % intervals over items; trials that were stopped are hollow."""
    figure, axes = chart(9.4, 3.7)
    (axis,) = figures.axes
    shown = sorted(_scored(figures), key=lambda trial: axis.place(trial.values[axis.key]))
    finished = [trial for trial in shown if trial.status is Status.FINISHED]
    if not shown:
        return empty(figure, axes, "no trial has a score")
    places, values = [axis.place(one.values[axis.key]) for one in finished], [one.score for one in finished]
    if axis.scale != "names":
        axes.plot(places, values, color=COLOURS["genuine"], linewidth=1.5, zorder=2)
    style = {"color": COLOURS["genuine"], "capsize": 3, "elinewidth": 1.2, "markersize": 6, "zorder": 3}
    if finished:
        label = "trained to the end,\n95 % interval over items"
        errors = error_lengths([(trial.score, trial.resampled) for trial in finished])
        axes.errorbar(places, values, yerr=errors, fmt="o", label=label, **style)
    stopped = [trial for trial in shown if trial.status is not Status.FINISHED]
    if stopped:
        hollow = {"markerfacecolor": "none", "markeredgecolor": MUTED, "linestyle": "none", "marker": "v"}
        where = [axis.place(one.values[axis.key]) for one in stopped]
        axes.plot(where, [one.score for one in stopped], label="stopped, best until then", **hollow)
    if _has_place(axis) and axis.scale == "names":
        place = axis.place(axis.default)
        band = {"color": COLOURS["counterfeit"], "alpha": 0.13, "linewidth": 0}
        axes.axvspan(place - 0.3, place + 0.3, label="default", **band)
    elif _has_place(axis):
        line = {"color": COLOURS["counterfeit"], "linestyle": (0, (4, 3)), "linewidth": 1.2, "zorder": 1}
        axes.axvline(axis.place(axis.default), label=f"default, {value_text(axis.default)}", **line)
    _mark_values(axes, axis, [trial.values[axis.key] for trial in shown])
    axes.set(xlabel=axis.label, ylabel=f"validation {figures.metric}")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
    return figure


@styled
def heat_map(figures: SweepFigures) -> Figure:
    """Validation figure over two axes: cells where both are choices, else a point a trial."""
    shown = _scored(figures)
    across, up = figures.axes
    if not shown:
        return empty(*chart(9.4, 3.7), "no trial has a score")
    colours = _colours(shown)
    cells = across.choices is not None and up.choices is not None
    size = (8.6, 1.7 + 0.5 * len(up.choices)) if cells else (8.6, 4.4)
    figure = canvas(*size)
    axes = figure.subplots()
    (_draw_cells if cells else _draw_points)(axes, figures.axes, shown, colours)
    axes.set(xlabel=across.label, ylabel=up.label)
    bar = figure.colorbar(colours, ax=axes, pad=0.02, label=f"validation {figures.metric}")
    bar.outline.set_visible(False)
    return figure


def _draw_cells(axes: Axes, over: Sequence[SweepAxis], shown: Sequence[TrialFigures], colours: ScalarMappable) -> None:
    across, up = over
    columns, rows = ([repr(value) for value in axis.choices or ()] for axis in over)
    letters = max(6.0, min(10.0, 80 / len(columns)))
    for trial in sorted(shown, key=_rank):
        place = columns.index(repr(trial.values[across.key])), rows.index(repr(trial.values[up.key]))
        shade = colours.to_rgba(trial.score)
        left = [place[0] - 0.48, place[0] + 0.48]
        axes.fill_between(left, place[1] - 0.47, place[1] + 0.47, color=shade, linewidth=0)
        ended = "" if trial.status is Status.FINISHED else " ▼"
        ink = _ON_LIGHT if colours.norm(trial.score) > 0.6 else _ON_DARK
        text = f"{trial.score:.3f}{ended}"
        axes.text(*place, text, ha="center", va="center", color=ink, fontsize=letters)
    axes.set_xticks(range(len(columns)), [_short(value) for value in across.choices or ()])
    axes.set_yticks(range(len(rows)), [_short(value) for value in up.choices or ()])
    axes.set(xlim=(-0.5, len(columns) - 0.5), ylim=(-0.5, len(rows) - 0.5))
    axes.tick_params(length=0)
    axes.grid(False)
    axes.spines[:].set_visible(False)


def _draw_points(axes: Axes, over: Sequence[SweepAxis], shown: Sequence[TrialFigures], colours: ScalarMappable) -> None:
    across, up = over
    for trial in sorted(shown, key=_rank):
        where = [axis.place(trial.values[axis.key]) for axis in over]
        finished = trial.status is Status.FINISHED
        style = {"marker": "o" if finished else "v", "markersize": 9 if finished else 7, "zorder": 3}
        axes.plot(*where, color=colours.to_rgba(trial.score), markeredgecolor=MUTED, markeredgewidth=0.6, **style)
    _mark_values(axes, across, [trial.values[across.key] for trial in shown])
    _mark_values(axes, up, [trial.values[up.key] for trial in shown], upright=True)


@styled
def parallel_coordinates(figures: SweepFigures) -> Figure:
    """A line a trial through its values, the validation figure at the right; the best are thick, stopped dashed."""
    figure = canvas(max(9.4, 1.9 * (len(figures.axes) + 1)), 4.6)
    axes = figure.subplots()
    shown = sorted(_scored(figures), key=_rank)
    if not shown:
        return empty(figure, axes, "no trial has a score")
    colours, scores = _colours(shown), [trial.score for trial in shown]
    ends = [_ends(axis, shown) for axis in figures.axes]
    low, high = min(scores), max(scores)
    best = {trial.name for trial in shown[-_BEST:]}
    for trial in shown:
        heights = [axis.share(trial.values[axis.key], *limits) for axis, limits in zip(figures.axes, ends, strict=True)]
        heights.append((trial.score - low) / (high - low) if high > low else 0.5)
        finished = trial.status is Status.FINISHED
        style = {"linestyle": "-" if finished else (0, (3, 3)), "linewidth": 3.2 if trial.name in best else 1.1}
        style |= {"color": colours.to_rgba(trial.score), "alpha": 1.0 if trial.name in best else 0.65}
        axes.plot(range(len(heights)), heights, solid_capstyle="round", **style)
    for place, (axis, limits) in enumerate(zip(figures.axes, ends, strict=True)):
        _upright(axes, place, _levels(axis, *limits))
    marks = [((value - low) / (high - low), f"{value:.3f}") for value in (low, high)] if high > low else []
    _upright(axes, len(ends), marks or [(0.5, f"{low:.3f}")], "left")
    names = [*(axis.label.replace(".", ".\n") for axis in figures.axes), f"validation\n{figures.metric}"]
    axes.set_xticks(range(len(names)), names)
    axes.set(xlim=(-0.35, len(names) - 0.55), ylim=(-0.06, 1.06), yticks=[])
    axes.tick_params(axis="x", length=0)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    return figure


def error_lengths(estimates: Sequence[tuple[float | None, Estimate | None]]) -> np.ndarray:
    """(2, T) distances from a value to the ends of its interval; 0 where there is none."""
    ends = []
    for value, again in estimates:
        known = value is not None and again is not None and again.low is not None
        ends.append((max(0, value - again.low), max(0, again.high - value)) if known else (0, 0))
    return np.array(ends).T


def _upright(axes: Axes, place: int, levels: Sequence[tuple[float, str]], side: str = "right") -> None:
    axes.plot([place, place], [0, 1], color=MUTED, linewidth=1.0, zorder=0.5)
    for height, text in levels:
        axes.plot([place - 0.02, place + 0.02], [height, height], color=MUTED, linewidth=1.0)
        axes.annotate(
            text,
            (place, height),
            xytext=(-6 if side == "right" else 6, 0),
            textcoords="offset points",
            ha=side,
            va="center",
            fontsize=8.5,
            bbox={"boxstyle": "round,pad=0.2", "facecolor": GRID, "alpha": 0.85, "edgecolor": "none"},
            zorder=5,
        )


def _ends(axis: SweepAxis, shown: Sequence[TrialFigures]) -> tuple[float, float]:
    values = [trial.values[axis.key] for trial in shown] if axis.choices is None else axis.choices
    places = [axis.place(value) for value in values]
    return min(places), max(places)


def _levels(axis: SweepAxis, low: float, high: float) -> list[tuple[float, str]]:
    if axis.choices is not None:
        return [(axis.share(value, low, high), _short(value)) for value in axis.choices]
    middle = (low * high) ** 0.5 if axis.scale == "log" else (low + high) / 2
    return [(axis.share(value, low, high), f"{value:.3g}") for value in (low, middle, high)]


def _scored(figures: SweepFigures) -> list[TrialFigures]:
    return [trial for trial in figures.trials if trial.score is not None and trial.status is not Status.FAILED]


def _rank(trial: TrialFigures) -> tuple[bool, float]:
    """The best last, so that it lies on top."""
    return trial.status is Status.FINISHED, trial.score


def _colours(shown: Sequence[TrialFigures]) -> ScalarMappable:
    scores = [trial.score for trial in shown]
    return ScalarMappable(Normalize(min(scores), max(scores)), _SHADES)


def _has_place(axis: SweepAxis) -> bool:
    if axis.default is None:
        return False
    if axis.scale == "names":
        return repr(axis.default) in map(repr, axis.choices or ())
    is_number = not isinstance(axis.default, bool | str)
    return is_number and (axis.scale == "linear" or axis.default > 0)


def _short(value: object) -> str:
    return value_text(value)[:_NAME_LENGTH]


def _mark_values(axes: Axes, axis: SweepAxis, values: Sequence[object], upright: bool = False) -> None:
    """Scale and ticks of a plotted axis: a tick a choice, and those of the scale along a range."""
    own = axes.yaxis if upright else axes.xaxis
    if axis.scale == "log":
        (axes.set_yscale if upright else axes.set_xscale)("log")
        own.set_minor_locator(NullLocator())
        own.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    if axis.choices is None:
        return
    places = [axis.place(value) for value in axis.choices]
    own.set_ticks(places, [_short(value) for value in axis.choices])
    if axis.scale == "names":
        (axes.set_ylim if upright else axes.set_xlim)(-0.5, len(places) - 0.5)
    (axes.set_ylabel if upright else axes.set_xlabel)(axis.label)
    axes.grid(axis="both", color=GRID)
    own.label.set_color(INK)
