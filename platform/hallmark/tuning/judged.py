"""What a trial's bundle says of photographs, stored beside it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from hallmark.data.manifest import write_whole
from hallmark.errors import DataError
from hallmark.training.validation import Judged
from hallmark.types import Role


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
