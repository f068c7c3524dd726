"""A manifest split anew: by ratio, source by source or device by device, with smaller training sets inside each."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import pyarrow as pa
from pydantic import Field, model_validator

from hallmark.data.heldout import folds, hold_out, with_roles, without_roles
from hallmark.data.manifest import manifest_hash, write_manifest, write_whole
from hallmark.data.splits import SplitConfig, assign_roles, count_roles, rank, split_hash, stratum, thin_strata
from hallmark.errors import ConfigError, DataError, OutputError
from hallmark.types import Role


class ResplitConfig(SplitConfig):
    """Which new splits of a manifest to write, and where."""

    manifest: str = Field(description="manifest.parquet of an import, or its folder; a path or any fsspec URI")
    out: str = Field(description="local folder; each split goes to a folder of its own in it")
    mode: Literal["ratio", "leave_source_out", "leave_device_out"] = Field(
        "ratio",
        description="by ratio; or with the counterfeits of one source, or the photographs of one device, as the test",
    )
    held_out: str | None = Field(
        None, description="the source_id or device_id to hold out; null: each in turn. None in mode ratio"
    )
    subsets: tuple[float, ...] = Field(
        (),
        description="shares of the training items to write as nested subsets too, each above 0 to 1; val and test stay",
    )

    @model_validator(mode="after")
    def _settings_fit(self) -> Self:
        if self.held_out is not None and self.mode == "ratio":
            raise ValueError(f"held_out is {self.held_out!r} in mode ratio; wanted a leave_..._out mode")
        strange = [share for share in self.subsets if not 0 < share <= 1]
        if strange or len(set(map(_percent, self.subsets))) < len(self.subsets):
            found = ", ".join(f"{share:g}" for share in self.subsets)
            raise ValueError(f"subsets is {found}; wanted shares above 0 to 1, each once (to a tenth of a per cent)")
        return self


@dataclass(frozen=True)
class Split:
    """One new split of a manifest. `name` can be a folder's."""

    name: str
    table: pa.Table
    held_out: str | None = None
    training_share: float = 1.0
    left_out: list[str] = field(default_factory=list)
    """Image_ids of the manifest's rows that have no role in this split, sorted."""
    notices: list[str] = field(default_factory=list)


def resplit(table: pa.Table, config: ResplitConfig) -> list[Split]:
    """The new splits of a manifest: one by ratio or one a fold, each followed by its training subsets.

    References keep their role, and pass it on to the rest of their group. Rows keep their order.

    Raises:
        DataError: nothing can be held out, or what should be is not there.
    """
    if config.mode == "ratio":
        splits = [Split("ratio", split_by_ratio(table, config))]
    else:
        names = folds(table, config.mode) if config.held_out is None else [config.held_out]
        if not names:
            column = "source_id of a counterfeit" if config.mode == "leave_source_out" else "device_id"
            raise DataError(f"{config.manifest}: found no {column}; wanted some to hold out; name them in the import")
        splits = [_fold(table, name, config) for name in names]
    outcome = []
    for split in splits:
        notices = [*split.notices, *_ungrouped(table), *thin_strata(split.table.to_pylist())]
        outcome.append(Split(split.name, split.table, split.held_out, 1.0, split.left_out, notices))
        for share in config.subsets:
            subset = training_subset(split.table, share, config.seed)
            name = f"{split.name}-train{_percent(share)}"
            outcome.append(Split(name, subset, split.held_out, share, split.left_out, notices))
    return outcome


def split_by_ratio(table: pa.Table, config: SplitConfig) -> pa.Table:
    """A manifest with new roles by ratio and seed, whatever they were; references keep theirs."""
    return with_roles(table, assign_roles(without_roles(table), config))


