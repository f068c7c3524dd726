"""Shorter global descriptors: principal components of those of the training photographs, stored in the bundle."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from hallmark.config import Config
from hallmark.errors import BundleError, ConfigError

_LEAST_SPREAD = 1e-6
"""Of a component, over that of the first: below it there is nothing but rounding."""
_STATED = "stated"


class ReductionConfig(Config):
    """Whether and how far global descriptors are shortened after training."""

    dimensions: int | None = Field(
        None, ge=2, description="of the shortened descriptor; fewer than training photographs; null: not shortened"
    )
    whiten: float = Field(
        0.5,
        ge=0,
        le=1,
        description="power of a component's spread that it is divided by: 0 keeps distances, 1 makes all alike",
    )


@dataclass(frozen=True)
class Reduction:
    """The map of a global descriptor to a shorter one."""

    mean: np.ndarray
    """(D,) float32."""
    projection: np.ndarray
    """(D, d) float32."""
    stated: dict[str, Any]
    """What it costs, measured when it was fitted."""

    def __call__(self, descriptor: np.ndarray) -> np.ndarray:
        """(D,) float32 to (d,) float32, unit norm; all zeros where nothing of it is left."""
        # Not by BLAS, whose sums depend on its threads: a verdict is recomputed to the bit.
        short = np.einsum("i,ij->j", descriptor - self.mean, self.projection)
        return (short / max(float(np.linalg.norm(short)), 1e-12)).astype(np.float32)

    def save(self, file: Path) -> None:
        """Write it, with what is stated in the file's header."""
        tensors = {"mean": self.mean, "projection": np.ascontiguousarray(self.projection)}
        save_file(tensors, file, metadata={_STATED: json.dumps(self.stated, sort_keys=True)})


def fit_reduction(descriptors: np.ndarray, config: ReductionConfig) -> Reduction:
    """Principal components of descriptors, divided by a power of their spread.

    Args:
        descriptors: (N, D), of the training photographs.
        config: with `dimensions`.

    Raises:
        ConfigError: more dimensions than the descriptors spread over.
    """
    mean = descriptors.mean(axis=0, dtype=np.float64)
    _, singular, rows = np.linalg.svd(descriptors - mean, full_matrices=False)
    rank = int((singular > _LEAST_SPREAD * max(singular[0], 1e-12)).sum())
    if config.dimensions > rank:
        raise ConfigError(
            f"reduction.dimensions: found {config.dimensions}; wanted at most {rank}, over which the descriptors of "
            f"{len(descriptors)} training photographs spread"
        )
    spread = singular[: config.dimensions] / np.sqrt(len(descriptors) - 1)
    projection = rows[: config.dimensions].T / spread**config.whiten
    kept = float((singular[: config.dimensions] ** 2).sum() / (singular**2).sum())
    return Reduction(mean.astype(np.float32), projection.astype(np.float32), {"variance_kept": kept})


def read_reduction(file: Path) -> Reduction:
    """Read what `save` wrote.

    Raises:
        BundleError: it is damaged.
    """
    try:
        with safe_open(file, framework="numpy") as opened:
            mean, projection = opened.get_tensor("mean"), opened.get_tensor("projection")
            stated = json.loads((opened.metadata() or {})[_STATED])
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise BundleError(f"{file}: cannot be read: {error}; train again or copy the bundle whole") from None
    if mean.ndim != 1 or projection.ndim != 2 or len(mean) != len(projection) or not np.isfinite(projection).all():
        shapes = f"a mean of {mean.shape} and a projection of {projection.shape}"
        raise BundleError(f"{file}: found {shapes}; wanted (D,) and (D, d), finite")
    return Reduction(mean, projection, stated)
