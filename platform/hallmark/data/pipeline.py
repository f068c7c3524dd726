"""The data stages on Ray Data. Rows carry URIs; bytes are read, decoded and augmented in the last map."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from functools import partial

import pyarrow as pa
import ray
from tqdm import tqdm

from hallmark.data.batches import Columns, load_photographs
from hallmark.data.decode import DecodeLimits
from hallmark.data.manifest import Inspected, inspect_uri
from hallmark.data.preprocess import Augmentation, Preprocessing

_BATCHES_PER_BLOCK = 4
_INSPECTED_PER_BLOCK = 32


def inspect_photographs(uris: list[str], limits: DecodeLimits) -> list[Inspected]:
    """Read, decode and hash photographs on the cluster, in the order given; a bad one comes back with its reason."""
    dataset = _in_order(pa.table({"uri": pa.array(uris, pa.string())}), _INSPECTED_PER_BLOCK)
    inspect = partial(_inspect_columns, limits=limits)
    dataset = dataset.map_batches(inspect, batch_size=_INSPECTED_PER_BLOCK, batch_format="numpy")
    rows = tqdm(dataset.iter_rows(), total=len(uris), desc="inspecting", unit="photo", mininterval=2, ascii=True)
    return [pickle.loads(row["inspected"]) for row in rows]


def _inspect_columns(columns: Columns, limits: DecodeLimits) -> dict[str, list[bytes]]:
    return {"inspected": [pickle.dumps(inspect_uri(uri, limits)) for uri in columns["uri"]]}


def photograph_stream(
    columns: Columns,
    batch_size: int,
    limits: DecodeLimits,
    preprocessing: Preprocessing,
    augmentation: Augmentation | None = None,
) -> Iterator[Columns]:
    """Decoded columns in the order given, `batch_size` rows at a time.

    Each training worker makes its own stream from its own rows (see `BatchSampler`): a stream shared out by Ray would
    break the batches up. Pixels cross the object store as uint8 of network size.

    Args:
        columns: `uri` and whatever else belongs to a row; `seed` where there is an augmentation.
        batch_size: rows a batch; the last may be short.
        limits: of decoding.
        preprocessing: the network's input.
        augmentation: None for validation and embedding.

    Raises:
        DecodeError: a photograph that the manifest lists can no longer be read; names it.
    """
    dataset = _in_order(pa.table({name: list(values) for name, values in columns.items()}), batch_size)
    load = partial(load_photographs, limits=limits, preprocessing=preprocessing, augmentation=augmentation)
    dataset = dataset.map_batches(load, batch_size=batch_size, batch_format="numpy")
    # An iterator, not Ray's iterable: a loop that takes an epoch's batches at a time must go on, not begin again.
    return iter(dataset.iter_batches(batch_size=batch_size, batch_format="numpy", prefetch_batches=2))


def _in_order(table: pa.Table, batch_size: int) -> ray.data.Dataset:
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False  # the rows are counted by whoever reads them
    step = batch_size * _BATCHES_PER_BLOCK
    blocks = [table.slice(start, step) for start in range(0, table.num_rows, step)]
    return ray.data.from_arrow(blocks)