def training_subset(table: pa.Table, share: float, seed: int) -> pa.Table:
    """A manifest with a share of its training items, and all its other rows, in their order.

    Items go as a whole, by a hash of seed and item, so that a smaller share lies within any larger one. They are
    stratified by the (product, part, authenticity) that their photographs cover; each such stratum keeps its rounded
    share, at least one item.

    Args:
        table: manifest rows.
        share: of the training items, above 0 to 1.
        seed: another seed gives another subset.

    Raises:
        ConfigError: the share is out of range.
    """
    if not 0 < share <= 1:
        raise ConfigError(f"share: found {share:g}; wanted above 0 to 1")
    items: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in table.to_pylist():
        if row["role"] == Role.TRAIN:
            items[row["item_id"]].append(row)
    # Not the first stratum alone: an item of several parts counts for each of them, and none must run empty.
    strata: dict[tuple, list[tuple[str, str]]] = defaultdict(list)
    for item, rows in items.items():
        covered = tuple(sorted({stratum(row) for row in rows}))
        strata[covered].append((rank(seed, [row["image_id"] for row in rows]), item))
    kept = {item for ranked in strata.values() for _, item in sorted(ranked)[: max(1, int(len(ranked) * share + 0.5))]}
    columns = zip(table["role"].to_pylist(), table["item_id"].to_pylist(), strict=True)
    return table.filter(pa.array([role != Role.TRAIN or item in kept for role, item in columns], pa.bool_()))


def write_splits(splits: Sequence[Split], source: pa.Table, config: ResplitConfig) -> list[Path]:
    """Write each split's manifest.parquet and split.json to a folder of its name, the manifest last.

    Returns:
        The folders, in the order of the splits.

    Raises:
        OutputError: a folder cannot be made or written to.
    """
    if "://" in config.out:
        raise OutputError(f"{config.out}: found a URI; wanted a local folder to write the splits to")
    written = []
    for split in splits:
        folder = Path(config.out) / split.name
        content = json.dumps(_record(split, source, config), indent=2, ensure_ascii=False).encode() + b"\n"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(folder / "split.json", lambda file, content=content: file.write(content))
            write_manifest(split.table, folder)
        except OSError as error:
            raise OutputError(
                f"{folder}: cannot be written ({error.strerror or error}); wanted a folder with write rights and space"
            ) from None
        written.append(folder)
    return written


def _fold(table: pa.Table, held_out: str, config: ResplitConfig) -> Split:
    outcome = hold_out(table, config.mode, held_out, config)
    name = f"{config.mode.split('_')[1]}-{_file_name(held_out)}"
    return Split(name, outcome.table, held_out, 1.0, outcome.left_out, outcome.notices)


def _ungrouped(table: pa.Table) -> list[str]:
    num_rows = table["group_id"].null_count
    if not num_rows:
        return []
    return [
        f"{num_rows} photographs have no group_id (an older import): near-duplicates under different item_ids may lie "
        "in different roles; run the import again"
    ]


def _record(split: Split, source: pa.Table, config: ResplitConfig) -> dict[str, Any]:
    rows = split.table.to_pylist()
    roles = Counter(row["role"] for row in rows)
    return {
        "split_hash": split_hash(split.table),
        "manifest_hash": manifest_hash(split.table),
        "source_manifest": config.manifest,
        "source_manifest_hash": manifest_hash(source),
        "mode": config.mode,
        "held_out": split.held_out,
        "ratio": list(config.ratio),
        "seed": config.seed,
        "training_share": split.training_share,
        "photographs": {role.value: roles[role] for role in Role if roles[role]},
        "strata": count_roles(rows),
        "left_out": split.left_out,
        "notices": split.notices,
    }


def _file_name(held_out: str) -> str:
    """The id itself where that is safe as a file's name, else as much of it as is, and a hash of it."""
    safe = re.sub(r"[^A-Za-z0-9_-]+", "-", held_out).strip("-")[:60]
    return safe if safe == held_out else f"{safe}-{hashlib.sha256(held_out.encode()).hexdigest()[:6]}".lstrip("-")


def _percent(share: float) -> str:
    return f"{100 * share:.1f}".removesuffix(".0")
