"""Optimal transport against plain loops, and what the global descriptor must not depend on."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hallmark.errors import ConfigError
from hallmark.nets.aggregation import AggregationConfig, OptimalTransportAggregation, sinkhorn

SMALL = {"clusters": 3, "cluster_dim": 4, "token_dim": 5, "hidden": 8}


def masses(clusters: int, tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
    rows = torch.ones(clusters + 1, dtype=torch.float64)
    rows[-1] = tokens - clusters
    return (rows / (clusters + tokens)).log(), torch.full((tokens,), -math.log(clusters + tokens), dtype=torch.float64)


def plain_plan(
    scores: list[list[float]], rows: list[float], columns: list[float], iterations: int
) -> list[list[float]]:
    """Scale rows, then columns, of exp(scores), in loops."""
    plan = [[math.exp(score) for score in row] for row in scores]
    for _ in range(iterations):
        for r, row in enumerate(plan):
            factor = rows[r] / sum(row)
            plan[r] = [value * factor for value in row]
        for c in range(len(columns)):
            factor = columns[c] / sum(row[c] for row in plan)
            for row in plan:
                row[c] *= factor
    return plan


@given(st.integers(0, 2**16), st.integers(1, 4), st.integers(0, 8), st.integers(1, 6))
@settings(max_examples=25, deadline=None)
def test_sinkhorn_equals_plain_loops(seed: int, clusters: int, more: int, iterations: int) -> None:
    tokens = 2 * clusters + more
    generator = torch.Generator().manual_seed(seed)
    scores = 3 * torch.randn(1, clusters + 1, tokens, generator=generator, dtype=torch.float64)
    rows, columns = masses(clusters, tokens)
    plan = sinkhorn(scores, rows, columns, iterations).exp()[0]
    wanted = plain_plan(scores[0].tolist(), rows.exp().tolist(), columns.exp().tolist(), iterations)
    torch.testing.assert_close(plan, torch.tensor(wanted, dtype=torch.float64))
    torch.testing.assert_close(plan.sum(dim=0), columns.exp())


def test_sinkhorn_reaches_both_marginals() -> None:
    rows, columns = masses(4, 16)
    scores = torch.randn(3, 5, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    plan = sinkhorn(scores, rows, columns, 200).exp()
    torch.testing.assert_close(plan.sum(dim=1), columns.exp().expand(3, -1), rtol=0, atol=1e-6)
    torch.testing.assert_close(plan.sum(dim=2), rows.exp().expand(3, -1), rtol=0, atol=1e-6)


def test_sinkhorn_withstands_extreme_scores() -> None:
    rows, columns = masses(2, 6)
    scores = torch.zeros(1, 3, 6)
    scores[0, 0], scores[0, 1, 0] = 200.0, -200.0
    assert torch.isfinite(sinkhorn(scores, rows.float(), columns.float(), 3)).all()


def inputs(batch: int = 4, tokens: int = 12) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(batch, 6, generator=generator),
        torch.randn(batch, tokens, 6, generator=generator),
        torch.rand(batch, tokens, generator=generator),
    )


def aggregation(**changes: object) -> OptimalTransportAggregation:
    torch.manual_seed(0)
    return OptimalTransportAggregation(6, AggregationConfig(**{**SMALL, **changes})).eval()


@pytest.mark.parametrize("attention_dustbin", [True, False])
def test_descriptor_has_unit_norm_and_sees_its_own_image_alone(attention_dustbin: bool) -> None:
    module, (class_token, patches, attention) = aggregation(attention_dustbin=attention_dustbin), inputs()
    out = module(class_token, patches, attention)
    assert out.descriptor.shape == (4, module.descriptor_dim) == (4, 17)
    torch.testing.assert_close(out.descriptor.norm(dim=1), torch.ones(4))
    assert out.assignment.shape == (4, 3, 12)
    assert ((out.assignment >= 0) & (out.assignment <= 1)).all()
    assert (out.assignment.sum(dim=1) <= 1 + 1e-5).all()
    single = torch.cat([module(*(part[i : i + 1] for part in inputs())).descriptor for i in range(4)])
    torch.testing.assert_close(single, out.descriptor)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(module(*(part[order] for part in inputs())).descriptor, out.descriptor[order])


def test_descriptor_ignores_the_order_of_the_patches() -> None:
    module, (class_token, patches, attention) = aggregation(), inputs()
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    moved = module(class_token, patches[:, order], attention[:, order]).descriptor
    torch.testing.assert_close(moved, module(class_token, patches, attention).descriptor)


def test_attention_counts_relative_to_its_peak() -> None:
    module, (class_token, patches, attention) = aggregation(), inputs()
    wanted = module(class_token, patches, attention).assignment
    torch.testing.assert_close(module(class_token, patches, attention * 1e-3).assignment, wanted)
    assert not torch.allclose(module(class_token, patches, attention.flip(1)).assignment, wanted)
    assert torch.isfinite(module(class_token, patches, attention * 0).descriptor).all()


def test_gradient_reaches_every_parameter_and_the_attention() -> None:
    module, (class_token, patches, attention) = aggregation().train(), inputs()
    attention.requires_grad_()
    out = module(class_token, patches, attention)
    (out.descriptor * torch.arange(17.0)).sum().backward()
    assert float(attention.grad.abs().sum()) > 0
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize(("tokens", "fits"), [(6, True), (5, False), (1, False)])
def test_at_most_half_as_many_clusters_as_tokens(tokens: int, fits: bool) -> None:
    if fits:
        assert aggregation()(*inputs(tokens=tokens)).descriptor.shape == (4, 17)
        return
    with pytest.raises(ConfigError, match=rf"aggregation\.clusters: found 3 for {tokens} patch tokens"):
        aggregation()(*inputs(tokens=tokens))


@given(st.integers(0, 9999), st.integers(1, 4), st.integers(0, 20))
@settings(max_examples=20, deadline=None)
def test_a_token_gives_to_clusters_and_dustbin_all_it_has(seed: int, clusters: int, more: int) -> None:
    """With the dustbin's row every column sums to 1; without it to the kept mass, whose total is near M."""
    torch.manual_seed(seed)
    config = AggregationConfig(**{**SMALL, "clusters": clusters, "iterations": 50})
    module = OptimalTransportAggregation(6, config).eval()
    tokens = 2 * clusters + more
    kept = module(*inputs(tokens=tokens)).assignment.sum(dim=1)
    assert (kept <= 1 + 1e-5).all()
    torch.testing.assert_close(kept.sum(dim=1), torch.full((4,), float(clusters)), rtol=2e-2, atol=0)


def test_score_gain_decides_how_much_the_kept_mass_differs_at_the_start() -> None:
    def spread(gain: float) -> float:
        assignment = aggregation(score_gain=gain)(*inputs(tokens=40)[:2], torch.ones(4, 40)).assignment
        return float(assignment.detach().sum(dim=1).std(dim=1).mean())

    assert spread(12.0) > 3 * spread(1.0)
