"""Contact sheets of every transform with its settings: what a configuration does to photographs, before training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pydantic import Field

from hallmark.config import Config
from hallmark.data.backgrounds import BackgroundConfig, BackgroundLibrary, BackgroundReplacement, Masked
from hallmark.data.composite import CompositeConfig, replace_background
from hallmark.data.decode import DecodeLimits
from hallmark.data.manifest import read_manifest
from hallmark.data.preparation import write_file
from hallmark.data.preprocess import Augmentation, Box, Preprocessing, content_mask, cut, fit, vary
from hallmark.data.scramble import ScrambleConfig, scramble
from hallmark.data.tone import ToneConfig, adjust
from hallmark.data.transforms import Transforms, foreground_of, photograph_seed, prepared, read_photograph, varied
from hallmark.errors import DataError
from hallmark.evaluation.canvas import LIGHTBOX, LIGHTBOX_INK, canvas, styled, to_png

_TILE_INCHES, _DPI = 1.9, 144
_DEGREES = (2, 5, 10, 20, 50)
_FILLS = ("none", "black", "white", "gray", "random", "uniform", "auto")
_MODES = ("alpha", "poisson_bg", "poisson_fg")
_DRAWS = 5
_TONES = {
    "gamma": ToneConfig(gamma=True),
    "stretch": ToneConfig(stretch=True),
    "ace": ToneConfig(ace=True),
    "all three": ToneConfig(gamma=True, stretch=True, ace=True),
}

Tile = tuple[str, np.ndarray]
"""What is written over a picture, and the picture, (H, W, 3) uint8 RGB."""


class PreviewConfig(Config):
    """Which photographs are shown, under which settings."""

    manifest: str = Field(description="path of manifest.parquet")
    out: str = Field(description="folder that the sheets are written to")
    photographs: int = Field(4, ge=1, le=24, description="photographs shown, one a product and part in turn")
    seed: int = Field(0, ge=0, lt=2**20, description="of what is random")
    limits: DecodeLimits = DecodeLimits()
    preprocessing: Preprocessing = Preprocessing()
    augmentation: Augmentation = Augmentation()
    scramble: ScrambleConfig = ScrambleConfig()
    background: BackgroundConfig = BackgroundConfig()
    composite: CompositeConfig = CompositeConfig()


class _Photograph:
    """One photograph of the sheets."""

    def __init__(self, row: dict[str, Any], config: PreviewConfig):
        self.row = row
        self.box: Box | None = None if row["box"] is None else tuple(row["box"])
        self.image = read_photograph(row["uri"], config.limits)
        self.cut = cut(self.image, self.box, config.preprocessing.margin)
        self.name = f"{row['product']} {row['part']}\n{row['authenticity']}"


def write_preview(config: PreviewConfig) -> list[str]:
    """Write the sheets tone, padding, scramble, background, augmentation and network_input as PNG.

    Returns:
        Their places.

    Raises:
        DataError, DecodeError: the manifest or a photograph cannot be used.
        OutputError: a sheet cannot be written.
    """
    rows = _chosen(read_manifest(config.manifest).to_pylist(), config.photographs)
    if not rows:
        raise DataError(f"{config.manifest}: holds no photograph; wanted some to show")
    photographs = [_Photograph(row, config) for row in rows]
    replacement = _replacement(rows, config)
    sheets: dict[str, Callable[[_Photograph], list[Tile]]] = {
        "tone": _tones,
        "padding": lambda photograph: _paddings(photograph, config),
        "scramble": lambda photograph: _scrambles(photograph, config),
        "background": lambda photograph: _backgrounds(photograph, config, replacement.library),
        "augmentation": lambda photograph: _augmentations(photograph, config),
        "network_input": lambda photograph: _network_inputs(photograph, config, replacement),
    }
    written = []
    for name, tiles in sheets.items():
        figure = _sheet([(photograph.name, tiles(photograph)) for photograph in photographs])
        written.append(write_file(f"{config.out.rstrip('/')}/{name}.png", to_png(figure, _DPI)))
    return written


def _chosen(rows: list[dict[str, Any]], number: int) -> list[dict[str, Any]]:
    """Photographs of as many products and parts as there are, those with a foreground mask first."""
    places: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in sorted(
        rows, key=lambda row: (row["mask_uri"] is None, row["authenticity"] != "genuine", row["image_id"])
    ):
        places.setdefault((row["product"], row["part"]), []).append(row)
    in_turn = [row for turn in range(number) for members in places.values() for row in members[turn : turn + 1]]
    return in_turn[:number]


def _replacement(rows: Sequence[dict[str, Any]], config: PreviewConfig) -> BackgroundReplacement:
    own = [Masked(row["uri"], row["mask_uri"]) for row in rows if row["mask_uri"]]
    return BackgroundReplacement(BackgroundLibrary(config.background, own), config.composite)


def _tones(photograph: _Photograph) -> list[Tile]:
    return [("as it is", photograph.cut), *((name, adjust(photograph.cut, tone)) for name, tone in _TONES.items())]


def _paddings(photograph: _Photograph, config: PreviewConfig) -> list[Tile]:
    tiles = [_boxed(photograph)]
    for fill in _FILLS:
        preprocessing = config.preprocessing.model_copy(update={"fill": fill})
        fitted = fit(photograph.cut, preprocessing, np.random.default_rng(config.seed))
        tiles.append((f"fill {fill}", fitted.pixels))
    return [*tiles, ("content (uniform)", _as_picture(content_mask(_uniform(photograph, config))))]


def _uniform(photograph: _Photograph, config: PreviewConfig) -> Any:
    return fit(photograph.cut, config.preprocessing.model_copy(update={"fill": "uniform"}))


def _boxed(photograph: _Photograph) -> Tile:
    """The photograph with its box drawn."""
    if photograph.box is None:
        return "photograph, no box", photograph.image
    picture = photograph.image.copy()
    x0, y0, x1, y1 = (round(edge) for edge in photograph.box)
    cv2.rectangle(picture, (x0, y0), (x1, y1), (255, 0, 255), max(2, max(picture.shape[:2]) // 150))
    return "photograph and box", picture


def _scrambles(photograph: _Photograph, config: PreviewConfig) -> list[Tile]:
    kinds = [(f"degree {degree}", {"degree": degree}) for degree in _DEGREES]
    degree = config.scramble.degree
    kinds += [(f"{degree}, {way}", {"direction": way}) for way in ("vertical", "both")]
    kinds += [(f"{degree}, pairs", {"order": "pairs"})]
    tiles = [("as it is", photograph.cut)]
    for name, settings in kinds:
        scrambled = scramble(
            photograph.cut, config.scramble.model_copy(update=settings), np.random.default_rng(config.seed)
        )
        tiles.append((name, scrambled.image))
    return tiles


def _backgrounds(photograph: _Photograph, config: PreviewConfig, library: BackgroundLibrary) -> list[Tile]:
    known = foreground_of(photograph.image, photograph.row["mask_uri"], photograph.box)
    if not known.accepted:
        return [("no foreground known", photograph.image)]
    inside = known.probability[..., None] > 0.5
    tiles = [("foreground", np.where(inside, photograph.image, photograph.image // 4))]
    rng = np.random.default_rng([config.seed, 1])
    background = library.draw(rng, *photograph.image.shape[:2])
    for mode in _MODES:
        composite = config.composite.model_copy(update={"mode": mode})
        tiles.append((mode, replace_background(photograph.image, known.probability, background, composite)))
    for number in range(2, _DRAWS):
        other = library.draw(rng, *photograph.image.shape[:2])
        title = f"{config.composite.mode}, draw {number}"
        tiles.append((title, replace_background(photograph.image, known.probability, other, config.composite)))
    return tiles


def _augmentations(photograph: _Photograph, config: PreviewConfig) -> list[Tile]:
    fitted = fit(photograph.cut, config.preprocessing, np.random.default_rng(config.seed))
    tiles = [("not varied", fitted.pixels)]
    for draw in range(_DRAWS):
        rng = np.random.default_rng([config.seed, draw])
        tiles.append((f"draw {draw + 1}", vary(fitted.pixels, config.augmentation, rng)[0]))
    return tiles


def _network_inputs(photograph: _Photograph, config: PreviewConfig, replacement: BackgroundReplacement) -> list[Tile]:
    """What training sees of the photograph in some epochs, every transform on."""
    transforms = Transforms(config.limits, config.preprocessing, config.augmentation, config.scramble, replacement)
    row, tiles = photograph.row, []
    for epoch in range(_DRAWS):
        seed = photograph_seed(config.seed, epoch, row["image_id"])
        outcome = varied(prepared(row["uri"], photograph.box, row["mask_uri"], transforms, seed), transforms, seed)
        tiles.append((f"epoch {epoch}{', scrambled' if outcome.scrambled else ''}", outcome.pixels))
    return tiles


def _as_picture(mask: np.ndarray) -> np.ndarray:
    return np.repeat(mask[..., None].astype(np.uint8) * 255, 3, axis=2)


@styled
def _sheet(lines: Sequence[tuple[str, list[Tile]]]) -> Figure:
    """One line a photograph: its name, then its tiles, each under its title."""
    columns = max(len(tiles) for _, tiles in lines)
    figure = canvas(_TILE_INCHES * columns + 0.4, (_TILE_INCHES + 0.25) * len(lines), LIGHTBOX)
    grid = figure.subplots(len(lines), columns, squeeze=False)
    for axes_of_line, (name, tiles) in zip(grid, lines, strict=True):
        for axes in axes_of_line:
            axes.axis("off")
        for axes, (title, picture) in zip(axes_of_line, tiles, strict=False):
            _place(axes, title, picture)
        axes_of_line[0].text(
            -0.06,
            0.5,
            name,
            transform=axes_of_line[0].transAxes,
            rotation=90,
            ha="right",
            va="center",
            fontsize=7,
            color=LIGHTBOX_INK,
        )
    return figure


def _place(axes: Axes, title: str, picture: np.ndarray) -> None:
    longest = round(_TILE_INCHES * _DPI)
    scale = longest / max(picture.shape[:2])
    if scale < 1:
        size = tuple(max(1, round(length * scale)) for length in picture.shape[1::-1])
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    axes.imshow(picture, interpolation="nearest")
    axes.set_title(title, fontsize=8, color=LIGHTBOX_INK)
