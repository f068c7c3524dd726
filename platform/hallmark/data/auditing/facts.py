"""The evidence that the controls of an audit look at: facts about files and surroundings, not about products."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from hallmark.data.auditing.controls import Evidence
from hallmark.data.auditing.measurement import BACKGROUND_FEATURES, Measured

BACKGROUND = "background"
"""Name of the control that looks at what lies around the product."""

_SINGLE: tuple[tuple[str, str, Callable[[Measured], float | None]], ...] = (
    ("size", "shorter side, px", lambda one: min(one.width, one.height)),
    ("aspect", "width over height", lambda one: one.width / one.height),
    ("bytes", "file size", lambda one: one.num_bytes),
    ("bits per pixel", "file size over area", lambda one: one.bits_per_pixel),
    ("JPEG quality", "quality the file was saved with", lambda one: one.jpeg_quality),
    ("border", "share of a frame of one colour", lambda one: one.border.share),
)
"""Facts about the file that say nothing about the product: name, meaning, value."""


def gather_evidence(rows: Sequence[dict[str, Any]], measured: Sequence[Measured]) -> list[Evidence]:
    """Single values, and the inputs of three classifiers, one row a photograph.

    Args:
        rows: of the manifest; `device_id` is used.
        measured: one for each row.
    """
    numbers = {name: _column(map(value, measured)) for name, _, value in _SINGLE}
    notes = [
        _one_hot([one.format for one in measured]),
        _one_hot([one.subsampling for one in measured]),
        _one_hot([f"{one.exif.make} {one.exif.model}" for one in measured]),
        _one_hot([one.exif.software for one in measured]),
        _column(one.exif.present for one in measured),
        _column(one.exif.has_position for one in measured),
        _column(one.exif.orientation for one in measured),
    ]
    surroundings = np.array([one.background or (np.nan,) * BACKGROUND_FEATURES for one in measured])
    devices = _one_hot([row["device_id"] or "" for row in rows])
    everything = np.concatenate([*numbers.values(), *notes], axis=1)
    single = [Evidence(name, meaning, numbers[name], trained=False) for name, meaning, _ in _SINGLE]
    return [
        *single,
        Evidence("file facts", "a classifier on size, encoding and EXIF, without pixels", everything, trained=True),
        Evidence(BACKGROUND, "a classifier on what lies around the product", surroundings, trained=True),
        Evidence("device", "a classifier on device_id", devices, trained=True),
    ]


def _column(values: Iterable[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else float(value) for value in values])[:, None]


def _one_hot(words: list[str]) -> np.ndarray:
    """(N, W) float64 of the words that occur, rare ones (less than 2 % and not 3 times) together as one."""
    counts = Counter(words)
    kept = sorted(word for word, count in counts.items() if count >= max(3, 0.02 * len(words)))
    return np.array([[float(word == name) for name in kept] for word in words]).reshape(len(words), len(kept))
