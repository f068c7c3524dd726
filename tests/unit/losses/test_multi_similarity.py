"""L_MS against plain loops over hand-mined pairs."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from hallmark.losses.multi_similarity import MultiSimilarityConfig, MultiSimilarityLoss


def plain(similarity: list[list[float]], identity: list[int], config: MultiSimilarityConfig) -> float:
    total = 0.0
    for a, row in enumerate(similarity):
        others = [j for j in range(len(row)) if j != a]
        positives = [row[j] for j in others if identity[j] == identity[a] != -1]
        negatives = [row[j] for j in others if identity[j] != identity[a] or identity[a] == -1]
        if not positives or not negatives:
            continue
        hard_p = [s for s in positives if s - config.epsilon < max(negatives)]
        hard_n = [s for s in negatives if s + config.epsilon > min(positives)]
        total += math.log1p(sum(math.exp(-config.alpha * (s - config.base)) for s in hard_p)) / config.alpha
        total += math.log1p(sum(math.exp(config.beta * (s - config.base)) for s in hard_n)) / config.beta
    return total / len(similarity)


def descriptors(seed: int, count: int = 10, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    drawn = torch.randn(count, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return F.normalize(drawn, dim=1).to(dtype)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 1e-5)])
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("changes", [{}, {"alpha": 2.0, "base": 0.5, "epsilon": 0.3}])
def test_equals_plain_loops(dtype: torch.dtype, tolerance: float, seed: int, changes: dict[str, float]) -> None:
    config, identity = MultiSimilarityConfig(**changes), [0, 0, 0, 1, 1, 2, 2, -1, -1, 3]
    rows = descriptors(seed, dtype=dtype)
    loss = MultiSimilarityLoss(config)(rows, torch.tensor(identity))
    exact = rows.double()
    assert float(loss) == pytest.approx(plain((exact @ exact.T).tolist(), identity, config), rel=tolerance)
    assert float(loss) > 0


def test_half_precision_stays_finite() -> None:
    """No more than that: rounding moves pairs across the miner's margin, which is why FoD's losses run in float32."""
    rows = descriptors(2, dtype=torch.bfloat16).requires_grad_()
    loss = MultiSimilarityLoss(MultiSimilarityConfig())(rows, torch.tensor([0, 0, 0, 1, 1, 2, 2, -1, -1, 3]))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(rows.grad).all()


@pytest.mark.parametrize(
    "identity",
    [[-1] * 4, [0, 1, 2, 3], [0, 0, 0, 0], [0, -1, -1, -1], [5]],
    ids=["negatives only", "no positives", "no negatives", "one of a kind", "one photograph"],
)
def test_nothing_mined_gives_zero_with_a_gradient(identity: list[int]) -> None:
    rows = descriptors(0, len(identity)).requires_grad_()
    loss = MultiSimilarityLoss(MultiSimilarityConfig())(rows, torch.tensor(identity))
    loss.backward()
    assert float(loss) == 0.0
    assert torch.equal(rows.grad, torch.zeros_like(rows))


def test_negatives_only_push_but_are_not_pulled_together() -> None:
    """Photographs of one counterfeit without a known source: turning them into positives would change the loss."""
    rows, loss = descriptors(3, 6), MultiSimilarityLoss(MultiSimilarityConfig())
    apart = loss(rows, torch.tensor([0, 0, 0, -1, -1, -1]))
    assert float(apart) == pytest.approx(float(loss(rows, torch.tensor([0, 0, 0, 7, 8, 9]))))
    assert float(apart) != pytest.approx(float(loss(rows, torch.tensor([0, 0, 0, 7, 7, 7]))))


def test_batch_order_does_not_matter() -> None:
    rows, identity = descriptors(4), torch.tensor([0, 0, 1, 1, 2, 2, -1, -1, 3, 3])
    order, loss = (
        torch.randperm(10, generator=torch.Generator().manual_seed(0)),
        MultiSimilarityLoss(MultiSimilarityConfig()),
    )
    torch.testing.assert_close(loss(rows[order], identity[order]), loss(rows, identity))
