"""What is worth doing once: foreground masks found, and photographs cut to their boxes, before any training."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import cv2
import fsspec
import numpy as np
import pyarrow as pa
from pydantic import Field

from hallmark.config import Config, config_hash
from hallmark.data.decode import DecodeLimits
from hallmark.data.foreground import Foreground, ForegroundConfig, Reference, Segmenter, build_segmenter, read_mask
from hallmark.data.manifest import MANIFEST_SCHEMA, QUARANTINE_SCHEMA, Assembled, manifest_hash
from hallmark.data.preprocess import Box, cut
from hallmark.data.transforms import foreground_of, read_photograph
from hallmark.errors import HallmarkError, OutputError
from hallmark.types import Authenticity, Role

_PART_ROWS = 64


class PreparationConfig(Config):
    """What is prepared, and where it goes."""

    manifest: str = Field(description="path of manifest.parquet")
    out: str = Field(description="folder of the prepared set, a path or fsspec URI that all nodes see")
    margin: float = Field(
        0.05, ge=0, le=1, description="added round a box on each side, share of its side; as `preprocessing.margin`"
    )
    foreground: ForegroundConfig = ForegroundConfig()
    references: int = Field(
        3, ge=1, le=20, description="proto and persam: masked genuine photographs of a product and part to go by"
    )
    limits: DecodeLimits = DecodeLimits()
    nodes: dict[str, str] = Field({}, description="labels of the nodes that do it; {}: any")


@dataclass(frozen=True)
class Task:
    """One photograph to prepare."""

    row: dict[str, Any]
    """Of the manifest."""
    references: tuple[tuple[str, str], ...]
    """(uri, mask_uri) of masked photographs of its product and part."""


@dataclass(frozen=True)
class Cut:
    """One photograph prepared."""

    image_id: str
    uri: str = ""
    mask_uri: str | None = None
    edit_mask_uri: str | None = None
    width: int = 0
    height: int = 0
    unmasked: str = ""
    """Why it has no foreground mask; empty where it has one."""
    fault: str = ""
    """Why it cannot be used at all; empty where it can."""


def tasks(table: pa.Table, config: PreparationConfig) -> list[Task]:
    """One task for each row of a manifest, in its order."""
    masked: dict[tuple[str, str], list[tuple[str, str]]] = {}
    rows = table.to_pylist()
    for row in sorted(rows, key=lambda row: row["image_id"]):
        trusted = row["authenticity"] == Authenticity.GENUINE and row["role"] in (Role.TRAIN, Role.REFERENCE)
        if trusted and row["mask_uri"]:
            masked.setdefault((row["product"], row["part"]), []).append((row["uri"], row["mask_uri"]))
    wants_references = config.foreground.backend in ("proto", "persam")
    return [
        Task(row, tuple(masked.get((row["product"], row["part"]), [])[: config.references]) if wants_references else ())
        for row in rows
    ]


def prepare_photograph(task: Task, config: PreparationConfig) -> Cut:
    """Find one photograph's foreground, cut it and its masks to its box, and write what is new.

    A photograph without a box stays where it is; its masks are cut as it is, so that the three fit together. Cut
    photographs are written without loss.
    """
    row = task.row
    try:
        image = read_photograph(row["uri"], config.limits)
        found = _foreground(task, image, config)
        box: Box | None = None if row["box"] is None else tuple(row["box"])
        mask = _bytes(found.probability > 0.5) if found.accepted else None
        edits = read_mask(row["edit_mask_uri"]) if row["edit_mask_uri"] else None
        cut_image = cut(image, box, config.margin)
        return Cut(
            row["image_id"],
            row["uri"] if box is None else _write(cut_image[..., ::-1], "photographs", row, config.out),
            _kept(mask, box, row, "mask_uri", config),
            _kept(edits, box, row, "edit_mask_uri", config),
            cut_image.shape[1],
            cut_image.shape[0],
            unmasked="" if found.accepted else found.reason,
        )
    except OutputError:
        raise
    except HallmarkError as error:
        return Cut(row["image_id"], fault=str(error))


def _foreground(task: Task, image: np.ndarray, config: PreparationConfig) -> Foreground:
    given = task.row["mask_uri"]
    if given or config.foreground.backend == "given":
        return foreground_of(image, given, None)
    if config.foreground.backend != "pca" and not task.references:
        return Foreground(np.zeros(image.shape[:2], np.float32), None, 0.0, None, False, "no_reference")
    return _segmenter(config.foreground, config.limits, task.references).segment(image)


@lru_cache(maxsize=4)
def _segmenter(config: ForegroundConfig, limits: DecodeLimits, references: tuple[tuple[str, str], ...]) -> Segmenter:
    """A process loads a network once for each product that it meets."""
    pairs = [Reference(read_photograph(uri, limits), read_mask(mask) > 127) for uri, mask in references]
    return build_segmenter(config, pairs)


def _kept(
    mask: np.ndarray | None, box: Box | None, row: dict[str, Any], column: str, config: PreparationConfig
) -> str | None:
    """The URI of a mask beside the prepared photograph: the one it has where nothing was found or cut."""
    if mask is None:
        return None
    if box is None and row[column]:
        return row[column]
    folder = "masks" if column == "mask_uri" else "edits"
    return _write(cut(mask, box, config.margin), folder, row, config.out)


def _bytes(mask: np.ndarray) -> np.ndarray:
    return mask.astype(np.uint8) * 255


def _write(pixels: np.ndarray, folder: str, row: dict[str, Any], out: str) -> str:
    encoded = cv2.imencode(".png", np.ascontiguousarray(pixels))[1].tobytes()
    return write_file(f"{out.rstrip('/')}/{folder}/{row['image_id']}.png", encoded)


def write_file(uri: str, content: bytes) -> str:
    """Write a file anywhere fsspec reaches, its folder made first; returns its URI.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        filesystem, path = fsspec.core.url_to_fs(uri)
        filesystem.makedirs(path.rpartition("/")[0], exist_ok=True)
        filesystem.pipe_file(path, content)
    except Exception as error:  # each storage has errors of its own
        reason = " ".join(str(error).split())[:200]
        raise OutputError(f"{uri}: cannot be written ({reason}); wanted a folder with write rights and space") from None
    return uri


