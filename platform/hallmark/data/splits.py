"""Roles of photographs: train, val and test, split by whole items and balanced over products."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from hallmark.config import Config
from hallmark.types import Role

Stratum = tuple[str, str, str]


class SplitConfig(Config):
    """Shares of the items of each stratum (product, part, authenticity)."""

    train: float = Field(0.6, gt=0, lt=1, description="share of items to train on (0 to 1); not below val or test")
    val: float = Field(0.2, gt=0, lt=1, description="share of items that choices and thresholds are made on (0 to 1)")
    test: float = Field(0.2, gt=0, lt=1, description="share of items that figures are reported on (0 to 1)")
    seed: int = Field(0, ge=0, le=2**32 - 1, description="another seed gives another split (0 to 2^32 - 1)")

    @model_validator(mode="after")
    def _shares_fit(self) -> Self:
        total = self.train + self.val + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(f"train + val + test is {total:g}; wanted 1")
        if self.train < max(self.val, self.test):
            raise ValueError(f"train is {self.train:g}; wanted at least val ({self.val:g}) and test ({self.test:g})")
        return self


def assign_roles(table: pa.Table, config: SplitConfig, groups: Sequence[int] | np.ndarray | None = None) -> list[str]:
    """Give every photograph a role such that no item and no near-duplicate cluster lies in two of them.

    Photographs of one `item_id` or one cluster form a group, and groups that share a photograph are one. A group
    belongs to the first, in sorted order, of the strata its photographs lie in; unrelated photographs are strata of
    their own. Within a stratum groups are ordered by a hash of the seed and the group, so that a new group displaces
    few old ones, and dealt out by `quotas`. A role that a row already has is kept, is counted in the quotas, and is
    passed on to the rows of its group that have none.

    Args:
        table: columns image_id, product, part, authenticity, item_id; `role` where given (empty: none).
        config: shares and seed.
        groups: (N,) whole numbers, the near-duplicate cluster of each row; None = every photograph differs.

    Returns:
        N roles in the order of the rows; the same for a row whatever that order is.
    """
    rows = table.to_pylist()
    labels = _groups_of(rows, groups)
    members: dict[int, list[int]] = defaultdict(list)
    for index, label in enumerate(labels):
        members[label].append(index)
    strata: dict[Stratum, list[list[int]]] = defaultdict(list)
    for indices in members.values():
        strata[min(_stratum(rows[index]) for index in indices)].append(indices)
    roles = [row.get("role") or "" for row in rows]
    for stratum_groups in strata.values():
        _deal(rows, stratum_groups, config, roles)
    return roles


def quotas(num_groups: int, config: SplitConfig) -> dict[Role, int]:
    """How many groups of a stratum each role gets.

    From three groups on, val and test get their rounded share, at least one each, and train the rest, never less than
    either of them. Of two groups one is for train and one for test; a single one is for train.
    """
    if num_groups < 3:
        test = num_groups // 2
        return {Role.TRAIN: num_groups - test, Role.VAL: 0, Role.TEST: test}
    val, test = (max(1, math.floor(num_groups * share + 0.5)) for share in (config.val, config.test))
    while num_groups - val - test < max(val, test):
        val, test = (val - 1, test) if val >= test else (val, test - 1)
    return {Role.TRAIN: num_groups - val - test, Role.VAL: val, Role.TEST: test}


def split_hash(table: pa.Table) -> str:
    """SHA-256 (first 16 hex digits) of the sorted pairs of image_id and role."""
    return digest(zip(table["image_id"].to_pylist(), table["role"].to_pylist(), strict=True))


def digest(rows: Iterable[Sequence[str]]) -> str:
    """SHA-256 (first 16 hex digits) of rows of text, whatever their order."""
    canonical = json.dumps(sorted(list(row) for row in rows), separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _stratum(row: dict) -> Stratum:
    return row["product"], row["part"], row["authenticity"]


def _groups_of(rows: list[dict], clusters: Sequence[int] | np.ndarray | None) -> list[int]:
    """Union of the partitions by item and by near-duplicate cluster: a label for each row."""
    parent = list(range(len(rows)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    seen: dict[tuple[str, str], int] = {}
    for index, row in enumerate(rows):
        keys = [("item", row["item_id"])] if row["item_id"] else []
        if clusters is not None:
            keys.append(("cluster", str(clusters[index])))
        for key in keys:
            parent[root(index)] = root(seen.setdefault(key, index))
    return [root(index) for index in range(len(rows))]


def _deal(rows: list[dict], groups: list[list[int]], config: SplitConfig, roles: list[str]) -> None:
    """Fill in the roles of one stratum's groups, in place. References are no part of the shares."""
    settled: Counter[str] = Counter()
    open_groups: list[tuple[str, list[int]]] = []
    for indices in groups:
        given = [roles[index] for index in sorted(indices, key=lambda index: rows[index]["image_id"]) if roles[index]]
        if given:
            settled[given[0]] += 1
            _fill(roles, indices, given[0])
        else:
            open_groups.append((_rank(config.seed, [rows[index]["image_id"] for index in indices]), indices))
    left = Counter(quotas(len(groups) - settled[Role.REFERENCE], config))
    left.subtract(settled)
    for _, indices in sorted(open_groups):
        role = next((role for role in (Role.TEST, Role.VAL) if left[role] > 0), Role.TRAIN)
        left[role] -= 1
        _fill(roles, indices, role.value)


def _fill(roles: list[str], indices: list[int], role: str) -> None:
    for index in indices:
        roles[index] = roles[index] or role


def _rank(seed: int, image_ids: list[str]) -> str:
    """Where a group stands in its stratum; it is named by its first image_id, which renumbered items leave alone."""
    return hashlib.sha256(f"{seed}:{min(image_ids)}".encode()).hexdigest()
