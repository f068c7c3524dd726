"""The weak target of a heat map: what it is where, and what the loss makes of it."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from hallmark.losses.heat_activation import class_activation, heat_activation_loss


def test_the_activation_is_the_stretched_evidence_above_its_mean():
    """Two classes and four places, whose evidence for class 0 is 1, -1, 1, 2 with a mean of 3/4."""
    logits = torch.tensor([[[[3.0, 1.0], [0.0, 2.0]], [[2.0, 0.0], [5.0, 1.0]]]])
    torch.testing.assert_close(class_activation(logits, torch.tensor([0])), torch.tensor([[[0.2, 0.0], [0.2, 1.0]]]))
    torch.testing.assert_close(class_activation(logits, torch.tensor([1])), torch.tensor([[[0.0, 1.0], [0.0, 0.0]]]))


def test_adding_the_same_to_all_classes_changes_nothing():
    logits = torch.randn(3, 4, 4, 6, generator=torch.Generator().manual_seed(0))
    classes, added = torch.tensor([0, 3, 5]), torch.randn(3, 4, 4, 1, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(class_activation(logits + added, classes), class_activation(logits, classes))


def test_no_class_and_no_evidence_give_zeros_and_no_loss():
    logits = torch.randn(2, 4, 4, 6, generator=torch.Generator().manual_seed(0))
    assert not class_activation(logits, torch.tensor([-1, -1])).any()
    everywhere = torch.randn(2, 1, 1, 6, generator=torch.Generator().manual_seed(1)).expand(2, 3, 3, 6)
    assert not class_activation(everywhere, torch.tensor([0, 1])).any()
    heat = torch.full((2, 8, 8), 0.5, requires_grad=True)
    loss = heat_activation_loss(heat, torch.zeros(2, 4, 4))
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert not heat.grad.any()


def test_a_background_tells_nothing():
    logits = torch.randn(2, 4, 4, 6, generator=torch.Generator().manual_seed(0))
    classes, foreground = torch.tensor([0, 3]), torch.zeros(2, 16, 16)
    foreground[0, 4:, 4:] = foreground[1] = 1
    found = class_activation(logits, classes, foreground)
    assert found.shape == (2, 16, 16)
    assert not found[0][foreground[0] == 0].any()
    torch.testing.assert_close(found.amax(dim=(1, 2)), torch.ones(2))
    whole = F.interpolate(class_activation(logits, classes)[:, None], size=16, mode="bilinear")[:, 0]
    torch.testing.assert_close(found[1], whole[1] / whole[1].max())


def test_the_loss_is_the_cross_entropy_over_the_photographs_that_have_an_activation():
    heat = torch.tensor([[[0.9, 0.1]], [[0.5, 0.5]]])
    activation = torch.tensor([[[1.0, 0.0]], [[0.0, 0.0]]])
    assert float(heat_activation_loss(heat, activation)) == pytest.approx(-math.log(0.9), abs=1e-6)


def test_heat_at_the_activation_is_best_and_certain_heat_stays_finite():
    activation = torch.tensor([[[1.0, 0.2], [0.0, 0.6]]])
    at_best = float(heat_activation_loss(activation, activation))
    for other in (activation * 0.8, activation.clamp_min(0.1), 1.0 - activation):
        assert at_best < float(heat_activation_loss(other, activation)) < math.inf
