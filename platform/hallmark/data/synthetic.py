"""Draws a set of product photographs and their counterfeits into a folder, with the places of every edit."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from PIL import __version__ as pillow_version
from pydantic import ValidationError

from hallmark.data.drawing.shots import MAKER, SOURCES, DrawConfig, Drawn, Shot, draw_shot, plan
from hallmark.errors import OutputError, ResourceError

__all__ = ["MAKER", "SOURCES", "TABLE", "DrawConfig", "Drawn", "Shot", "draw_set", "draw_shot", "plan"]

TABLE = "photographs.csv"
_RECORD = "drawing.json"
_EDITION = 2
_OF_SHOT = ("product", "part", "authenticity", "item_id", "source_id", "device_id")
_COLUMNS = ("uri", *_OF_SHOT, "mask_uri", "edit_mask_uri")


def draw_set(
    config: DrawConfig, out: Path, workers: int = 1, progress: Callable[[int, int], None] | None = None
) -> Path:
    """Draw a set into a folder; files that an earlier run with the same configuration finished are kept.

    Writes `<product>/<part>/<authenticity>/<item>_<shot>.jpg` and `unrelated/*.jpg`; for every product photograph its
    foreground mask `masks/**.png` and for every counterfeit its edit mask `edits/**.png` (8-bit grey, 255 inside); and
    last of all the table `photographs.csv`. A set of another configuration in the same folder is replaced.

    Args:
        workers: processes that draw at once.
        progress: called with (photographs done, photographs in all).

    Returns:
        The path of the table.

    Raises:
        OutputError: the folder cannot be written, or holds photographs that are not from a drawn set.
        ResourceError: a drawing process was ended from outside.
    """
    shots = plan(config)
    out = Path(out)
    try:
        _prepare(config, out, shots)
        missing = [shot for shot in shots if not (out / shot.file).is_file()]
        done = len(shots) - len(missing)
        if progress is not None:
            progress(done, len(shots))
        for count in _draw_items(missing, config, out, workers):
            done += count
            if progress is not None:
                progress(done, len(shots))
        _write(out / TABLE, _table(shots).encode())
    except OSError as error:
        raise OutputError(
            f"{out}: the drawn set cannot be written ({error.strerror or error}); wanted a folder that can be written "
            "to, with room for it; choose another one"
        ) from None
    except BrokenProcessPool:
        raise ResourceError(
            f"{out}: a drawing process was ended from outside, perhaps for want of memory; run again with fewer "
            f"workers than {workers}: finished photographs are kept"
        ) from None
    return out / TABLE


def _draw_items(shots: list[Shot], config: DrawConfig, out: Path, workers: int) -> Iterator[int]:
    """Draw the shots item by item; yields the number of photographs after each item."""
    items = [list(group) for _, group in groupby(shots, key=lambda shot: shot.item_id)]
    if workers <= 1 or len(items) < 2:
        for item in items:
            yield _draw_item(item, config, out)
        return
    # Spawned, because a fork copies the locks of threads that the caller's libraries may be running.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), cv2.setNumThreads, (1,))
    try:
        for future in as_completed([pool.submit(_draw_item, item, config, out) for item in items]):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _draw_item(shots: list[Shot], config: DrawConfig, out: Path) -> int:
    for shot in shots:
        drawn = draw_shot(shot, config)
        if shot.mask_file is not None:
            _write(out / shot.mask_file, _png(drawn.foreground_mask))
        if shot.edit_mask_file is not None:
            _write(out / shot.edit_mask_file, _png(drawn.edit_mask))
        # The photograph comes last: a rerun takes it for the sign that its masks are there too.
        _write(out / shot.file, drawn.jpeg)
    return len(shots)


def _png(mask: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(buffer, format="PNG")
    return buffer.getvalue()


def _write(path: Path, data: bytes) -> None:
    """Write under a temporary name first, so that a file of the right name is always whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _table(shots: list[Shot]) -> str:
    text = io.StringIO()
    # With a bare \n, csv leaves a carriage return inside a value unquoted, and it would begin a row.
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(_COLUMNS)
    for shot in shots:
        row = (getattr(shot, name) for name in _OF_SHOT)
        writer.writerow((shot.file, *row, shot.mask_file or "", shot.edit_mask_file or ""))
    return text.getvalue()


def _prepare(config: DrawConfig, out: Path, shots: list[Shot]) -> None:
    """Make the folder and its record; remove the set of another configuration that the record names."""
    out.mkdir(parents=True, exist_ok=True)
    record = {
        "edition": _EDITION,
        "config": config.model_dump(mode="json"),
        "libraries": {"numpy": np.__version__, "opencv": cv2.__version__, "pillow": pillow_version},
    }
    earlier = _earlier(out)
    if earlier == record:
        return
    if earlier is None:
        taken = next((shot.file for shot in shots if (out / shot.file).exists()), None)
        if taken is not None:
            raise OutputError(
                f"{out}: holds {taken}, but no {_RECORD} that says it was drawn; wanted an empty folder or an earlier "
                "drawn set; choose another folder"
            )
    else:
        (out / TABLE).unlink(missing_ok=True)
        _remove(out, earlier)
    _write(out / _RECORD, json.dumps(record, indent=2).encode())


def _earlier(out: Path) -> dict | None:
    try:
        record = json.loads((out / _RECORD).read_text())
    except (FileNotFoundError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def _remove(out: Path, record: dict) -> None:
    try:
        shots = plan(DrawConfig.model_validate(record.get("config")))
    except ValidationError:
        shots = []
    files = [out / file for shot in shots for file in shot.files]
    for file in files:
        file.unlink(missing_ok=True)
    folders = {folder for file in files for folder in file.parents if folder.is_relative_to(out) and folder != out}
    for folder in sorted(folders, reverse=True):
        with contextlib.suppress(OSError):  # not empty: it holds files that are not ours
            folder.rmdir()
