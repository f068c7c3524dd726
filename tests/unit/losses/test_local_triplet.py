"""The local triplet: mutual neighbours and triplets against plain loops, in both minings."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from hallmark.losses.local_triplet import LocalTripletConfig, hardest_triplets, local_triplet_loss, mutual_similarity

IDENTITY = [0, 0, 0, 1, 1, -1, 2, 2, -1]
PRODUCT = [0, 0, 0, 0, 0, 0, 1, 1, -1]


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=-1)


def plain_similarity(first: torch.Tensor, second: torch.Tensor) -> float:
    cosines = (first @ second.T).tolist()
    pairs = []
    for t, row in enumerate(cosines):
        u = row.index(max(row))
        column = [other[u] for other in cosines]
        if column.index(max(column)) == t:
            pairs.append(row[u])
    return sum(pairs) / len(pairs)


def plain_loss(rows: torch.Tensor, local: torch.Tensor, mining: str, margin: float) -> float:
    sim = [[plain_similarity(a, b) for b in local] for a in local]
    overall = (rows @ rows.T).tolist()
    hinges = []
    for a in range(len(IDENTITY)):
        others = [j for j in range(len(IDENTITY)) if j != a]
        positives = [j for j in others if IDENTITY[j] == IDENTITY[a] != -1]
        negatives = [j for j in others if j not in positives]
        near = [j for j in negatives if PRODUCT[j] == PRODUCT[a]]
        if mining == "mean":
            if not positives or not near or PRODUCT[a] < 0:
                continue
            positive, negative = (sum(sim[a][j] for j in side) / len(side) for side in (positives, near))
        else:
            if not positives or not negatives:
                continue
            positive = sim[a][min(positives, key=lambda j: overall[a][j])]
            negative = sim[a][max(near or negatives, key=lambda j: overall[a][j])]
        hinges.append(max(0.0, margin + negative - positive))
    return sum(hinges) / len(hinges)


@given(st.integers(0, 9999), st.integers(1, 7), st.integers(1, 7))
@settings(max_examples=30, deadline=None)
def test_mutual_similarity_equals_plain_loops_and_is_symmetric(seed: int, first: int, second: int) -> None:
    a, b = unit(2, first, 4, seed=seed), unit(2, second, 4, seed=seed + 1)
    similarity = mutual_similarity(a, b)
    wanted = [plain_similarity(x, y) for x, y in zip(a, b, strict=True)]
    torch.testing.assert_close(similarity, torch.tensor(wanted, dtype=torch.float64))
    torch.testing.assert_close(mutual_similarity(b, a), similarity)
    torch.testing.assert_close(mutual_similarity(a, a), torch.ones(2, dtype=torch.float64))


@pytest.mark.parametrize("mining", ["hardest", "mean"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_loss_equals_plain_loops(mining: str, seed: int) -> None:
    rows, local = unit(9, 5, seed=seed), unit(9, 6, 4, seed=seed + 50)
    config = LocalTripletConfig(mining=mining, margin=0.3)
    loss = local_triplet_loss(rows, local, torch.tensor(IDENTITY), torch.tensor(PRODUCT), config)
    assert float(loss) == pytest.approx(plain_loss(rows, local, mining, 0.3), abs=1e-9)
    assert float(loss) > 0


def test_negatives_of_the_same_product_come_first() -> None:
    rows = F.normalize(torch.tensor([[1.0, 0.0], [0.9, 0.1], [-1.0, 0.2], [1.0, 0.01]]), dim=1)
    identity, product = torch.tensor([0, 0, 1, 2]), torch.tensor([0, 0, 0, 1])
    anchors, positives, negatives = hardest_triplets(rows, identity, product)
    assert [part.tolist() for part in (anchors, positives, negatives)] == [[0, 1], [1, 0], [2, 2]]
    elsewhere = hardest_triplets(rows, identity, torch.tensor([0, 0, 1, 1]))[2]
    assert elsewhere.tolist() == [3, 3]


@pytest.mark.parametrize("mining", ["hardest", "mean"])
@pytest.mark.parametrize("identity", [[-1, -1, -1], [0, 1, 2], [0, 0, 0], [0]])
def test_no_triplet_gives_zero_with_a_gradient(mining: str, identity: list[int]) -> None:
    count = len(identity)
    local = unit(count, 3, 4).requires_grad_()
    product, config = torch.zeros(count, dtype=torch.int64), LocalTripletConfig(mining=mining)
    loss = local_triplet_loss(unit(count, 5), local, torch.tensor(identity), product, config)
    loss.backward()
    assert float(loss) == 0.0
    assert torch.equal(local.grad, torch.zeros_like(local))


def test_mean_mining_leaves_other_products_alone() -> None:
    """Without another photograph of its product an anchor has nothing to be told from; `hardest` looks elsewhere."""
    rows, local = unit(4, 5), unit(4, 3, 4)
    identity, product = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 0, 1, 1])
    losses = {
        mining: float(local_triplet_loss(rows, local, identity, product, LocalTripletConfig(mining=mining, margin=2.0)))
        for mining in ("mean", "hardest")
    }
    assert losses["mean"] == 0.0
    assert losses["hardest"] > 0


@pytest.mark.parametrize("mining", ["hardest", "mean"])
def test_gradient_is_that_of_the_formula(mining: str) -> None:
    rows, local = unit(9, 5), unit(9, 3, 4).requires_grad_()
    config = LocalTripletConfig(mining=mining, margin=0.5)
    identity, product = torch.tensor(IDENTITY), torch.tensor(PRODUCT)
    assert torch.autograd.gradcheck(lambda x: local_triplet_loss(rows, x, identity, product, config), (local,))


@pytest.mark.parametrize("mining", ["hardest", "mean"])
def test_padding_counts_nothing(mining: str) -> None:
    rows, local = unit(9, 5), unit(9, 6, 4)
    identity, product = torch.tensor(IDENTITY), torch.tensor(PRODUCT)
    config = LocalTripletConfig(mining=mining, margin=0.5)
    padded = torch.cat([local, unit(9, 3, 4, seed=7)], dim=1).requires_grad_()
    valid = torch.arange(9).expand(9, 9) < 6
    loss = local_triplet_loss(rows, padded, identity, product, config, valid)
    torch.testing.assert_close(loss, local_triplet_loss(rows, local, identity, product, config))
    loss.backward()
    assert torch.equal(padded.grad[:, 6:], torch.zeros(9, 3, 4, dtype=torch.float64))


def test_images_may_have_different_numbers_of_cues() -> None:
    a, b = unit(2, 5, 4), unit(2, 5, 4, seed=1)
    a_valid, b_valid = (torch.arange(5)[None] < torch.tensor(counts) for counts in ([[3], [5]], [[4], [1]]))
    found = mutual_similarity(a, b, a_valid, b_valid)
    wanted = [plain_similarity(a[0, :3], b[0, :4]), plain_similarity(a[1], b[1, :1])]
    torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float64))
