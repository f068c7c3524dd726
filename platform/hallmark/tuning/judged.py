"""What a trial's bundle says of photographs, stored beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hallmark.data.batches import Columns, plain_batches
from hallmark.data.manifest import read_manifest, write_whole
from hallmark.data.transforms import Transforms
from hallmark.errors import DataError
from hallmark.training.bundle import Bundle
from hallmark.training.validation import Judged, Validation
from hallmark.training.worker import Worker
from hallmark.types import Role


def judge(bundle: Bundle, role: Role, device: torch.device | str = "cpu") -> Judged:
    """Ask a bundle about the photographs of a role, of the manifest that it was trained on.

    Raises:
        DataError: a photograph cannot be read; names it.
        BundleError, WeightsError: what is wrong with the bundle.
    """
    table = read_manifest(Path(bundle.run.manifest))
    worker = Worker(0, 1, torch.device(device))
    return Validation(table, bundle.run, worker, _stream, role).judge(bundle.build_method(device))


def _stream(
    columns: Columns, batch_size: int, transforms: Transforms, collate: Callable[[Columns], Any]
) -> Iterator[Any]:
    return map(collate, plain_batches(columns, batch_size, transforms))


def judged_file(folder: Path, role: Role) -> Path:
    """Where a trial's folder has what was said of the photographs of a role."""
    return folder / f"judged-{role}.json"


def write_judged(path: Path, judged: Judged) -> None:
    """Store, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    told = None if judged.told is None else judged.told.tolist()
    fields = {
        "image_ids": judged.image_ids,
        "items": judged.items.tolist(),
        "class_index": judged.class_index.tolist(),
        "score": judged.score.tolist(),
        "told": told,
    }
    write_whole(path, lambda file: file.write(json.dumps(fields, allow_nan=False).encode()))


def read_judged(path: Path) -> Judged:
    """Read what was stored.

    Raises:
        DataError: it cannot be read.
    """
    try:
        fields = json.loads(path.read_bytes())
        return Judged(
            image_ids=fields["image_ids"],
            items=np.array(fields["items"]),
            class_index=np.array(fields["class_index"], dtype=np.int64),
            score=np.array(fields["score"], dtype=np.float64),
            told=None if fields["told"] is None else np.array(fields["told"], dtype=np.int64),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); wanted what the sweep stored there") from None
