"""SIFT-verify: keypoints that two photographs share under one homography (SIFT, mutual nearest neighbours, MAGSAC)."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from pydantic import Field

from hallmark.config import Config
from hallmark.methods.comparators import Comparator

_LEAST_MATCHES = 4
"""A homography has eight degrees of freedom, a match gives two."""


class SiftVerifyConfig(Config):
    side_px: int = Field(
        512, ge=16, le=4096, description="longer side that a larger photograph is shrunk to, px; none is enlarged"
    )
    num_features: int = Field(1000, ge=4, le=20_000, description="strongest keypoints kept a photograph")
    threshold_px: float = Field(
        3.0, gt=0, le=100, description="largest distance of an inlier from where the homography puts it, px as shrunk"
    )
    confidence: float = Field(0.999, gt=0, lt=1, description="wanted probability that the best homography was drawn")
    max_iterations: int = Field(1000, ge=1, le=1_000_000, description="most homographies drawn a pair")
    seed: int = Field(0, ge=0, le=2**31 - 1, description="seeds the drawing, anew for each pair")


@dataclass(frozen=True)
class Keypoints:
    """What SIFT sees in a photograph."""

    points: np.ndarray
    """(N, 2) float32, (x, y) px of the shrunk photograph."""
    descriptors: np.ndarray
    """(N, 128) float32, unit norm."""


class SiftVerify(Comparator[Keypoints]):
    """Similarity = inliers. It costs one product of (N, 128) matrices a pair: some ms at 1000 keypoints."""

    def __init__(self, config: SiftVerifyConfig):
        self.config = config
        self._sift = cv2.SIFT_create(nfeatures=config.num_features)
        self._magsac = _magsac(config)

    def describe(self, image: np.ndarray) -> Keypoints:
        """(H, W, 3) uint8 RGB -> up to about num_features keypoints, none where nothing stands out."""
        grey = _shrunk(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), self.config.side_px)
        found, descriptors = self._sift.detectAndCompute(grey, None)
        if descriptors is None:
            return Keypoints(np.zeros((0, 2), np.float32), np.zeros((0, 128), np.float32))
        # RootSIFT (Arandjelovic and Zisserman, CVPR 2012): the cosine then is the Hellinger kernel.
        sums = np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-9)
        return Keypoints(cv2.KeyPoint_convert(found), np.sqrt(descriptors / sums))

    def similarity(self, query: Keypoints, reference: Keypoints) -> float:
        """Number of matches that one homography explains; 0 below four matches or where none is found."""
        if min(len(query.points), len(reference.points)) < _LEAST_MATCHES:
            return 0.0
        here, there = mutual_nearest(query.descriptors, reference.descriptors)
        if len(here) < _LEAST_MATCHES:
            return 0.0
        homography, inliers = cv2.findHomography(query.points[here], reference.points[there], self._magsac)
        return 0.0 if homography is None else float(np.count_nonzero(inliers))


def mutual_nearest(query: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs that are each other's nearest by cosine; of equals the first counts.

    Args:
        query: (N, D) unit descriptors, N >= 1.
        reference: (M, D) unit descriptors, M >= 1.

    Returns:
        (m,) and (m,) int64: rows of the query, ascending, and of the reference.
    """
    cosines = query @ reference.T
    nearest = cosines.argmax(axis=1)
    matched = np.flatnonzero(cosines.argmax(axis=0)[nearest] == np.arange(len(query)))
    return matched, nearest[matched]


def _shrunk(grey: np.ndarray, side_px: int) -> np.ndarray:
    height, width = grey.shape
    factor = side_px / max(height, width)
    if factor >= 1:
        return grey
    size = (max(1, round(factor * width)), max(1, round(factor * height)))
    return cv2.resize(grey, size, interpolation=cv2.INTER_AREA)


def _magsac(config: SiftVerifyConfig) -> cv2.UsacParams:
    """MAGSAC as cv2.USAC_MAGSAC sets it up, but with a stated seed and on one thread."""
    settings = cv2.UsacParams()
    settings.sampler = cv2.SAMPLING_UNIFORM
    settings.score = cv2.SCORE_METHOD_MAGSAC
    settings.loMethod = cv2.LOCAL_OPTIM_SIGMA
    settings.final_polisher = cv2.MAGSAC
    settings.threshold = config.threshold_px
    settings.confidence = config.confidence
    settings.maxIterations = config.max_iterations
    settings.randomGeneratorState = config.seed
    settings.isParallel = False
    return settings
