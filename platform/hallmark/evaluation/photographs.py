"""Draws photographs: matched cues between two, residual heat maps, and contact sheets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import Stroke, withStroke

from hallmark.evaluation.canvas import COLOURS, LIGHTBOX, LIGHTBOX_INK, canvas, styled
from hallmark.types import CuePair, ResidualMap, VerdictLabel

_HEAT = "inferno"


@dataclass(frozen=True)
class Tile:
    """One photograph of a contact sheet: (H, W, 3) uint8 RGB, its verdict, and one short line below it."""

    photograph: np.ndarray
    verdict: VerdictLabel
    caption: str


@styled
def contact_sheet(tiles: Sequence[Tile], columns: int = 6) -> Figure:
    """Photographs in rows, each over a bar in its verdict's colour, the verdict's name and the caption."""
    rows = max(1, math.ceil(len(tiles) / columns))
    figure = canvas(1.75 * columns, 2.2 * rows, LIGHTBOX)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for axes, tile in zip(grid.flat, tiles, strict=False):
        _show(axes, _squared(tile.photograph))
        bar = {"transform": axes.transAxes, "clip_on": False}
        axes.add_patch(Rectangle((0, -0.045), 1, 0.03, facecolor=COLOURS[tile.verdict], linewidth=0, **bar))
        text = {"transform": axes.transAxes, "va": "top", "color": LIGHTBOX_INK}
        axes.text(0, -0.065, str(tile.verdict), fontsize=9, fontweight="bold", **text)
        axes.text(0, -0.175, tile.caption[:28], fontsize=8, **text)
    return figure


@styled
def draw_matches(
    query_rgb: np.ndarray,
    reference_rgb: np.ndarray | None,
    cue_pairs: Sequence[CuePair],
    max_lines: int = 32,
    similarity_range: tuple[float, float] = (0.5, 1.0),
) -> Figure:
    """The photograph beside a reference at one height, matched cues as dots and the most similar ones joined by lines.

    Args:
        query_rgb: (H, W, 3) uint8 RGB.
        reference_rgb: (H', W', 3) uint8 RGB, or None where there is no reference.
        cue_pairs: points are fractions of each picture's width and height, y downwards.
        max_lines: lines drawn; every dot is drawn.
        similarity_range: ends of the colour scale, the same in every picture so that pictures compare.
    """
    pictures = [query_rgb] if reference_rgb is None else [query_rgb, reference_rgb]
    aspects = [picture.shape[1] / picture.shape[0] for picture in pictures]
    # 3.4 inches high, or less where two wide pictures would outgrow the page.
    height = min(3.4, 9.0 / (sum(aspects) + 0.08))
    legend = 0.5
    figure = canvas(height * (sum(aspects) + 0.08 * (len(aspects) - 1)), height + legend, LIGHTBOX, tight=False)
    total, left = figure.get_figwidth(), 0.0
    panels = []
    for picture, aspect in zip(pictures, aspects, strict=True):
        share = height * aspect / total
        panels.append(figure.add_axes((left, legend / (height + legend), share, height / (height + legend))))
        _show(panels[-1], picture)
        left += share + 0.08 * height / total
    if reference_rgb is not None and cue_pairs:
        _draw_pairs(figure, panels, pictures, cue_pairs, max_lines, Normalize(*similarity_range, clip=True))
    else:
        message = "no reference to compare with" if reference_rgb is None else "no matched cues"
        figure.text(0.5, 0.5 * legend / (height + legend), message, ha="center", va="center", color=LIGHTBOX_INK)
    return figure


@styled
def draw_residual(query_rgb: np.ndarray, residual: ResidualMap, edit_mask: np.ndarray | None = None) -> Figure:
    """The photograph beside itself under its residual map, with the outline of the true edit where it is known.

    The colours run from 0 to the map's own maximum: they tell where, and the number at the scale tells how much. Cells
    of 0 show the photograph, darkened.

    Args:
        query_rgb: (H, W, 3) uint8 RGB.
        residual: laid over the whole photograph.
        edit_mask: (H', W') bool, laid over the whole photograph too; None = not known.
    """
    size, aspect = query_rgb.shape[:2], query_rgb.shape[1] / query_rgb.shape[0]
    height = min(3.4, 9.0 / (2 * aspect + 0.08))
    legend, gap = 0.5, 0.08
    width = height * (2 * aspect + gap)
    figure = canvas(width, height + legend, LIGHTBOX, tight=False)
    share, above = height * aspect / width, height / (height + legend)
    plain = figure.add_axes((0, 1 - above, share, above))
    heated = figure.add_axes((1 - share, 1 - above, share, above))
    _show(plain, query_rgb)
    _show(heated, (query_rgb * 0.55).astype(np.uint8))
    values = np.array(residual.values).reshape(residual.rows, residual.columns)
    scale = Normalize(0, values.max() if values.max() > 0 else 1.0)
    opacity = np.clip(1.6 * scale(values), 0, 0.8)
    across = (-0.5, size[1] - 0.5, size[0] - 0.5, -0.5)
    heated.imshow(values, cmap=_HEAT, norm=scale, alpha=opacity, extent=across, aspect="auto", interpolation="nearest")
    if edit_mask is not None and edit_mask.any():
        for axes in (plain, heated):
            _outline(axes, edit_mask, size)
    _heat_legend(figure, scale, edit_mask is not None and bool(edit_mask.any()))
    return figure


def _outline(axes: Axes, mask: np.ndarray, size: tuple[int, int]) -> None:
    """The border of a mask, white on black, drawn where it lies in a photograph of this size (height, width)."""
    padded = np.pad(mask.astype(float), 1)
    ys, xs = ((np.arange(-1, n + 1) + 0.5) * wanted / n - 0.5 for n, wanted in zip(mask.shape, size, strict=True))
    for colour, thickness, dashes in (("black", 2.4, "solid"), ("white", 1.1, (0, (4, 2)))):
        axes.contour(xs, ys, padded, levels=[0.5], colors=colour, linewidths=thickness, linestyles=[dashes])


def _heat_legend(figure: Figure, scale: Normalize, outlined: bool) -> None:
    width, height = figure.get_size_inches()
    bar = figure.add_axes((0.03, 0.28 / height, 0.2, 0.1 / height))
    figure.colorbar(ScalarMappable(scale, _HEAT), cax=bar, orientation="horizontal", ticks=[0, scale.vmax])
    bar.set_xticklabels(["0", f"{scale.vmax:.3g}"])
    bar.tick_params(labelsize=8, length=0, pad=2, labelcolor=LIGHTBOX_INK)
    note = "residual: differs from genuine"
    if outlined:
        note += "\ndashed: the true edit" if width < 5.5 else " · dashed: the true edit"
    figure.text(0.27, 0.33 / height, note, fontsize=8.5, va="center", color=LIGHTBOX_INK)


def _draw_pairs(
    figure: Figure,
    panels: list[Axes],
    pictures: list[np.ndarray],
    cue_pairs: Sequence[CuePair],
    max_lines: int,
    scale: Normalize,
) -> None:
    colours = ScalarMappable(scale, "viridis")
    weakest_first = sorted(cue_pairs, key=lambda pair: pair.similarity)
    for position, pair in enumerate(weakest_first):
        colour = colours.to_rgba(pair.similarity)
        ends = []
        for axes, picture, point in zip(panels, pictures, (pair.query, pair.reference), strict=True):
            pixel = np.array(point) * (picture.shape[1], picture.shape[0]) - 0.5
            axes.plot(*pixel, "o", color=colour, markersize=4.5, markeredgecolor="black", markeredgewidth=0.7)
            ends.append(figure.transFigure.inverted().transform(axes.transData.transform(pixel)))
        if position >= len(weakest_first) - max_lines:
            line = Line2D(*np.transpose(ends), transform=figure.transFigure, color=colour, linewidth=0.9)
            line.set_path_effects([Stroke(linewidth=2, foreground="black", alpha=0.55), withStroke(linewidth=0)])
            figure.add_artist(line)
    height = figure.get_figheight()
    bar = figure.add_axes((0.03, 0.28 / height, 0.2, 0.1 / height))
    figure.colorbar(colours, cax=bar, orientation="horizontal", ticks=[scale.vmin, scale.vmax])
    bar.tick_params(labelsize=8, length=0, pad=2, labelcolor=LIGHTBOX_INK)
    drawn = min(max_lines, len(cue_pairs))
    note = f"cosine of matched cues · {len(cue_pairs)} pairs" + (f", {drawn} joined" if drawn < len(cue_pairs) else "")
    figure.text(0.27, 0.33 / height, note, fontsize=8.5, va="center", color=LIGHTBOX_INK)


def _show(axes: Axes, picture: np.ndarray) -> None:
    axes.imshow(picture, interpolation="antialiased", aspect="auto")
    axes.set(xlim=(-0.5, picture.shape[1] - 0.5), ylim=(picture.shape[0] - 0.5, -0.5))
    axes.axis("off")


def _squared(picture: np.ndarray) -> np.ndarray:
    """The picture centred on a square of the lightbox's colour."""
    height, width = picture.shape[:2]
    side = max(height, width)
    ground = np.array(matplotlib.colors.to_rgb(LIGHTBOX)) * 255
    square = np.tile(ground.astype(np.uint8), (side, side, 1))
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = picture
    return square
