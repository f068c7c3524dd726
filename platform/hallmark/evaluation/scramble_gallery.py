"""Photographs under KAG at several degrees (the KAG-MTLN paper's figure 11)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from matplotlib.figure import Figure

from hallmark.data.scramble import ScrambleConfig
from hallmark.data.transforms import Transforms, photograph_seed, prepared
from hallmark.evaluation.canvas import LIGHTBOX, LIGHTBOX_INK, canvas, styled
from hallmark.training.run import KAGRun

_SIDE_PX = 320
_TILE_INCHES = 1.55


@dataclass(frozen=True)
class Disturbances:
    """One photograph, undisturbed and at every degree."""

    name: str
    pictures: list[np.ndarray]
    """(S, S, 3) uint8 each, padded as the network sees it but larger; the first is undisturbed."""


def disturbances(run: KAGRun, table: pa.Table, degrees: Sequence[int]) -> list[Disturbances]:
    """Disturb every photograph of a table at every degree, with the run's other settings.

    Raises:
        DecodeError, DataError: one cannot be read; names it.
    """
    gallery = []
    preprocessing = run.preprocessing.model_copy(update={"side_px": max(_SIDE_PX, run.preprocessing.side_px)})
    for row in table.to_pylist():
        seed = photograph_seed(run.seed, 0, row["image_id"])
        settings = [None, *(run.scramble.model_copy(update={"degree": degree, "share": 1.0}) for degree in degrees)]
        pictures = [_picture(row, Transforms(run.limits, preprocessing, None, one), seed) for one in settings]
        gallery.append(Disturbances(row["product"], pictures))
    return gallery


@styled
def draw_gallery(gallery: Sequence[Disturbances], degrees: Sequence[int], scramble: ScrambleConfig) -> Figure:
    """A line a photograph, a column a degree.

    Args:
        gallery: at least one photograph.
        degrees: those of the gallery.
        scramble: what was the same at every degree.
    """
    titles = ["undisturbed", *(f"N = {degree}" for degree in degrees)]
    figure = canvas(_TILE_INCHES * len(titles) + 0.3, (_TILE_INCHES + 0.05) * len(gallery) + 0.55, LIGHTBOX)
    grid = figure.subplots(len(gallery), len(titles), squeeze=False)
    for line, one in zip(grid, gallery, strict=True):
        for axes, picture in zip(line, one.pictures, strict=True):
            axes.imshow(picture)
            axes.set(xticks=[], yticks=[])
            axes.grid(False)
            axes.spines[:].set_visible(False)
        line[0].set_ylabel(one.name[:24], fontsize=8, color=LIGHTBOX_INK)
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title, fontsize=9, color=LIGHTBOX_INK, loc="center")
    told = f"swaps {scramble.direction}, {scramble.order}, each with probability {scramble.probability:g}"
    figure.supxlabel(told, fontsize=8, color=LIGHTBOX_INK)
    return figure


def _picture(row: dict[str, object], transforms: Transforms, seed: int) -> np.ndarray:
    return prepared(row["uri"], row["box"], row["mask_uri"], transforms, seed).fitted.pixels
