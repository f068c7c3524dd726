"""L_align against plain loops, and which map each half trains."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hallmark.losses.alignment import alignment_loss
from hallmark.nets.cues import MaskNorm, normalise_map


def maps(seed: int, batch: int = 3, tokens: int = 30) -> tuple[torch.Tensor, torch.Tensor]:
    drawn = torch.rand(2, batch, tokens, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) ** 2
    return drawn[0], drawn[1]


def plain(first: list[float], second: list[float]) -> float:
    log = [[math.log(max(value, 1e-8)) for value in row] for row in (first, second)]
    forth = sum(p * (a - b) for p, a, b in zip(first, *log, strict=True))
    back = sum(p * (b - a) for p, a, b in zip(second, *log, strict=True))
    return forth + back


@pytest.mark.parametrize("norm", ["l1", "zsoftmax", "raw_softmax"])
@given(st.integers(0, 9999), st.integers(2, 40))
@settings(max_examples=15, deadline=None)
def test_equals_plain_loops(norm: MaskNorm, seed: int, tokens: int) -> None:
    attention, confidence = (normalise_map(part, norm) for part in maps(seed, tokens=tokens))
    rows = [plain(a, c) for a, c in zip(attention.tolist(), confidence.tolist(), strict=True)]
    assert float(alignment_loss(attention, confidence)) == pytest.approx(sum(rows) / 3, abs=1e-12)
    assert float(alignment_loss(attention, confidence)) >= -1e-12
    torch.testing.assert_close(alignment_loss(confidence, attention), alignment_loss(attention, confidence))
    assert float(alignment_loss(attention, attention)) == 0.0


def test_tokens_without_mass_stay_finite() -> None:
    first = torch.tensor([[1.0, 0.0]], requires_grad=True)
    second = torch.tensor([[0.0, 1.0]], requires_grad=True)
    loss = alignment_loss(first, second)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(-2 * math.log(1e-8), rel=1e-5)
    assert torch.isfinite(first.grad).all()
    assert torch.isfinite(second.grad).all()


def test_an_empty_batch_gives_zero_with_a_gradient() -> None:
    empty = torch.zeros(0, 4, requires_grad=True)
    loss = alignment_loss(empty, empty)
    loss.backward()
    assert float(loss.detach()) == 0.0


@pytest.mark.parametrize("norm", ["l1", "zsoftmax", "raw_softmax"])
def test_gradient_is_that_of_the_half_with_the_other_map_fixed(norm: MaskNorm) -> None:
    """Each map learns from the divergence of the other one, held fixed, from it."""
    raw = [(part + 0.2).requires_grad_() for part in maps(5, tokens=8)]
    attention, confidence = (normalise_map(part, norm) for part in raw)
    found = torch.autograd.grad(alignment_loss(attention, confidence), raw)
    for own, other, gradient in ((0, 1, found[0]), (1, 0, found[1])):
        target = normalise_map(raw[other], norm).detach()
        step = 1e-6
        for place in ((0, 0), (1, 3), (2, 7)):
            moved = []
            for sign in (1, -1):
                nudged = raw[own].detach().clone()
                nudged[place] += sign * step
                moved.append(float(-(target * normalise_map(nudged, norm).log()).sum(dim=1).mean()))
            assert float(gradient[place]) == pytest.approx((moved[0] - moved[1]) / (2 * step), rel=1e-5, abs=1e-6)


def test_raw_softmax_is_inert_where_l1_is_not() -> None:
    raw = [0.02 * part for part in maps(1, tokens=200)]
    nats = {norm: float(alignment_loss(*(normalise_map(p, norm) for p in raw))) for norm in ("l1", "raw_softmax")}
    assert nats["l1"] > 0.5
    assert nats["raw_softmax"] < 1e-4
