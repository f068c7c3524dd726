"""Nested parts of a manifest's training photographs: whole items, every stratum in proportion."""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np
import pyarrow as pa

from hallmark.data.splits import Stratum, group_labels, rank, stratum
from hallmark.types import Role


def training_subset(table: pa.Table, share: float, seed: int) -> pa.Table:
    """The manifest with a share of its training photographs; every other role stays whole.

    In each stratum (product, part, authenticity) the groups of the training set (see `group_labels`) stand in an order
    that the seed alone decides, and the first of them are taken: of one seed, a smaller share is contained in every
    larger one.

    Args:
        table: a manifest.
        share: of the groups of each stratum, above 0 to 1; rounded to whole groups, at least one.
        seed: decides the order.
    """
    rows = table.to_pylist()
    training = [number for number, row in enumerate(rows) if row["role"] == Role.TRAIN]
    groups: dict[int, list[int]] = defaultdict(list)
    for number, group in zip(training, group_labels([rows[number] for number in training]), strict=True):
        groups[group].append(number)
    strata: dict[Stratum, list[list[int]]] = defaultdict(list)
    for members in groups.values():
        strata[min(stratum(rows[number]) for number in members)].append(members)
    kept = np.array([row["role"] != Role.TRAIN for row in rows])
    for members_of_stratum in strata.values():
        ordered = sorted(members_of_stratum, key=lambda members: rank(seed, [rows[one]["image_id"] for one in members]))
        for members in ordered[: max(1, math.floor(share * len(ordered) + 0.5))]:
            kept[members] = True
    return table.filter(pa.array(kept))
