"""HOG-nearest: distance between histograms of oriented gradients to the nearest genuine reference."""

from __future__ import annotations

from math import sqrt

import cv2
import numpy as np
from pydantic import Field, model_validator
from skimage.feature import hog

from hallmark.config import Config
from hallmark.methods.comparators import Comparator


class HogNearestConfig(Config):
    """Cells, blocks and orientations are those of Dalal and Triggs (CVPR 2005), the side is free."""

    side_px: int = Field(256, ge=16, le=2048, description="square that a photograph is stretched to, px")
    cell_px: int = Field(8, ge=2, le=256, description="side of a cell, px of that square")
    block_cells: int = Field(2, ge=1, le=8, description="side of a block, cells; contrast is normalised in a block")
    num_orientations: int = Field(9, ge=2, le=36, description="bins over 180 degrees")
    min_contrast: float = Field(
        1.0, ge=0, le=128, description="standard deviation, grey levels, at or below which a photograph counts as blank"
    )

    @model_validator(mode="after")
    def _holds_a_block(self) -> HogNearestConfig:
        wanted = self.cell_px * self.block_cells
        if wanted > self.side_px:
            raise ValueError(f"side_px: found {self.side_px}; wanted at least cell_px times block_cells = {wanted}")
        return self


class HogNearest(Comparator[np.ndarray | None]):
    """Described by (K,) float32, or by None where the photograph is blank."""

    def __init__(self, config: HogNearestConfig):
        self.config = config
        blocks = config.side_px // config.cell_px - config.block_cells + 1
        # A block has unit norm and no negative entry, so two of them are at most sqrt(2) apart.
        self._farthest = sqrt(2) * blocks

    def describe(self, image: np.ndarray) -> np.ndarray | None:
        """(H, W, 3) uint8 RGB -> (K,) float32, K = blocks^2 * block_cells^2 * num_orientations."""
        config = self.config
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        grey = cv2.resize(grey, (config.side_px, config.side_px), interpolation=cv2.INTER_AREA)
        if grey.std() <= config.min_contrast:
            return None
        return hog(
            grey,
            orientations=config.num_orientations,
            pixels_per_cell=(config.cell_px, config.cell_px),
            cells_per_block=(config.block_cells, config.block_cells),
            block_norm="L2-Hys",
        ).astype(np.float32)

    def similarity(self, query: np.ndarray | None, reference: np.ndarray | None) -> float:
        """1 minus the Euclidean distance over the largest there can be: 0 to 1, ordered as minus the distance is."""
        if query is None or reference is None:
            return 0.0
        return max(0.0, 1.0 - float(np.linalg.norm(query - reference)) / self._farthest)
