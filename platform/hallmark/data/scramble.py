"""Key area guidance (KAG): neighbouring cells of a photograph swapped at random, without touching a pixel."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import cv2
import numpy as np
from pydantic import Field

from hallmark.config import Config

LabelPolicy = Literal["counterfeit", "keep", "ignore"]

_TRIES = 5
_IGNORED = -1


class ScrambleConfig(Config):
    """How photographs are disturbed; the defaults are those of the KAG-MTLN paper."""

    degree: int = Field(20, ge=1, le=200, description="cells along each side (1 to 200); at most the shorter side, px")
    probability: float = Field(0.5, ge=0, le=1, description="probability of each swap")
    direction: Literal["horizontal", "vertical", "both"] = Field(
        "horizontal", description="swap within rows, within columns, or within rows and then within columns"
    )
    order: Literal["sequential", "pairs"] = Field(
        "sequential",
        description="sequential: one pass along the row that may carry a cell far; pairs: cells 0 and 1, 2 and 3, ...",
    )
    share: float = Field(0.5, ge=0, le=1, description="share of the training stream that is disturbed")
    main_label: LabelPolicy = Field(
        "counterfeit",
        description="what a disturbed photograph is to the main task: counterfeit, its own label (keep), or ignored",
    )


@dataclass(frozen=True)
class Scrambled:
    """A photograph after KAG."""

    image: np.ndarray
    """(H, W, 3) uint8; the input itself where undisturbed."""
    disturbed: bool
    """Whether any pixel differs from the input's."""
    columns: np.ndarray | None
    """(N, N) int: columns[r, c] is the cell of row r that now stands in place c; None where rows were left alone."""
    rows: np.ndarray | None
    """(N, N) int: rows[c, r] is the cell of column c that now stands in place r; None where columns were left alone."""


def scramble(image: np.ndarray, config: ScrambleConfig, rng: np.random.Generator) -> Scrambled:
    """Disturb a photograph (KAG algorithm of KAG-MTLN, section 3.1).

    The cells of an N x N grid have their edges at round(c·W/N) and round(r·H/N). Each row strip is put together again
    from its cells in their new order, of whatever width they are: no pixel is resampled, made or lost. N is the degree
    or the shorter side in px, whichever is less. A draw that changes no pixel is drawn again, 5 draws in all; then the
    photograph counts as undisturbed (always so where it is blank, N = 1 or the probability is 0).

    Args:
        image: (H, W, 3) uint8; not changed.
        config: degree, probability, direction and order.
        rng: decides the swaps.
    """
    for _ in range(_TRIES):
        disturbed, columns, rows = image, None, None
        size = min(config.degree, *image.shape[:2])
        if config.direction != "vertical":
            columns = draw_order(size, config, rng)
            disturbed = _reorder_rows(disturbed, columns)
        if config.direction != "horizontal":
            rows = draw_order(size, config, rng)
            disturbed = cv2.transpose(_reorder_rows(cv2.transpose(disturbed), rows))
        if not np.array_equal(disturbed, image):
            return Scrambled(disturbed, True, columns, rows)
    return Scrambled(image, False, None, None)


def draw_order(size: int, config: ScrambleConfig, rng: np.random.Generator) -> np.ndarray:
    """The new order of the cells of every row. (N, N) int64, each row a permutation; 2 ** (1 - N) of the sequential
    ones are the identity at probability 0.5.
    """
    places = np.arange(size)
    if config.order == "pairs":
        swap = rng.random((size, size // 2)) < config.probability
        order = np.tile(places, (size, 1))
        order[:, : 2 * (size // 2)] += np.stack([swap, -swap.astype(np.int64)], axis=2).reshape(size, -1)
        return order
    # Before swap c, place c holds the cell that the last refused swap let go: 0, or j + 1 where swap j was refused.
    swap = rng.random((size, size - 1)) < config.probability
    released = np.where(swap, 0, places[1:])
    carried = np.hstack([np.zeros((size, 1), dtype=np.int64), np.maximum.accumulate(released, axis=1)])
    carried[:, :-1] = np.where(swap, places[1:], carried[:, :-1])
    return carried


def main_labels(
    product: np.ndarray, genuine: np.ndarray, class_index: np.ndarray, disturbed: np.ndarray, policy: LabelPolicy
) -> tuple[np.ndarray, np.ndarray]:
    """Labels of the main task, undisturbed photographs keeping theirs.

    counterfeit: a disturbed photograph is a counterfeit of its product, whatever it was; keep: it stays what it was;
    ignore: its class_index becomes -1, which the main loss leaves out.

    Args:
        product: (B,) int64; -1 for an unrelated photograph, which has no class under any policy.
        genuine: (B,) bool.
        class_index: (B,) int64 = 2·product + genuine, or -1.
        disturbed: (B,) bool.
        policy: of disturbed photographs.

    Returns:
        (B,) bool genuine and (B,) int64 class_index; new arrays.
    """
    if policy == "keep":
        return genuine.copy(), class_index.copy()
    if policy == "ignore":
        return genuine.copy(), np.where(disturbed, _IGNORED, class_index)
    counterfeit = np.where(class_index < 0, class_index, 2 * product)
    return genuine & ~disturbed, np.where(disturbed, counterfeit, class_index)


def stream_prior(class_index: np.ndarray, num_products: int, share: float, policy: LabelPolicy) -> np.ndarray:
    """Each class's share of what the main task is shown, once photographs are disturbed and relabelled.

    Args:
        class_index: (N,) int64 of the photographs that are shown, each equally often.
        num_products: P.
        share: of the showings that are disturbed.
        policy: of disturbed photographs.

    Returns:
        (2P,) float64, sums to 1; a class that is never shown counts as half a photograph, so that its log is finite.
    """
    counts = np.bincount(class_index, minlength=2 * num_products).astype(np.float64)
    if policy == "counterfeit":
        by_product = counts.reshape(-1, 2)
        disturbed = share * by_product.sum(axis=1)
        counts = np.stack([(1 - share) * by_product[:, 0] + disturbed, (1 - share) * by_product[:, 1]], axis=1).ravel()
    counts = np.maximum(counts, 0.5)
    return counts / counts.sum()


def _reorder_rows(image: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Put each row strip together from its cells in the given order. (H, W, 3) and (N, N) -> (H, W, 3)."""
    height, width = image.shape[:2]
    x_edges, y_edges = _edges(width, len(order)), _edges(height, len(order))
    source = _source_columns(order, x_edges)
    reordered = np.empty_like(image)
    for row, (top, bottom) in enumerate(pairwise(y_edges)):
        np.take(image[top:bottom], source[row], axis=1, out=reordered[top:bottom], mode="clip")
    return reordered


def _source_columns(order: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """For each row strip, the column that each column is filled from. (N, W) int64."""
    widths = np.diff(edges)[order]
    starts = np.cumsum(widths, axis=1) - widths
    shifts = np.repeat((edges[order] - starts).ravel(), widths.ravel())
    return shifts.reshape(len(order), -1) + np.arange(edges[-1])


def _edges(length: int, cells: int) -> np.ndarray:
    return np.array([round(cell * length / cells) for cell in range(cells + 1)])
