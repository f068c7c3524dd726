"""The main task's cross entropy against plain loops, its prior, and photographs without a class."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hallmark.losses.class_entropy import class_entropy_loss


def plain(logits: list[list[float]], classes: list[int], prior: list[float] | None) -> float:
    total, counted = 0.0, 0
    for row, truth in zip(logits, classes, strict=True):
        if truth < 0:
            continue
        shares = [math.exp(value) * (1 if prior is None else prior[place]) for place, value in enumerate(row)]
        total -= math.log(shares[truth] / sum(shares))
        counted += 1
    return total / counted if counted else 0.0


@given(st.integers(0, 9999), st.lists(st.integers(-1, 3), min_size=1, max_size=8), st.booleans())
@settings(max_examples=40, deadline=None)
def test_equals_plain_loops(seed, classes, with_prior):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(len(classes), 4, generator=generator)
    prior = torch.rand(4, generator=generator) + 0.05 if with_prior else None
    found = class_entropy_loss(logits, torch.tensor(classes), None if prior is None else prior.log())
    wanted = plain(logits.tolist(), classes, None if prior is None else prior.tolist())
    assert float(found) == pytest.approx(wanted, abs=1e-5)


def test_nobody_with_a_class_gives_zero_with_a_gradient_of_zeros():
    logits = torch.randn(3, 4, requires_grad=True)
    loss = class_entropy_loss(logits, torch.tensor([-1, -1, -1]))
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert not logits.grad.any()


def test_gradient_is_right():
    logits = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    log_prior = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64).log()
    classes = torch.tensor([1, -1, 3])

    def loss(given: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(given + log_prior, classes, ignore_index=-1, reduction="sum") / 2.0

    (ours,) = torch.autograd.grad(class_entropy_loss(logits, classes, log_prior), logits)
    assert torch.autograd.gradcheck(loss, logits)
    (theirs,) = torch.autograd.grad(loss(logits), logits)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)
    assert not ours[1].any()


def test_with_the_stream_s_prior_what_is_learnt_is_the_evidence_alone():
    """One bin, nine of ten photographs in it counterfeit: the logits say that it tells nothing."""
    logits = torch.zeros(1, 2, requires_grad=True)
    classes = torch.tensor([0] * 9 + [1])
    log_prior = torch.tensor([0.9, 0.1]).log()
    for _ in range(300):
        loss = class_entropy_loss(logits.expand(10, 2), classes, log_prior)
        (slope,) = torch.autograd.grad(loss, logits)
        logits = (logits - 2.0 * slope).detach().requires_grad_()
    assert float((logits[0, 1] - logits[0, 0]).detach()) == pytest.approx(0.0, abs=1e-3)