class Journal:
    """What an earlier run of the same preparation finished; killed at any moment, the next one goes on from it.

    Raises:
        OutputError: the folder holds a set that was prepared from another manifest or with other settings.
    """

    def __init__(self, table: pa.Table, config: PreparationConfig):
        self._folder = f"{config.out.rstrip('/')}/journal"
        self._header = {"config_hash": config_hash(config), "manifest_hash": manifest_hash(table)}
        self._filesystem, path = fsspec.core.url_to_fs(self._folder)
        self._parts = sorted(self._filesystem.glob(f"{path}/*.jsonl")) if self._filesystem.exists(path) else []
        self.done: dict[str, Cut] = {}
        for part in self._parts:
            header, *lines = self._filesystem.cat_file(part).decode().splitlines()
            if json.loads(header) != self._header:
                raise OutputError(
                    f"{config.out}: holds a set prepared from another manifest or with other settings; wanted an "
                    "empty folder or the same preparation; choose another folder"
                )
            self.done |= {cut["image_id"]: Cut(**cut) for cut in map(json.loads, lines)}

    def keeping(self, cuts: Iterator[Cut]) -> Iterator[Cut]:
        """Pass cuts on, and write them down a few dozen at a time."""
        waiting: list[Cut] = []
        try:
            for each in cuts:
                waiting.append(each)
                if len(waiting) == _PART_ROWS:
                    self._write(waiting)
                    waiting = []
                yield each
        finally:
            if waiting:
                self._write(waiting)

    def _write(self, cuts: Sequence[Cut]) -> None:
        lines = [json.dumps(self._header), *(json.dumps(asdict(each)) for each in cuts)]
        name = f"{self._folder}/{len(self._parts):06d}.jsonl"
        self._parts.append(write_file(name, "\n".join(lines).encode()))
        self.done |= {each.image_id: each for each in cuts}


def prepared_set(table: pa.Table, cuts: dict[str, Cut]) -> Assembled:
    """The manifest of the prepared set; every photograph keeps its image_id, which names the original.

    Returns:
        Manifest with the new places and no boxes; quarantine of what could not be used; notices.
    """
    rows, faults = [], []
    unmasked: dict[str, int] = {}
    for row in table.to_pylist():
        done = cuts[row["image_id"]]
        if done.fault:
            faults.append({"uri": row["uri"], "reason": "unprepared", "detail": done.fault})
            continue
        if done.unmasked:
            unmasked[done.unmasked] = unmasked.get(done.unmasked, 0) + 1
        places = {name: getattr(done, name) for name in ("uri", "mask_uri", "edit_mask_uri", "width", "height")}
        rows.append(row | places | {"box": None})
    notices = [
        f"{count} of {len(rows)} photographs have no foreground mask ({reason}); their background will stay"
        for reason, count in sorted(unmasked.items())
    ]
    if faults:
        notices.append(f"{len(faults)} of {table.num_rows} photographs could not be used; see quarantine.csv")
    manifest = pa.Table.from_pylist(rows, schema=MANIFEST_SCHEMA)
    return Assembled(manifest, pa.Table.from_pylist(faults, schema=QUARANTINE_SCHEMA), notices)
