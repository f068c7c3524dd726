"""Rows of a manifest to batches of network input, without Ray."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from hallmark.data.decode import DecodeLimits, decode
from hallmark.data.manifest import read_bytes
from hallmark.data.preprocess import Augmentation, Preprocessing, normalise, prepare, vary
from hallmark.data.sampling import BatchSampler, Labels, worker_slice
from hallmark.errors import DecodeError
from hallmark.types import Batch

Columns = dict[str, np.ndarray]

_PREPARED: OrderedDict[tuple[str, DecodeLimits, Preprocessing], np.ndarray] = OrderedDict()
_PREPARED_BYTES = 256 * 2**20
"""A process shows every photograph once an epoch; those that fit here are decoded once."""


def training_rows(
    table: pa.Table, labels: Labels, sampler: BatchSampler, epochs: range, rank: int, num_workers: int, seed: int
) -> Columns:
    """One worker's photographs of some epochs, batch after batch, as columns to read and decode.

    The augmentation's seed follows the place in the global batch, so it does not depend on the number of workers.
    """
    rows, seeds = [], []
    for epoch in epochs:
        batches = sampler.epoch(epoch)
        places = np.arange(batches.size).reshape(batches.shape)
        rows.append(worker_slice(batches, rank, num_workers).ravel())
        own = worker_slice(places, rank, num_workers).ravel()
        seeds.append((np.int64(seed) * 1_000_003 + epoch) * 1_000_003 + own)
    chosen = np.concatenate(rows)
    return {
        "uri": np.array(table.column("uri").to_pylist(), dtype=object)[chosen],
        "product": labels.product[chosen],
        "genuine": labels.genuine[chosen],
        "class_index": labels.class_index[chosen],
        "identity": labels.identity[chosen],
        "seed": np.concatenate(seeds),
    }


def load_photographs(
    columns: Columns, limits: DecodeLimits, preprocessing: Preprocessing, augmentation: Augmentation | None = None
) -> Columns:
    """Replace `uri` and `seed` by `image`, (B, side, side, 3) uint8; varied where an augmentation is given."""
    images = []
    for row, uri in enumerate(columns["uri"]):
        image = _prepared(uri, limits, preprocessing)
        if augmentation is not None:
            image = vary(image, augmentation, np.random.default_rng(int(columns["seed"][row])))
        images.append(image)
    kept = {name: values for name, values in columns.items() if name not in ("seed", "uri")}
    return kept | {"image": np.stack(images)}


def _prepared(uri: str, limits: DecodeLimits, preprocessing: Preprocessing) -> np.ndarray:
    """Read, decode and prepare; what this process prepared before comes from memory, up to a bound."""
    key = (uri, limits, preprocessing)
    if key not in _PREPARED:
        try:
            image = prepare(decode(read_bytes(uri), limits), preprocessing)
        except DecodeError as error:
            raise DecodeError(error.reason, f"{uri}: {error}") from None
        while _PREPARED and (len(_PREPARED) + 1) * image.nbytes > _PREPARED_BYTES:
            _PREPARED.popitem(last=False)
        _PREPARED[key] = image
    _PREPARED.move_to_end(key)
    return _PREPARED[key]


def to_batch(columns: Columns, preprocessing: Preprocessing, device: torch.device) -> Batch:
    """Decoded columns as a training batch on a device; normalisation happens there."""
    images = normalise(torch.tensor(columns["image"]).to(device), preprocessing)
    names = ("product", "genuine", "class_index", "identity")
    rest: dict[str, Any] = {name: torch.tensor(columns[name]).to(device) for name in names}
    return {"images": images, **rest}


def plain_batches(
    columns: Columns, batch_size: int, limits: DecodeLimits, preprocessing: Preprocessing, augmentation: Augmentation
) -> Iterator[Columns]:
    """Decoded columns batch by batch in this process: what the Ray Data pipeline yields, where Ray is not used."""
    for start in range(0, len(columns["uri"]), batch_size):
        part = {name: values[start : start + batch_size] for name, values in columns.items()}
        yield load_photographs(part, limits, preprocessing, augmentation)
