"""L_local against plain loops, in both forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from hallmark.losses.foreground_contrast import ForegroundContrastConfig, foreground_contrast_loss

ANCHORS, PARTNERS = torch.tensor([0, 1, 2]), torch.tensor([1, 2, 0])
FORMS = ["soft_triplet", "triplet", "weighted_pull"]


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=-1)


def masks(seed: int = 1, batch: int = 5, tokens: int = 6) -> torch.Tensor:
    return torch.rand(batch, tokens, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cosine(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))


def plain(local: list, mask: list, config: ForegroundContrastConfig) -> float:
    count, size = len(local) * len(local[0]), len(local[0][0])
    mean = [sum(d[k] for image in local for d in image) / count for k in range(size)]
    if config.form == "weighted_pull":
        mean = [0.0] * size
    fg, bg = [], []
    for image, row in zip(local, mask, strict=True):
        share = [value / max(row) for value in row]
        fg.append([sum(m * (d[k] - mean[k]) for m, d in zip(share, image, strict=True)) for k in range(size)])
        bg.append([sum((1 - m) * (d[k] - mean[k]) for m, d in zip(share, image, strict=True)) for k in range(size)])
    losses = []
    for a, p in zip(ANCHORS.tolist(), PARTNERS.tolist(), strict=True):
        together = cosine(fg[a], fg[p])
        if config.form == "weighted_pull":
            losses.append(0.7 * (1 - together) + 0.3 * (1 - cosine(bg[a], bg[p])))
        else:
            around = max(cosine(fg[a], bg[a]), cosine(fg[p], bg[p]), cosine(fg[a], bg[p]))
            short = config.margin + around - together
            losses.append(math.log1p(math.exp(short)) if config.form == "soft_triplet" else max(0.0, short))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("seed", range(4))
def test_equals_plain_loops(form: str, seed: int) -> None:
    config = ForegroundContrastConfig(form=form, margin=0.4)
    local, mask = unit(5, 6, 4, seed=seed), masks(seed + 9)
    loss = foreground_contrast_loss(local, mask, ANCHORS, PARTNERS, config)
    assert float(loss) == pytest.approx(plain(local.tolist(), mask.tolist(), config), abs=1e-9)
    assert float(loss) > 0
    scaled = foreground_contrast_loss(local, mask * 1e-3, ANCHORS, PARTNERS, config)
    torch.testing.assert_close(scaled, loss)


def test_a_mask_on_what_the_photographs_share_satisfies_the_triplet() -> None:
    shared, around = torch.tensor([1.0, 0.0, 0.0]), torch.eye(3)[1:]
    local = torch.stack([torch.stack([shared, shared, around[i % 2], around[i % 2]]) for i in range(2)])
    pairs = torch.tensor([0, 1]), torch.tensor([1, 0])
    config = ForegroundContrastConfig(form="triplet")
    on, off = torch.tensor([[1.0, 1, 0, 0]] * 2), torch.tensor([[1.0, 0, 1, 0]] * 2)
    assert float(foreground_contrast_loss(local, on, *pairs, config)) == 0.0
    assert float(foreground_contrast_loss(local, off, *pairs, config)) > 0.3


def test_the_soft_triplet_still_teaches_a_mask_that_the_triplet_leaves_alone() -> None:
    shared, around = torch.tensor([1.0, 0.0, 0.0]), torch.eye(3)[1:]
    local = torch.stack([torch.stack([shared, shared, around[i % 2], around[i % 2]]) for i in range(2)])
    pairs = torch.tensor([0, 1]), torch.tensor([1, 0])
    gradients = {}
    for form in ("soft_triplet", "triplet"):
        mask = torch.tensor([[1.0, 0.9, 0.1, 0.05]] * 2, requires_grad=True)
        foreground_contrast_loss(local, mask, *pairs, ForegroundContrastConfig(form=form)).backward()
        gradients[form] = float(mask.grad.abs().sum())
    assert gradients["triplet"] == 0
    assert gradients["soft_triplet"] > 1e-3


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("train_features", [False, True])
def test_features_learn_only_where_asked(form: str, train_features: bool) -> None:
    local, mask = unit(5, 6, 4).requires_grad_(), masks().requires_grad_()
    config = ForegroundContrastConfig(form=form, train_features=train_features, margin=1.0)
    foreground_contrast_loss(local, mask, ANCHORS, PARTNERS, config).backward()
    assert float(mask.grad.abs().sum()) > 0
    assert (local.grad is not None and float(local.grad.abs().sum()) > 0) is train_features


@pytest.mark.parametrize("form", FORMS)
def test_gradient_is_that_of_the_formula(form: str) -> None:
    config = ForegroundContrastConfig(form=form, train_features=True, margin=1.0)
    inputs = unit(4, 5, 3).requires_grad_(), masks(2, 4, 5).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda local, mask: foreground_contrast_loss(local, mask, ANCHORS, PARTNERS, config), inputs
    )


@pytest.mark.parametrize("form", FORMS)
def test_no_pair_gives_zero_with_a_gradient(form: str) -> None:
    local, mask, none = unit(2, 3, 4).requires_grad_(), masks(0, 2, 3).requires_grad_(), torch.zeros(0).long()
    loss = foreground_contrast_loss(local, mask, none, none, ForegroundContrastConfig(form=form))
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(local.grad, torch.zeros_like(local))
    assert torch.equal(mask.grad, torch.zeros_like(mask))


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_flat_or_empty_mask_stays_finite(value: float) -> None:
    local = unit(3, 4, 3).requires_grad_()
    mask = torch.full((3, 4), value, dtype=torch.float64, requires_grad=True)
    loss = foreground_contrast_loss(local, mask, ANCHORS, PARTNERS, ForegroundContrastConfig())
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(mask.grad).all()
