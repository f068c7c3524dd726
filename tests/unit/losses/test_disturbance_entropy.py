"""The auxiliary task's cross entropy against plain loops."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hallmark.losses.disturbance_entropy import disturbance_entropy_loss


@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5), st.booleans()), min_size=1, max_size=6))
@settings(max_examples=30, deadline=None)
def test_equals_plain_loops(rows):
    logits = torch.tensor([row[:2] for row in rows], dtype=torch.float32)
    scrambled = torch.tensor([row[2] for row in rows])
    wanted = [math.log1p(math.exp((first - second) if hit else (second - first))) for first, second, hit in rows]
    assert float(disturbance_entropy_loss(logits, scrambled)) == pytest.approx(sum(wanted) / len(rows), abs=1e-5)


def test_gradient_falls_towards_the_truth():
    logits = torch.zeros(2, 2, requires_grad=True)
    disturbance_entropy_loss(logits, torch.tensor([True, False])).backward()
    torch.testing.assert_close(logits.grad, torch.tensor([[0.25, -0.25], [-0.25, 0.25]]))
