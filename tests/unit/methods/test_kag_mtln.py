"""KAG-MTLN: sizes of the paper's network, what each head learns from, and what is exported."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from hallmark.config import load_config, validate
from hallmark.errors import ConfigError
from hallmark.evaluation.protocol import KAGJob
from hallmark.methods.base import LossTerms
from hallmark.methods.kag_mtln import KAGMTLN, KAGMTLNConfig
from hallmark.types import Batch

BACKBONE = {"name": "test_resnet", "pretrained": False, "stage": 3, "group_norm": True}
GIVEN = ["manifest=m.parquet", "out=bundle", "method.backbone.pretrained=false"]


def config(**changes: Any) -> KAGMTLNConfig:
    given = {"backbone": BACKBONE, "reduce": 8, "hidden": 16, "dropout": 0.0, **changes}
    return validate(KAGMTLNConfig, given, "tiny")


def make(seed: int = 0, num_products: int = 2, **changes: Any) -> KAGMTLN:
    torch.manual_seed(seed)
    return KAGMTLN(config(**changes), num_products)


def batch(size: int = 6, side: int = 64, ignored: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(1)
    product = torch.arange(size) % 2
    genuine = torch.arange(size) % 3 == 0
    classes = 2 * product + genuine
    classes[:ignored] = -1
    return {
        "images": torch.randn(size, 3, side, side, generator=generator),
        "product": product,
        "genuine": genuine,
        "class_index": classes,
        "identity": classes,
        "scrambled": torch.arange(size) % 2 == 1,
    }


def gradients(method: KAGMTLN, losses: LossTerms) -> dict[str, torch.Tensor]:
    method.zero_grad(set_to_none=True)
    losses.total.backward()
    return {name: parameter.grad for name, parameter in method.named_parameters()}


def test_the_paper_s_network_has_the_paper_s_size():
    run = load_config(KAGJob, None, [*GIVEN, "preset=paper"], presets="kag_mtln").run
    exported, whole = run.exported(4), run.untrained(4, _labels(4))
    backbone = sum(weight.numel() for weight in exported.backbone.parameters())
    head = sum(weight.numel() for weight in exported.main_head.parameters())
    assert backbone == 23_508_032
    assert head == (21 * 2048 + 1) * 512 + (512 + 1) * 8
    assert sum(weight.numel() for weight in exported.parameters()) == backbone + head
    assert sum(weight.numel() for weight in whole.parameters()) == backbone + head + (21 * 2048 + 1) * 512 + 513 * 2


def _labels(num_products: int) -> Any:
    from hallmark.data.sampling import Labels

    classes = torch.arange(2 * num_products).numpy()
    return Labels(classes // 2, classes % 2 == 1, classes, classes)


@pytest.mark.parametrize(
    ("name", "channels", "cells"),
    [("vgg19", 512, 14), ("resnet101", 2048, 14), ("efficientnet_b2", 352, 14), ("resnet50", 2048, 14)],
)
def test_backbones_of_table_6_give_their_last_feature_map(name, channels, cells):
    method = KAGMTLN(config(backbone={"name": name, "pretrained": False}), 2).eval()
    with torch.inference_mode():
        features = method.backbone(torch.zeros(1, 3, 448, 448))
    assert features.shape == (1, channels, cells, cells)


def test_the_loss_is_the_weighted_sum_of_both_tasks():
    method, given = make(losses={"alpha": 0.3, "adjust_prior": False}), batch(ignored=1)
    losses = method.training_loss(given)
    pooled = method.pyramid(method.reduce(method.backbone(given["images"])))
    main, auxiliary = method.main_head(pooled)[0], method.auxiliary_head(pooled)[0]
    wanted = 0.3 * F.cross_entropy(main[1:], given["class_index"][1:])
    wanted += 0.7 * F.cross_entropy(auxiliary, given["scrambled"].long())
    torch.testing.assert_close(losses.total, wanted)
    assert set(losses.terms) == {"main", "auxiliary"}


@pytest.mark.parametrize(("alpha", "idle"), [(1.0, "auxiliary_head"), (0.0, "main_head")])
def test_a_task_without_weight_leaves_its_head_alone(alpha, idle):
    method = make(losses={"alpha": alpha})
    found = gradients(method, method.training_loss(batch()))
    assert all(gradient is not None for gradient in found.values())  # distributed training waits for every one
    assert not any(gradient.any() for name, gradient in found.items() if name.startswith(idle))
    busy = {"auxiliary_head": "main_head", "main_head": "auxiliary_head"}[idle]
    assert all(gradient.any() for name, gradient in found.items() if name.startswith(f"{busy}.classes"))


def test_both_tasks_teach_the_backbone():
    method = make()
    for name in ("main", "auxiliary"):
        losses = method.training_loss(batch())
        (slope,) = torch.autograd.grad(losses.terms[name], losses.features)
        assert slope.abs().max() > 0


def test_photographs_without_a_class_do_not_move_the_main_head():
    method, given = make(), batch(ignored=6)
    found = gradients(method, method.training_loss(given))
    assert not any(gradient.any() for name, gradient in found.items() if name.startswith("main_head"))
    assert found["auxiliary_head.classes.weight"].any()


def test_what_is_exported_has_no_auxiliary_head_and_answers_alike():
    method = make().eval()
    exported = KAGMTLN(config(), 2, load_weights=False, auxiliary=False).eval()
    weights = method.state_dict()
    assert {name for name in weights if name not in exported.state_dict()} == {
        f"auxiliary_head.{layer}.{kind}" for layer in ("hidden", "classes") for kind in ("weight", "bias")
    }
    exported.load_state_dict({name: weights[name] for name in exported.state_dict()})
    images = batch()["images"]
    with torch.inference_mode():
        torch.testing.assert_close(exported.classify(images).logits, method.classify(images).logits)


def test_the_prior_is_for_training_alone():
    torch.manual_seed(0)
    method = KAGMTLN(config(), 2, torch.tensor([0.7, 0.1, 0.1, 0.1])).eval()
    alike = make().eval()
    images = batch()["images"]
    assert "log_prior" not in method.state_dict()
    with torch.inference_mode():
        torch.testing.assert_close(method.classify(images).logits, alike.classify(images).logits)
    assert float(method.training_loss(batch()).total.detach()) != float(alike.training_loss(batch()).total.detach())


@pytest.mark.parametrize("hidden", [16, None])
def test_an_embedding_is_of_unit_norm_with_no_cues(hidden):
    method = make(hidden=hidden).eval()
    with torch.inference_mode():
        told, embedding = method.classify(batch()["images"]), method.embed(batch()["images"])
    torch.testing.assert_close(embedding.descriptor.norm(dim=1), torch.ones(6))
    assert embedding.descriptor.shape == (6, hidden or told.features.shape[1])
    assert embedding.local.shape[1] == embedding.positions.shape[1] == embedding.weights.shape[1] == 0
    torch.testing.assert_close(embedding.class_logits, told.logits)


@pytest.mark.parametrize(("width", "height"), [(64, 64), (96, 64), (64, 160)])
def test_images_of_any_size_go_through(width, height):
    method = make().eval()
    with torch.inference_mode():
        assert method.classify(torch.zeros(1, 3, height, width)).features.shape == (1, 21 * 8)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"losses": {"alpha": 1.5}}, r"losses\.alpha: found 1\.5; .*less than or equal to 1"),
        ({"losses": {"alpha": -0.1}}, r"losses\.alpha: found -0\.1; .*greater than or equal to 0"),
        ({"pyramid": []}, r"pyramid: found \(\)|pyramid: found \[\]"),
        ({"hidden": 0}, r"hidden: found 0"),
    ],
)
def test_wrong_settings_are_refused_by_name(changes, said):
    with pytest.raises(ConfigError, match=said):
        config(**changes)


@pytest.mark.parametrize(
    ("backbone", "said"),
    [
        ({"name": "resnet5000"}, r"backbone\.name: found 'resnet5000'; wanted a timm model"),
        ({"name": "test_mixer"}, r"backbone: 'test_mixer' gives no feature map|backbone.name: found 'test_mixer'"),
        ({"name": "test_resnet", "stage": 9}, r"backbone: 'test_resnet' gives no feature map 9"),
        ({"name": "test_resnet", "trainable_blocks": 2}, r"backbone: found lora or trainable_blocks"),
    ],
)
def test_backbones_that_cannot_serve_are_refused_by_name(backbone, said):
    with pytest.raises(ConfigError, match=said):
        KAGMTLN(config(backbone={"pretrained": False, **backbone}), 2)


def test_a_size_that_a_backbone_does_not_take_is_refused_by_name():
    method = KAGMTLN(config(backbone={"name": "test_vit", "pretrained": False}), 2)
    with pytest.raises(ConfigError, match=r"preprocessing\.side_px: found 50 x 50 px, which 'test_vit'"):
        method.classify(torch.zeros(1, 3, 50, 50))
