"""Positive pairs against plain loops."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from hallmark.losses.labels import NEGATIVE_ONLY, cyclic_pairs, positive_pairs, separate_negatives


@given(st.lists(st.integers(-1, 3), max_size=12))
def test_pairs_equal_plain_loops(identity: list[int]) -> None:
    pairs = positive_pairs(torch.tensor(identity, dtype=torch.int64))
    wanted = [
        [i != j and first == second != NEGATIVE_ONLY for j, second in enumerate(identity)]
        for i, first in enumerate(identity)
    ]
    assert pairs.tolist() == wanted


@given(st.lists(st.integers(-1, 3), max_size=12))
def test_negatives_get_identities_of_their_own(identity: list[int]) -> None:
    separate = separate_negatives(torch.tensor(identity, dtype=torch.int64)).tolist()
    own = [new for new, old in zip(separate, identity, strict=True) if old == NEGATIVE_ONLY]
    assert len(set(own)) == len(own)
    assert all(new < 0 for new in own)
    assert [new for new in separate if new >= 0] == [old for old in identity if old != NEGATIVE_ONLY]


_ROWS = st.tuples(st.integers(-1, 2), st.integers(-1, 2), st.booleans())


@given(st.lists(_ROWS, max_size=14))
def test_cyclic_pairs_equal_plain_loops(rows: list[tuple[int, int, bool]]) -> None:
    identity, product = (torch.tensor([row[part] for row in rows], dtype=torch.int64) for part in (0, 1))
    anchors, partners = cyclic_pairs(identity, product, torch.tensor([row[2] for row in rows], dtype=torch.bool))
    classes: dict[tuple[int, int], list[int]] = {}
    for number, (own, of_product, genuine) in enumerate(rows):
        if genuine and own != NEGATIVE_ONLY and of_product >= 0:
            classes.setdefault((own, of_product), []).append(number)
    wanted = {
        (member, members[(place + 1) % len(members)])
        for members in classes.values()
        if len(members) > 1
        for place, member in enumerate(members)
    }
    found = list(zip(anchors.tolist(), partners.tolist(), strict=True))
    assert set(found) == wanted
    assert len(found) == len(wanted)
