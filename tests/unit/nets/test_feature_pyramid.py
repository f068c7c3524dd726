"""The stages of a backbone, the pyramid over them, and heat."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from hallmark.errors import ConfigError
from hallmark.nets.backbone import BackboneConfig, build_feature_stages
from hallmark.nets.feature_pyramid import FeaturePyramid, PyramidConfig, PyramidHeat, channel_heat


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("resnet50", (256, 512, 1024, 2048)),
        ("test_resnet", (32, 48, 192, 96)),
        ("test_byobnet", (32, 64, 128, 256)),
        ("test_convnext", (24, 32, 48, 64)),
    ],
)
def test_stages_are_those_of_strides_4_to_32(name, channels):
    backbone = build_feature_stages(BackboneConfig(name=name, pretrained=False)).eval()
    with torch.inference_mode():
        stages = backbone(torch.zeros(1, 3, 64, 96))
    assert backbone.channels == channels
    wanted = [(1, size, 64 // stride, 96 // stride) for size, stride in zip(channels, (4, 8, 16, 32), strict=True)]
    assert [tuple(stage.shape) for stage in stages] == wanted


@pytest.mark.parametrize(
    ("backbone", "said"),
    [
        ({"name": "test_vit"}, r"'test_vit' has feature maps of strides \[16\] and none of 4, 8, 32; wanted a network"),
        ({"name": "test_resnet", "stage": 3}, r"backbone\.stage: found 3; wanted null"),
        ({"name": "test_resnet", "trainable_blocks": 2}, r"backbone: found lora or trainable_blocks"),
        ({"name": "resnet5000"}, r"backbone\.name: found 'resnet5000'; wanted a timm model"),
    ],
)
def test_backbones_that_lack_a_stage_are_refused_by_name(backbone, said):
    with pytest.raises(ConfigError, match=said):
        build_feature_stages(BackboneConfig(pretrained=False, **backbone))


def test_a_frozen_backbone_stays_in_evaluation():
    backbone = build_feature_stages(BackboneConfig(name="test_resnet", pretrained=False, trainable_blocks=0)).train()
    assert not backbone.training
    assert not any(weight.requires_grad for weight in backbone.parameters())


@pytest.mark.parametrize("smooth", [True, False])
def test_the_pyramid_is_equation_3(smooth):
    torch.manual_seed(0)
    sides = (8, 4, 2)
    stages = [torch.randn(2, channels, side, side) for channels, side in zip((3, 5, 7), sides, strict=True)]
    pyramid = FeaturePyramid((3, 5, 7), PyramidConfig(channels=4, smooth=smooth))
    coarse = pyramid.lateral[2](stages[2])
    middle = pyramid.lateral[1](stages[1]) + coarse.repeat_interleave(2, 2).repeat_interleave(2, 3)
    fine = pyramid.lateral[0](stages[0]) + middle.repeat_interleave(2, 2).repeat_interleave(2, 3)
    for found, last, wanted in zip(pyramid(stages), pyramid.smooth, (fine, middle, coarse), strict=True):
        torch.testing.assert_close(found, last(wanted))


def test_sides_that_do_not_halve_are_no_trouble():
    pyramid = FeaturePyramid((3, 3), PyramidConfig(channels=4))
    levels = pyramid([torch.zeros(1, 3, 7, 5), torch.zeros(1, 3, 4, 3)])
    assert [tuple(level.shape) for level in levels] == [(1, 4, 7, 5), (1, 4, 4, 3)]


def test_heat_is_the_mean_of_the_levels_log_odds_at_the_finest_size():
    torch.manual_seed(0)
    levels = [torch.randn(2, 4, 8, 8), torch.randn(2, 4, 4, 4)]
    heat = PyramidHeat(2, 4)
    fine, coarse = (one(level) for one, level in zip(heat.heat, levels, strict=True))
    wanted = ((fine + F.interpolate(coarse, size=(8, 8), mode="bilinear")) / 2).sigmoid()
    found = heat(levels)
    torch.testing.assert_close(found, wanted[:, 0])
    assert 0 <= float(found.detach().min()) <= float(found.detach().max()) <= 1


def test_heat_of_channels_runs_from_0_to_1_and_is_zero_where_flat():
    features = torch.stack([torch.randn(5, 6, 6), torch.full((5, 6, 6), 3.0)])
    heat = channel_heat(features)
    assert (float(heat[0].min()), float(heat[0].max())) == (0.0, pytest.approx(1.0))
    assert not heat[1].any()
    assert heat[0].flatten().argmax() == features[0].mean(dim=0).flatten().argmax()
