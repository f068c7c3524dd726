"""Whether the residual map points at what makes a counterfeit: against masks of the true edits."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from hallmark.data.foreground import read_mask
from hallmark.errors import DataError
from hallmark.evaluation.examined import Examined
from hallmark.evaluation.measures import Estimate, Figures, ItemBootstrap, Proportion
from hallmark.types import Authenticity, ResidualMap

_log = logging.getLogger(__name__)


class Localisation(Figures):
    """Residual maps of counterfeits against the masks of their edits.

    `concentration`: median over photographs of the share of the map's energy, the sum of its squares, that lies inside
    the mask over the share of the photograph that does; 1 is what a map that knows nothing gives. `peak_inside`: the
    strongest cell touches the mask or is next to a cell that does, diagonally too; of several equally strong, all must.
    `peak_by_chance`: mean share of cells for which that holds. Photographs with a mask that cannot be measured are
    counted in `without_map`, `without_heat` (a map of zeros), `without_edit` (an empty mask) and `unreadable`.
    """

    concentration: Estimate
    peak_inside: Proportion
    peak_by_chance: float | None
    photographs: int
    without_map: int
    without_heat: int
    without_edit: int
    unreadable: int


class Located(NamedTuple):
    """One map against its mask."""

    concentration: float
    peak_inside: bool
    by_chance: float


def localise(examined: Sequence[Examined], seed: int, resamples: int) -> Localisation | None:
    """Measure the counterfeits that have an edit mask; None where there are none."""
    with_mask = [p for p in examined if p.authenticity == Authenticity.COUNTERFEIT and p.edit_mask]
    if not with_mask:
        return None
    missed = dict.fromkeys(("without_map", "without_heat", "without_edit", "unreadable"), 0)
    measured, items = [], []
    for photograph in with_mask:
        outcome = _outcome(photograph)
        if isinstance(outcome, str):
            missed[outcome] += 1
        else:
            measured.append(outcome)
            items.append(photograph.item_id)
    concentrations = np.array([one.concentration for one in measured], dtype=float)
    bootstrap = ItemBootstrap(np.array(items, dtype=str), np.full(len(items), "counterfeit"), seed, resamples)
    return Localisation(
        concentration=bootstrap.estimate(
            np.ones(len(measured), dtype=bool), lambda weights: weighted_median(concentrations, weights)
        ),
        peak_inside=Proportion.count(one.peak_inside for one in measured),
        peak_by_chance=float(np.mean([one.by_chance for one in measured])) if measured else None,
        photographs=len(with_mask),
        **missed,
    )


def read_edit_mask(uri: str) -> np.ndarray:
    """An edit mask. (H, W) bool, True where the photograph was edited.

    Raises:
        DataError: the file cannot be read or is no picture; names it.
    """
    return read_mask(uri) > 127


def locate(residual: ResidualMap, mask: np.ndarray) -> Located:
    """Hold a map that is not all zeros against a mask that is not empty.

    Map and mask both cover the whole photograph, whatever their sizes: each cell of the map holds the mask's area
    share, to fractions of a pixel.

    Args:
        residual: values from 0.
        mask: (H, W) bool.
    """
    values = np.array(residual.values, dtype=float).reshape(residual.rows, residual.columns)
    energy = values**2
    inside = area_shares(mask, residual.rows, residual.columns)
    near = cv2.dilate((inside > 0).astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    return Located(
        concentration=float((energy * inside).sum() / energy.sum() / inside.mean()),
        peak_inside=bool(near[values == values.max()].all()),
        by_chance=float(near.mean()),
    )


def area_shares(mask: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """(rows, columns) float: the share of each cell of a grid laid over the mask (H, W) that the mask covers."""
    return _overlaps(rows, mask.shape[0]) @ mask.astype(float) @ _overlaps(columns, mask.shape[1]).T


def weighted_median(values: np.ndarray, weights: np.ndarray) -> float | None:
    """The median of values repeated by whole-numbered weights; None of nothing."""
    repeated = np.repeat(values, weights.astype(int))
    return float(np.median(repeated)) if len(repeated) else None


def _outcome(photograph: Examined) -> Located | str:
    """The measurement, or the name of the count it is missing in."""
    residual = photograph.verdict.residual_map
    if residual is None:
        return "without_map"
    if not any(residual.values):
        return "without_heat"
    try:
        mask = read_edit_mask(photograph.edit_mask)
    except DataError as error:
        _log.warning("%s: not measured: %s", photograph.uri, error)
        return "unreadable"
    return locate(residual, mask) if mask.any() else "without_edit"


def _overlaps(num_cells: int, num_pixels: int) -> np.ndarray:
    """(num_cells, num_pixels): the share of each cell that each pixel fills, both laid over one length."""
    ends = np.arange(num_cells + 1)[:, None] * num_pixels / num_cells
    pixels = np.arange(num_pixels)[None, :]
    shared = np.minimum(ends[1:], pixels + 1) - np.maximum(ends[:-1], pixels)
    return np.maximum(shared, 0) * num_cells / num_pixels
