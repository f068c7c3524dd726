"""What the figures share: colours, lettering, and the ways out as PNG, JPEG and inline SVG."""

from __future__ import annotations

import functools
import html
import io
import re
from collections.abc import Callable
from typing import Any, ParamSpec

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

INK, MUTED, GRID, ACCENT = "#1f2933", "#66707c", "#d8dde3", "#44546a"
COLOURS = {
    "genuine": "#0072b2",
    "counterfeit": "#d55e00",
    "inconclusive": "#aa5f9b",
    "not_in_gallery": "#868e96",
    "unrelated": "#868e96",
}
"""By the name of a truth or a verdict, sRGB."""

LIGHTBOX, LIGHTBOX_INK = "#171b21", "#e6e9ed"
"""Ground and text around photographs."""

_CSS_NAMES = {INK: "ink", MUTED: "muted", GRID: "grid", ACCENT: "accent"} | {
    COLOURS[name]: name.replace("_", "-") for name in ("genuine", "counterfeit", "inconclusive", "not_in_gallery")
}

_STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["Liberation Sans", "Arial", "Helvetica", "DejaVu Sans"],
    "font.size": 10,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "none",
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    # A product may be called "50$ or $100": dollars are not mathematics here.
    "text.parse_math": False,
    # Text stays text: searchable, and small.
    "svg.fonttype": "none",
    "svg.hashsalt": "hallmark",
    "hatch.linewidth": 0.8,
}

P = ParamSpec("P")


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw in the house style, and leave matplotlib's settings as they were."""

    @functools.wraps(draw)
    def inside(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with matplotlib.rc_context(_STYLE):
            return draw(*args, **kwargs)

    return inside


def to_png(figure: Figure, dpi: int = 144) -> bytes:
    """The figure as a PNG file, on white where it has no ground of its own."""
    return _encode(figure, dpi, "PNG", optimize=True)


def to_jpeg(figure: Figure, dpi: int = 144) -> bytes:
    """The figure as a JPEG file without chroma subsampling; for figures that hold photographs."""
    return _encode(figure, dpi, "JPEG", quality=88, subsampling=0, optimize=True)


def to_svg(figure: Figure, name: str, title: str) -> str:
    """The figure as an inline `<svg>` element that follows the page's colours and loads nothing.

    Args:
        figure: one of this module's charts.
        name: prefix of the element's ids, unique in its page.
        title: what a screen reader says.
    """
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with matplotlib.rc_context(_STYLE):
        figure.savefig(buffer, format="svg", metadata=nothing)
    svg = buffer.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg).replace("xlink:href", "href")
    svg = re.sub(r'\b(id="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    for colour, variable in _CSS_NAMES.items():
        svg = svg.replace(colour, f"var(--{variable}, {colour})")
    label = html.escape(title)
    opening = re.sub(r' (width|height)="[^"]*"', "", svg[: svg.index(">")]) + f' role="img" aria-label="{label}">'
    return opening + svg[svg.index(">") + 1 :]


def canvas(width: float, height: float, ground: str = "none", tight: bool = True) -> Figure:
    """A figure of width x height inches that no global state knows of."""
    figure = Figure(figsize=(width, height), facecolor=ground, layout="constrained" if tight else None)
    FigureCanvasAgg(figure)
    return figure


def chart(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of width x height inches with one panel."""
    figure = canvas(width, height)
    return figure, figure.subplots()


def empty(figure: Figure, axes: Axes, message: str) -> Figure:
    """The figure with a message where its panel has nothing to show."""
    axes.set(xticks=[], yticks=[])
    axes.text(0.5, 0.5, message, ha="center", va="center", color=MUTED, transform=axes.transAxes)
    return figure


def _encode(figure: Figure, dpi: int, form: str, **options: Any) -> bytes:
    with matplotlib.rc_context(_STYLE):
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=dpi)
    drawn = Image.open(buffer).convert("RGBA")
    paper = Image.new("RGBA", drawn.size, "white")
    encoded = io.BytesIO()
    Image.alpha_composite(paper, drawn).convert("RGB").save(encoded, form, **options)
    return encoded.getvalue()
