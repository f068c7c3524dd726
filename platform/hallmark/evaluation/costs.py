"""What a verdict costs: time by stage, arithmetic of the network, and bytes a reference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import torch
from scipy.stats import binom
from torch.utils.flop_counter import FlopCounterMode

from hallmark.data.preprocess import Preprocessing
from hallmark.evaluation.examined import Examined
from hallmark.evaluation.measures import CONFIDENCE, Estimate, Figures
from hallmark.gallery.store import Gallery
from hallmark.methods.base import Method

TOTAL = "total"
REFERENCE_BYTES = 64 * 1024
"""What a stored reference may take, bytes."""


class StageTime(Figures):
    """Milliseconds of one stage over n photographs, with 95 % intervals from the order of the times."""

    median_ms: Estimate
    p95_ms: Estimate


class Costs(Figures):
    """What the bundle and the gallery cost; `forward_flops` counts a multiplication and an addition as two.

    `bytes_per_reference` is None where there is no reference.
    """

    forward_flops: int
    side_px: int
    bytes_per_reference: float | None
    num_references: int


def stage_times(examined: Sequence[Examined]) -> dict[str, StageTime]:
    """Times by stage in the order the verdicts name them, and their `total` last."""
    times: dict[str, list[float]] = {}
    totals = []
    for photograph in examined:
        timings = photograph.verdict.timings_ms
        for stage, elapsed in timings.items():
            if stage != TOTAL:
                times.setdefault(stage, []).append(elapsed)
        if timings:
            totals.append(timings.get(TOTAL, sum(timings.values())))
    if totals:
        times[TOTAL] = totals
    return {
        stage: StageTime(median_ms=quantile(np.array(own), 0.5), p95_ms=quantile(np.array(own), 0.95))
        for stage, own in times.items()
    }


def quantile(values: np.ndarray, level: float) -> Estimate:
    """A quantile with the interval that the binomial distribution of the ranks gives, whatever the values' own is.

    Args:
        values: (N,) float.
        level: 0 to 1, neither included.

    Returns:
        An end of the interval that lies beyond the values makes both ends None.
    """
    if not len(values):
        return Estimate(value=None, low=None, high=None, n=0)
    ordered, tail = np.sort(values), (1 - CONFIDENCE) / 2
    below, above = int(binom.ppf(tail, len(values), level)), int(binom.ppf(1 - tail, len(values), level)) + 1
    known = below >= 1 and above <= len(values)
    return Estimate(
        value=float(np.quantile(ordered, level)),
        low=float(ordered[below - 1]) if known else None,
        high=float(ordered[above - 1]) if known else None,
        n=len(values),
    )


def costs_of(method: Method, preprocessing: Preprocessing, gallery: Gallery) -> Costs:
    """Measure a bundle's network and a gallery version."""
    size, count = _reference_sizes(gallery)
    return Costs(
        forward_flops=forward_flops(method, preprocessing),
        side_px=preprocessing.side_px,
        bytes_per_reference=size / count if count else None,
        num_references=count,
    )


def forward_flops(method: Method, preprocessing: Preprocessing) -> int:
    """Multiplications and additions of describing one photograph: matrix products, convolutions and attention."""
    parameter = next(method.parameters())
    image = torch.zeros(1, 3, preprocessing.side_px, preprocessing.side_px, device=parameter.device)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        method.embed(image)
    return int(counter.get_total_flops())


def reference_bytes(gallery: Gallery) -> float:
    """Mean bytes a reference of its descriptors, positions, thumbnail and other lists and binaries, as in memory."""
    size, count = _reference_sizes(gallery)
    return size / count


def _reference_sizes(gallery: Gallery) -> tuple[int, int]:
    if not gallery.num_references:
        return 0, 0
    dataset = gallery._dataset
    columns = [field.name for field in dataset.schema if _is_bulk(field.type)]
    size = count = 0
    # Batch by batch: a gallery may not fit in memory.
    for batch in dataset.to_batches(columns=columns, batch_size=256):
        size += batch.nbytes
        count += batch.num_rows
    return size, count


def _is_bulk(kind: pa.DataType) -> bool:
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    binaries = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)
    return any(check(kind) for check in (*lists, *binaries))
