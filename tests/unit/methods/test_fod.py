"""FoD end to end: losses, gradients, what an embedding holds, and precision."""

from __future__ import annotations

import pytest
import torch

from hallmark.config import validate
from hallmark.methods import fod
from hallmark.methods.base import alone
from hallmark.methods.fod import FoD, FoDConfig
from hallmark.nets.cues import num_cues
from hallmark.types import Batch


def build(name: str = "test_resnet", **local_triplet: object) -> FoD:
    settings = {
        "backbone": {"name": name, "pretrained": False, "group_norm": True},
        "aggregation": {"clusters": 2, "cluster_dim": 8, "token_dim": 8, "hidden": 16, "dropout": 0.0},
        "decoder": {"hidden": 16, "local_dim": 8, "centred": True},
        "losses": {"local_triplet": {"mining": "mean", "margin": 0.5, **local_triplet}},
    }
    if name == "test_resnet":
        settings["backbone"]["stage"] = 3
    torch.manual_seed(0)
    return FoD(validate(FoDConfig, settings, "tiny"))


def batch() -> Batch:
    product = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1, -1])
    genuine = torch.tensor([True, True, False, False] * 2 + [False])
    return {
        "images": torch.randn(9, 3, 64, 64, generator=torch.Generator().manual_seed(1)),
        "product": product,
        "genuine": genuine,
        "class_index": torch.where(product < 0, -1, 2 * product + genuine),
        "identity": torch.tensor([0, 0, 1, 1, 2, 2, -1, -1, -1]),
    }


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
@pytest.mark.parametrize("mining", ["mean", "hardest"])
def test_loss_reaches_every_part(name: str, mining: str) -> None:
    method = build(name, mining=mining).train()
    losses = method(batch())
    assert set(losses.terms) == set(losses.weights) == {"multi_similarity", "local_triplet"}
    wanted = sum(losses.weights[term] * float(value) for term, value in losses.terms.items())
    assert float(losses.total) == pytest.approx(wanted)
    losses.total.backward()
    for part in ("backbone", "aggregation", "decoder"):
        gradients = [parameter.grad for parameter in getattr(method, part).parameters() if parameter.grad is not None]
        assert all(torch.isfinite(gradient).all() for gradient in gradients), part
        assert sum(float(gradient.abs().sum()) for gradient in gradients) > 0, part


@pytest.mark.parametrize(("progress", "weight"), [(0.0, 0.0), (0.39, 0.0), (0.4, 3.0), (1.0, 3.0)])
def test_a_term_whose_start_lies_ahead_counts_nothing(progress: float, weight: float) -> None:
    method = build(start=0.4, weight=3.0)
    losses = method(batch(), alone, progress)
    assert losses.weights["local_triplet"] == weight
    losses.total.backward()
    moved = sum(float(p.grad.abs().sum()) for p in method.decoder.parameters() if p.grad is not None)
    assert (moved > 0) is (weight > 0)


def test_all_that_pairs_is_gathered() -> None:
    sizes: list[tuple[int, ...]] = []

    def twice(rows: torch.Tensor) -> torch.Tensor:
        sizes.append(tuple(rows.shape))
        return torch.cat([rows, rows])

    method = build().eval()
    assert float(method(batch(), twice).total) != pytest.approx(float(method(batch()).total), rel=1e-4)
    assert len(sizes) == 4
    assert all(size[0] == 9 for size in sizes)


def test_losses_run_in_full_precision_under_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[torch.dtype, bool]] = []
    method, local_loss = build().train(), fod.local_triplet_loss

    def note(*tensors: torch.Tensor) -> None:
        seen.extend((tensor.dtype, torch.is_autocast_enabled("cpu")) for tensor in tensors)

    def local(descriptors: torch.Tensor, local: torch.Tensor, *rest: object) -> torch.Tensor:
        note(descriptors, local)
        return local_loss(descriptors, local, *rest)

    monkeypatch.setattr(fod, "local_triplet_loss", local)
    method.multi_similarity.register_forward_pre_hook(lambda _module, args: note(args[0]))
    inner: list[torch.dtype] = []
    method.decoder.register_forward_pre_hook(lambda _module, args: inner.append(args[0].dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = method(batch())
        assert torch.is_autocast_enabled("cpu")
        assert method.backbone.model(batch()["images"])[-1].dtype == torch.bfloat16
    assert seen == [(torch.float32, False)] * 3
    assert {term.dtype for term in losses.terms.values()} == {torch.float32}
    losses.total.backward()
    assert all(torch.isfinite(p.grad).all() for p in method.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_embedding_is_unit_positioned_and_repeatable(name: str) -> None:
    method, images = build(name).eval(), batch()["images"]
    with torch.inference_mode():
        first, second, single = method.embed(images), method.embed(images), method.embed(images[2:3])
    tokens = method.backbone(images[:1]).patch_tokens.shape[1]
    count = num_cues(tokens, method.config.cue_ratio)
    assert first.descriptor.shape == (9, method.aggregation.descriptor_dim)
    assert first.local.shape == (9, count, 8)
    assert first.positions.shape == (9, count, 2)
    torch.testing.assert_close(first.descriptor.norm(dim=1), torch.ones(9))
    torch.testing.assert_close(first.local.norm(dim=2), torch.ones(9, count))
    assert ((first.positions > 0) & (first.positions < 1)).all()
    for field in ("descriptor", "local", "positions"):
        assert torch.equal(getattr(first, field), getattr(second, field))
        torch.testing.assert_close(getattr(single, field)[0], getattr(first, field)[2], rtol=1e-4, atol=1e-5)


def test_other_sizes_of_image_are_embedded() -> None:
    embedding = build().eval().embed(torch.randn(1, 3, 64, 96))
    assert ((embedding.positions > 0) & (embedding.positions < 1)).all()
