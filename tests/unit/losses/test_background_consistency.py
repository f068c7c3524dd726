"""Consistency over backgrounds against plain loops."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hallmark.losses.background_consistency import background_consistency_loss

NO_PAIR = torch.zeros(0, 2, dtype=torch.int64)


@given(st.integers(0, 9999), st.integers(1, 4))
@settings(max_examples=30)
def test_equals_plain_loops(seed, count):
    log_p = torch.randn(2 * count + 1, 3, generator=torch.Generator().manual_seed(seed)).log_softmax(dim=1)
    pairs = torch.arange(2 * count).reshape(-1, 2)
    wanted = 0.0
    for first, second in pairs.tolist():
        for one, other in ((first, second), (second, first)):
            for p, q in zip(log_p[one].tolist(), log_p[other].tolist(), strict=True):
                wanted += math.exp(p) * (p - q) / 2 / count
    assert float(background_consistency_loss(log_p, pairs)) == pytest.approx(wanted, abs=1e-5)


def test_it_is_zero_where_both_are_told_alike_and_above_zero_elsewhere():
    alike = torch.tensor([[0.2, 0.8], [0.2, 0.8], [0.8, 0.2]]).log()
    assert float(background_consistency_loss(alike, torch.tensor([[0, 1]]))) == 0.0
    assert float(background_consistency_loss(alike, torch.tensor([[0, 2]]))) > 0.5


def test_no_pair_gives_zero_with_a_gradient_of_zeros():
    log_p = torch.randn(2, 3).log_softmax(dim=1).requires_grad_()
    loss = background_consistency_loss(log_p, NO_PAIR)
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert not log_p.grad.any()


def test_gradient_is_right(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    logits = torch.randn(4, 3).double().requires_grad_()
    pairs = torch.tensor([[0, 1], [3, 2]])
    assert torch.autograd.gradcheck(lambda x: background_consistency_loss(x.log_softmax(dim=1), pairs), logits)
