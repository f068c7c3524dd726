"""References as rows of the store, and back."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from hallmark.gallery.dataset import EMBEDDING_ID
from hallmark.types import Authenticity, Described, Details

META = ("reference_id", "image_id", "product", "part", "item_id", "authenticity")
DETAILS = ("image_id", "local", "positions", "weights", "stride", "frame", "surface")
LOCAL_DIM = b"local_dim"


@dataclass(frozen=True)
class Reference:
    """A photograph of known authenticity, described and ready to enrol."""

    described: Described
    product: str
    part: str
    item_id: str
    authenticity: Authenticity
    thumbnail: bytes


def reference_id(reference: Reference, embedding_id: str) -> str:
    """Names all that a verdict reads of a reference: equal ids are equal references, in whatever version."""
    described, details = reference.described, reference.described.details
    names = (described.image_id, reference.product, reference.part, reference.item_id, reference.authenticity)
    told = hashlib.sha256("\0".join([*map(str, names), embedding_id, repr(details.stride)]).encode())
    for array in (described.descriptor.astype(np.float16), details.local, details.weights):
        told.update(np.ascontiguousarray(array, np.float16).tobytes())
    for array in (details.positions, details.frame):
        told.update(np.ascontiguousarray(array, np.float32).tobytes())
    told.update(details.surface)
    return f"ref-{told.hexdigest()[:24]}"


def table_of(references: Sequence[Reference], bundle_id: str, embedding_id: str) -> pa.Table:
    """References as rows; their descriptors are rounded to float16."""
    num_descriptor = len(references[0].described.descriptor)
    now = datetime.datetime.now(datetime.UTC)
    details = [r.described.details for r in references]
    flat = np.concatenate([r.described.descriptor for r in references]).astype(np.float16)
    columns = {
        "reference_id": pa.array([reference_id(r, embedding_id) for r in references]),
        "image_id": pa.array([r.described.image_id for r in references]),
        "product": pa.array([r.product for r in references]),
        "part": pa.array([r.part for r in references]),
        "item_id": pa.array([r.item_id for r in references]),
        "authenticity": pa.array([str(r.authenticity) for r in references]),
        "global": pa.FixedSizeListArray.from_arrays(pa.array(flat), num_descriptor),
        "local": _lists([d.local for d in details], pa.float16()),
        "positions": _lists([d.positions for d in details], pa.float32()),
        "weights": _lists([d.weights for d in details], pa.float16()),
        "stride": pa.array([d.stride for d in details], pa.float64()),
        "frame": pa.FixedSizeListArray.from_arrays(pa.array(np.concatenate([d.frame for d in details])), 4),
        "surface": pa.array([d.surface for d in details], pa.binary()),
        "thumbnail": pa.array([r.thumbnail for r in references], pa.binary()),
        "bundle_id": pa.array([bundle_id] * len(references)),
        "enrolled_at": pa.array([now] * len(references), pa.timestamp("us", tz="UTC")),
    }
    local_dim = str(details[0].local.shape[1]).encode()
    return pa.table(columns).replace_schema_metadata({EMBEDDING_ID: embedding_id.encode(), LOCAL_DIM: local_dim})


def details_of(row: pa.RecordBatch, local_dim: int) -> Details:
    """A row as verification wants it."""

    def numbers(name: str) -> np.ndarray:
        return np.asarray(row.column(name)[0].values)

    weights = numbers("weights")
    return Details(
        image_id=row.column("image_id")[0].as_py(),
        local=numbers("local").reshape(len(weights), local_dim),
        positions=numbers("positions").reshape(-1, 2),
        weights=weights,
        stride=row.column("stride")[0].as_py(),
        frame=numbers("frame"),
        surface=row.column("surface")[0].as_py(),
    )


def matrix_of(column: pa.ChunkedArray) -> np.ndarray:
    """(R, D) float16 of a column of descriptors."""
    flat = [np.asarray(chunk.flatten()).reshape(len(chunk), column.type.list_size) for chunk in column.chunks]
    return np.concatenate([np.empty((0, column.type.list_size), np.float16), *flat])


def _lists(arrays: Sequence[np.ndarray], kind: pa.DataType) -> pa.Array:
    offsets = np.concatenate([[0], np.cumsum([array.size for array in arrays])]).astype(np.int32)
    values = np.concatenate([array.ravel() for array in arrays])
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values, kind))
