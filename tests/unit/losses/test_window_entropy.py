"""The local branch's losses and the vote against plain loops."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hallmark.losses.window_entropy import vote, vote_loss, window_entropy_loss


def softmax(row: list[float]) -> list[float]:
    shares = [math.exp(value) for value in row]
    return [share / sum(shares) for share in shares]


def plain_windows(logits: torch.Tensor, classes: list[int], prior: list[float]) -> float:
    total, counted = 0.0, 0
    for windows, truth in zip(logits.tolist(), classes, strict=True):
        if truth < 0:
            continue
        told = [softmax([value + math.log(share) for value, share in zip(row, prior, strict=True)]) for row in windows]
        total -= sum(math.log(row[truth]) for row in told) / len(told)
        counted += 1
    return total / counted if counted else 0.0


def plain_vote(image: list[float], windows: list[list[float]], weights: list[float], share: float) -> list[float]:
    told = [share * p for p in softmax(image)]
    for row, weight in zip(windows, weights, strict=True):
        told = [before + (1 - share) * weight * p for before, p in zip(told, softmax(row), strict=True)]
    return told


@given(st.integers(0, 9999), st.lists(st.integers(-1, 3), min_size=1, max_size=6), st.booleans())
@settings(max_examples=30)
def test_windows_equal_plain_loops(seed, classes, with_prior):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(len(classes), 3, 4, generator=generator)
    prior = torch.rand(4, generator=generator) + 0.05 if with_prior else torch.ones(4)
    found = window_entropy_loss(logits, torch.tensor(classes), prior.log() if with_prior else None)
    assert float(found) == pytest.approx(plain_windows(logits, classes, prior.tolist()), abs=1e-5)


@given(st.integers(0, 9999), st.sampled_from([0.0, 0.3, 1.0]))
@settings(max_examples=30)
def test_the_vote_equals_plain_loops_and_is_a_probability(seed, share):
    generator = torch.Generator().manual_seed(seed)
    image, windows = torch.randn(2, 4, generator=generator), torch.randn(2, 3, 4, generator=generator)
    weights = torch.rand(2, 3, generator=generator).add(0.01)
    weights = weights / weights.sum(dim=1, keepdim=True)
    found = vote(image, windows, weights, share)
    torch.testing.assert_close(found.exp().sum(dim=1), torch.ones(2))
    for row in range(2):
        wanted = plain_vote(image[row].tolist(), windows[row].tolist(), weights[row].tolist(), share)
        assert found[row].exp().tolist() == pytest.approx(wanted, abs=1e-5)
    classes = torch.tensor([1, -1])
    assert float(vote_loss(found, classes)) == pytest.approx(-float(found[0, 1]), abs=1e-5)


def test_a_loss_is_zero_only_where_every_probability_is_one():
    sure = torch.full((2, 3, 4), -200.0)
    sure[0, :, 1] = sure[1, :, 2] = 200.0
    classes = torch.tensor([1, 2])
    assert float(window_entropy_loss(sure, classes)) == 0.0
    even = torch.full((2, 3), 1 / 3)
    assert float(vote_loss(vote(sure[:, 0], sure, even, 0.5), classes)) == pytest.approx(0.0, abs=1e-6)
    one_unsure = sure.clone()
    one_unsure[0, 0] = 0.0
    assert float(window_entropy_loss(one_unsure, classes)) == pytest.approx(math.log(4) / 6)
    assert float(vote_loss(vote(one_unsure[:, 0], one_unsure, even, 0.0), classes)) > 0.1


def test_nobody_with_a_class_gives_zero_with_a_gradient_of_zeros():
    logits, weights = torch.randn(2, 3, 4, requires_grad=True), torch.full((2, 3), 1 / 3)
    nobody = torch.tensor([-1, -1])
    loss = window_entropy_loss(logits, nobody) + vote_loss(vote(logits[:, 0], logits, weights, 0.5), nobody)
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert not logits.grad.any()
    assert float(window_entropy_loss(torch.zeros(0, 3, 4), torch.zeros(0, dtype=torch.int64))) == 0.0


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_gradients_are_right_and_never_undefined(monkeypatch, share):
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    torch.manual_seed(0)
    image, windows = torch.randn(2, 4).double().requires_grad_(), torch.randn(2, 3, 4).double().requires_grad_()
    scores = torch.rand(2, 3).double().add(0.1).requires_grad_()
    classes = torch.tensor([1, -1])

    def loss(*given: torch.Tensor) -> torch.Tensor:
        log_p = vote(given[0], given[1], given[2] / given[2].sum(dim=1, keepdim=True), share)
        return vote_loss(log_p, classes) + window_entropy_loss(given[1], classes)

    assert torch.autograd.gradcheck(loss, (image, windows, scores))


def test_the_vote_moves_weight_to_the_window_that_is_right():
    scores = torch.ones(1, 2, requires_grad=True)
    windows = torch.tensor([[[3.0, 0.0], [0.0, 3.0]]])
    vote_loss(vote(torch.zeros(1, 2), windows, scores / scores.sum(), 0.5), torch.tensor([1])).backward()
    assert scores.grad[0, 1] < 0 < scores.grad[0, 0]
