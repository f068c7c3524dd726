"""Nested parts of the training photographs."""

from __future__ import annotations

from collections import defaultdict

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hallmark.data.splits import group_labels
from hallmark.evaluation.training_subset import training_subset
from hallmark.types import Role


def manifest(items: int = 5, shots: int = 2) -> pa.Table:
    """Two products, both authenticities; every third item is for validation or test."""
    roles = [Role.TRAIN, Role.TRAIN, Role.TRAIN, Role.VAL, Role.TEST]
    rows = [
        {
            "image_id": f"{product}-{authenticity}-{item}-{shot}",
            "product": product,
            "part": "whole",
            "authenticity": authenticity,
            "item_id": f"{product}-{authenticity}-{item}",
            "group_id": None,
            "role": str(roles[item % 5]),
        }
        for product in ("a", "b")
        for authenticity in ("genuine", "counterfeit")
        for item in range(items)
        for shot in range(shots)
    ]
    schema = pa.schema([(name, pa.string()) for name in rows[0]])
    return pa.Table.from_pylist(rows, schema=schema)


def ids(table: pa.Table, role: Role | None = None) -> set[str]:
    return {row["image_id"] for row in table.to_pylist() if role is None or row["role"] == role}


@given(
    items=st.integers(5, 25),
    seed=st.integers(0, 100),
    shares=st.lists(st.floats(0.05, 1.0), min_size=2, max_size=2).map(sorted),
)
def test_a_smaller_share_is_contained_in_a_larger_one_and_items_stay_whole(items: int, seed: int, shares: list) -> None:
    table = manifest(items)
    small, large = (training_subset(table, share, seed) for share in shares)
    assert ids(small) <= ids(large) <= ids(table)
    for role in (Role.VAL, Role.TEST):
        assert ids(small, role) == ids(large, role) == ids(table, role)
    training = [row for row in table.to_pylist() if row["role"] == Role.TRAIN]
    groups = defaultdict(set)
    for row, group in zip(training, group_labels(training), strict=True):
        groups[group].add(row["image_id"])
    for part, share in ((small, shares[0]), (large, shares[1])):
        kept = ids(part, Role.TRAIN)
        assert all(group <= kept or not group & kept for group in groups.values())
        by_stratum = defaultdict(set)
        for row in part.to_pylist():
            if row["role"] == Role.TRAIN:
                by_stratum[row["product"], row["authenticity"]].add(row["item_id"])
        there = len({row["item_id"] for row in training if (row["product"], row["authenticity"]) == ("a", "genuine")})
        assert len(by_stratum) == 4
        assert {len(found) for found in by_stratum.values()} == {max(1, int(share * there + 0.5))}


def test_all_of_it_is_all_of_it() -> None:
    assert training_subset(manifest(), 1.0, 0).equals(manifest())


def test_another_seed_takes_others() -> None:
    table = manifest(20)
    assert ids(training_subset(table, 0.3, 0)) != ids(training_subset(table, 0.3, 1))


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_the_order_of_the_rows_is_of_no_matter(share: float) -> None:
    table = manifest(12)
    turned = table.take(list(range(table.num_rows))[::-1])
    assert ids(training_subset(table, share, 3)) == ids(training_subset(turned, share, 3))


def test_items_of_a_group_go_together_and_references_stay() -> None:
    """Near-duplicates across items must not lie half in a smaller set."""
    rows = manifest(30).to_pylist()
    for row in rows:
        stratum, item = row["item_id"].rsplit("-", 1)
        row["group_id"] = f"{stratum}-{int(item) // 10}"
        if item == "4":
            row["role"] = str(Role.REFERENCE)
    table = pa.Table.from_pylist(rows, schema=manifest().schema)
    for seed in range(5):
        part = training_subset(table, 0.34, seed)
        kept = {row["group_id"] for row in part.to_pylist() if row["role"] == Role.TRAIN}
        there = {row["image_id"] for row in rows if row["role"] == Role.TRAIN and row["group_id"] in kept}
        assert ids(part, Role.TRAIN) == there
        assert len(kept) == 4  # one of three in each stratum
        assert ids(part, Role.REFERENCE) == ids(table, Role.REFERENCE)
