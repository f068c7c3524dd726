"""Rows of a manifest to batches of network input, without Ray."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import torch
from pydantic import Field

from hallmark.config import Config
from hallmark.data.preprocess import Preprocessing, normalise
from hallmark.data.sampling import BatchSampler, Labels, worker_slice
from hallmark.data.scramble import main_labels
from hallmark.data.transforms import Prepared, Transformed, Transforms, photograph_seed, prepared, varied
from hallmark.types import NEGATIVE_ONLY, Batch

Columns = dict[str, np.ndarray]

_SOURCES = ("uri", "box", "mask_uri")
_PREPARED: OrderedDict[tuple[Any, ...], Prepared] = OrderedDict()
_PREPARED_BYTES = 256 * 2**20
"""A process shows every photograph once an epoch; those that fit here are decoded once."""
_FOREGROUND_SIDE = 64
_PIXELS_AT_ONCE, _MOST_AT_ONCE = 2**23, 32


class StreamConfig(Config):
    """Where and how photographs are decoded and augmented for training."""

    nodes: dict[str, str] = Field({}, description="labels of the nodes that do it, e.g. {hallmark-role: data}; {}: any")


def training_rows(
    table: pa.Table, labels: Labels, sampler: BatchSampler, epochs: range, rank: int, num_workers: int, seed: int
) -> Columns:
    """One worker's photographs of some epochs, batch after batch, as columns to read and decode.

    `seed` follows from (seed, epoch, image_id) and, where an epoch's plan shows a photograph again, the how-manieth
    showing it is: augmented pixels do not depend on the number of workers.
    """
    image_ids = table.column("image_id").to_pylist()
    rows, seeds = [], []
    for epoch in epochs:
        batches = sampler.epoch(epoch)
        copies = _copies(batches.ravel()).reshape(batches.shape)
        own, own_copies = (worker_slice(part, rank, num_workers).ravel() for part in (batches, copies))
        rows.append(own)
        seeds += [photograph_seed(seed, epoch, image_ids[row], copy) for row, copy in zip(own, own_copies, strict=True)]
    chosen = np.concatenate(rows)
    return source_columns(table, chosen) | {
        "product": labels.product[chosen],
        "genuine": labels.genuine[chosen],
        "class_index": labels.class_index[chosen],
        "identity": labels.identity[chosen],
        "seed": np.array(seeds, dtype=np.int64),
    }


def source_columns(table: pa.Table, rows: np.ndarray) -> Columns:
    """Where photographs, and what belongs to each, are found: `uri`, `box` (xyxy px or None), `mask_uri` (or None)."""
    taken = table.select(list(_SOURCES)).take(rows)
    columns = {name: np.empty(len(rows), dtype=object) for name in _SOURCES}
    for name, values in columns.items():
        values[:] = taken.column(name).to_pylist()
    return columns


def load_photographs(columns: Columns, transforms: Transforms) -> Columns:
    """Read, decode and transform the photographs of some rows.

    Args:
        columns: `uri`, and where there are any `box` and `mask_uri`; `seed` where something is random; labels.
        transforms: what is done to each.

    Returns:
        The labels; `image` (B, side, side, 3) uint8; where padding can occur `content` (B, side, side) bool; where
        photographs are scrambled `scrambled` (B,) bool, with `genuine`, `class_index` and `identity` by its policy;
        where backgrounds are replaced `backdrop` (B,) int64, a `Backdrop`, and `foreground` (B, 64, 64) float32 in
        [0, 1], how much of each place shows the product, 1 everywhere where no mask can be trusted.

    Raises:
        DecodeError, DataError: a photograph that the manifest lists cannot be read; names it.
    """
    loaded = [_load(columns, row, transforms) for row in range(len(columns["uri"]))]
    kept = {name: values for name, values in columns.items() if name not in (*_SOURCES, "seed")}
    kept["image"] = np.stack([photograph.pixels for photograph in loaded])
    if transforms.preprocessing.fill != "none":
        kept["content"] = np.stack([photograph.content for photograph in loaded])
    if transforms.scramble is not None:
        kept |= _relabelled(kept, np.array([photograph.scrambled for photograph in loaded]), transforms)
    if transforms.background is not None:
        kept["backdrop"] = np.array([photograph.backdrop for photograph in loaded], dtype=np.int64)
        kept["foreground"] = np.stack([_shares(photograph.foreground) for photograph in loaded])
    return kept


def to_batch(columns: Columns, preprocessing: Preprocessing, device: torch.device) -> Batch:
    """Loaded columns as a training batch on a device; normalisation happens there."""
    rest: dict[str, Any] = {
        name: torch.tensor(values).to(device) for name, values in columns.items() if name != "image"
    }
    return {"images": to_images(columns, preprocessing, device), **rest}


def to_images(columns: Columns, preprocessing: Preprocessing, device: torch.device) -> torch.Tensor:
    """(B, 3, side, side) float32, normalised on the device: until then a photograph takes 3·side² bytes."""
    return normalise(torch.tensor(columns["image"]).to(device), preprocessing)


def plain_batches(columns: Columns, batch_size: int, transforms: Transforms) -> Iterator[Columns]:
    """Loaded columns batch by batch in this process: what the Ray Data pipeline yields, where Ray is not used."""
    for start in range(0, len(columns["uri"]), batch_size):
        yield load_photographs(
            {name: values[start : start + batch_size] for name, values in columns.items()}, transforms
        )


def num_judged_at_once(side_px: int) -> int:
    """Photographs that are shown to a network at once where nothing is trained: as many as make 2^23 px, 1 to 32."""
    return min(_MOST_AT_ONCE, max(1, _PIXELS_AT_ONCE // side_px**2))


def _copies(rows: np.ndarray) -> np.ndarray:
    """How many times each entry has been there before it: (N,) int64."""
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    first = np.searchsorted(ordered, ordered)
    copies = np.empty(len(rows), dtype=np.int64)
    copies[order] = np.arange(len(rows)) - first
    return copies


def _load(columns: Columns, row: int, transforms: Transforms) -> Transformed:
    uri, box, mask_uri = (columns[name][row] if name in columns else None for name in _SOURCES)
    seed = int(columns["seed"][row]) if "seed" in columns else 0
    if not transforms.same_every_time:
        return varied(prepared(uri, box, mask_uri, transforms, seed), transforms, seed)
    key = (uri, None if box is None else tuple(box), transforms.limits, transforms.preprocessing)
    if key not in _PREPARED:
        fresh = prepared(uri, box, mask_uri, transforms, seed)
        while _PREPARED and (len(_PREPARED) + 1) * fresh.fitted.pixels.nbytes > _PREPARED_BYTES:
            _PREPARED.popitem(last=False)
        _PREPARED[key] = fresh
    _PREPARED.move_to_end(key)
    return varied(_PREPARED[key], transforms, seed)


def _shares(mask: np.ndarray | None) -> np.ndarray:
    """(S, S) bool -> (64, 64) float32: a mask at full size would weigh a third of its photograph."""
    if mask is None:
        return np.ones((_FOREGROUND_SIDE,) * 2, np.float32)
    return cv2.resize(mask.astype(np.float32), (_FOREGROUND_SIDE,) * 2, interpolation=cv2.INTER_AREA)


def _relabelled(columns: Columns, scrambled: np.ndarray, transforms: Transforms) -> Columns:
    policy = transforms.scramble.main_label
    genuine, class_index = main_labels(
        columns["product"], columns["genuine"], columns["class_index"], scrambled, policy
    )
    # A scrambled photograph is no second view of its item.
    identity = np.where(scrambled, NEGATIVE_ONLY, columns["identity"])
    return {"genuine": genuine, "class_index": class_index, "identity": identity, "scrambled": scrambled}
