"""What comes before authenticity: is the photograph usable, is its product known, do the two stages agree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from hallmark.config import Config
from hallmark.types import Quality
from hallmark.verdict.objectives import best_f1_threshold

_TEXTURELESS = 20 / 12 / 255**2
"""Variance of the Laplacian that rounding to 256 levels alone gives a picture without any texture."""
_EXTREME = 0.01
_ENOUGH = 10


class QualityGate(Config):
    """What a photograph must have to be judged.

    Each bound lies halfway between the calibration photographs' most extreme 1 % and the worst there is (no sharpness,
    black, white, all clipped): a photograph may be worse than all of them, but not so much worse that what they taught
    no longer holds.
    """

    least_sharpness: float = Field(ge=0, description="variance of the Laplacian of luminance at network size")
    least_brightness: float = Field(ge=0, le=1, description="mean luminance")
    most_brightness: float = Field(ge=0, le=1, description="mean luminance")
    most_clipped: float = Field(ge=0, le=1, description="share of pixels that are black or white")

    def complaint(self, quality: Quality) -> str | None:
        """What is wrong with a photograph and how to take it again; None where it can be judged."""
        # Asked so that nan is a complaint.
        if not quality.sharpness >= self.least_sharpness:
            return (
                f"The photograph is too blurred (sharpness {quality.sharpness:.2g}, at least "
                f"{self.least_sharpness:.2g}): hold the camera still, focus on the print and take it again."
            )
        if not quality.brightness >= self.least_brightness:
            return (
                f"The photograph is too dark (brightness {quality.brightness:.2f}, at least "
                f"{self.least_brightness:.2f}): take it again in more light."
            )
        if not quality.brightness <= self.most_brightness:
            return (
                f"The photograph is too bright (brightness {quality.brightness:.2f}, at most "
                f"{self.most_brightness:.2f}): take it again in less light or with a shorter exposure."
            )
        if not quality.clipped <= self.most_clipped:
            return (
                f"Too much of the photograph is black or white ({quality.clipped:.0%}, at most "
                f"{self.most_clipped:.0%}): take it again without flash, glare or deep shadow."
            )
        return None


def complaint(quality: Quality, gate: QualityGate | None) -> str | None:
    """What makes a photograph unusable; a picture without any texture is, whatever was fitted."""
    if not quality.sharpness > _TEXTURELESS:
        return "The photograph shows no texture at all: point the camera at the article, focus and take it again."
    return gate.complaint(quality) if gate else None


def fit_quality(sharpness: np.ndarray, brightness: np.ndarray, clipped: np.ndarray) -> QualityGate:
    """The bounds, from (N,) figures of the calibration photographs, at least one."""
    return QualityGate(
        least_sharpness=max(0.0, _lowest(sharpness) / 2),
        least_brightness=float(np.clip(_lowest(brightness) / 2, 0, 1)),
        most_brightness=float(np.clip((1 + _highest(brightness)) / 2, 0, 1)),
        most_clipped=float(np.clip((1 + _highest(clipped)) / 2, 0, 1)),
    )


def _lowest(values: np.ndarray) -> float:
    return float(np.quantile(values, _EXTREME, method="lower"))


def _highest(values: np.ndarray) -> float:
    return float(np.quantile(values, 1 - _EXTREME, method="higher"))


def rejection_threshold(values: np.ndarray, target: float) -> float:
    """The value below which a photograph is rejected: the floor(target·(n + 1))-th smallest in-domain value.

    With fewer than 1/target - 1 photographs it is the smallest, and the share rejected in use may exceed the target.
    Without any it is -1, which rejects nothing.
    """
    if not len(values):
        return -1.0
    rank = max(1, int(np.floor(target * (len(values) + 1))))
    return float(np.sort(values)[rank - 1])


def fit_rejection(
    similarity: np.ndarray, inlier_ratios: Sequence[float | None], target: float, use_inliers: bool
) -> tuple[float, float | None]:
    """Thresholds of g+ and of the inlier ratio below either of which a photograph is not_in_gallery.

    With both in force each takes half of the target, so that together they reject no more than the target whatever
    they have in common.

    Args:
        similarity: (N,) g+ of all in-domain calibration photographs that have one, genuine and counterfeit: a
            counterfeit must be judged, not discarded.
        inlier_ratios: of the same, None where nothing could be aligned.
        target: share of in-domain photographs that may be rejected.
        use_inliers: whether to use the inlier ratio where there is any.

    Returns:
        The two thresholds, the second None where it is not in force.
    """
    told = np.array([value for value in inlier_ratios if value is not None], dtype=float)
    if not use_inliers or not len(told):
        return rejection_threshold(similarity, target), None
    return rejection_threshold(similarity, target / 2), rejection_threshold(told, target / 2)


class StageCheck(Config):
    """Where the global margin is surer than it was ever wrong in calibration, so that matching may not overrule it."""

    counterfeit_below: float = Field(description="no genuine calibration photograph has a global margin below this")
    genuine_above: float = Field(description="no counterfeit calibration photograph has one above this")

    def contradicts(self, global_margin: float | None, is_genuine: bool) -> bool:
        """Whether retrieval says the opposite of a verdict, with that confidence."""
        if global_margin is None:
            return False
        return global_margin < self.counterfeit_below if is_genuine else global_margin > self.genuine_above


def fit_stage_check(global_margins: Sequence[float | None], genuine: np.ndarray) -> StageCheck | None:
    """From the global margins of calibration photographs; None with fewer than ten of either authenticity.

    The margin's own best threshold bounds both sides, so that on neither does the check speak for what the margin
    itself would not say.
    """
    told = np.array([margin is not None for margin in global_margins], dtype=bool)
    margins = np.array([margin for margin in global_margins if margin is not None], dtype=float)
    kinds = genuine[told]
    if min(kinds.sum(), (~kinds).sum()) < _ENOUGH:
        return None
    threshold, _ = best_f1_threshold(margins, kinds)
    return StageCheck(
        counterfeit_below=min(float(margins[kinds].min()), threshold),
        genuine_above=max(float(margins[~kinds].max()), threshold),
    )
