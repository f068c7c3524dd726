"""The data stages on Ray Data. Rows carry URIs; bytes are read, decoded and augmented in the last map."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import pyarrow as pa
import ray
import ray.data
from ray.data.collate_fn import NumpyBatchCollateFn
from tqdm import tqdm

from hallmark.data.allocation import keep_freed_memory
from hallmark.data.auditing.measurement import Measured, measure_row
from hallmark.data.batches import Columns, load_photographs
from hallmark.data.decode import DecodeLimits
from hallmark.data.manifest import (
    Assembled,
    ImportConfig,
    assemble,
    earlier_manifest,
    inspect_listed,
    list_photographs,
    read_manifest,
    write_import,
)
from hallmark.data.preparation import Journal, PreparationConfig, prepare_photograph, prepared_set, tasks
from hallmark.data.transforms import Transforms
from hallmark.errors import HallmarkError

T = TypeVar("T")

_BATCHES_PER_BLOCK = 8
_HANDED_ON_BYTES = 8 * 2**20
"""A task hands on what it has made from this size: the consumer need not wait for the whole of a block."""
_ROWS_AT_ONCE = 16


@contextmanager
def connected() -> Iterator[None]:
    """Be connected to the cluster that RAY_ADDRESS names; without it one starts on this machine, and ends with this."""
    ray.init(logging_level="WARNING")
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()


def in_turn(
    work: Callable[[Any], T], rows: Sequence[Any], description: str, nodes: Mapping[str, str] | None = None
) -> Iterator[T]:
    """Do the same to every row on the cluster; the outcomes come in the order of the rows, with a progress bar.

    Args:
        work: a function that can be pickled; a HallmarkError that it raises is raised here and ends everything.
        rows: anything that can be pickled, small: a URI rather than bytes.
        description: what the progress bar says.
        nodes: labels of the nodes that do it; None = any.
    """
    pickled = pa.table({"row": pa.array([pickle.dumps(row) for row in rows], pa.binary())})
    dataset = _in_order(pickled, _ROWS_AT_ONCE).map_batches(
        partial(_worked, work=work), batch_size=_ROWS_AT_ONCE, batch_format="numpy", label_selector=_labels(nodes)
    )
    outcomes = tqdm(dataset.iter_rows(), total=len(rows), desc=description, unit="photo", mininterval=2, ascii=True)
    for outcome in outcomes:
        value = pickle.loads(outcome["outcome"])
        if isinstance(value, HallmarkError):
            raise value
        yield value


def _worked(columns: Columns, work: Callable[[Any], Any]) -> dict[str, list[bytes]]:
    return {"outcome": [pickle.dumps(_outcome(row, work)) for row in columns["row"]]}


def _outcome(row: bytes, work: Callable[[Any], Any]) -> Any:
    # An error that is a value comes through Ray as it is; a raised one would come wrapped in a trace of Ray's.
    try:
        return work(pickle.loads(row))
    except HallmarkError as error:
        return error


def ingest(config: ImportConfig) -> Assembled:
    """List a source's photographs, inspect them on the cluster, and write manifest and quarantine.

    Raises:
        DataError: what is wrong with the source; OutputError: where it could not be written.
    """
    listing = list_photographs(config.source)
    earlier = earlier_manifest(config.out)
    with connected():
        inspected = list(
            in_turn(partial(inspect_listed, limits=config.limits), listing.photographs, "inspecting", config.nodes)
        )
    assembled = assemble(listing, inspected, config, earlier)
    write_import(assembled, config.out)
    return assembled


def measure_manifest(table: pa.Table, limits: DecodeLimits, nodes: Mapping[str, str]) -> list[Measured]:
    """What each row's photograph tells an audit, in their order; a bad one comes back with its reason."""
    with connected():
        return list(in_turn(partial(measure_row, limits=limits), table.to_pylist(), "measuring", nodes))


def prepare(config: PreparationConfig) -> Assembled:
    """Prepare a manifest's photographs on the cluster; broken off, it goes on where it stopped.

    Raises:
        DataError, OutputError: what is wrong with the manifest or the place.
    """
    table = read_manifest(config.manifest)
    journal = Journal(table, config)
    missing = [task for task in tasks(table, config) if task.row["image_id"] not in journal.done]
    if missing:
        with connected():
            cuts = in_turn(partial(prepare_photograph, config=config), missing, "preparing", config.nodes)
            for _ in journal.keeping(cuts):
                pass
    assembled = prepared_set(table, journal.done)
    write_import(assembled, config.out)
    return assembled


def photograph_stream(
    columns: Columns,
    batch_size: int,
    transforms: Transforms,
    collate: Callable[[Columns], T] = dict,
    nodes: Mapping[str, str] | None = None,
) -> Iterator[T]:
    """Loaded photographs in the order given, `batch_size` rows at a time.

    Each training worker makes its own stream from its own rows (see `BatchSampler`): a stream shared out by Ray would
    break the batches up. Pixels cross the object store as uint8 of network size. At most a few blocks are on their
    way: what is not yet asked for waits, however long the plan is.

    Args:
        columns: `uri` and whatever else belongs to a row; see `load_photographs`.
        batch_size: rows a batch; the last may be short.
        transforms: what is done to each photograph.
        collate: makes of loaded columns what the consumer takes, ahead of its asking.
        nodes: labels of the nodes that decode and augment; None = any.

    Raises:
        DecodeError, DataError: a photograph that the manifest lists can no longer be read; names it.
    """
    types = {"uri": pa.string(), "box": pa.list_(pa.float64()), "mask_uri": pa.string()}
    table = pa.table({name: pa.array(values.tolist(), types.get(name)) for name, values in columns.items()})
    dataset = _in_order(table, batch_size).map_batches(
        partial(_loaded, transforms=transforms),
        batch_size=batch_size,
        batch_format="numpy",
        label_selector=_labels(nodes),
    )
    batches = dataset.iter_torch_batches(batch_size=batch_size, collate_fn=_Collate(collate), prefetch_batches=2)
    # An iterator, not Ray's iterable: a loop that takes an epoch's batches at a time must go on, not begin again.
    return iter(batches)


def _loaded(columns: Columns, transforms: Transforms) -> Columns:
    keep_freed_memory()
    return load_photographs(columns, transforms)


class _Collate(NumpyBatchCollateFn):
    def __init__(self, collate: Callable[[Columns], Any]):
        self._collate = collate

    def __call__(self, batch: Columns) -> Any:
        return self._collate(batch)


def _labels(nodes: Mapping[str, str] | None) -> dict[str, str] | None:
    return dict(nodes) if nodes else None


def _in_order(table: pa.Table, batch_size: int) -> ray.data.Dataset:
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.target_max_block_size = _HANDED_ON_BYTES
    context.enable_progress_bars = False  # the rows are counted by whoever reads them
    step = batch_size * _BATCHES_PER_BLOCK
    blocks = [table.slice(start, step) for start in range(0, table.num_rows, step)]
    return ray.data.from_arrow(blocks)
