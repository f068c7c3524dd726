"""Roles of photographs: train, val and test, split by whole items and balanced over products."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, field_validator, model_validator

from hallmark.config import Config
from hallmark.types import Role

Stratum = tuple[str, str, str]


class SplitConfig(Config):
    """How the items of each stratum (product, part, authenticity) are shared out."""

    ratio: tuple[float, float, float] = Field(
        (6, 2, 2),
        description="parts of the items for train : val : test, each above 0, train not below the others; [8, 1, 1] "
        "or 8:1:1. Train is learned from, val is for choices and thresholds, test for the figures reported",
    )
    seed: int = Field(0, ge=0, le=2**32 - 1, description="another seed gives another split (0 to 2^32 - 1)")

    @field_validator("ratio", mode="before")
    @classmethod
    def _read_ratio(cls, value: Any) -> Any:
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            # YAML takes 8:1:1 for a number to the base 60.
            return value // 3600, value // 60 % 60, value % 60
        if not isinstance(value, str):
            return value
        try:
            return tuple(float(part) for part in value.split(":"))
        except ValueError:
            raise ValueError("wanted train:val:test, such as 8:1:1") from None

    @model_validator(mode="after")
    def _ratio_fits(self) -> Self:
        train, val, test = self.ratio
        if min(self.ratio) <= 0:
            raise ValueError(f"ratio is {train:g}:{val:g}:{test:g}; wanted each part above 0")
        if train < max(val, test):
            raise ValueError(f"ratio is {train:g}:{val:g}:{test:g}; wanted train not below val and test")
        return self


def assign_roles(
    table: pa.Table, config: SplitConfig, clusters: Sequence[int] | np.ndarray | None = None, tested: bool = True
) -> list[str]:
    """Give every photograph a role such that no item and no near-duplicate cluster lies in two of them.

    The photographs of a group (see `group_labels`) go together. A group belongs to the first, in sorted order, of the
    strata its photographs lie in; unrelated photographs are strata of their own. Within a stratum groups are ordered
    by a hash of the seed and the group, so that a new group displaces few old ones, and dealt out by `quotas`. A role
    that a row already has is kept, is counted in the quotas, and is passed on to the rows of its group that have none.

    Args:
        table: columns image_id, product, part, authenticity, item_id; `group_id`, `role` where given (empty: none).
        config: ratio and seed.
        clusters: (N,) whole numbers, the near-duplicate cluster of each row; None = no more than group_id tells.
        tested: False deals out train and val only.

    Returns:
        N roles in the order of the rows; the same for a row whatever that order is.
    """
    rows = table.to_pylist()
    members: dict[int, list[int]] = defaultdict(list)
    for index, label in enumerate(group_labels(rows, clusters)):
        members[label].append(index)
    strata: dict[Stratum, list[list[int]]] = defaultdict(list)
    for indices in members.values():
        strata[min(stratum(rows[index]) for index in indices)].append(indices)
    roles = [row.get("role") or "" for row in rows]
    for groups in strata.values():
        _deal(rows, groups, config, tested, roles)
    return roles


def quotas(num_groups: int, config: SplitConfig, tested: bool = True) -> dict[Role, int]:
    """How many groups of a stratum each role gets.

    From three groups on, val and test get their rounded share, at least one each, and train the rest, never less than
    either of them. Of two groups one is for train and one for test; a single one is for train. Where nothing is
    `tested`, val gets its share of val + train, at least one of two groups.
    """
    train, val, test = config.ratio
    if not tested:
        num_val = min(max(1, _rounded(num_groups * val / (train + val))), num_groups // 2)
        return {Role.TRAIN: num_groups - num_val, Role.VAL: num_val, Role.TEST: 0}
    if num_groups < 3:
        return {Role.TRAIN: num_groups - num_groups // 2, Role.VAL: 0, Role.TEST: num_groups // 2}
    num_val, num_test = (max(1, _rounded(num_groups * part / sum(config.ratio))) for part in (val, test))
    while num_groups - num_val - num_test < max(num_val, num_test):
        num_val, num_test = (num_val - 1, num_test) if num_val >= num_test else (num_val, num_test - 1)
    return {Role.TRAIN: num_groups - num_val - num_test, Role.VAL: num_val, Role.TEST: num_test}


def count_roles(rows: Iterable[dict[str, Any]]) -> dict[str, dict[str, dict[str, int]]]:
    """Photographs and items by stratum ("bag/whole/genuine") and role, both sorted; roles without any are left out."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in rows:
        found["/".join(filter(None, stratum(row))), row["role"]].append(row["item_id"])
    counts: dict[str, dict[str, dict[str, int]]] = defaultdict(dict)
    for (place, role), items in sorted(found.items()):
        counts[place][role] = {"photographs": len(items), "items": len(set(items))}
    return dict(counts)


def thin_strata(rows: Iterable[dict[str, Any]]) -> list[str]:
    """A notice for each stratum that has no photograph in train, val or test."""
    notices = []
    for place, found in count_roles(rows).items():
        missing = [role.value for role in (Role.TRAIN, Role.VAL, Role.TEST) if role not in found]
        if missing:
            num_items = sum(role["items"] for role in found.values())
            notices.append(f"{place}: too few items ({num_items}); no photograph for {' and '.join(missing)}")
    return notices


def split_hash(table: pa.Table) -> str:
    """SHA-256 (first 16 hex digits) of the sorted pairs of image_id and role."""
    return digest(zip(table["image_id"].to_pylist(), table["role"].to_pylist(), strict=True))


def digest(rows: Iterable[Sequence[str]]) -> str:
    """SHA-256 (first 16 hex digits) of rows of text, whatever their order."""
    canonical = json.dumps(sorted(list(row) for row in rows), separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def stratum(row: dict[str, Any]) -> Stratum:
    """Product, part and authenticity of a row."""
    return row["product"], row["part"], row["authenticity"]


def group_labels(rows: Sequence[dict[str, Any]], clusters: Sequence[int] | np.ndarray | None = None) -> list[int]:
    """A label for each row; rows that share an item_id, a group_id or a cluster, or a chain of these, share theirs.

    Args:
        rows: with item_id and, where given, group_id; empty text or None joins nothing.
        clusters: (N,) whole numbers, or None.
    """
    parent = list(range(len(rows)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    seen: dict[tuple[str, str], int] = {}
    for index, row in enumerate(rows):
        keys = [(name, row[name]) for name in ("item_id", "group_id") if row.get(name)]
        if clusters is not None:
            keys.append(("cluster", str(clusters[index])))
        for key in keys:
            parent[root(index)] = root(seen.setdefault(key, index))
    return [root(index) for index in range(len(rows))]


def rank(seed: int, image_ids: Iterable[str]) -> str:
    """Where a group stands in its stratum; it is named by its first image_id, which renumbered items leave alone."""
    return hashlib.sha256(f"{seed}:{min(image_ids)}".encode()).hexdigest()


def _deal(rows: list[dict], groups: list[list[int]], config: SplitConfig, tested: bool, roles: list[str]) -> None:
    """Fill in the roles of one stratum's groups, in place. References are no part of the shares."""
    settled: Counter[str] = Counter()
    open_groups: list[tuple[str, list[int]]] = []
    for indices in groups:
        given = [roles[index] for index in sorted(indices, key=lambda index: rows[index]["image_id"]) if roles[index]]
        if given:
            settled[given[0]] += 1
            _fill(roles, indices, given[0])
        else:
            open_groups.append((rank(config.seed, [rows[index]["image_id"] for index in indices]), indices))
    left = Counter(quotas(len(groups) - settled[Role.REFERENCE], config, tested))
    left.subtract(settled)
    for _, indices in sorted(open_groups):
        role = next((role for role in (Role.TEST, Role.VAL) if left[role] > 0), Role.TRAIN)
        left[role] -= 1
        _fill(roles, indices, role.value)


def _fill(roles: list[str], indices: list[int], role: str) -> None:
    for index in indices:
        roles[index] = roles[index] or role


def _rounded(number: float) -> int:
    return math.floor(number + 0.5)
